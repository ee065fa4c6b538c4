import pytest

from rpaccel.host.driver import Driver, Request
from rpaccel.host.partition import Rectangle, check_partition, packed, split_8_2, whole
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Status
from rpaccel.spec.registers import ADDRESS
from tests.host.split_machine import (
    FAR,
    HALVES,
    LEFT,
    MEMORY_BYTES,
    NARROW,
    QUARTERS,
    SPLIT,
    UPPER,
    Traffic,
    small_ranker,
)

ONE, OTHER = small_ranker(1, "one"), small_ranker(2, "other")


@pytest.fixture(scope="module")
def library():
    return build_simulator(SPLIT)


@pytest.fixture(params=["netlist", "software"])
def device(request):
    if request.param == "software":
        yield SoftwareDevice(SPLIT, MEMORY_BYTES)
    else:
        library = request.getfixturevalue("library")
        with VerilatedDevice(SPLIT, memory_bytes=MEMORY_BYTES, library=library) as device:
            yield device


def quarters(traffic):
    traffic.driver.partition(QUARTERS)
    traffic.load(ONE, [1, 2])
    traffic.load(OTHER, [3, 4], base=FAR)


@pytest.mark.slow
def test_two_models_at_the_same_time_answer_as_alone(device):
    traffic = Traffic(device, 1)
    quarters(traffic)
    asked = [traffic.submit((ONE, OTHER)[n % 2]) for n in range(16)]
    lanes = {}
    for query in asked:
        lanes.setdefault(query[2].name, set()).add(traffic.check(query).lane)
    assert lanes["one"] <= {1, 2}
    assert lanes["other"] <= {3, 4}
    if isinstance(device, VerilatedDevice):
        assert lanes == {"one": {1, 2}, "other": {3, 4}}


@pytest.mark.slow
@pytest.mark.parametrize("split", [UPPER, LEFT], ids=["upper half", "left half"])
def test_a_half_and_two_quarters_answer_together(device, split):
    traffic = Traffic(device, 6)
    half, *others = sorted(split, reverse=True)
    traffic.load(ONE, [0])
    before = [traffic.submit(ONE) for _ in range(3)]
    traffic.driver.partition(split)
    for query in before:
        traffic.check(query)
    traffic.load(ONE, [half])
    traffic.load(OTHER, others, base=FAR)
    asked = [traffic.submit((ONE, OTHER)[n % 3 > 0]) for n in range(15)]
    lanes = {}
    for query in asked:
        lanes.setdefault(query[2].name, set()).add(traffic.check(query).lane)
    assert lanes["one"] == {half}
    assert lanes["other"] <= set(others)
    if isinstance(device, VerilatedDevice):
        assert lanes["other"] == set(others)
    traffic.driver.partition(whole(SPLIT))
    traffic.load(OTHER, [0], base=FAR)
    traffic.check(traffic.submit(OTHER))


@pytest.mark.slow
def test_partition_between_whole_and_quarters_loses_nothing(device):
    traffic = Traffic(device, 2)
    driver = traffic.driver
    traffic.load(ONE, [0])
    for split in (QUARTERS, whole(SPLIT), QUARTERS, whole(SPLIT)):
        before = [traffic.submit(ONE) for _ in range(6)]
        driver.partition(split)  # they run on lanes that lose their blocks: they end first
        for query in before:
            traffic.check(query)
        if split is QUARTERS:
            traffic.load(ONE, [1, 4])
            traffic.load(OTHER, [2, 3], base=FAR)
            asked = [traffic.submit(ranker) for ranker in (ONE, OTHER, ONE, OTHER)]
            for query in asked:
                traffic.check(query)
        else:
            traffic.load(ONE, [0])
    assert not driver.poll()


@pytest.mark.slow
def test_partition_under_load_loses_nothing(device):
    """Lanes 3 and 4 come and go while queries for lanes 1 and 2 run and wait in the ring."""
    traffic = Traffic(device, 5)
    driver = traffic.driver
    left = {lane: QUARTERS[lane] for lane in (1, 2)}
    quarters(traffic)
    asked = []
    for split in (left, QUARTERS, left, QUARTERS):
        asked += [traffic.submit(ONE) for _ in range(5)]
        driver.partition(split)
        if split is QUARTERS:
            traffic.load(OTHER, [3, 4], base=FAR)
            asked += [traffic.submit(OTHER) for _ in range(2)]
        for query in asked[:-2]:
            traffic.check(query)
        asked = asked[-2:]
    for query in asked:
        traffic.check(query)
    assert not driver.poll()


