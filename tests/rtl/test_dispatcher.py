import pytest

from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import DESCRIPTOR, ISA_VERSION, Opcode, Status
from tests.rtl.dispatcher_bench import (
    CQ,
    SQ,
    DispatcherBench,
    check_results,
    query,
    rings,
    until,
)

TINY = load_accelerator("tiny")
WIDE = TINY.model_copy(update={"axi_data_bits": 256, "array_size": 32})
ONE = TINY.model_copy(update={"lanes": 2, "funnels": 1})
THREE = TINY.model_copy(update={"lanes": 3, "funnels": 3})


@pytest.mark.parametrize("config", [TINY, WIDE, ONE], ids=["tiny", "wide", "one funnel"])
def test_every_descriptor_completes_once(config):
    bench = DispatcherBench(config)
    counts = [1, 2, 3, 8, 5, 20, 0, 7]
    descriptors = [query(tag, count) for tag, count in enumerate(counts)]
    descriptors[4:4] = [{"opcode": Opcode.NOP, "tag": 90}]
    descriptors[2:2] = [
        {"opcode": Opcode.LOAD, "tag": 91, "user_address": 0x5000, "items": 77},
    ]
    total = len(descriptors)
    bench.submit(descriptors, 16)

    async def host(ctx):
        dut = bench.dut
        ctx.set(dut.rings, rings(16, 16, sq_tail=total))
        await until(ctx, dut, total)
        await ctx.tick().repeat(50)
        assert ctx.get(dut.sq_head) == ctx.get(dut.cq_tail) == total
        assert ctx.get(dut.queries) == len(counts)
        assert not ctx.get(dut.busy)

    bench.run(host)
    completions = {c["tag"]: c for c in (bench.completion(i, 16) for i in range(total))}
    assert sorted(completions) == [*range(len(counts)), 90, 91]
    assert bench.completions == total
    assert bench.loads == [{"address": 0x5000, "bytes": 77}]
    assert completions[91]["total_cycles"] >= 30
    for tag, count in enumerate(counts):
        assert completions[tag]["status"] == Status.OK
        assert completions[tag]["count"] == count
        check_results(bench, tag, count)
    assert sorted(tag for tags in bench.queries for tag in tags) == list(range(len(counts)))
    assert all(bench.queries)


@pytest.mark.parametrize("size", [1, 2])
def test_waits_for_a_completion_slot(size):
    bench = DispatcherBench(TINY)
    tags = iter(range(7))
    log = []

    async def host(ctx):
        dut = bench.dut
        for round_ in range(3):
            batch = [query(next(tags), 1) for _ in range(size)]
            bench.submit(batch, size)
            state = rings(size, size, sq_tail=(round_ + 1) * size, cq_head=round_ * size)
            ctx.set(dut.rings, state)
            await until(ctx, dut, (round_ + 1) * size)
            # One more descriptor waits: the completion ring is full.
            ctx.set(dut.rings, state | {"sq_tail": (round_ + 1) * size + 1})
            await ctx.tick().repeat(300)
            assert ctx.get(dut.sq_head) == (round_ + 1) * size
            ctx.set(dut.rings, state)
            log.extend(sorted(bench.completion(i, size)["tag"] for i in range(size)))

    bench.run(host)
    assert log == list(range(3 * size))


def test_does_nothing_when_disabled():
    bench = DispatcherBench(TINY)
    bench.submit([query(1, 1)], 4)

    async def host(ctx):
        for state in ({"enable": 0}, {"sq_size": 0}, {"cq_size": 0}):
            ctx.set(bench.dut.rings, rings(4, 4, sq_tail=1) | state)
            await ctx.tick().repeat(50)
            assert ctx.get(bench.dut.sq_head) == 0

    bench.run(host)
    assert not bench.writes


def test_the_index_of_completions_wraps():
    bench = DispatcherBench(TINY)
    bench.submit([{"opcode": Opcode.NOP, "tag": tag} for tag in range(4)], 4)
    start = 0xFFFE

    async def host(ctx):
        ctx.set(bench.dut.cq_tail, start)
        ctx.set(bench.dut.rings, rings(4, 4, sq_tail=4))
        await until(ctx, bench.dut, 2)

    bench.run(host)
    assert bench.completions == 4
    assert [bench.completion(start + i, 4)["tag"] for i in range(4)] == [0, 1, 2, 3]


def test_bad_descriptors_complete_with_status():
    bad_read = SQ + 3 * DESCRIPTOR.bytes
    bench = DispatcherBench(TINY, bad_reads=[bad_read], bad_writes=[query(5, 0)["result_address"]])
    bench.submit(
        [
            {"opcode": 3, "tag": 0},
            query(1, 1) | {"version": ISA_VERSION + 1},
            {"opcode": Opcode.LOAD, "tag": 2, "user_address": 1 << 40},
            query(3, 1),  # not readable
            query(4, 2),
            query(5, 8),  # results not writable
            query(6, 2),
        ],
        8,
    )

    async def host(ctx):
        ctx.set(bench.dut.rings, rings(8, 8, sq_tail=7))
        await until(ctx, bench.dut, 7)

    bench.run(host)
    found = [(c["status"], c["count"]) for c in (bench.completion(i, 8) for i in range(7))]
    assert found == [
        (Status.BAD_OPCODE, 0),
        (Status.BAD_VERSION, 0),
        (Status.REGION, 0),
        (Status.MEMORY, 0),
        (Status.OK, 2),
        (Status.REGION, 0),
        (Status.OK, 2),
    ]
    assert not bench.loads
    check_results(bench, 6, 2)


