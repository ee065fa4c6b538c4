import numpy as np
import pytest

from rpaccel.rtl.retrieval_arbiter import Arbiter
from rpaccel.rtl.retrieval_fifo import HeadFifo
from rpaccel.rtl.retrieval_lane import FilterLane
from rpaccel.rtl.retrieval_threshold import Threshold
from rpaccel.spec.retrieval import RetrievalConfig
from tests.streams import STALL_CASES, expect_silence, receive, send, simulate, stalls

CONFIG = RetrievalConfig(lanes=1, k_max=16, score_bits=8, id_bits=8, fifo_depth=16)


def key(score, name):
    return (score + 128) << 8 | 255 - name


@pytest.mark.parametrize("seed", range(3))
def test_fifo_is_a_queue(seed):
    rng = np.random.default_rng(seed)
    dut = HeadFifo(16, 8)
    got, given = [], 0

    async def bench(ctx):
        nonlocal given
        for cycle in range(600):
            busy = rng.random(2) < ((0.9, 0.3), (0.3, 0.9), (0.8, 0.8))[cycle // 200]
            write = bool(busy[0]) and not ctx.get(dut.full)
            pop = bool(busy[1]) and bool(ctx.get(dut.valid))
            assert ctx.get(dut.empty) == (given == len(got))
            assert ctx.get(dut.full) == (given - len(got) == 8)
            ctx.set(dut.write, write)
            ctx.set(dut.data, given)
            ctx.set(dut.pop, pop)
            if pop:
                got.append(ctx.get(dut.head))
            given += write
            await ctx.tick()

    simulate(dut, bench)
    assert got == list(range(len(got))) and len(got) > 200 and given - len(got) <= 8


def test_fifo_latency_and_rate():
    dut = HeadFifo(16, 8)
    heads = []

    async def bench(ctx):
        ctx.set(dut.write, 1)
        for cycle in range(40):
            ctx.set(dut.data, cycle)
            valid = ctx.get(dut.valid)
            ctx.set(dut.pop, valid)
            heads.append(ctx.get(dut.head) if valid else None)
            await ctx.tick()

    simulate(dut, bench)
    first = dut.latency_cycles
    assert heads == [None] * first + list(range(40 - first))


@pytest.mark.parametrize("access", ["write", "pop"])
def test_fifo_catches_misuse(access):
    dut = HeadFifo(8, 8)

    async def bench(ctx):
        ctx.set(getattr(dut, access), 1)
        for _ in range(12):
            await ctx.tick()

    with pytest.raises(AssertionError, match=r"a (write to a full|pop of an empty) queue"):
        simulate(dut, bench)


@pytest.mark.parametrize("stall", STALL_CASES)
@pytest.mark.parametrize("count", [1, 2, 4, 8, 16, 5])
def test_arbiter_neither_drops_nor_duplicates(count, stall):
    dut = Arbiter(16, count)
    got = []

    def feeder(number):
        source, _ = stalls(stall, seed=number)

        async def feed(ctx):
            await send(ctx, dut.sources[number], range(100 * number, 100 * number + 20), source)

        return feed

    async def drain(ctx):
        got.extend(await receive(ctx, dut.o, 20 * count, stalls(stall)[1]))
        await expect_silence(ctx, dut.o)
        assert ctx.get(dut.empty)

    simulate(dut, *(feeder(number) for number in range(count)), drain, monitors=[dut.o])
    for number in range(count):
        of_source = [value for value in got if value // 100 == number]
        assert of_source == list(range(100 * number, 100 * number + 20))


def test_arbiter_serves_in_turn():
    dut = Arbiter(16, 16)
    got = []

    async def bench(ctx):
        for number, source in enumerate(dut.sources):
            ctx.set(source.payload, number)
            ctx.set(source.valid, 1)
        ctx.set(dut.o.ready, 1)
        for cycle in range(80 + dut.latency_cycles):
            if ctx.get(dut.o.valid):
                assert cycle >= dut.latency_cycles
                got.append(ctx.get(dut.o.payload))
            await ctx.tick()

    simulate(dut, bench)
    assert len(got) == 80 and all(got.count(number) == 5 for number in range(16))


def test_lane_drops_stale_heads_one_per_cycle():
    dut = FilterLane(CONFIG)
    times = []

    async def bench(ctx):
        for name in range(10):
            ctx.set(dut.row, {"valid": 1, "score": name, "id": name})
            await ctx.tick()
        ctx.set(dut.row, {"valid": 0, "score": 0, "id": 0})
        await ctx.tick().repeat(3)
        assert ctx.get(dut.key.payload) == key(0, 0)  # left the queue before the threshold came
        ctx.set(dut.threshold, {"valid": 1, "key": key(6, 6)})
        await ctx.tick().repeat(6)
        ctx.set(dut.key.ready, 1)
        for cycle in range(10):
            if ctx.get(dut.key.valid):
                times.append((cycle, ctx.get(dut.key.payload)))
            await ctx.tick()
        assert ctx.get(dut.empty)

    simulate(dut, bench)
    assert times == [(0, key(0, 0)), *((n - 6, key(n, n)) for n in (7, 8, 9))]


def test_lane_floor_and_latency():
    dut = FilterLane(CONFIG)
    got = []

    async def bench(ctx):
        ctx.set(dut.key.ready, 1)
        ctx.set(dut.floor, {"valid": 1, "score": -3})
        for cycle, score in enumerate((-4, -3, -128, 127, 0)):
            ctx.set(dut.row, {"valid": score != 0, "score": score, "id": cycle})
            for _ in range(6):
                if ctx.get(dut.key.valid):
                    got.append(ctx.get(dut.key.payload))
                await ctx.tick()
                ctx.set(dut.row, {"valid": 0, "score": 0, "id": 0})

    simulate(dut, bench)
    assert got == [key(-3, 1), key(127, 3)]


@pytest.mark.parametrize("score", [5, -5])
def test_lane_is_empty_when_its_row_has_left(score):
    dut = FilterLane(CONFIG)
    empty = []

    async def bench(ctx):
        ctx.set(dut.floor, {"valid": 1, "score": 0})
        ctx.set(dut.key.ready, 1)
        for cycle in range(8):
            ctx.set(dut.row, {"valid": cycle == 0, "score": score, "id": 1})
            empty.append(ctx.get(dut.empty))
            await ctx.tick()

    simulate(dut, bench)
    leaves = dut.latency_cycles if score > 0 else 0
    assert empty == [1, *[0] * leaves, *[1] * (7 - leaves)]


@pytest.mark.parametrize("which", ["swept", "recent", "selected"])
def test_threshold_keeps_the_largest(which):
    dut = Threshold(CONFIG)
    seen = []

    async def offer(ctx, score):
        bound = {"valid": 1, "key": key(score, 9)} if which == "selected" else None
        ctx.set(getattr(dut, which), bound or {"valid": 1, "score": score})
        await ctx.tick().repeat(dut.latency_cycles)
        assert ctx.get(dut.threshold.valid) == ctx.get(dut.floor.valid)
        threshold = ctx.get(dut.threshold.key) if ctx.get(dut.threshold.valid) else None
        seen.append((threshold, ctx.get(dut.floor.score)))

    async def bench(ctx):
        for score in (-128, 5, 4, 127, -1):
            await offer(ctx, score)
        ctx.set(getattr(dut, which).valid, 0)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        await ctx.tick().repeat(4)
        assert not ctx.get(dut.threshold.valid) and not ctx.get(dut.floor.valid)

    simulate(dut, bench)
    if which == "selected":
        keys = [key(score, 9) for score in (-128, 5, 5, 127, 127)]
    else:  # the largest key of a score that is lower by one; nothing is below -128
        keys = [None, *(key(score - 1, 0) for score in (5, 5, 127, 127))]
    assert [threshold for threshold, _ in seen] == keys
    assert [floor for _, floor in seen[1:]] == [5, 5, 127, 127]
