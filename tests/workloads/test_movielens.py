import shutil

import pytest

from rpaccel.workloads.movielens import DEFAULT_CACHE, SHA256, TERMS, load_movielens


@pytest.fixture(scope="module")
def log():
    return load_movielens()


def test_has_the_published_size(log):
    assert (log.user_count, log.item_count, log.interactions.height) == (943, 1682, 100_000)
    assert log.title(0) == "Toy Story"
    assert log.items["genres"][0].to_list() == ["Animation", "Children's", "Comedy"]
    assert log.users["age"].null_count() == 0


def test_second_call_is_quiet(log, capsys):
    assert load_movielens().digest == log.digest
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", sorted(SHA256))
def test_truncated_file_is_named(log, tmp_path, name):
    folder = tmp_path / "ml"
    shutil.copytree(DEFAULT_CACHE, folder)
    raw = (folder / name).read_bytes()
    (folder / name).write_bytes(raw[:-100])
    with pytest.raises(ValueError, match=rf"{name} must have sha256 .* truncated or changed"):
        load_movielens(folder)


def test_terms_name_the_owner():
    assert "GroupLens" in TERMS
    assert "not to be redistributed" in TERMS
