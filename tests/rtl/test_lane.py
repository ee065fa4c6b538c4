import numpy as np
import pytest

from rpaccel.golden.lane import run_query
from rpaccel.host.compile import compile_models
from rpaccel.rtl.lane import Lane
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import ISA_VERSION, StageKind, Status, StatusFlag, target_bits
from rpaccel.spec.registers import COUNTER_UNITS
from rpaccel.workloads.random_models import random_query, random_ranker, shared_schema
from tests.memory_model import MemoryModel
from tests.rtl.lane_with_array import LaneWithArray
from tests.streams import expect_silence, plain, receive, send, simulate, stalls

CONFIG = load_accelerator("tiny")
USER, LIST, FEATURES = 0x8000, 0x9000, 0xA000  # addresses; the models begin at 0x10000


def models(seed, threshold=None):
    rng = np.random.default_rng(seed)
    small = random_ranker(rng, CONFIG, name="small", top=(6,), threshold=threshold)
    return rng, [small, shared_schema(rng, CONFIG, small, name="large", dim=16)]


def descriptor(query, tag, sub_batch=0, **fields):
    values = {
        "version": ISA_VERSION,
        "tag": tag,
        "stages": len(query.stages),
        "user_address": USER,
        "candidates_address": LIST,
        "items": len(query.candidates),
        "top_n": query.top_n,
        "features_address": FEATURES,
        "features_rows": query.features.shape[0],
        "item_record_bytes": query.features.shape[1],
        "user_record_bytes": len(query.user_record),
    }
    for i, (slot, k) in enumerate(query.stages):
        values |= {
            f"stage{i}_kind": StageKind.RANK,
            f"stage{i}_model": slot,
            f"stage{i}_sub_batch": sub_batch,
            f"stage{i}_k": k,
        }
    return values | fields


