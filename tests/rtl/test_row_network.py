"""RowNetwork against a memory that answers in any order: rows, reads, counters."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from rpaccel.rtl.row_bank import RowBank
from rpaccel.rtl.row_network import RowNetwork, row_slots
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Status
from rpaccel.spec.stripe import bank_of
from tests.streams import (
    STALL_CASES,
    expect_silence,
    receive,
    send,
    simulate,
    slow_but,
    slow_rows_but,
    stalls,
)

TINY = load_accelerator("tiny")
SIZE = 1 << 14


def config_of(**update):
    return TINY.model_copy(update={"stripe_bytes": 128, "row_reads": 8} | update)


class Memory:
    """Beats by address behind the banks' ports, late by `latency` cycles, in any order.

    bad : address: 1 refused, 2 failed.
    """

    def __init__(self, seed, latency, stall, bad=()):
        self.random = random.Random(seed)
        self.latency, self.stall, self.bad = latency, stall, dict(bad)
        self.reads, self.bursts, self.most = Counter(), Counter(), 0

    def beat(self, address):
        return (address * 0x9E3779B97F4A7C15 + 1) % 2**64

    def serve(self, config, number, port):
        async def bench(ctx):
            flying, cycle = [], 0
            ctx.set(port.request.ready, 1)
            async for _, _, valid, ready, asked in ctx.tick().sample(
                port.request.valid, port.request.ready, port.request.payload
            ):
                cycle += 1
                if valid and ready:
                    due = cycle + self.random.randint(*self.latency)
                    for i in range(asked.beats):
                        address, place = asked.address + i * config.beat_bytes, asked.place + i
                        assert bank_of(config, address) == number and place < config.row_reads
                        assert place not in [other for _, other, _ in flying]
                        self.reads[address] += 1
                        flying.append((due, place, address))
                    self.bursts[asked.beats] += 1
                    self.most = max(self.most, len(flying))
                due = [f for f in flying if f[0] <= cycle]
                now = bool(due) and self.random.random() >= self.stall
                ctx.set(port.answer_valid, now)
                if now:
                    answered = self.random.choice(due)
                    flying.remove(answered)
                    _, place, address = answered
                    bad = self.bad.get(address, 0)
                    data = 0 if bad else self.beat(address)
                    answer = {
                        "place": place, "data": data, "refused": bad == 1, "failed": bad == 2,
                    }  # fmt: skip
                    ctx.set(port.answer, answer)
                ctx.set(port.request.ready, self.random.random() >= self.stall)

        return bench


def random_rows(config, seed, count, rows, beats):
    """Return requests for Zipf-like rows of one size."""
    rng = np.random.default_rng(seed)
    weight = 1.0 / np.arange(1, rows + 1)
    numbers = rng.choice(rows, size=count, p=weight / weight.sum())
    size = beats * config.beat_bytes
    return [{"address": int(number) * size, "beats": beats} for number in numbers]


def run(config, traces, memory, stall="none", limit_cycles=60_000):
    """Return each reader's rows [[(data, error)]], and the counters of all banks."""
    dut = RowNetwork(config, len(traces))
    got, benches, counters = [[] for _ in traces], [], Counter()
    finished = []

    for index, trace in enumerate(traces):
        source, sink = stalls(stall, index + 1)
        port = dut.readers[index]

        async def feed(ctx, port=port, trace=trace, source=source):
            await send(ctx, port.request, trace, source)

        async def drain(ctx, port=port, trace=trace, sink=sink, index=index, rows=got[index]):
            for request in trace:
                beats = await receive(ctx, port.response, request["beats"], sink)
                flags = [beat["last"] for beat in beats]
                assert flags == [0] * (request["beats"] - 1) + [1]
                rows.append([(beat["data"], beat["error"]) for beat in beats])
            finished.append(index)
            if len(finished) < len(traces):
                return
            for other in dut.readers:
                await expect_silence(ctx, other.response)
            assert ctx.get(dut.idle)
            for bank in range(config.banks):
                for name in ("hits", "merged", "misses", "refused", "evictions"):
                    counters[name] += ctx.get(dut.counters[bank][name])

        benches += [feed, drain]
    background = [memory.serve(config, b, dut.memory[b]) for b in range(config.banks)]
    simulate(
        dut, *benches, monitors=[reader.response for reader in dut.readers],
        background=background, limit_cycles=limit_cycles,
    )  # fmt: skip
    return got, counters


