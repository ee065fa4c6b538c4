"""The cocotb benches on the generated Verilog; their cases are in tb/."""

import json

import pytest

from rpaccel.host.verilated_device import VerilatedDevice
from rpaccel.main_job.session import MEMORY_BYTES, Session
from rpaccel.spec.accelerator import load_accelerator
from tb.retrieval_benches import CONFIG as RETRIEVAL
from tb.runner import BenchError, run_bench, system_bench, unit_bench, why_no_icarus
from tb.system_benches import ITEMS, SEED

TINY = load_accelerator("tiny")
# One module is one simulator process; these small units are quick enough for Icarus.
SMALL_UNITS = ("bucket_filter", "list_reader", "ordered_top_n", "requantise",
               "score_filter", "sigmoid")  # fmt: skip
SMALL_TESTS = ["bucket_filter/stall=both", "list_reader/stall=both", "requantise",
               "score_filter/stall=both", "sigmoid"]  # fmt: skip


@pytest.fixture(scope="module")
def small_bench():
    return unit_bench(units=SMALL_UNITS)


def test_small_units(small_bench, tmp_path):
    assert run_bench(small_bench, "tb.unit_benches", tmp_path, tests=SMALL_TESTS) == len(
        SMALL_TESTS
    )


@pytest.mark.slow
def test_units(tmp_path):
    assert run_bench(unit_bench(), "tb.unit_benches", tmp_path) == 15


@pytest.mark.slow
def test_units_in_icarus(tmp_path):
    reason = why_no_icarus()
    if reason:
        pytest.skip(reason)
    bench = unit_bench(simulator="icarus", units=SMALL_UNITS)
    assert run_bench(bench, "tb.unit_benches", tmp_path, tests=SMALL_TESTS) == len(SMALL_TESTS)


@pytest.mark.slow
def test_system(tmp_path):
    bench = system_bench(TINY)
    cycles_file = tmp_path / "cycles.json"
    environment = {"RPACCEL_CYCLES_FILE": str(cycles_file)}
    assert run_bench(bench, "tb.system_benches", tmp_path, environment=environment) == 4
    # Both fronts of the memory are one timing model: the same queries take the same cycles.
    with VerilatedDevice(TINY, memory_bytes=MEMORY_BYTES) as device:
        session = Session(device, TINY, seed=SEED, depth=1)
        cycles = [completion.total_cycles for completion in session.run(ITEMS)]
    assert json.loads(cycles_file.read_text()) == cycles


@pytest.mark.slow
def test_retrieval(tmp_path):
    assert run_bench(system_bench(RETRIEVAL), "tb.retrieval_benches", tmp_path) == 8


@pytest.mark.nightly
@pytest.mark.slow
def test_system_in_icarus(tmp_path):
    reason = why_no_icarus()
    if reason:
        pytest.skip(reason)
    bench = system_bench(TINY, simulator="icarus")
    names = ["registers", "queries"]
    assert run_bench(bench, "tb.system_benches", tmp_path, tests=names) == len(names)


def test_a_failing_bench_is_an_error(small_bench, tmp_path):
    with pytest.raises(BenchError, match=r"^tb\.no_such_bench on verilator: "):
        run_bench(small_bench, "tb.no_such_bench", tmp_path)
