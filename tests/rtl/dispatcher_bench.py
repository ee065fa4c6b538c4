"""A dispatcher with memory behind its ports, fake funnels and a fake loader."""

import random

from rpaccel.rtl.dispatcher import Dispatcher
from rpaccel.spec.isa import (
    COMPLETION,
    DESCRIPTOR,
    ISA_VERSION,
    RESULT,
    Opcode,
    StageKind,
    Status,
)
from tests.streams import receive, send, simulate

SQ, CQ, RESULTS = 0x1000, 0x2000, 0x4000


class DispatcherBench:
    def __init__(self, config, seed=1, bad_reads=(), bad_writes=(), longest=200):
        self.config, self.dut = config, Dispatcher(config)
        self.memory = bytearray(1 << 16)
        self.random = random.Random(seed)
        self.bad_reads, self.bad_writes = bad_reads, bad_writes
        self.longest = longest  # a query [cycles]
        self.writes = []  # (address, beats)
        self.queries = [[] for _ in range(config.funnels)]
        self.loads = []
        self.running = 0  # queries inside funnels
        self.waited = {}  # tag -> cycles
        self.completions = 0  # completion_stb seen

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
            ctx.set(dut.funnel_idle[index], 1)
            while True:
                (query,) = await receive(ctx, dut.query[index], 1, limit_cycles=100_000)
                ctx.set(dut.funnel_idle[index], 0)
                # features_rows: the results that it is to answer with
                tag, count = query["descriptor"]["tag"], query["descriptor"]["features_rows"]
                self.running += 1
                self.queries[index].append(tag)
                self.waited[tag] = query["waited"]
                await ctx.tick().repeat(self.random.randrange(1, self.longest))
                done = {"tag": tag, "version": ISA_VERSION, "count": count, "total_cycles": 5}
                await send(ctx, dut.done[index], [done])
                await send(ctx, dut.result[index], answer(tag, count))
                self.running -= 1
                ctx.set(dut.funnel_idle[index], 1)

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
                ctx.set(loaded, 0b01)
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
                *[self.funnel(i) for i in range(self.config.funnels)],
            ],
            limit_cycles=limit_cycles,
        )


def answer(tag, count):
    return [{"id": tag * 1000 + i, "logit": -i, "ctr": i} for i in range(count)]


def query(tag, count):
    return {
        "opcode": Opcode.QUERY,
        "tag": tag,
        "stages": 1,
        "stage0_kind": StageKind.RANK,
        "items": 9,
        "item_record_bytes": 64,
        "user_record_bytes": 64,
        "features_rows": count,
        "top_n": 1,
        "result_address": RESULTS + tag * 0x400 + 0x3E0,
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