def check(config, traces, memory, got, counters):
    """Every row is right and in order; reads, merges and hits add up to all beats."""
    for trace, rows in zip(traces, got, strict=True):
        assert len(rows) == len(trace)
        for request, beats in zip(trace, rows, strict=True):
            for index, beat in enumerate(beats):
                address = request["address"] + index * config.beat_bytes
                bad = memory.bad.get(address, 0)
                status = (Status.OK, Status.REGION, Status.MEMORY)[bad]
                assert beat == (0 if bad else memory.beat(address), status)
    beats = sum(request["beats"] for trace in traces for request in trace)
    assert counters["hits"] + counters["merged"] + counters["misses"] + counters["refused"] == beats
    assert counters["misses"] + counters["refused"] == memory.reads.total()


@pytest.mark.parametrize("stall", STALL_CASES)
@pytest.mark.parametrize(
    ("readers", "banks", "sets", "ways", "beats"),
    slow_rows_but(
        [(1, 1, 1, 1, 1), (2, 2, 2, 4, 2)],
        [(1, 1, 1, 1, 1), (1, 1, 1, 2, 2), (2, 1, 4, 2, 1), (3, 4, 8, 1, 2), (2, 2, 2, 4, 2)],
    ),
)
def test_rows_are_those_of_memory(readers, banks, sets, ways, beats, stall):
    config = config_of(row_banks=banks, row_cache_sets=sets, row_cache_ways=ways)
    seed = readers + banks
    traces = [random_rows(config, seed + i, 60, 40, beats) for i in range(readers)]
    memory = Memory(seed, (1, 40), 0.3 if stall in ("source", "both") else 0.0)
    got, counters = run(config, traces, memory, stall)
    check(config, traces, memory, got, counters)
    assert counters["merged"] or counters["hits"]
    assert memory.bursts[beats] and max(memory.bursts) <= beats


def test_equal_rows_in_flight_are_read_once():
    config = config_of(row_cache_sets=16, row_cache_ways=2, row_reads=16)
    traces = [[{"address": 64, "beats": 1}] * 8 + [{"address": 128, "beats": 1}] * 8] * 2
    memory = Memory(1, (40, 40), 0.0)
    got, counters = run(config, traces, memory)
    check(config, traces, memory, got, counters)
    assert memory.reads == {64: 1, 128: 1}
    assert counters["merged"] + counters["hits"] == 30 and counters["merged"] >= 16


@pytest.mark.parametrize("reads", slow_but([2], [1, 2, 4, 16], nightly=[4]))
def test_few_reads_and_waiters_never_stop_the_bank(reads):
    config = config_of(row_cache_sets=1, row_cache_ways=1, row_reads=reads, max_dim=8)
    traces = [random_rows(config, i, 100, 8, 1) for i in range(3)]
    memory = Memory(2, (1, 30), 0.2)
    got, counters = run(config, traces, memory, "both")
    check(config, traces, memory, got, counters)
    assert memory.most <= reads


def test_errors_go_to_all_that_wait_and_are_not_kept():
    config = config_of(row_cache_sets=4, row_cache_ways=2)
    traces = [random_rows(config, i, 150, 12, 2) for i in range(2)]
    bad = {0: 1, 8: 2, 24: 1, 40: 2}
    memory = Memory(3, (5, 30), 0.0, bad)
    got, counters = run(config, traces, memory)
    check(config, traces, memory, got, counters)
    assert all(memory.reads[address] > 1 for address in bad)


