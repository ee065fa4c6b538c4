from dataclasses import dataclass

import numpy as np
import pytest

from rpaccel.golden.lane import rank
from rpaccel.golden.sigmoid import ctr
from rpaccel.host.compile import compile_models
from rpaccel.rtl.lane import TASKS, Lane
from rpaccel.rtl.task import TASK_COUNTERS
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import BINS, Status, target_bits
from rpaccel.spec.registers import COUNTER_UNITS
from rpaccel.workloads.random_models import random_query, random_ranker, shared_schema
from tests.memory_model import MemoryModel
from tests.rtl.lane_with_array import LaneWithArray
from tests.streams import expect_silence, plain, receive, recorder, send, simulate, stalls

CONFIG = load_accelerator("tiny")
LIST, USER, FEATURES = 0x20000, 0x28000, 0x30000  # addresses; the models begin at 0x10000


def models(seed):
    rng = np.random.default_rng(seed)
    small = random_ranker(rng, CONFIG, name="small", top=(6,))
    return rng, [small, shared_schema(rng, CONFIG, small, name="large", dim=16)]


@dataclass(kw_only=True)
class Task:
    """A task of its own query. listed : its ids come from memory, else from the bench."""

    query: object
    slot: int
    number: int
    listed: bool = True
    sub_batch: int = 0

    @property
    def owner(self):
        return {"funnel": self.number % CONFIG.funnels, "stage": 0 if self.listed else 1}

    @property
    def ids(self):
        return self.query.candidates.tolist()

    @property
    def addresses(self):
        n = self.number
        return LIST + 0x400 * n, USER + 0x200 * n, FEATURES + 0x1000 * n

    @property
    def payload(self):
        query, (listing, user, features) = self.query, self.addresses
        return {
            "owner": self.owner,
            "model": self.slot,
            "listed": self.listed,
            "list_address": listing if self.listed else 0,
            "gather": {
                "user_address": user,
                "features_address": features,
                "features_rows": query.features.shape[0],
                "item_record_bytes": query.features.shape[1],
                "user_record_bytes": len(query.user_record),
                "items": len(self.ids),
                "sub_batch": self.sub_batch,
                "later": not self.listed,
            },
        }


class Bench:
    """A loaded lane; `run` gives it tasks as fast as it takes them and keeps what it says."""

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
        self.source, self.sink = stalls(stall)
        self.tasks, self.scores, self.done, self.edges = [], [], [], []
        self.most_in_flight = 0
        self.busy_cycles = 0  # cycles with a task

    def add(self, query, slot, **fields):
        task = Task(query=query, slot=slot, number=len(self.tasks), **fields)
        self.tasks.append(task)
        listing, user, features = task.addresses
        for address, payload in (
            (listing, query.candidates.astype("<u4").tobytes()),
            (user, query.user_record),
            (features, query.features.tobytes()),
        ):
            self.memory.contents[address : address + len(payload)] = payload
        return task

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

    async def give(self, ctx):
        await self.load(ctx)
        assert ctx.get(self.dut.idle)
        for number, task in enumerate(self.tasks):
            await send(ctx, self.dut.task, [task.payload], self.source)
            self.most_in_flight = max(self.most_in_flight, number + 1 - len(self.done))

    async def survivors(self, ctx):
        dut = self.dut
        for task in self.tasks:
            if task.listed:
                continue
            while not ctx.get(dut.ids_wanted):
                await ctx.tick()
            assert plain(ctx.get(dut.ids_from)) == task.owner
            await send(ctx, dut.ids, task.ids, self.source)
        ctx.set(dut.ids.valid, 1)  # no lane takes an id that is not its own
        ctx.set(dut.ids.payload, 1 << 31)

    async def take_scores(self, ctx):
        for task in self.tasks:
            self.scores.append(await receive(ctx, self.dut.score, len(task.ids), self.sink))
        await expect_silence(ctx, self.dut.score)

    async def take_done(self, ctx):
        for _ in self.tasks:
            self.done += await receive(ctx, self.dut.done, 1, self.sink)
        await expect_silence(ctx, self.dut.done)
        assert ctx.get(self.dut.idle)
        self.counters = plain(ctx.get(self.dut.counters))

    def run(self, limit_cycles=60_000):
        dut = self.dut
        ports = (dut.list, *dut.record, *dut.row)
        edges, busy = [], []

        async def take_edges(ctx):
            ctx.set(dut.edges.ready, 1)

        simulate(
            LaneWithArray(dut),
            self.give,
            self.survivors,
            self.take_scores,
            self.take_done,
            take_edges,
            monitors=[dut.done, dut.score, dut.edges, *[port.request for port in ports]],
            background=[
                *[self.memory.serve(port) for port in ports],
                recorder({"valid": dut.edges.valid, "edges": dut.edges.payload}, edges, "valid"),
                recorder({"busy": ~dut.idle}, busy, "busy"),
            ],
            limit_cycles=limit_cycles,
        )
        self.edges = [row["edges"] for row in edges]
        self.busy_cycles = len(busy)

    def check(self, number, status=Status.OK):
        """Hold a task's scores and its end to golden; with an error, ids and scores to nothing."""
        task, scores, done = self.tasks[number], self.scores[number], self.done[number]
        assert [row["owner"] for row in scores] == [task.owner] * len(task.ids)
        assert [row["last"] for row in scores] == [0] * (len(task.ids) - 1) + [1]
        assert scores[-1]["status"] == status
        assert done["owner"] == task.owner and not done["lost"]
        if status == Status.OK:
            query = task.query
            expected = rank(
                self.rankers[task.slot], query.user_record, query.features, query.candidates
            )
            assert [row["id"] for row in scores] == task.ids
            assert [row["logit"] for row in scores] == expected.logits.tolist()
            assert [row["ctr"] for row in scores] == ctr(expected.logits).tolist()

    def check_rest(self):
        """Hold edges and counters to the tasks."""
        assert len(self.edges) == len(self.tasks)
        for task, note in zip(self.tasks, self.edges, strict=True):
            ranker = self.rankers[task.slot]
            assert note["owner"] == task.owner
            assert note["edges"]["threshold"] == ranker.threshold
            assert [note["edges"][f"edge{i}"] for i in range(BINS - 1)] == ranker.edges.tolist()
        counters = self.counters
        assert set(counters) == set(COUNTER_UNITS)
        items = sum(len(task.ids) for task in self.tasks)
        assert counters["gather"]["items"] == counters["array"]["items"] == items
        for name in TASK_COUNTERS:
            unit = name.removesuffix("_cycles")
            assert sum(done[name] for done in self.done) == counters[unit]["busy_cycles"]
            assert all(0 < done[name] < self.busy_cycles for done in self.done)
        for unit in counters.values():
            assert all(0 <= unit[word] < self.busy_cycles for word in unit if word != "items")


