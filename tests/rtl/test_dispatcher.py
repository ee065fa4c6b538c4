import random

import pytest

from rpaccel.rtl.dispatcher import Dispatcher
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import (
    COMPLETION,
    DESCRIPTOR,
    ISA_VERSION,
    RESULT,
    Opcode,
    StageKind,
    Status,
)
from tests.streams import plain, receive, send, simulate

TINY = load_accelerator("tiny")
WIDE = TINY.model_copy(update={"axi_data_bits": 256, "array_size": 32})
ONE = TINY.model_copy(update={"funnels": 1})
THREE = TINY.model_copy(update={"funnels": 3, "lanes": 2})
SQ, CQ, RESULTS = 0x1000, 0x2000, 0x4000


class Bench:
    """A dispatcher with memory behind its ports, fake funnels and a fake loader."""

    def __init__(self, config, seed=1, bad_reads=(), bad_writes=()):
        self.config, self.dut = config, Dispatcher(config)
        self.memory = bytearray(1 << 16)
        self.random = random.Random(seed)
        self.bad_reads, self.bad_writes = bad_reads, bad_writes
        self.writes = []  # (address, beats)
        self.queries = [[] for _ in range(config.funnels)]
        self.loads = []
        self.running = 0  # queries inside funnels
        self.completions = 0  # completion_stb seen
        self.waited = []  # by the queries that funnels got
        self.extra = []  # processes beside those of `run`
        self.done = {}  # more fields of the funnels' completions

    async def read_memory(self, ctx):
        port, width = self.dut.descriptor, self.config.beat_bytes
        while True:
            (request,) = await receive(ctx, port.request, 1, limit_cycles=100_000)
            await ctx.tick().repeat(self.random.randrange(1, 5))
            start, beats = request["address"], request["beats"]
            error = Status.MEMORY if start in self.bad_reads else 0
            for i in range(beats):
                raw = self.memory[start + i * width : start + (i + 1) * width]
                beat = {
                    "data": 0 if error else int.from_bytes(raw, "little"),
                    "last": i == beats - 1,
                    "error": error,
                }
                await send(ctx, port.response, [beat])

    async def write_memory(self, ctx):
        port, width = self.dut.port, self.config.beat_bytes
        while True:
            (request,) = await receive(ctx, port.request, 1, limit_cycles=100_000)
            start, beats = request["address"], request["beats"]
            assert start // 4096 == (start + beats * width - 1) // 4096
            assert start % width == 0 and 1 <= beats <= 16
            self.writes.append((start, beats))
            error = Status.REGION if start in self.bad_writes else 0
            for i in range(beats):
                (beat,) = await receive(ctx, port.payload, 1)
                raw = beat["data"].to_bytes(width, "little")
                for byte in range(width):
                    if beat["strobe"] >> byte & 1 and not error:
                        self.memory[start + i * width + byte] = raw[byte]
            await ctx.tick().repeat(self.random.randrange(1, 5))
            await send(ctx, port.response, [{"error": error}])

    def funnel(self, index):
        async def run(ctx):
            dut = self.dut

            def set_idle(idle):
                others = ctx.get(dut.funnel_idle) & ~(1 << index)
                ctx.set(dut.funnel_idle, others | idle << index)

            set_idle(1)
            while True:
                (query,) = await receive(ctx, dut.query[index], 1, limit_cycles=100_000)
                descriptor = query["descriptor"]
                set_idle(0)
                self.running += 1
                self.queries[index].append(descriptor["tag"])
                self.waited.append(query["waited"])
                await ctx.tick().repeat(self.random.randrange(1, 200))
                done = {"tag": descriptor["tag"], "version": ISA_VERSION}
                done |= {"count": descriptor["top_n"], "total_cycles": 5} | self.done
                await send(ctx, dut.done[index], [done])
                await send(ctx, dut.result[index], answer(done["tag"], done["count"]))
                self.running -= 1
                set_idle(1)

        return run

    async def loader(self, ctx):
        while True:
            (request,) = await receive(ctx, self.dut.load, 1, limit_cycles=100_000)
            assert self.running == 0
            self.loads.append(request)
            await ctx.tick().repeat(30)
            assert self.running == 0
            await send(ctx, self.dut.loaded, [{"status": 0}])

    async def count_completions(self, ctx):
        async for _, _, stb in ctx.tick().sample(self.dut.completion_stb):
            self.completions += stb

    async def count_cycles(self, ctx):
        cycle = 0
        while True:
            ctx.set(self.dut.clock, cycle)
            await ctx.tick()
            cycle += 1

    def submit(self, descriptors, size):
        for i, descriptor in enumerate(descriptors):
            start = SQ + i % size * DESCRIPTOR.bytes
            raw = DESCRIPTOR.to_bytes({"version": ISA_VERSION} | descriptor)
            self.memory[start : start + DESCRIPTOR.bytes] = raw

    def completion(self, index, size):
        start = CQ + index % size * COMPLETION.bytes
        return COMPLETION.from_bytes(bytes(self.memory[start : start + COMPLETION.bytes]))

    def run(self, bench, limit_cycles=20_000, owns=None):
        dut = self.dut

        async def main(ctx):
            ctx.set(dut.quiet, 1)
            lanes = (1 << self.config.lanes) - 1
            ctx.set(dut.lane_owns, lanes if owns is None else owns)
            ctx.set(dut.lane_idle, lanes)
            for loaded in dut.lane_loaded:
                ctx.set(loaded, 1)
            await bench(ctx)

        streams = [dut.descriptor.request, dut.port.request, dut.port.payload, dut.load]
        simulate(
            dut,
            main,
            monitors=[*streams, *dut.query],
            background=[
                self.read_memory,
                self.write_memory,
                self.loader,
                self.count_completions,
                self.count_cycles,
                *[self.funnel(i) for i in range(self.config.funnels)],
                *self.extra,
            ],
            limit_cycles=limit_cycles,
        )


