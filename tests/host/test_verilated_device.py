import pytest

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.device_check import check_device
from rpaccel.host.partition import Rectangle
from rpaccel.host.verilated_device import DeviceError, VerilatedDevice, build_simulator
from rpaccel.main_job.session import MEMORY_BYTES, Session
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Status
from rpaccel.spec.registers import ADDRESS, counter_address

TINY = load_accelerator("tiny")
TIMINGS = {
    "default": MemoryTiming(),
    "fast": MemoryTiming(read_latency_cycles=2, write_latency_cycles=2),
    "slow": MemoryTiming(read_latency_cycles=200, max_outstanding=4),
    "out_of_order": MemoryTiming(jitter_cycles=60, in_order=False),
    "stalls": MemoryTiming(jitter_cycles=9, stall_per_mille=300, in_order=False, seed=3),
}


@pytest.fixture(scope="module")
def library():
    return build_simulator(TINY)


@pytest.fixture
def device(library):
    with VerilatedDevice(TINY, memory_bytes=MEMORY_BYTES, library=library) as device:
        yield device


@pytest.mark.parametrize("name", TIMINGS)
def test_queries_match_golden(library, name):
    timing = TIMINGS[name]
    with VerilatedDevice(TINY, timing, memory_bytes=MEMORY_BYTES, library=library) as device:
        session = Session(device, TINY, seed=list(TIMINGS).index(name))
        session.run([1, 2, 64, 17, 33, 40, 5, 64])
        assert device.port_traffic(0).write_beats > 0


def test_is_the_device_of_its_config(device):
    check_device(device, TINY)
    with pytest.raises(RuntimeError, match=r"^device register CONFIG_ARRAY must be"):
        check_device(device, load_accelerator("edge"))


def test_same_seed_same_cycles(library):
    cycles = []
    for _ in range(2):
        with VerilatedDevice(TINY, memory_bytes=MEMORY_BYTES, library=library) as device:
            completions = Session(device, TINY, seed=5).run([20, 30])
            cycles.append([completion.total_cycles for completion in completions])
    assert cycles[0] == cycles[1]


def test_weights_stay_on_chip(device):
    session = Session(device, TINY, seed=8)

    def counters():
        loaded = device.read_register(ADDRESS["LOADED_WORDS"])
        tiles = device.read_register(counter_address(0, "weights", "items"))
        rows = device.read_register(counter_address(0, "weights", "busy_cycles"))
        return loaded, tiles, rows

    warm = counters()
    assert warm[0] == len(session.compiled.image) // 8
    session.run([20, 64, 3])
    loaded, tiles, rows = counters()
    assert loaded == warm[0]  # no weight comes from memory again
    assert tiles > warm[1]  # tiles go from the banks into the array
    assert rows == tiles * TINY.block_size
    exposed = device.read_register(counter_address(0, "weights", "stalled_input_cycles"))
    assert exposed < rows  # and mostly behind the rows of the tile before


def test_memory_error_in_a_query(device):
    session = Session(device, TINY, seed=6)
    _, request = session.query(items=20)
    table = session.compiled.tables[-1]
    device.inject_fault(table.address, table.address + len(table.payload))
    completion = session.ask(request)
    assert completion.status is Status.MEMORY
    assert completion.ids.size == 0
    device.clear_faults()
    session.recover()
    assert "status 11" in session.driver.last_error


def test_access_outside_the_regions(device):
    session = Session(device, TINY, seed=7)
    _, request = session.query(items=20)
    completion = session.ask(request, fields={"candidates_address": 0xF000_0000})
    assert completion.status is Status.REGION
    session.recover()


def test_no_interrupt_in_time(device):
    cycles = device.cycles
    assert not device.wait_interrupt(500)
    assert device.cycles == cycles + 500


def test_memory_is_bytes(device):
    device.write_memory(3, b"abc")
    assert device.read_memory(2, 5) == b"\0abc\0"
    with pytest.raises(ValueError, match=r"^memory access must lie in"):
        device.read_memory(MEMORY_BYTES - 1, 2)


def test_unmapped_register_reads_zero(device):
    assert device.read_register(0x7FC) == 0
    device.write_register(0x7FC, 5)
    assert device.read_register(0x7FC) == 0


def test_rejects_timing():
    with pytest.raises(ValueError, match=r"^read_latency_cycles must be in 2\.\.65535, not 1$"):
        MemoryTiming(read_latency_cycles=1)
    assert issubclass(DeviceError, RuntimeError)


@pytest.mark.nightly
@pytest.mark.slow
def test_two_lanes_on_two_ports():
    memories = {"weight_words": 4096, "param_entries": 512, "act_words": 512, "cross_words": 512}
    update = {"name": "tiny2", "lanes": 2, "lane_blocks": (1, 1), "memory_ports": 2}
    config = TINY.model_copy(update=update | memories)
    split = {lane: Rectangle.square(lane, lane, 1) for lane in range(2)}
    timing = MemoryTiming(jitter_cycles=20, in_order=False, stall_per_mille=100)
    with VerilatedDevice(config, timing, memory_bytes=MEMORY_BYTES) as device:
        session = Session(device, config, seed=11, split=split)
        completions = session.run([33, 64, 20, 1, 40, 64, 12, 50])
        assert {completion.lane for completion in completions} == {0, 1}
        assert device.port_traffic(0).read_beats > 0 < device.port_traffic(1).read_beats
