"""The dispatcher's rules, one by one: turns, LOAD, the choice of a funnel, deadlines, bursts."""

from rpaccel.spec.isa import RESULT, Opcode, Status
from tests.rtl.test_dispatcher import ONE, THREE, Bench, answer, query, rings, until
from tests.streams import receive, send

NEAR_A_BOUNDARY = 0x4FD0  # six beats of 8 bytes before 4 KiB


def test_a_completion_waits_for_one_of_each_other_source_at_most():
    bench = Bench(ONE.model_copy(update={"queue_entries": 8}))
    nops = [{"opcode": Opcode.NOP, "tag": 100 + i} for i in range(24)]
    bench.submit([query(0, 1), *nops], 32)
    before = []  # completions written while the funnel's waited

    async def slow(ctx):
        """Completions take longer than fetches."""
        port = bench.dut.port
        while True:
            (request,) = await receive(ctx, port.request, 1, limit_cycles=100_000)
            for _ in range(request["beats"]):
                await receive(ctx, port.payload, 1)
            await ctx.tick().repeat(60)
            await send(ctx, port.response, [{"error": 0}])

    bench.write_memory = slow

    async def watch(ctx):
        done, others = bench.dut.done[0], 0
        async for _, _, waits, taken, stb in ctx.tick().sample(
            done.valid, done.ready, bench.dut.completion_stb
        ):
            others = others + stb if waits else 0
            if waits and taken:
                before.append(others)

    bench.extra.append(watch)

    async def host(ctx):
        ctx.set(bench.dut.rings, rings(32, 32, sq_tail=25))
        await until(ctx, bench.dut, 25, limit_cycles=15_000)

    bench.run(host)
    assert before and max(before) <= 2


def test_a_load_waits_until_all_is_quiet():
    bench = Bench(ONE)
    bench.submit([{"opcode": Opcode.LOAD, "tag": 1, "user_address": 0x5000, "items": 77}], 4)

    async def host(ctx):
        ctx.set(bench.dut.quiet, 0)
        ctx.set(bench.dut.rings, rings(4, 4, sq_tail=1))
        await ctx.tick().repeat(200)
        assert not bench.loads and ctx.get(bench.dut.loads)
        ctx.set(bench.dut.quiet, 1)
        await until(ctx, bench.dut, 1)

    bench.run(host)
    assert len(bench.loads) == 1


def test_the_lowest_free_funnel_gets_the_query():
    bench = Bench(THREE)
    bench.submit([query(tag, 1) for tag in range(3)], 4)

    async def host(ctx):
        for number in range(3):  # one at a time: all are free
            ctx.set(bench.dut.rings, rings(4, 4, sq_tail=number + 1))
            await until(ctx, bench.dut, number + 1)
            await ctx.tick().repeat(20)

    bench.run(host)
    assert bench.queries == [[0, 1, 2], [], []]


def test_a_query_that_is_late_in_the_queue_reaches_no_funnel():
    waited = set()
    for deadline in range(15, 50):
        bench = Bench(ONE)
        bench.submit([query(0, 1) | {"deadline_cycles": deadline}], 4)

        async def host(ctx, dut=bench.dut):
            ctx.set(dut.rings, rings(4, 4, sq_tail=1))
            await until(ctx, dut, 1)

        bench.run(host)
        assert all(cycles < deadline for cycles in bench.waited), deadline
        waited |= set(bench.waited)
    assert waited


def write_results(**bad):
    bench = Bench(ONE, **bad)
    bench.submit([query(3, 8) | {"result_address": NEAR_A_BOUNDARY}], 4)

    async def host(ctx):
        ctx.set(bench.dut.rings, rings(4, 4, sq_tail=1))
        await until(ctx, bench.dut, 1)

    bench.run(host)
    return bench


def test_results_are_cut_at_a_page():
    bench = write_results()
    assert bench.writes[:2] == [(NEAR_A_BOUNDARY, 6), (0x5000, 2)]
    raw = bytes(bench.memory[NEAR_A_BOUNDARY : NEAR_A_BOUNDARY + 64])
    found = [RESULT.from_bytes(raw[i : i + 8]) for i in range(0, 64, 8)]
    assert found == answer(3, 8)


def test_a_failed_burst_of_results_is_in_the_completion():
    for failing in (NEAR_A_BOUNDARY, 0x5000):
        done = write_results(bad_writes=[failing]).completion(0, 4)
        assert (done["status"], done["count"]) == (Status.REGION, 0)
