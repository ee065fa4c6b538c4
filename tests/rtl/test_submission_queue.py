import random

import pytest

from rpaccel.rtl.submission_queue import SubmissionQueue
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import DESCRIPTOR, Status
from tests.memory_model import MemoryModel
from tests.streams import STALL_CASES, expect_silence, receive, simulate, stalls

TINY = load_accelerator("tiny").model_copy(update={"queue_entries": 3})
WIDE = TINY.model_copy(update={"axi_data_bits": 256, "array_size": 32, "queue_entries": 1})
SQ = 0x1000


class Bench:
    """A submission queue before a memory that holds a ring of random descriptors."""

    def __init__(self, config, size, count, stall="none", seed=1):
        self.dut, self.config, self.size = SubmissionQueue(config), config, size
        self.memory = MemoryModel(
            contents=bytearray(1 << 13),
            beat_bytes=config.beat_bytes,
            latency=(2, 9),
            stall=0.3 if stall in ("source", "both") else 0.0,
        )
        self.sink = stalls(stall)[1]
        generator = random.Random(seed)
        self.descriptors = [generator.randbytes(DESCRIPTOR.bytes) for _ in range(count)]
        self.fetched = []

    def place(self, *numbers):
        for number in numbers:
            start = SQ + number % self.size * DESCRIPTOR.bytes
            self.memory.contents[start : start + DESCRIPTOR.bytes] = self.descriptors[number]

    def rings(self, ctx, **fields):
        known = {"enable": 1, "sq_base": SQ, "sq_size": self.size, "cq_size": self.size}
        ctx.set(self.dut.rings, known | fields)

    async def take(self, ctx, count):
        self.fetched += await receive(ctx, self.dut.fetched, count, self.sink)

    def run(self, host):
        dut = self.dut

        async def clock(ctx):
            now = 0
            while True:
                ctx.set(dut.clock, now)
                await ctx.tick()
                now += 1

        simulate(
            dut,
            host,
            monitors=[dut.fetched, dut.memory.request],
            background=[self.memory.serve(dut.memory), clock],
        )

    def check(self, count, errors=()):
        """Hold what was fetched to the ring: all of it, once, in order."""
        assert len(self.fetched) == count
        beats = DESCRIPTOR.bytes // self.config.beat_bytes
        addresses = [SQ + i % self.size * DESCRIPTOR.bytes for i in range(count)]
        assert self.memory.reads == [(0, address, beats) for address in addresses]
        times = [each["fetched_at"] for each in self.fetched]
        assert times == sorted(set(times))
        for number, each in enumerate(self.fetched):
            assert each["error"] == (errors[number] if errors else 0)
            if not each["error"]:
                fields = DESCRIPTOR.from_bytes(self.descriptors[number])
                assert {name: each["descriptor"][name] for name in fields} == fields


@pytest.mark.parametrize("config", [TINY, WIDE], ids=["tiny", "wide"])
@pytest.mark.parametrize("stall", STALL_CASES)
def test_fetches_every_descriptor_once_in_order(config, stall):
    bench = Bench(config, 8, 8, stall)
    bench.place(*range(8))

    async def host(ctx):
        bench.rings(ctx, sq_tail=8)
        await bench.take(ctx, 8)
        await expect_silence(ctx, bench.dut.fetched, 60)
        assert ctx.get(bench.dut.sq_head) == 8
        assert not ctx.get(bench.dut.busy)

    bench.run(host)
    bench.check(8)


@pytest.mark.parametrize("config", [TINY, WIDE], ids=["tiny", "wide"])
def test_stops_when_it_is_full_and_goes_on(config):
    bench = Bench(config, 8, 7)
    bench.place(*range(7))
    entries = config.queue_entries

    async def host(ctx):
        dut = bench.dut
        bench.rings(ctx, sq_tail=7)
        for taken in range(4):
            await ctx.tick().repeat(300)
            assert ctx.get(dut.sq_head) == min(7, entries + taken)
            assert ctx.get(dut.fetched.valid) and not ctx.get(dut.busy)
            await bench.take(ctx, 1)
        await bench.take(ctx, 3)
        await ctx.tick().repeat(100)
        assert ctx.get(dut.sq_head) == 7 and not ctx.get(dut.fetched.valid)

    bench.run(host)
    bench.check(7)


def test_waits_for_completion_slots_and_for_what_keeps_the_ring_closed():
    bench = Bench(TINY, 2, 4)
    bench.place(0, 1)

    async def host(ctx):
        dut = bench.dut
        for closed in ({"enable": 0}, {"sq_size": 0}, {"cq_size": 0}):
            bench.rings(ctx, **({"sq_tail": 2} | closed))
            await ctx.tick().repeat(40)
            assert ctx.get(dut.sq_head) == 0
        ctx.set(dut.hold, 1)
        bench.rings(ctx, sq_tail=2)
        await ctx.tick().repeat(40)
        assert ctx.get(dut.sq_head) == 0
        ctx.set(dut.hold, 0)
        await bench.take(ctx, 2)
        bench.place(2, 3)
        for completed in (0, 1, 2):
            bench.rings(ctx, sq_tail=4, cq_head=completed)
            await ctx.tick().repeat(120)
            assert ctx.get(dut.sq_head) == 2 + completed
        await bench.take(ctx, 2)

    bench.run(host)
    bench.check(4)


def test_hold_lets_a_fetch_end():
    bench = Bench(TINY, 4, 2)
    bench.place(0, 1)

    async def host(ctx):
        dut = bench.dut
        bench.rings(ctx, sq_tail=2)
        while not ctx.get(dut.busy):
            await ctx.tick()
        ctx.set(dut.hold, 1)
        await bench.take(ctx, 1)
        await expect_silence(ctx, dut.fetched, 60)
        assert ctx.get(dut.sq_head) == 1 and not ctx.get(dut.busy)
        ctx.set(dut.hold, 0)
        await bench.take(ctx, 1)

    bench.run(host)
    bench.check(2)


def test_indices_wrap():
    bench = Bench(TINY, 4, 6)
    bench.place(*range(4))
    start = (1 << 16) - 4

    async def host(ctx):
        dut = bench.dut
        ctx.set(dut.sq_head, start)
        bench.rings(ctx, cq_head=start, sq_tail=0)
        await bench.take(ctx, 4)
        assert ctx.get(dut.sq_head) == 0
        bench.place(4, 5)
        bench.rings(ctx, cq_head=0, sq_tail=2)
        await bench.take(ctx, 2)
        await ctx.tick().repeat(100)
        assert ctx.get(dut.sq_head) == 2

    bench.run(host)
    bench.check(6)


def test_an_error_stays_with_its_descriptor():
    bench = Bench(TINY, 4, 4)
    bench.place(*range(4))
    of = [SQ + i * DESCRIPTOR.bytes for i in range(4)]
    bench.memory.failing |= {
        of[1]: Status.MEMORY, of[1] + 8: Status.REGION, of[3] + 120: Status.REGION,
    }  # fmt: skip

    async def host(ctx):
        bench.rings(ctx, sq_tail=4)
        await bench.take(ctx, 4)

    bench.run(host)
    bench.check(4, [Status.OK, Status.MEMORY, Status.OK, Status.REGION])