@pytest.mark.slow
def test_a_lane_without_blocks_gets_no_query(device):
    traffic = Traffic(device, 3)
    traffic.load(ONE, [0])
    good = traffic.submit(ONE)
    traffic.check(good)
    query = good[1]
    table = traffic.driver.register_feature_table(query.features)
    request = Request(
        user_record=query.user_record, candidates=query.candidates, features=table,
        stages=[("one", 1)], top_n=1,
    )  # fmt: skip
    tag = traffic.driver.submit(request, fields={"stage0_lanes": 0b10})
    assert traffic.driver.wait(tag).status is Status.BAD_LANE
    traffic.check(traffic.submit(ONE))


def test_models_of_other_lanes_are_not_overwritten():
    traffic = Traffic(SoftwareDevice(SPLIT, MEMORY_BYTES), 4)
    traffic.driver.partition(QUARTERS)
    traffic.load(ONE, [1, 2])
    with pytest.raises(ValueError, match=r"^models must lie outside 0x10000\.\."):
        traffic.load(OTHER, [3, 4])
    with pytest.raises(
        ValueError, match=r"^compiled models must be for 'split' and lanes \[1, 0\]"
    ):
        traffic.load(ONE, [1, 0])


class NeverIdle(SoftwareDevice):
    """A device whose lanes never become idle."""

    def read_register(self, address):
        return 1 if address == ADDRESS["PARTITION_APPLY"] else super().read_register(address)


def test_a_partition_that_is_never_applied_is_a_timeout():
    driver = Driver(NeverIdle(SPLIT, MEMORY_BYTES), SPLIT, MEMORY_BYTES, limit_cycles=500)
    with pytest.raises(TimeoutError, match=r"^no partition in 512 cycles; STATUS=0x0, "):
        driver.partition(QUARTERS)


def square(row, col, side=1):
    return Rectangle.square(row, col, side)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({7: square(0, 0)}, r"lane must be in 0\.\.6, not 7"),
        ({5: LEFT[6]}, r"lane 5 must own 1 x 2 blocks, not 2 x 1"),
        ({1: square(0, 0, 2)}, r"lane 1 must own 1 x 1 blocks, not 2 x 2"),
        ({1: square(0, 2)}, r"blocks of lane 1 must be in 0\.\.1, not \(0, 2\)"),
        ({0: square(0, 0, 2), 1: square(1, 1)}, r"block \(1, 1\) must have one owner, not lanes"),
    ],
)
def test_rejects(split, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        check_partition(split, SPLIT)


def test_8_2_covers_the_array():
    config = load_accelerator("default")
    split = split_8_2(config)
    check_partition(split, config)
    cells = [cell for rectangle in split.values() for cell in rectangle.tiles]
    assert len(split) == 10
    assert sorted(cells) == [(r, c) for r in range(4) for c in range(4)]


def test_8_2_needs_its_lanes():
    with pytest.raises(ValueError, match=r"^blocks must be 4 per side for 8 \+ 2, not 2"):
        split_8_2(SPLIT)


@pytest.mark.slow
def test_sub_batches_of_a_narrow_lane_stay_apart():
    """Their vectors lie beyond what the whole array's words would need."""
    ranker = small_ranker(3, "narrow", NARROW.lane(0))
    with VerilatedDevice(
        NARROW, memory_bytes=MEMORY_BYTES, library=build_simulator(NARROW)
    ) as device:
        traffic = Traffic(device, 2, config=NARROW)
        traffic.driver.partition(HALVES)
        traffic.load(ranker, [0, 1])
        asked = [traffic.submit(ranker, sub_batch=1 + n % 6) for n in range(16)]
        assert {traffic.check(query).lane for query in asked} == {0, 1}


def test_packed_lanes_own_blocks_of_their_own():
    config = load_accelerator("paper")
    assert packed(config, [0]) == whole(config)
    assert packed(config, [2, 3, 4, 5]) == {
        2 + n: square(row, col, 2) for n, (row, col) in enumerate([(0, 0), (0, 2), (2, 0), (2, 2)])
    }
    assert packed(config, [6, 1, 7]) == {
        1: Rectangle(row=0, col=0, rows=2, cols=4), 6: square(2, 0), 7: square(2, 1)
    }  # fmt: skip
    mixed = packed(config, [*range(6, 14), 2, 3])
    assert sorted(mixed) == sorted(split_8_2(config))
    check_partition(mixed, config)


@pytest.mark.parametrize("lanes", [range(14), [0, 6], [1, 2, 3, 4]])
def test_lanes_that_have_no_room_are_not_packed(lanes):
    with pytest.raises(ValueError, match=r"^lanes must fit into 4 x 4 blocks, not \["):
        packed(load_accelerator("paper"), lanes)


def test_a_lane_is_packed_once():
    with pytest.raises(ValueError, match=r"^lanes must be given once, not \[6, 7, 6\]$"):
        packed(load_accelerator("paper"), [6, 7, 6])