@pytest.mark.parametrize("stall", [pytest.param("none", marks=pytest.mark.slow), "both"])
def test_matches_golden(stall):
    rng, rankers = models(1)
    bench = Bench(rankers, stall)
    for slot, items, listed in ((0, 4, True), (0, 1, False), (1, 3, True), (0, 2, False)):
        bench.add(random_query(rng, CONFIG, rankers, items=items), slot, listed=listed)
    bench.run()
    for number in range(len(bench.tasks)):
        bench.check(number)
    bench.check_rest()
    assert 1 < bench.most_in_flight <= TASKS


@pytest.mark.slow
def test_edges():
    rng, rankers = models(2)
    bench = Bench(rankers)
    for slot, items, sub_batch in ((0, 1, 0), (0, 17, 5), (0, 1, 1), (1, 33, 0)):
        query = random_query(rng, CONFIG, rankers, items=items)
        bench.add(query, slot, listed=items != 17, sub_batch=sub_batch)
    bench.run()
    for number in range(4):
        bench.check(number)
    bench.check_rest()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_many_tasks(seed):
    rng, rankers = models(10 + seed)
    bench = Bench(rankers, ["none", "source", "sink", "both"][seed])
    for _ in range(16):
        items = int(rng.integers(1, CONFIG.max_items + 1))
        bench.add(
            random_query(rng, CONFIG, rankers, items=items),
            int(rng.integers(2)),
            listed=bool(rng.integers(2)),
            sub_batch=int(rng.choice([0, 0, 3, 16])),
        )
    bench.run(limit_cycles=400_000)
    for number in range(16):
        bench.check(number)
    bench.check_rest()
    assert 1 < bench.most_in_flight <= TASKS


def test_an_error_is_the_status_of_its_task_alone():
    rng, rankers = models(4)
    bench = Bench(rankers)
    good = random_query(rng, CONFIG, rankers, items=2)
    bad = random_query(rng, CONFIG, rankers, items=2)
    bad.candidates[1] = len(bad.features)
    expected = [Status.OK, Status.BAD_ID, Status.OK, Status.REGION, Status.MEMORY, Status.OK]
    for status in expected:
        task = bench.add(bad if status == Status.BAD_ID else good, 0)
        listing, user, _ = task.addresses
        if status == Status.REGION:
            bench.memory.failing[listing] = status
        if status == Status.MEMORY:
            bench.memory.failing[user] = status
    bench.run()
    for number, status in enumerate(expected):
        bench.check(number, status)
    bench.check_rest()
