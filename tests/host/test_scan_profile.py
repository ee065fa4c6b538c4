import sys
from dataclasses import replace

import pytest

from rpaccel.host import scan_profile
from rpaccel.host.gpu_timing import GpuTiming
from rpaccel.host.scan_profile import ScanProfile, load_profile, measure_scans, save_profile
from tests.host.test_gpu_timing import FakeTorch

PROFILE = ScanProfile(
    device="gpu",
    name="a GPU",
    rows=800,
    row_bytes=16,
    k=9,
    merge_s_per_row=0.0,
    timings=(
        GpuTiming(precision="int8", queries=1, k=9, call_s=1e-3, product_s=5e-4,
                  memory_bytes_per_s=1e11, version="9"),
    ),
)  # fmt: skip


def test_a_file_is_what_was_saved(tmp_path):
    path = tmp_path / "folder" / "scan.json"
    save_profile(path, PROFILE)
    assert load_profile(path) == PROFILE


def test_a_gpu_is_given_the_corpus(monkeypatch):
    asked = []

    def seen(rows, queries, k, batches, repeats, progress):
        asked.append((rows.shape, queries.shape, k, batches, repeats))
        return list(PROFILE.timings)

    monkeypatch.setitem(sys.modules, "torch", FakeTorch())
    monkeypatch.setattr(scan_profile, "time_gpu", seen)
    found = measure_scans("gpu", rows=800, row_bytes=16, k=9, batches=(1, 4), repeats=2)
    assert asked == [((800, 16), (4, 16), 9, (1, 4), 2)]
    assert found == PROFILE


def test_a_cpu_is_measured():
    pytest.importorskip("faiss")
    found = measure_scans(
        "cpu", rows=2000, row_bytes=32, k=16, batches=(1,), repeats=1, progress=lambda _: None
    )
    assert found.name and found.merge_s_per_row > 0
    assert {timing.index for timing in found.timings} == {"float32", "int8"}
    found.check("cpu", 2000, 32, 16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version": 2}', r"^version of .*scan\.json must be 1, not 2$"),
        ("[]", r"scan\.json must be a file of `rpaccel profile scan`: "),
        ('{"version": 1, "device": "tpu"}', r"must be a file of `rpaccel profile scan`: 'tpu'$"),
        ("{", r"must be a file of `rpaccel profile scan`: "),
    ],
)
def test_refuses_other_files(tmp_path, text, message):
    path = tmp_path / "scan.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_profile(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "cpu"}, r"^device of the scan profile of 'a GPU' must be gpu, not cpu$"),
        ({"rows": 8}, r"^rows of the scan profile of 'a GPU' must be 800, not 8$"),
        ({"k": 10}, r"^k of the scan profile of 'a GPU' must be 9, not 10$"),
    ],
)
def test_refuses_another_corpus(change, message):
    PROFILE.check("gpu", 800, 16, 9)
    with pytest.raises(ValueError, match=message):
        replace(PROFILE, **change).check("gpu", 800, 16, 9)
