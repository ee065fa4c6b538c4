import numpy as np
import pytest

from rpaccel import cache
from rpaccel.cache import cached, source_digest


class Counter:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"n": np.int64(self.calls)}


def test_computes_once_per_key(tmp_path):
    compute = Counter()
    assert cached(tmp_path / "new", "x", ["a", b"b"], compute) == ({"n": 1}, False)
    assert cached(tmp_path / "new", "x", ["a", b"b"], compute) == ({"n": 1}, True)
    assert compute.calls == 1


@pytest.mark.parametrize("key", [["a"], ["a", "c"], ["ab"], ["", "ab"], ["b", "a"]])
def test_another_key_computes_again(tmp_path, key):
    compute = Counter()
    cached(tmp_path, "x", ["a", "b"], compute)
    assert cached(tmp_path, "x", key, compute) == ({"n": 2}, False)


def test_names_do_not_meet(tmp_path):
    compute = Counter()
    cached(tmp_path, "x", ["a"], compute)
    assert cached(tmp_path, "y", ["a"], compute) == ({"n": 2}, False)


def test_an_error_is_not_kept(tmp_path):
    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match=r"^no$"):
        cached(tmp_path, "x", ["a"], fail)
    assert cached(tmp_path, "x", ["a"], Counter()) == ({"n": 1}, False)


def test_source_digest_covers_names_and_contents(monkeypatch, tmp_path):
    room = tmp_path / "room" / "inner"
    room.mkdir(parents=True)
    (room / "a.py").write_text("1")
    (room / "notes.txt").write_text("1")
    monkeypatch.setattr(cache, "PACKAGE", tmp_path)
    digests = [source_digest(["room"])]
    (room / "notes.txt").write_text("2")
    assert source_digest(["room"]) == digests[0]  # not a source
    (room / "a.py").write_text("2")
    digests.append(source_digest(["room"]))
    (room / "a.py").rename(room / "b.py")
    digests.append(source_digest(["room"]))
    (room / "c.hpp").write_text("")
    digests.append(source_digest(["room"]))
    assert len(set(digests)) == 4


def test_source_digest_reads_the_rooms():
    assert source_digest(["golden"]) != source_digest(["spec"])
    assert source_digest(["golden", "spec"]) == source_digest(["spec", "golden"])
    assert source_digest(["golden"]) != source_digest([])