def answer(tag, count):
    return [{"id": tag * 1000 + i, "logit": -i, "ctr": i} for i in range(count)]


def query(tag, count):
    return {
        "opcode": Opcode.QUERY,
        "tag": tag,
        "top_n": count,
        "stages": 1,
        "stage0_kind": StageKind.RANK,
        "items": 1,
        "item_record_bytes": 64,
        "user_record_bytes": 64,
        "result_address": RESULTS + tag * 0x400 + 0x3C0,
    }


def rings(sq_size, cq_size, **others):
    bases = {"sq_base": SQ, "cq_base": CQ, "enable": 1}
    return bases | {"sq_size": sq_size, "cq_size": cq_size} | others


async def until(ctx, dut, completions, limit_cycles=5000):
    for _ in range(limit_cycles):
        if ctx.get(dut.cq_tail) == completions:
            return
        await ctx.tick()
    raise AssertionError(f"cq_tail {ctx.get(dut.cq_tail)} did not reach {completions}")


def check_results(bench, tag, count):
    raw = bytes(bench.memory[query(tag, 0)["result_address"] :])
    for i, expected in enumerate(answer(tag, count)):
        assert RESULT.from_bytes(raw[8 * i : 8 * i + 8]) == expected
    assert raw[8 * count : 8 * count + 32] == bytes(32)  # nothing after the last result


@pytest.mark.parametrize("config", [ONE, WIDE, THREE], ids=["one", "wide", "three funnels"])
def test_every_descriptor_completes_once(config):
    bench = Bench(config)
    counts = [1, 2, 3, 8, 5, 4, 6, 7]
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
    assert sorted(tag for queries in bench.queries for tag in queries) == [*range(len(counts))]
    assert bench.queries[0]


@pytest.mark.parametrize("size", [1, 2])
def test_waits_for_a_completion_slot(size):
    bench = Bench(TINY)
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
    bench = Bench(TINY)
    bench.submit([query(1, 1)], 4)

    async def host(ctx):
        for state in ({"enable": 0}, {"sq_size": 0}, {"cq_size": 0}):
            ctx.set(bench.dut.rings, rings(4, 4, sq_tail=1) | state)
            await ctx.tick().repeat(50)
            assert ctx.get(bench.dut.sq_head) == 0

    bench.run(host)
    assert not bench.writes


def test_indices_wrap():
    bench = Bench(TINY)
    start = 0xFFFE
    raw = {"opcode": Opcode.NOP, "version": ISA_VERSION}
    for i in range(4):
        slot = SQ + (start + i) % 2 * DESCRIPTOR.bytes
        bench.memory[slot : slot + DESCRIPTOR.bytes] = DESCRIPTOR.to_bytes(raw | {"tag": i})

    async def host(ctx):
        dut = bench.dut
        ctx.set(dut.queue.sq_head, start)
        ctx.set(dut.cq_tail, start)
        for i in range(4):
            state = {"sq_tail": (start + i + 1) & 0xFFFF, "cq_head": (start + i) & 0xFFFF}
            ctx.set(dut.rings, rings(2, 2, **state))
            await until(ctx, dut, (start + i + 1) & 0xFFFF)

    bench.run(host)
    assert bench.completions == 4