class Bench:
    """A loaded lane; `ask` runs a query after the other and keeps the answers."""

    def __init__(self, rankers, stall="none", latency=(5, 25)):
        self.dut = Lane(CONFIG)
        self.compiled = compile_models(rankers, CONFIG)
        self.rankers = rankers
        self.memory = MemoryModel(
            contents=bytearray(1 << 18),
            beat_bytes=CONFIG.beat_bytes,
            latency=latency,
            stall=0.0 if stall in ("none", "sink") else 0.3,
        )
        for address, payload in self.compiled.segments():
            self.memory.contents[address : address + len(payload)] = payload
        self.sink = stalls(stall)[1]
        self.answers = []
        self.counters = []

    async def load(self, ctx):
        bus = self.dut.load
        ctx.set(bus.valid, 1)
        for section in self.compiled.sections:
            size = target_bits(section.target, CONFIG.array_size) // 8
            ctx.set(bus.target, section.target)
            for i in range(len(section.payload) // size):
                entry = section.payload[i * size : (i + 1) * size]
                ctx.set(bus.index, section.start + i)
                ctx.set(bus.data, int.from_bytes(entry, "little"))
                await ctx.tick()
        ctx.set(bus.valid, 0)

    def place(self, query):
        contents = self.memory.contents
        for address, payload in (
            (USER, query.user_record),
            (LIST, query.candidates.astype("<u4").tobytes()),
            (FEATURES, query.features.tobytes()),
        ):
            contents[address : address + len(payload)] = payload

    async def ask(self, ctx, query, **fields):
        dut = self.dut
        assert ctx.get(dut.idle)
        self.place(query)
        await send(ctx, dut.query, [descriptor(query, len(self.answers), **fields)])
        (done,) = await receive(ctx, dut.done, 1, self.sink)
        results = await receive(ctx, dut.result, done["count"], self.sink)
        self.answers.append((done, results))
        await expect_silence(ctx, dut.result)
        assert ctx.get(dut.idle)
        self.counters.append(plain(ctx.get(dut.counters)))

    def run(self, bench, limit_cycles=60_000):
        dut = self.dut

        async def main(ctx):
            await self.load(ctx)
            await bench(ctx)

        ports = (dut.list, *dut.record, *dut.row)
        simulate(
            LaneWithArray(dut),
            main,
            monitors=[dut.done, dut.result, *[port.request for port in ports]],
            background=[self.memory.serve(port) for port in ports],
            limit_cycles=limit_cycles,
        )

    def check(self, index, query):
        done, results = self.answers[index]
        expected = run_query(query, self.rankers, CONFIG)
        assert done["tag"] == index and done["version"] == ISA_VERSION
        assert (done["status"], done["flags"]) == (expected.status, expected.flags)
        assert done["count"] == expected.count
        assert [done[f"items{i}"] for i in range(4)] == list(expected.items)
        assert [row["id"] for row in results] == expected.ids.tolist()
        assert [row["logit"] for row in results] == expected.logits.tolist()
        assert [row["ctr"] for row in results] == expected.ctr.tolist()
        return done


def check_counters(bench):
    last = bench.counters[-1]
    assert set(last) == set(COUNTER_UNITS)
    answers = [done for done, _ in bench.answers]
    stages = [(done, s) for done in answers for s in range(4) if done[f"items{s}"]]
    scored = sum(done[f"items{s}"] for done, s in stages)
    assert last["gather"]["items"] == last["array"]["items"] == scored
    assert last["filter"]["items"] + last["ordered_top_n"]["items"] == scored
    for unit in ("gather", "array", "interaction"):
        busy = sum(done[f"{unit}_cycles{s}"] for done, s in stages)
        assert busy == last[unit]["busy_cycles"]
    running = sum(done[f"stage_cycles{s}"] for done, s in stages)
    assert all(0 <= cycles <= running for unit in last.values() for cycles in unit.values())
    assert last["array"]["busy_cycles"] + last["array"]["stalled_input_cycles"] < running
    for done, s in stages:
        for unit in ("gather", "array", "interaction", "filter"):
            assert 0 < done[f"{unit}_cycles{s}"] <= done[f"stage_cycles{s}"]
    for done in answers:
        # CHECK, then FETCH and NEXT of every stage.
        cycles = [done[f"stage_cycles{s}"] for s in range(4)]
        assert done["total_cycles"] - sum(cycles) == 1 + 2 * sum(c > 0 for c in cycles)


@pytest.mark.parametrize("stall", ["none", "both"])
def test_matches_golden(stall):
    rng, rankers = models(1)
    queries = [
        random_query(rng, CONFIG, rankers, items=9),
        random_query(rng, CONFIG, rankers, items=5, slots=(0, 1, 0), top_n=1),
    ]
    bench = Bench(rankers, stall)

    async def ask(ctx):
        for query in queries:
            await bench.ask(ctx, query)

    bench.run(ask)
    for i, query in enumerate(queries):
        assert bench.check(i, query)["status"] == Status.OK
    check_counters(bench)


@pytest.mark.slow
def test_full_depth():
    rng, rankers = models(2)
    full = CONFIG.max_items
    query = random_query(rng, CONFIG, rankers, items=full, keep=(full,), top_n=8)
    bench = Bench(rankers)

    async def ask(ctx):
        await bench.ask(ctx, query)

    bench.run(ask)
    bench.check(0, query)
    check_counters(bench)


def test_edges():
    rng, rankers = models(2)
    one = random_query(rng, CONFIG, rankers, items=1, top_n=8)
    many = random_query(rng, CONFIG, rankers, items=17, keep=(1,), top_n=8)
    bench = Bench(rankers)

    async def ask(ctx):
        await bench.ask(ctx, one)
        await bench.ask(ctx, many, sub_batch=5)

    bench.run(ask)
    bench.check(0, one)
    bench.check(1, many)


def test_nobody_passes_the_threshold():
    rng, rankers = models(3, threshold=32767)
    query = random_query(rng, CONFIG, rankers, items=3)
    bench = Bench(rankers)

    async def ask(ctx):
        await bench.ask(ctx, query)
        await bench.ask(ctx, query)

    bench.run(ask)
    for i in range(2):
        done = bench.check(i, query)
        assert done["flags"] == StatusFlag.UNDERFILL and done["count"] == 0


def test_errors_leave_the_lane_ready():
    rng, rankers = models(4)
    good = random_query(rng, CONFIG, rankers, items=2, slots=(0,))
    bad_id = random_query(rng, CONFIG, rankers, items=2)
    bad_id.candidates[1] = len(bad_id.features)
    bench = Bench(rankers)

    async def ask(ctx):
        await bench.ask(ctx, bad_id)
        await bench.ask(ctx, good)
        await bench.ask(ctx, good, stages=0)
        for broken, status in ((LIST, Status.REGION), (USER, Status.MEMORY)):
            bench.memory.failing[broken] = status
            await bench.ask(ctx, good)
            bench.memory.failing.clear()
        await bench.ask(ctx, good)

    bench.run(ask)
    assert bench.check(0, bad_id)["status"] == Status.BAD_ID
    statuses = [done["status"] for done, _ in bench.answers]
    assert statuses == [Status.BAD_ID, 0, Status.BAD_STAGES, Status.REGION, Status.MEMORY, 0]
    for index in (1, 5):
        bench.check(index, good)
    assert all(bench.answers[i][0]["count"] == 0 for i in (0, 2, 3, 4))