def test_a_refused_completion_does_not_stop_the_ring():
    bench = DispatcherBench(ONE, bad_writes=[CQ])
    bench.submit([query(0, 1), query(1, 1)], 2)

    async def host(ctx):
        ctx.set(bench.dut.rings, rings(2, 2, sq_tail=2))
        await until(ctx, bench.dut, 2)

    bench.run(host)
    assert bench.completion(1, 2)["tag"] == 1
    assert bench.completions == 2


def test_a_query_without_a_lane_of_its_own_is_refused():
    bench = DispatcherBench(THREE)
    wanted = [0, 0b010, 0b100, 0b110, 0b001, 0b010]
    bench.submit([query(tag, 1) | {"stage0_lanes": lanes} for tag, lanes in enumerate(wanted)], 8)

    async def host(ctx):
        ctx.set(bench.dut.rings, rings(8, 8, sq_tail=len(wanted)))
        await until(ctx, bench.dut, len(wanted))
        assert ctx.get(bench.dut.queries) == len(wanted)

    bench.run(host, owns=0b011)
    completions = [bench.completion(i, 8) for i in range(len(wanted))]
    status = {c["tag"]: c["status"] for c in completions}
    assert status == {0: 0, 1: 0, 2: Status.BAD_LANE, 3: 0, 4: 0, 5: 0}
    assert sorted(tag for tags in bench.queries for tag in tags) == [0, 1, 3, 4, 5]


def test_a_query_goes_to_the_free_funnel_of_lowest_number():
    bench = DispatcherBench(THREE, longest=400)
    bench.submit([query(tag, 1) for tag in range(7)], 8)

    async def host(ctx):
        for tag in range(3):
            ctx.set(bench.dut.rings, rings(8, 8, sq_tail=tag + 1))
            await until(ctx, bench.dut, tag + 1)
            await ctx.tick().repeat(10)
        assert bench.queries == [[0, 1, 2], [], []]
        ctx.set(bench.dut.rings, rings(8, 8, sq_tail=7))
        await until(ctx, bench.dut, 7)

    bench.run(host)
    assert bench.queries[0][:4] == [0, 1, 2, 3]
    assert bench.queries[1][0] == 4 and bench.queries[2][0] == 5


def test_a_query_that_waited_too_long_is_late():
    bench = DispatcherBench(ONE, longest=300)
    deadlines = [0, 1000, 100, 1 << 40, 50, 600, 0, 1]
    queries = [query(tag, 1) | {"deadline_cycles": d} for tag, d in enumerate(deadlines)]
    bench.submit(queries, 8)

    async def host(ctx):
        ctx.set(bench.dut.rings, rings(8, 8, sq_tail=8))
        await until(ctx, bench.dut, 8)
        assert ctx.get(bench.dut.queries) == 8

    bench.run(host)
    completions = [bench.completion(i, 8) for i in range(8)]
    late = [c for c in completions if c["status"] == Status.LATE]
    assert {4, 7} <= {c["tag"] for c in late} <= {1, 2, 4, 5, 7}
    assert all(c["queue_cycles"] >= deadlines[c["tag"]] and c["count"] == 0 for c in late)
    ran = set(range(8)) - {c["tag"] for c in late}
    assert set(bench.queries[0]) == ran == set(bench.waited)
    assert all(not deadlines[tag] or bench.waited[tag] < deadlines[tag] for tag in ran)
    assert len({c["tag"] for c in completions}) == 8


def test_a_load_waits_for_lanes_and_for_quiet():
    bench = DispatcherBench(ONE)
    load = {"opcode": Opcode.LOAD, "user_address": 0x5000, "items": 9, "stage0_lanes": 0b10}
    bench.submit([load], 1)

    async def host(ctx):
        dut = bench.dut
        ctx.set(dut.lane_idle, 0b01)
        ctx.set(dut.rings, rings(1, 1, sq_tail=1))
        await ctx.tick().repeat(100)
        assert ctx.get(dut.loads) and not bench.loads
        ctx.set(dut.quiet, 0)
        ctx.set(dut.lane_idle, 0b11)
        await ctx.tick().repeat(20)
        assert not bench.loads
        ctx.set(dut.quiet, 1)
        await ctx.tick().repeat(5)
        assert ctx.get(dut.load_lanes) == 0b10
        await until(ctx, dut, 1)
        assert not ctx.get(dut.loads)

    bench.run(host)
    assert bench.loads == [{"address": 0x5000, "bytes": 9}]


def test_hold_lets_queries_end_and_starts_none():
    bench = DispatcherBench(TINY)
    bench.submit([query(tag, 1) for tag in range(6)], 8)
    seen = []

    async def host(ctx):
        dut = bench.dut
        ctx.set(dut.rings, rings(8, 8, sq_tail=6))
        await until(ctx, dut, 2)
        ctx.set(dut.hold, 1)
        while not ctx.get(dut.held):
            await ctx.tick()
        for _ in range(300):
            seen.append((bench.running, sum(map(len, bench.queries)), ctx.get(dut.sq_head)))
            assert ctx.get(dut.held)
            await ctx.tick()
        ctx.set(dut.hold, 0)
        await until(ctx, dut, 6)

    bench.run(host)
    assert len(set(seen)) == 1
    running, begun, _ = seen[0]
    assert running == 0 and begun < 6
    assert sorted(bench.queries[0] + bench.queries[1]) == list(range(6))
