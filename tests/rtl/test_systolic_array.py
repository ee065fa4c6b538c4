import numpy as np
import pytest
from amaranth.hdl import Cat

from rpaccel.golden.split_array import Rectangle
from rpaccel.rtl.systolic_array import SystolicArray
from tests.rtl.array_bench import (
    Burst,
    corner,
    partitions,
    random_burst,
    random_bursts,
    random_pass,
    whole,
)
from tests.rtl.conftest import small
from tests.streams import plain, simulate, slow_but

ONE, TWO, FOUR = small(4), small(8), small(16)
TWO_PAIRS = small(8, macs_per_dsp=2)


class Lanes:
    """Drives the ports of an array with bursts and keeps what leaves it, by lane."""

    def __init__(self, config, bursts):
        self.dut = SystolicArray(config, lanes=len(bursts))
        self.bursts = [[(burst, burst.traffic(config)) for burst in lane] for lane in bursts]
        self.end = max(one.end for lane in self.bursts for _, one in lane) + 4
        self.got = [{} for _ in bursts]
        blocks = range(config.blocks)
        self.outs = [
            (self.got[n], r, c, lane.out[r][c])
            for n, lane in enumerate(self.dut.lane)
            for r in blocks
            for c in blocks
        ]

    def drive(self, ctx, cycle):
        ports = zip(self.bursts, self.dut.lane, self.dut.partition, strict=True)
        for lane, port, part in ports:
            for burst, one in lane:
                if cycle == burst.start:
                    ctx.set(part, corner(burst.rectangle))
                if cycle == one.end + 1:
                    ctx.set(part, {})
                if burst.start <= cycle <= one.end:
                    for name, value in one.loads.get(cycle, {"valid": 0}).items():
                        ctx.set(getattr(port.load, name), value)
                    for r, tokens in one.tokens.items():
                        ctx.set(port.i[r], tokens.get(cycle, {}))

    def sample(self, ctx, cycle, valids):
        while valids:
            index = (valids & -valids).bit_length() - 1
            results, r, c, out = self.outs[index]
            results[cycle, r, c] = plain(ctx.get(out))
            valids &= valids - 1

    async def bench(self, ctx):
        valids = Cat(out.valid for *_, out in self.outs)
        for cycle in range(self.end):
            self.drive(ctx, cycle)
            self.sample(ctx, cycle, ctx.get(valids))
            await ctx.tick()

    @property
    def expected(self):
        return [
            {at: result for _, one in lane for at, result in one.results.items()}
            for lane in self.bursts
        ]


def run(config, bursts):
    """Check that every lane gets its results in their cycles and places, and no more; return them.

    A lane that has no bursts owns nothing.
    """
    lanes = Lanes(config, bursts)
    simulate(lanes.dut, lanes.bench, limit_cycles=lanes.end + 1)
    for got, expected in zip(lanes.got, lanes.expected, strict=True):
        assert sorted(got) == sorted(expected)
        named = {at: {name: got[at][name] for name in expected[at]} for at in expected}
        assert named == expected
    return lanes.got


@pytest.mark.parametrize(
    "config",
    slow_but((ONE, TWO, TWO_PAIRS), [ONE, TWO, TWO_PAIRS, FOUR]),
    ids=["A4", "A8", "A8 pairs", "A16"],
)
def test_whole_array(config):
    rng = np.random.default_rng(config.array_size)
    run(config, random_bursts(rng, config, [whole(config.blocks)], layers=3))


@pytest.mark.parametrize("name", partitions(2))
def test_lanes_run_at_the_same_time(name):
    rng = np.random.default_rng(len(name))
    run(TWO, random_bursts(rng, TWO, [partitions(2)[name]], layers=4))


def test_lanes_of_pairs_run_at_the_same_time():
    rng = np.random.default_rng(11)
    parts = partitions(2)["half and quarters"]
    run(TWO_PAIRS, random_bursts(rng, TWO_PAIRS, [parts], layers=4))


@pytest.mark.parametrize("name", slow_but([], ["8 + 2", "odd"], nightly=["odd"]))
def test_lanes_of_16_blocks_run_at_the_same_time(name):
    rng = np.random.default_rng(len(name))
    run(FOUR, random_bursts(rng, FOUR, [partitions(4)[name]], layers=2))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["quarters", pytest.param("half and quarters", marks=pytest.mark.nightly)]
)
def test_a_lane_alone_gives_the_same_bits(name):
    rng = np.random.default_rng(1)
    bursts = random_bursts(rng, TWO, [partitions(2)[name]], layers=3)
    together = run(TWO, bursts)
    for n in range(len(bursts)):
        alone = run(TWO, [lane if k == n else [] for k, lane in enumerate(bursts)] + [[]])
        assert alone[n] == together[n]