def test_beats_between_those_that_hit_are_bursts_of_their_own():
    config = config_of(row_cache_sets=16, row_cache_ways=2, row_reads=16, max_dim=32)
    singles = [{"address": 40, "beats": 1}, {"address": 120, "beats": 1}]
    rows = [{"address": 32, "beats": 4}, {"address": 96, "beats": 4}]  # -h-- and ---h
    traces = [singles + [{"address": 40, "beats": 1}] * 40 + rows]
    memory = Memory(8, (3, 3), 0.0)
    got, counters = run(config, traces, memory)
    check(config, traces, memory, got, counters)
    assert memory.bursts == {1: 3, 2: 1, 3: 1}
    assert set(memory.reads.values()) == {1}


def test_readers_take_turns_at_a_bank():
    """Three readers always ask for rows that hit: each gets a third."""
    config = config_of(row_cache_sets=16, row_cache_ways=2, reads_in_flight=64)
    dut, memory, taken = RowNetwork(config, 3), Memory(9, (2, 2), 0.0), []

    async def ask(ctx):
        for reader in dut.readers:
            ctx.set(reader.response.ready, 1)
            ctx.set(reader.request.payload, {"address": 8, "beats": 1})
            ctx.set(reader.request.valid, 1)
        await ctx.tick().repeat(500)

    async def watch(ctx):
        flags = [reader.request.valid & reader.request.ready for reader in dut.readers]
        async for _, _, *values in ctx.tick().sample(*flags):
            taken.extend(index for index, value in enumerate(values) if value)

    simulate(dut, ask, background=[watch, memory.serve(config, 0, dut.memory[0])])
    counts = Counter(taken[-300:])
    assert len(taken) > 350 and set(counts.values()) == {100}


def test_a_slow_answer_stops_no_other_row():
    """One row is 400 cycles late; all others of its bank hit meanwhile."""
    config = config_of(row_cache_sets=16, row_cache_ways=2)
    warm = [{"address": 8 * i, "beats": 1} for i in range(16)]
    late = {"address": 0x1000, "beats": 1}
    assert bank_of(config, 0x1000) == bank_of(config, 0)
    dut, cycles = RowNetwork(config, 2), {}

    async def other(ctx):
        await send(ctx, dut.readers[1].request, [late])
        await receive(ctx, dut.readers[1].response, 1)
        cycles["late"] = cycles["now"]

    async def hits(ctx):
        await send(ctx, dut.readers[0].request, warm * 8)

    async def drain(ctx):
        await receive(ctx, dut.readers[0].response, 16 * 8)
        cycles["hits"] = cycles["now"]

    async def slow(ctx):
        port, queue = dut.memory[0], []
        ctx.set(port.request.ready, 1)
        async for _, _, asks, asked in ctx.tick().sample(port.request.valid, port.request.payload):
            cycles["now"] = cycles.get("now", 0) + 1
            if asks:
                wait = 400 if asked.address == 0x1000 else 3
                queue.append((cycles["now"] + wait, asked.place))
            due = [entry for entry in queue if entry[0] <= cycles["now"]]
            ctx.set(port.answer_valid, bool(due))
            if due:
                queue.remove(due[0])
                ctx.set(port.answer.place, due[0][1])

    simulate(dut, other, hits, drain, background=[slow])
    assert cycles["hits"] + 50 < cycles["late"]


def test_a_row_per_cycle_while_it_hits():
    """Per reader and bank; and the latency of a hit."""
    config = config_of(row_cache_sets=64, row_cache_ways=2, reads_in_flight=16, row_reads=16)
    warm = [{"address": 8 * i, "beats": 1} for i in range(16)]
    dut, seen = RowNetwork(config, 1), {"in": [], "out": []}
    memory = Memory(5, (2, 2), 0.0)
    port = dut.readers[0]

    async def feed(ctx):
        ctx.set(port.response.ready, 1)
        await send(ctx, port.request, warm)
        await ctx.tick().repeat(100)
        seen["in"].clear()
        seen["out"].clear()
        await send(ctx, port.request, warm * 10)
        await ctx.tick().repeat(20)

    async def watch(ctx):
        cycle = 0
        async for _, _, asked, answered in ctx.tick().sample(
            port.request.valid & port.request.ready, port.response.valid
        ):
            cycle += 1
            seen["in"] += [cycle] * asked
            seen["out"] += [cycle] * answered

    simulate(dut, feed, background=[watch, memory.serve(config, 0, dut.memory[0])])
    assert len(seen["out"]) == 160
    assert seen["out"][0] - seen["in"][0] == RowNetwork.hit_cycles(config)
    assert seen["out"][-1] - seen["out"][0] == 159
    assert RowNetwork.hit_cycles(config) == RowBank.hit_cycles(config) + 2 <= row_slots(config)


