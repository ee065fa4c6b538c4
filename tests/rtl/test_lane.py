"""A lane alone: tasks in, scores out, against golden.lane.rank."""

import random
from itertools import pairwise

import numpy as np
import pytest

from rpaccel.golden.lane import rank
from rpaccel.golden.sigmoid import ctr
from rpaccel.host.compile import compile_models
from rpaccel.rtl.lane import Lane
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Status, target_bits
from rpaccel.spec.registers import COUNTER_UNITS
from rpaccel.workloads.random_models import random_query, random_ranker, shared_schema
from tests.memory_model import MemoryModel
from tests.rtl.lane_with_array import LaneWithArray
from tests.streams import plain, receive, send, simulate, stalls

CONFIG = load_accelerator("tiny")
SPACE = 0x1000  # bytes of memory for each query's data
DATA = 0x2_0000  # where they lie; the models begin at 0x10000


def models(seed):
    rng = np.random.default_rng(seed)
    small = random_ranker(rng, CONFIG, name="small", top=(6,))
    return rng, [small, shared_schema(rng, CONFIG, small, name="large", dim=16)]


class Bench:
    """A loaded lane and what stands around it; `tasks` are given one after the other."""

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
        self.queries = []
        self.tasks, self.scores, self.done, self.edges = [], [], [], []
        self.survivors = {}  # owner -> ids to come

    def add_query(self, query):
        """Place a query's data; return its number."""
        base = DATA + SPACE * len(self.queries)
        parts = {"user": query.user_record, "list": query.candidates.astype("<u4").tobytes()}
        places, at = {}, base
        for name, payload in parts.items():
            self.memory.contents[at : at + len(payload)] = payload
            places[name] = at
            at += -(-len(payload) // 64) * 64
        table = query.features.tobytes()
        at = -(-at // query.features.shape[1]) * query.features.shape[1]
        assert at + len(table) <= base + SPACE
        self.memory.contents[at : at + len(table)] = table
        places["features"] = at
        self.queries.append((query, places))
        return len(self.queries) - 1

    def add_task(self, number, model, ids=None, first=0, items=None, sub_batch=0, **changes):
        """Add a task for a query: a part of its list, or `ids` from the funnel."""
        query, places = self.queries[number]
        items = len(ids) if ids is not None else items or len(query.candidates)
        owner = {"funnel": number % 2, "stage": 0 if ids is None else 1}
        gather = {
            "user_address": places["user"],
            "features_address": places["features"],
            "features_rows": len(query.features),
            "item_record_bytes": query.features.shape[1],
            "user_record_bytes": len(query.user_record),
            "items": items,
            "sub_batch": sub_batch,
            "later": ids is not None,
        }
        task = {
            "owner": owner,
            "model": model,
            "listed": ids is None,
            "list_address": places["list"] + 4 * first,
            "gather": gather | changes,
        }
        taken = query.candidates[first : first + items] if ids is None else np.asarray(ids)
        self.tasks.append((task, query, model, taken))

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
        for task, _, _, ids in self.tasks:
            await send(ctx, self.dut.task, [task], self.source)
            if not task["listed"]:
                self.survivors.setdefault(owner_of(task), []).extend(ids.tolist())

    async def give_ids(self, ctx):
        """Offer the ids that the lane asks for."""
        dut = self.dut
        while True:
            owner = (ctx.get(dut.ids_from.funnel), ctx.get(dut.ids_from.stage))
            queue = self.survivors.get(owner, [])
            offered = bool(ctx.get(dut.ids_wanted) and queue and next(self.source) == 0)
            ctx.set(dut.ids.valid, offered)
            ctx.set(dut.ids.payload, queue[0] if offered else 0)
            _, _, ready = await ctx.tick().sample(dut.ids.ready)
            if offered and ready:
                queue.pop(0)
            ctx.set(dut.ids.valid, 0)

    def take(self, stream, log):
        async def run(ctx):
            while True:
                log.extend(await receive(ctx, stream, 1, self.sink, 100_000))

        return run

    async def tell_time(self, ctx):
        cycle = 0
        while True:
            ctx.set(self.dut.clock, cycle)
            await ctx.tick()
            cycle += 1

    def run(self, limit_cycles=60_000):
        dut = self.dut

        async def main(ctx):
            await self.load(ctx)
            await self.give(ctx)
            for _ in range(limit_cycles):
                if len(self.done) == len(self.tasks):
                    break
                await ctx.tick()
            await ctx.tick().repeat(30)
            assert ctx.get(dut.idle)
            self.counters = plain(ctx.get(dut.counters))

        ports = (dut.list, *dut.record, *dut.row)
        logs = ((dut.score, self.scores), (dut.done, self.done), (dut.edges, self.edges))
        simulate(
            LaneWithArray(dut),
            main,
            monitors=[dut.score, dut.done, dut.edges, *[port.request for port in ports]],
            background=[
                *(self.memory.serve(port) for port in ports),
                *(self.take(*pair) for pair in logs),
                self.give_ids,
                self.tell_time,
            ],
            limit_cycles=limit_cycles,
        )

    def check(self):
        """Compare every score with golden; return the statuses of the tasks."""
        scores, statuses = iter(self.scores), []
        for task, query, model, ids in self.tasks:
            want = rank(self.rankers[model], query.user_record, query.features, ids)
            got = [next(scores) for _ in ids]
            assert [(s["owner"]["funnel"], s["owner"]["stage"]) for s in got] == [
                owner_of(task)
            ] * len(ids)
            assert [s["last"] for s in got] == [0] * (len(ids) - 1) + [1]
            statuses.append(Status(got[-1]["status"]))
            if statuses[-1] is want.error:
                assert [s["id"] for s in got] == ids.tolist()
                assert [s["logit"] for s in got] == want.logits.tolist()
                assert [s["ctr"] for s in got] == ctr(want.logits).tolist()
        assert next(scores, None) is None
        self.check_notes()
        return statuses

    def check_notes(self):
        """Ends of tasks with their times and counters; edges of their models; exact counts."""
        given = [owner_of(task) for task, *_ in self.tasks]
        assert [owner_of(done) for done in self.done] == given
        assert [owner_of(edges) for edges in self.edges] == given
        for edges, (_, _, model, _) in zip(self.edges, self.tasks, strict=True):
            assert edges["edges"]["threshold"] == self.rankers[model].threshold
            assert edges["edges"]["edge7"] == self.rankers[model].edges[7]
        for done, (_, _, _, ids) in zip(self.done, self.tasks, strict=True):
            assert done["items"] == len(ids) and not done["lost"]
            times = [done[f"{name}_at"] for name in ("given", "gathered", "computed", "scored")]
            assert times == sorted(times) and times[0] < times[1]
            assert done["given_at"] < done["first_score_at"] <= done["scored_at"]
        items = sum(len(ids) for *_, ids in self.tasks)
        assert set(self.counters) == set(COUNTER_UNITS)
        assert self.counters["gather"]["items"] == self.counters["array"]["items"] == items
        for unit in ("gather", "array", "interaction"):
            busy = sum(done[f"{unit}_cycles"] for done in self.done)
            assert busy == self.counters[unit]["busy_cycles"] > 0


def owner_of(task):
    return task["owner"]["funnel"], task["owner"]["stage"]


@pytest.mark.parametrize(
    "stall", [pytest.param("none", marks=[pytest.mark.slow, pytest.mark.nightly]), "both"]
)
def test_tasks_of_a_list_and_of_survivors(stall):
    """Of one model and of another, parts of a query and whole ones, several in the lane."""
    rng, rankers = models(1)
    bench = Bench(rankers, stall)
    one = bench.add_query(random_query(rng, CONFIG, rankers, items=20))
    other = bench.add_query(random_query(rng, CONFIG, rankers, items=9))
    bench.add_task(one, 0, first=0, items=8)
    bench.add_task(one, 0, first=8, items=12, sub_batch=5)
    bench.add_task(other, 0)
    bench.add_task(one, 1, ids=bench.queries[one][0].candidates[[3, 1, 19, 7]])
    bench.add_task(other, 0, first=2, items=1)
    bench.add_task(other, 1, ids=bench.queries[other][0].candidates[:1])
    bench.run()
    assert bench.check() == [Status.OK] * 6


@pytest.mark.nightly
@pytest.mark.slow
def test_gathers_the_next_task_while_it_computes():
    rng, rankers = models(2)
    bench = Bench(rankers, latency=(30, 30))
    numbers = [bench.add_query(random_query(rng, CONFIG, rankers, items=16)) for _ in range(4)]
    for number in numbers:
        bench.add_task(number, 1)
    bench.run()
    assert bench.check() == [Status.OK] * 4
    for before, after in pairwise(bench.done):
        assert after["given_at"] < before["computed_at"]


@pytest.mark.slow
def test_a_task_of_another_model_waits_for_the_array():
    rng, rankers = models(3)
    bench = Bench(rankers)
    number = bench.add_query(random_query(rng, CONFIG, rankers, items=12))
    for model in (0, 1, 0, 1):
        bench.add_task(number, model)
    bench.run()
    assert bench.check() == [Status.OK] * 4
    for before, after in pairwise(bench.done):
        assert after["gathered_at"] > before["computed_at"]


@pytest.mark.nightly
@pytest.mark.slow
def test_full_depth():
    rng, rankers = models(4)
    bench = Bench(rankers, "both")
    number = bench.add_query(random_query(rng, CONFIG, rankers, items=CONFIG.max_items))
    bench.add_task(number, 1)
    bench.add_task(number, 0, ids=bench.queries[number][0].candidates)
    bench.run()
    assert bench.check() == [Status.OK] * 2


@pytest.mark.slow
def test_errors_stay_with_their_task():
    rng, rankers = models(5)
    bench = Bench(rankers)
    good = bench.add_query(random_query(rng, CONFIG, rankers, items=4))
    bad_id = random_query(rng, CONFIG, rankers, items=4)
    bad_id.candidates[1] = len(bad_id.features)
    bad = bench.add_query(bad_id)
    refused = bench.add_query(random_query(rng, CONFIG, rankers, items=3))
    bench.memory.failing[bench.queries[refused][1]["list"]] = Status.REGION
    broken = bench.add_query(random_query(rng, CONFIG, rankers, items=3))
    bench.memory.failing[bench.queries[broken][1]["user"]] = Status.MEMORY
    for number in (good, bad, good, refused, good, broken, good):
        bench.add_task(number, 0)
    bench.run()
    statuses = bench.check()
    ok = Status.OK
    assert statuses == [ok, Status.BAD_ID, ok, Status.REGION, ok, Status.MEMORY, ok]


@pytest.mark.nightly
@pytest.mark.slow
def test_random_tasks():
    rng, rankers = models(6)
    draw = random.Random(6)
    bench = Bench(rankers, "both")
    numbers = [
        bench.add_query(random_query(rng, CONFIG, rankers, items=draw.randrange(1, 20)))
        for _ in range(3)
    ]
    for _ in range(8):
        number = draw.choice(numbers)
        candidates = bench.queries[number][0].candidates
        if draw.random() < 0.5:
            first = draw.randrange(0, len(candidates), 2)
            bench.add_task(number, draw.randrange(2), first=first, items=len(candidates) - first)
        else:
            ids = draw.sample(candidates.tolist(), draw.randrange(1, len(candidates) + 1))
            bench.add_task(number, draw.randrange(2), ids=ids, sub_batch=draw.choice([0, 3]))
    bench.run()
    assert bench.check() == [Status.OK] * 8
