import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from rpaccel.scheduler import deeprec_profile, deeprec_tables
from rpaccel.scheduler.deeprec_profile import (
    PEAK_LIMIT_BYTES,
    BatchTimes,
    ProfileAsk,
    measure_model,
    peak_bytes,
    quietest,
    require_gpu,
)
from rpaccel.scheduler.deeprec_tables import check_memory
from rpaccel.scheduler.operator_mix import measure_mix
from rpaccel.scheduler.service_profile import load_profiles, save_profiles
from rpaccel.spec.deeprec import load_deeprec

ASK = ProfileAsk(model="ncf", batches=(1, 64), repeats=3, rounds=2, scale_rows=0.01)


@pytest.fixture(scope="module")
def measurement(tmp_path_factory):
    return measure_model(ASK, tmp_path_factory.mktemp("tables"))


def test_profile_of_a_child(measurement):
    profile = measurement.profile
    assert (profile.model, profile.device, profile.cores) == ("ncf", "cpu", 1)
    assert profile.batch == (1, 64)
    for row, latency in zip(measurement.times, profile.latency_ms, strict=True):
        assert 0 < row.low_ms <= row.median_ms <= row.high_ms
        assert row.median_ms == latency
    assert profile.latency_ms[1] > profile.latency_ms[0]


def test_says_how_it_was_measured(measurement):
    source = measurement.profile.source
    assert f"measured by `{ASK.command}`: CPU time of its thread, median of 3 requests" in source
    assert "in the quietest of 2 rounds;" in source
    assert "scale_rows 0.01;" in source
    assert measurement.profile.scale_rows == 0.01
    assert re.search(r"onnxruntime [\d.]+, numba [\d.]+, numpy [\d.]+, Python [\d.]+", source)
    assert re.search(r"; \d{4}-\d\d-\d\d$", source)


def test_the_quietest_round_counts():
    rounds = [
        BatchTimes(items=4, median_ms=m, low_ms=m - 1, high_ms=m + spread, wall_ms=m + 0.5)
        for m, spread in ((5.0, 1.0), (3.0, 5.0), (4.0, 9.0))
    ]
    assert quietest(rounds) == BatchTimes(
        items=4, median_ms=3.0, low_ms=2.0, high_ms=13.0, wall_ms=3.5
    )


def test_a_child_does_not_report_its_parents_peak():
    held = np.ones(150_000_000)  # 1.2 GB, touched
    code = f"from {peak_bytes.__module__} import peak_bytes; print(peak_bytes())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1e7 < int(child.stdout) < held.nbytes < peak_bytes()


def test_prints_the_memory(measurement):
    table_bytes = (2 * 1400 + 2 * 280) * 64 * 4
    assert measurement.table_bytes == table_bytes
    assert table_bytes < measurement.peak_bytes < PEAK_LIMIT_BYTES
    assert re.search(
        r"tables 0\.001 GB mapped once, peak memory \d\.\d\d GB of at most 12 GB", measurement.text
    )


def test_tables_that_memory_does_not_hold_are_refused(monkeypatch, tmp_path):
    # 4.096 GB of tables and 0.3 GB of the process beside them
    for module in (deeprec_tables, deeprec_profile):
        monkeypatch.setattr(module, "PEAK_LIMIT_BYTES", 2_348_000_000)
    message = (
        r"^memory must be at most 2 GB, not 4\.40 GB \(4\.10 GB of tables of dlrm-rmc1, 0\.30 GB "
        r"of 1 processes\): --scale-rows 0\.49 fits$"
    )
    with pytest.raises(ValueError, match=message):
        measure_model(ProfileAsk(model="dlrm-rmc1"), tmp_path)
    with pytest.raises(ValueError, match=message):
        measure_mix("dlrm-rmc1", tmp_path)
    assert not list(tmp_path.iterdir())  # nothing was written
    config = load_deeprec("dlrm-rmc1")
    check_memory([config], scale_rows=0.49)
    with pytest.raises(ValueError, match=r"fewer processes fit$"):
        check_memory([config], scale_rows=0.1, processes=8)


def test_a_model_named_twice_is_mapped_once(monkeypatch):
    monkeypatch.setattr(deeprec_tables, "PEAK_LIMIT_BYTES", 5_000_000_000)
    config = load_deeprec("dlrm-rmc1")  # 4.096 GB of tables
    check_memory([config, config], scale_rows=1.0, processes=2)
    with pytest.raises(ValueError, match=r"4\.10 GB of tables of dlrm-rmc1, 1\.20 GB of 4 proc"):
        check_memory([config, config], scale_rows=1.0, processes=4)


@pytest.mark.parametrize("share", [0.0107, 0.0999, 0.1079, 0.1259, 0.237, 0.999])
def test_the_advised_scale_fits(monkeypatch, share):
    config = load_deeprec("dlrm-rmc1")
    limit = round(share * config.scaled_bytes(1.0)) + deeprec_tables.PROCESS_BYTES
    monkeypatch.setattr(deeprec_tables, "PEAK_LIMIT_BYTES", limit)
    with pytest.raises(ValueError, match=r"--scale-rows \S+ fits$") as refused:
        check_memory([config], scale_rows=1.0)
    advised = float(str(refused.value).split()[-2])
    check_memory([config], scale_rows=advised)
    assert advised > 0.89 * share


def test_profile_survives_a_file(measurement, tmp_path):
    save_profiles(tmp_path / "p.json", [measurement.profile])
    assert load_profiles(tmp_path / "p.json") == [measurement.profile]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batches": ()}, r"^batch must be in 1\.\.65536, not \[\]"),
        ({"batches": (0, 4)}, r"^batch must be in 1\.\.65536, not \[0, 4\]"),
        ({"batches": (4, 1)}, r"^batches must ascend, not \[4, 1\]"),
        ({"repeats": 0}, r"^repeats and rounds must be at least 1, not 0 and 5"),
        ({"scale_rows": 0.0}, r"^scale_rows must be above 0 and at most 1, not 0\.0"),
    ],
)
def test_rejects(change, message):
    with pytest.raises(ValueError, match=message):
        ProfileAsk(**{"model": "ncf", **change})


def test_gpu_needs_pytorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModuleNotFoundError, match=r"^torch must be installed .*rpaccel\[train\]"):
        require_gpu()


def test_gpu_must_be_there(monkeypatch, tmp_path):
    cuda = SimpleNamespace(is_available=lambda: False)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, __version__="9"))
    with pytest.raises(RuntimeError, match=r"^PyTorch 9 must see a GPU, and sees none: .*cited"):
        measure_model(ProfileAsk(model="ncf", device="gpu"), tmp_path)
    assert (deeprec_profile.CITED).endswith("cited.json")