def test_all_sums_of_an_array_cut_in_two_arrive():
    # The published array of ones gives 8 uncut and 4 when cut; the other 4 is lost there.
    rng = np.random.default_rng(2)
    size = TWO.block_size
    for group, rows in ((2, [1]), (1, [0, 1])):
        ones = random_pass(
            rng, TWO, (2, 2), 3, group,
            inputs=np.ones((3, 2, size), dtype=int), weights=np.ones((2, 2, size, size), dtype=int),
            bias=np.zeros((2, 2, size)), multiplier=np.ones((2, 2, size)),
            shift=np.zeros((2, 2, size)),
        )  # fmt: skip
        burst = Burst(rectangle=whole(2)[0], passes=[ones], start=1)
        (got,) = run(TWO, [[burst]])
        assert {row for _, row, _ in got} == set(rows)
        assert {byte for out in got.values() for byte in out["data"].to_bytes(size, "little")} == {
            4 * group
        }


@pytest.mark.parametrize("seed", slow_but([0], range(2), nightly=[1]))
def test_repartition_between_bursts_without_reset(seed):
    rng = np.random.default_rng(seed)
    splits = partitions(2)
    order = [*rng.permutation(list(splits)), *rng.permutation(list(splits))]
    run(TWO, random_bursts(rng, TWO, [splits[name] for name in order], layers=1))


@pytest.mark.slow
def test_repartition_of_16_blocks_without_reset():
    rng = np.random.default_rng(3)
    splits = partitions(4)
    order = ["8 + 2", "whole", "odd", "quarters", "8 + 2"]
    run(FOUR, random_bursts(rng, FOUR, [splits[name] for name in order], layers=1))


@pytest.mark.slow
def test_two_lanes_change_places_while_a_third_runs():
    rng = np.random.default_rng(4)
    left, right = (Rectangle(row=0, col=c, rows=1, cols=1) for c in (0, 1))
    below = Rectangle(row=1, col=0, rows=1, cols=2)
    bursts = [[], [], [Burst(rectangle=below, passes=random_burst(rng, TWO, (1, 2), 12), start=1)]]
    start = 1
    for places in ((left, right), (right, left), (left, right)):
        for lane, place in enumerate(places):
            passes = random_burst(rng, TWO, (1, 1), 1)
            bursts[lane].append(Burst(rectangle=place, passes=passes, start=start))
        start = max(lane[-1].traffic(TWO).end for lane in bursts[:2]) + 1
    assert start < bursts[2][0].traffic(TWO).end
    run(TWO, bursts)


@pytest.mark.parametrize("shape", slow_but([], [(4, 1), (1, 4), (3, 2)], nightly=[(3, 2), (4, 1)]))
def test_groups_of_block_rows_in_rectangles_that_are_not_square(shape):
    rng = np.random.default_rng(sum(shape))
    rows, cols = shape
    rectangle = Rectangle(row=4 - rows, col=4 - cols, rows=rows, cols=cols)
    passes = [
        random_pass(rng, FOUR, shape, 3, group, first_k=k == 0, last_k=k == 1)
        for group in range(1, rows + 1)
        for k in range(2)
    ]
    run(FOUR, [[Burst(rectangle=rectangle, passes=passes, start=1)]])


def test_cuts_and_taps_in_any_block_row():
    # A tapped block row need not end its sums: the row below may go on with them.
    rng = np.random.default_rng(5)
    taps = [(True, True, True, True), (False, True, False, True), (True, False, False, True)]
    passes = [random_pass(rng, FOUR, (4, 4), 5, 4, taps=one) for one in taps]
    run(FOUR, [[Burst(rectangle=whole(4)[0], passes=passes, start=1)]])


def test_a_lane_without_a_rectangle_is_quiet():
    rng = np.random.default_rng(6)
    owner = Burst(rectangle=Rectangle(row=0, col=1, rows=2, cols=1), start=1,
                  passes=random_burst(rng, TWO, (2, 1), 3))  # fmt: skip
    nothing = Burst(rectangle=Rectangle(row=0, col=0, rows=0, cols=0), start=1,
                    passes=random_burst(rng, TWO, (2, 2), 3))  # fmt: skip
    lanes = Lanes(TWO, [[owner], [nothing]])
    simulate(lanes.dut, lanes.bench, limit_cycles=lanes.end + 1)
    assert sorted(lanes.got[0]) == sorted(lanes.expected[0])
    assert not lanes.got[1]


def test_a_row_in_a_tile_with_two_owners_stops_the_simulation():
    rng = np.random.default_rng(7)
    bursts = [
        [Burst(rectangle=whole(2)[0], passes=random_burst(rng, TWO, (2, 2), 1), start=1)]
        for _ in range(2)
    ]
    lanes = Lanes(TWO, bursts)
    with pytest.raises(AssertionError, match=r"^Assertion violated: tile 0, 0: lanes 11"):
        simulate(lanes.dut, lanes.bench, limit_cycles=lanes.end + 1)
