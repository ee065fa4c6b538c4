import json

import numpy as np
import pytest

from rpaccel.scheduler.service_profile import (
    ServiceProfile,
    find_profile,
    load_profiles,
    save_profiles,
)


def profile(**changes):
    keys = {
        "model": "wnd",
        "device": "cpu",
        "batch": (1, 10, 100),
        "latency_ms": (1.0, 1.9, 10.9),
        "cores": 1,
        "scale_rows": None,
        "source": "assumed",
    }
    return ServiceProfile(**(keys | changes))


def test_lines_between_points_and_beyond():
    assert [profile().ms(items) for items in (1, 4, 10, 55, 100, 200)] == pytest.approx(
        [1.0, 1.3, 1.9, 6.4, 10.9, 20.9]
    )
    late = profile(batch=(10, 100), latency_ms=(1.9, 10.9))
    assert late.ms(1) == pytest.approx(1.9)
    assert profile(batch=(10,), latency_ms=(2.0,)).ms(500) == pytest.approx(2.0)


def test_table():
    table = profile().table_s(300)
    assert table[0] == 0
    assert table.size == 301
    assert np.all(np.diff(table) > 0)


def test_file_keeps_profiles_and_bytes(tmp_path):
    path = tmp_path / "profiles.json"
    both = [profile(), profile(device="accelerator", scale_rows=0.25, source="measured")]
    save_profiles(path, both)
    first = path.read_bytes()
    assert sorted(load_profiles(path), key=repr) == sorted(both, key=repr)
    save_profiles(path, reversed(both))
    assert path.read_bytes() == first
    found = find_profile(load_profiles(path), "wnd", "accelerator")
    assert (found.source, found.scale_rows) == ("measured", 0.25)


def test_unknown_profile_lists_the_known():
    with pytest.raises(ValueError, match=r"must be one of wnd on cpu; not ncf on cpu"):
        find_profile([profile()], "ncf", "cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latency_ms": (1.0,)}, r"latency_ms must hold a time for each batch, not 1 for 3"),
        ({"batch": (1, 1, 2)}, r"batch must ascend from at least 1"),
        ({"batch": (0, 1, 2)}, r"batch must ascend from at least 1"),
        ({"latency_ms": (0.0, 1.0, 2.0)}, r"latency_ms must be positive"),
        ({"latency_ms": (float("nan"), 1.0, 2.0)}, r"latency_ms must be positive"),
        ({"cores": 0}, r"cores must be at least 1 and source given, not 0"),
        ({"scale_rows": 0.0}, r"scale_rows must be above 0 and at most 1, not 0\.0"),
        ({"scale_rows": 1.5}, r"scale_rows must be above 0 and at most 1, not 1\.5"),
        ({"threads": 2}, r"(?s)threads.*nexpected keyword"),
    ],
)
def test_rejects(changes, message):
    with pytest.raises(ValueError, match=message):
        profile(**changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(version=1), r"^p\.json: version must be 2, not 1"),
        (lambda data: data.update(extra=1), r"^p\.json must hold version and profiles"),
        (lambda data: data["profiles"][0].update(core=1), r"core"),
        (lambda data: data["profiles"][0].pop("source"), r"source"),
        (lambda data: data["profiles"][0].pop("scale_rows"), r"scale_rows"),
        (
            lambda data: data["profiles"].append(data["profiles"][0]),
            r"^p\.json: wnd on cpu must be there once",
        ),
    ],
)
def test_bad_file(tmp_path, change, message):
    path = tmp_path / "p.json"
    save_profiles(path, [profile()])
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message):
        load_profiles(path)