def test_bad_descriptors_complete_with_status():
    bad_read = SQ + 3 * DESCRIPTOR.bytes
    bench = Bench(TINY, bad_reads=[bad_read], bad_writes=[query(5, 0)["result_address"]])
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
    bench = Bench(ONE, bad_writes=[CQ])
    bench.submit([query(0, 1), query(1, 1)], 2)

    async def host(ctx):
        ctx.set(bench.dut.rings, rings(2, 2, sq_tail=2))
        await until(ctx, bench.dut, 2)

    bench.run(host)
    assert bench.completion(1, 2)["tag"] == 1
    assert plain(bench.completions) == 2


def test_refused_queries_reach_no_funnel():
    bench = Bench(THREE)
    wanted = [({}, 0), ({"stage0_lanes": 0b10}, Status.BAD_LANE), ({"items": 0}, Status.BAD_ITEMS),
              ({"stage0_model": 1}, Status.BAD_MODEL), ({"stage0_lanes": 0b01}, 0)]  # fmt: skip
    bench.submit([query(tag, 1) | fields for tag, (fields, _) in enumerate(wanted)], 8)

    async def host(ctx):
        ctx.set(bench.dut.rings, rings(8, 8, sq_tail=len(wanted)))
        await until(ctx, bench.dut, len(wanted))
        assert ctx.get(bench.dut.queries) == len(wanted)

    bench.run(host, owns=0b01)
    status = {c["tag"]: c["status"] for c in (bench.completion(i, 8) for i in range(len(wanted)))}
    assert status == {tag: status for tag, (_, status) in enumerate(wanted)}
    assert sorted(tag for queries in bench.queries for tag in queries) == [0, 4]


def test_a_query_whose_deadline_passes_in_the_queue_reaches_no_funnel():
    bench = Bench(ONE, seed=4)
    descriptors = [query(tag, 1) for tag in range(6)]
    descriptors[3] |= {"deadline_cycles": 20}
    descriptors[5] |= {"deadline_cycles": 100_000}
    bench.submit(descriptors, 8)

    async def host(ctx):
        ctx.set(bench.dut.rings, rings(8, 8, sq_tail=6))
        await until(ctx, bench.dut, 6)

    bench.run(host)
    completions = {c["tag"]: c for c in (bench.completion(i, 8) for i in range(6))}
    assert [completions[tag]["status"] for tag in range(6)] == [0, 0, 0, Status.LATE, 0, 0]
    assert bench.queries == [[0, 1, 2, 4, 5]]
    assert completions[3]["queue_cycles"] >= 20
    assert bench.waited == sorted(bench.waited)  # they were fetched together
    assert completions[3]["ended_at"] > completions[3]["queue_cycles"]


def test_abort_ends_what_waits():
    bench = Bench(ONE)
    bench.submit([query(tag, 1) for tag in range(5)] + [{"opcode": Opcode.NOP, "tag": 5}], 8)

    async def host(ctx):
        dut = bench.dut
        ctx.set(dut.rings, rings(8, 8, sq_tail=6))
        await until(ctx, dut, 1)
        ctx.set(dut.give_up, 1)
        await until(ctx, dut, 6)

    bench.run(host)
    status = {c["tag"]: c["status"] for c in (bench.completion(i, 8) for i in range(6))}
    assert status[0] == status[5] == 0
    assert [status[tag] for tag in (3, 4)] == [Status.ABORTED] * 2
    started = bench.queries[0]
    assert [status[tag] for tag in range(5)] == [
        0 if tag in started else Status.ABORTED for tag in range(5)
    ]


def test_hold_lets_queries_end_and_starts_none():
    bench = Bench(TINY)
    bench.submit([query(tag, 1) for tag in range(6)], 8)
    running = []

    async def host(ctx):
        dut = bench.dut
        ctx.set(dut.rings, rings(8, 8, sq_tail=6))
        await until(ctx, dut, 2)
        ctx.set(dut.hold, 1)
        while not ctx.get(dut.held):
            await ctx.tick()
        started = sum(len(queries) for queries in bench.queries)
        for _ in range(300):
            running.append(bench.running)
            assert ctx.get(dut.held)
            await ctx.tick()
        assert started == sum(len(queries) for queries in bench.queries) < 6
        ctx.set(dut.hold, 0)
        await until(ctx, dut, 6)

    bench.run(host)
    assert not any(running)
    assert sorted(tag for queries in bench.queries for tag in queries) == list(range(6))
