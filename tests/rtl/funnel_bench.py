"""Funnels with fake lanes: made-up scores, tasks that end when they like."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rpaccel.golden import lane as golden
from rpaccel.golden.sigmoid import ctr
from rpaccel.rtl.funnels import Funnels
from rpaccel.rtl.lane import TASKS
from rpaccel.rtl.task import TASK_COUNTERS
from rpaccel.spec.isa import ISA_VERSION, MAX_STAGES
from tests.rtl.funnel_queries import LIST_BYTES, LISTS, Model, descriptor
from tests.streams import expect_silence, plain, receive, send, simulate


@dataclass(kw_only=True)
class Task:
    """A task that a fake lane was given. tag : of its query."""

    tag: int
    owner: dict[str, int]
    model: int
    lane: int
    items: int
    ids: list[int] = field(default_factory=list)
    scored: int = 0
    counters: dict[str, int] = field(default_factory=dict)


class FakeLane:
    """Takes up to TASKS tasks, answers them in order. `pace`: chance that it does something."""

    def __init__(self, bench: FunnelBench, number: int, pace: float) -> None:
        self.bench, self.number, self.pace = bench, number, pace
        self.port = bench.dut.lane[number]
        self.random = random.Random(bench.seed * 100 + number)
        self.reset: tuple[int, int] | None = None  # (stage, n): with its nth task of that stage
        self.given = [0] * MAX_STAGES
        self._forget()

    def _forget(self) -> None:
        self.now: Task | None = None
        self.waiting: deque[Task] = deque()  # for their scores
        self.ended: deque[Task] = deque()  # for their done
        self.edges: deque[Task] = deque()

    def _go(self) -> bool:
        return self.random.random() < self.pace

    async def run(self, ctx: Any) -> None:
        port = self.port
        streams = (port.task, port.ids, port.edges, port.score, port.done)
        moves = [each.valid & each.ready for each in streams]
        async for _, _, task, ids, edges, score, done, given, identifier in ctx.tick().sample(
            *moves, port.task.payload, port.ids.payload
        ):
            if task:
                ctx.set(port.task.ready, 0)
                self._take(plain(given))
            if ids:
                self.now.ids.append(identifier)
            if edges:
                ctx.set(port.edges.valid, 0)
            if score:
                ctx.set(port.score.valid, 0)
            if done:
                ctx.set(port.done.valid, 0)
            if task and self.reset == (stage := self.now.owner["stage"], self.given[stage]):
                self._reset(ctx)
            self._fetch(ctx)
            self._answer(ctx)

    def _take(self, given: dict[str, Any]) -> None:
        owner, gather = given["owner"], given["gather"]
        assert self.now is None
        task = Task(
            tag=self.bench.tag_of[owner["funnel"]],
            owner=owner,
            model=given["model"],
            lane=self.number,
            items=gather["items"],
            counters={name: self.random.randrange(1, 1000) for name in TASK_COUNTERS},
        )
        self.bench.check_task(task, given)
        if given["listed"]:
            address = given["list_address"]
            number, offset = divmod(address - LISTS, LIST_BYTES)
            assert number == task.tag and offset % self.bench.config.beat_bytes == 0
            ids = self.bench.queries[number].candidates
            task.ids = ids[offset // 4 : offset // 4 + task.items].tolist()
        self.given[owner["stage"]] += 1
        self.bench.tasks.append(task)
        self.now = task
        self.waiting.append(task)
        self.edges.append(task)

    def _fetch(self, ctx: Any) -> None:
        """Get the rest of the ids, then offer to take a task."""
        port = self.port
        if self.now is not None and len(self.now.ids) == self.now.items:
            self.now = None
        wanted = self.now is not None
        ctx.set(port.ids_wanted, wanted)
        ctx.set(port.ids.ready, wanted and self._go())
        if wanted:
            ctx.set(port.ids_from, self.now.owner)
        unanswered = len(self.waiting) + len(self.ended) + ctx.get(port.done.valid)
        if not wanted and unanswered < TASKS and self._go():
            ctx.set(port.task.ready, 1)

    def _answer(self, ctx: Any) -> None:
        """Offer edges, the next score, the end of a task: each stays until it is taken."""
        port = self.port
        if self.edges and not ctx.get(port.edges.valid) and self._go():
            task = self.edges.popleft()
            edges = self.bench.models[task.model].edges_payload()
            ctx.set(port.edges.payload, {"owner": task.owner, "edges": edges})
            ctx.set(port.edges.valid, 1)
        if self.waiting and not ctx.get(port.score.valid) and self._go():
            self._score(ctx, self.waiting[0])
        if self.ended and not ctx.get(port.done.valid) and self._go():
            if self.ended[0].scored == self.ended[0].items and ctx.get(port.score.valid):
                return  # its last score has not been taken
            task = self.ended.popleft()
            lost = task.scored < task.items
            ctx.set(port.done.payload, {"owner": task.owner, "lost": lost} | task.counters)
            ctx.set(port.done.valid, 1)

    def _score(self, ctx: Any, task: Task) -> None:
        if task.scored == len(task.ids):
            return
        model, identifier = self.bench.models[task.model], task.ids[task.scored]
        task.scored += 1
        last = task.scored == task.items
        logit = model.logit(identifier)
        score = {
            "owner": task.owner,
            "id": identifier,
            "logit": logit,
            "ctr": int(ctr(np.array([logit]))[0]),
            "last": last,
            "status": model.rank(task.ids).error if last else 0,
        }
        ctx.set(self.port.score.payload, score)
        ctx.set(self.port.score.valid, 1)
        if last:
            self.ended.append(self.waiting.popleft())

    def _reset(self, ctx: Any) -> None:
        """Lose all tasks."""
        lost = [*self.ended, *self.waiting]
        self.bench.lost += [task.tag for task in lost]
        self._forget()
        for task in lost:
            task.scored = 0
            task.items += 1  # it ends without its last score
        self.ended.extend(lost)
        for name in ("score", "edges"):
            ctx.set(getattr(self.port, name).valid, 0)
        ctx.set(self.port.task.ready, 0)


class FunnelBench:
    """Asks queries one after the other in each funnel; keeps completions and results."""

    def __init__(
        self, config: Any, models: list[Model], *, seed: int = 1, paces: tuple[float, ...]
    ) -> None:
        self.config, self.models, self.seed = config, models, seed
        self.dut = Funnels(config)
        self.queries: list[golden.Query] = []
        self.fields: list[dict[str, int]] = []
        self.tasks: list[Task] = []
        self.lost: list[int] = []  # tags of tasks that went with a lane
        self.tag_of: dict[int, int] = {}  # funnel -> its query
        self.answers: dict[int, tuple[dict[str, int], list[dict[str, int]]]] = {}
        self.owns = (1 << config.lanes) - 1
        self.lanes = [FakeLane(self, i, pace) for i, pace in enumerate(paces)]
        self.counters: list[Any] = []

    def add(self, query: golden.Query, **fields: int) -> int:
        """Add a query to be asked; return its tag."""
        self.queries.append(query)
        self.fields.append(fields)
        return len(self.queries) - 1

    def check_task(self, task: Task, given: dict[str, Any]) -> None:
        """Hold a task to its descriptor."""
        stage, query = task.owner["stage"], self.queries[task.tag]
        fields = descriptor(query, task.tag, **self.fields[task.tag])
        lanes = fields.get(f"stage{stage}_lanes", 0) or -1
        assert lanes & self.owns & 1 << task.lane
        assert task.model == query.stages[stage][0]
        assert given["listed"] == (stage == 0) == (not given["gather"]["later"])
        assert given["gather"]["sub_batch"] == stage + 3
        for name in ("user_address", "features_address", "features_rows",
                     "item_record_bytes", "user_record_bytes"):  # fmt: skip
            assert given["gather"][name] == fields[name]

    def _asker(self, funnel: int, waiting: deque[int]) -> Any:
        dut = self.dut

        async def ask(ctx: Any) -> None:
            pattern = random.Random(self.seed * 10 + funnel)
            idle = iter(lambda: pattern.choice((0, 0, 1, 3)), None)
            while waiting:
                tag = waiting.popleft()
                self.tag_of[funnel] = tag
                fields = descriptor(self.queries[tag], tag, **self.fields[tag])
                while not ctx.get(dut.idle[funnel]):
                    await ctx.tick()
                await send(ctx, dut.query[funnel], [{"descriptor": fields, "waited": 7 + tag}])
                (done,) = await receive(ctx, dut.completion[funnel], 1, idle)
                results = await receive(ctx, dut.result[funnel], done["count"], idle)
                await expect_silence(ctx, dut.result[funnel], 10)
                assert done["tag"] not in self.answers
                self.answers[done["tag"]] = done, results
            while not ctx.get(dut.idle[funnel]):
                await ctx.tick()

        return ask

    def run(self, limit_cycles: int = 40_000) -> None:
        """Ask all queries; every funnel takes the next one."""
        dut, waiting = self.dut, deque(range(len(self.queries)))

        async def setup(ctx: Any) -> None:
            ctx.set(dut.lane_owns, self.owns)

        async def end(ctx: Any) -> None:
            while len(self.answers) < len(self.queries) or not ctx.get(dut.idle.all()):
                await ctx.tick()
            await ctx.tick().repeat(20)
            for lane in self.lanes:
                assert not lane.waiting and not lane.ended and lane.now is None
                assert not ctx.get(lane.port.task.valid | lane.port.ids.valid)
            self.counters = [plain(ctx.get(each)) for each in dut.counters]

        simulate(
            dut,
            setup,
            end,
            *[self._asker(f, waiting) for f in range(self.config.funnels)],
            monitors=[*dut.completion, *dut.result],
            background=[lane.run for lane in self.lanes],
            limit_cycles=limit_cycles,
        )
        assert sorted(self.answers) == list(range(len(self.queries)))

    def check(self, tag: int, expected: golden.QueryResult) -> None:
        """Hold a query that ran to its end to golden: results, tasks, counters."""
        done, results = self.answers[tag]
        query = self.queries[tag]
        assert done["version"] == ISA_VERSION and done["queue_cycles"] == 7 + tag
        assert (done["status"], done["flags"]) == (expected.status, expected.flags)
        assert done["count"] == expected.count == len(results)
        assert done["overshoot"] == expected.overshoot
        assert [row["id"] for row in results] == expected.ids.tolist()
        assert [row["logit"] for row in results] == expected.logits.tolist()
        assert [row["ctr"] for row in results] == expected.ctr.tolist()
        assert [done[f"items{s}"] for s in range(MAX_STAGES)] == list(expected.items)
        mine = [task for task in self.tasks if task.tag == tag]
        assert done["lanes"] == sum({1 << task.lane for task in mine})
        assert done["lane"] == mine[-1].lane
        for s in range(MAX_STAGES):
            tasks = [task for task in mine if task.owner["stage"] == s]
            for name in TASK_COUNTERS:
                assert done[f"{name}{s}"] == sum(task.counters[name] for task in tasks)
            assert 0 <= done[f"filter_cycles{s}"] <= done[f"stage_cycles{s}"]
            assert done[f"stage_cycles{s}"] <= done["total_cycles"]
            assert bool(tasks) == bool(expected.items[s]) == bool(done[f"stage_cycles{s}"])
            if tasks:
                sizes = query.tasks_of(s).sizes(expected.items[s])
                assert [task.items for task in tasks] == sizes
                assert [len(task.ids) for task in tasks] == sizes
        given = [[i for task in mine if task.owner["stage"] == s for i in task.ids]
                 for s in range(len(expected.stages))]  # fmt: skip
        assert given == [stage.ids.tolist() for stage in expected.stages]