def test_a_row_per_two_cycles_while_it_misses():
    config = config_of(row_cache_sets=64, row_cache_ways=2, reads_in_flight=32, row_reads=64)
    trace = [{"address": 8 * i, "beats": 1} for i in range(300)]
    memory, cycles = Memory(6, (8, 8), 0.0), []
    dut = RowNetwork(config, 1)
    port = dut.readers[0]

    async def feed(ctx):
        ctx.set(port.response.ready, 1)
        await send(ctx, port.request, trace)

    async def watch(ctx):
        cycle = 0
        async for _, _, answered in ctx.tick().sample(port.response.valid):
            cycle += 1
            cycles.extend([cycle] * answered)

    async def finish(ctx):
        while len(cycles) < 300:
            await ctx.tick()

    simulate(dut, feed, finish, background=[watch, memory.serve(config, 0, dut.memory[0])])
    assert 0.98 * 400 <= cycles[299] - cycles[99] <= 1.02 * 400


def test_clear_empties_the_caches():
    config = config_of(row_cache_sets=16, row_cache_ways=2)
    rows = [{"address": 8 * i, "beats": 1} for i in range(8)]
    memory, dut = Memory(7, (9, 9), 0.0), RowNetwork(config, 1)
    port = dut.readers[0]

    async def bench(ctx):
        for times in range(3):
            await send(ctx, port.request, rows[:4])
            if times == 1:
                ctx.set(dut.clear, 1)  # with rows on their way
                await ctx.tick()
                ctx.set(dut.clear, 0)
            await receive(ctx, port.response, 4)
            for _ in range(40):
                await ctx.tick()
        assert ctx.get(dut.idle)

    simulate(dut, bench, background=[memory.serve(config, 0, dut.memory[0])])
    assert set(memory.reads.values()) == {2}


@pytest.mark.parametrize(("lines", "answers"), [(0, 3), (4, 7)])
def test_an_update_that_is_given_up_leaves_nothing_to_the_next(lines, answers):
    """One read at a time, so that rows queue up; an update ends early; then one of the last row.

    Without a static cache that row still waits where it is held. With one it is on its way: it is
    held when its bank has answered, just before the reader has the last answer.
    """
    config = config_of(static_cache_lines=lines, row_reads=1, max_dim=8, row_cache_sets=16)
    dut, seen, memory = RowNetwork(config, 1), {"answers": 0}, Memory(4, (60, 60), 0.0)
    port, update = dut.readers[0], dut.update
    rows = [{"address": 8 * i, "beats": 1, "row": {"size": 1}} for i in range(1, 9)]

    async def ask(ctx):
        ctx.set(port.response.ready, 1)
        await send(ctx, port.request, rows)

    async def write(ctx):
        await ctx.tick().repeat(40)  # rows wait in the bank
        ctx.set(update.size, 1)
        for address in (0x400, 8 * 8):
            ctx.set(update.address, address)
            ctx.set(update.valid, 1)
            if address == 0x400:
                await ctx.tick().repeat(4)
                ctx.set(update.valid, 0)
                while seen["answers"] < 3:  # the last row is past the queue now
                    await ctx.tick()
        while not ctx.get(update.held):
            await ctx.tick()
        seen["held"] = seen["answers"]

    async def watch(ctx):
        async for _, _, answered in ctx.tick().sample(port.response.valid):
            seen["answers"] += answered

    simulate(dut, ask, write, background=[watch, memory.serve(config, 0, dut.memory[0])])
    assert seen["held"] == answers
