import pytest

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.dram_timing import HBM2
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.session import MEMORY_BYTES, Session
from rpaccel.spec.accelerator import load_accelerator

TINY = load_accelerator("tiny")
LATE = {"jitter_cycles": 20, "spike_per_million": 2000, "hold_per_mille": 100}
TIMINGS = {
    "ddr4": MemoryTiming.of("ddr4"),
    "hbm2": MemoryTiming.of("hbm2"),
    "hbm2 with late answers": MemoryTiming(
        in_order=False, dram=HBM2, stall_per_mille=200, seed=3, **LATE
    ),
    "simple with late answers": MemoryTiming(in_order=False, stall_per_mille=200, **LATE),
}


@pytest.fixture(scope="module")
def library():
    return build_simulator(TINY)


def cycles_of(library, timing, seed):
    with VerilatedDevice(TINY, timing, memory_bytes=MEMORY_BYTES, library=library) as device:
        completions = Session(device, TINY, seed=seed).run([1, 64, 17, 40])
        assert device.port_traffic(0).write_beats > 0
    return [completion.total_cycles for completion in completions]


@pytest.mark.parametrize("name", TIMINGS)
def test_queries_match_golden(library, name):
    cycles = cycles_of(library, TIMINGS[name], seed=11)
    assert cycles == cycles_of(library, TIMINGS[name], seed=11)
    assert cycles != cycles_of(library, MemoryTiming(), seed=11)
