"""Random queries in tasks, faults, resets, new splits: a small machine under everything at once."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rpaccel.golden.lane import Query, run_query
from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.compile import CompiledModels, compile_models
from rpaccel.host.driver import Completion, Driver, Request
from rpaccel.host.partition import Partition, Rectangle, whole
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job.netlist import difference
from rpaccel.main_job.run_trace import LOG_ENTRIES, Answered, Images, RunTrace
from rpaccel.main_job.session import request_of
from rpaccel.main_job.soak_trace import SoakTrace
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.isa import ISA_VERSION, StageKind, StageMode, Status
from rpaccel.spec.stage_tasks import StageTasks
from rpaccel.workloads.random_models import random_query, random_ranker, shared_schema

SPLIT = load_accelerator("tiny").model_copy(
    update={
        "name": "split",
        "lanes": 7,
        "lane_blocks": (2, 1, 1, 1, 1, (1, 2), (2, 1)),  # whole, quarters, halves
        "funnels": 4,
        "weight_words": 8192,
        "param_entries": 1024,
        "act_words": 1024,
        "cross_words": 1024,
        "dense_words": 128,
        "feature_words": 512,
    }
)
QUARTERS = {
    1 + 2 * row + col: Rectangle.square(row, col, 1) for row in range(2) for col in range(2)
}
SPLITS: tuple[Partition, ...] = (
    QUARTERS,
    whole(SPLIT),
    {lane: QUARTERS[lane] for lane in (1, 4)},
)
MEMORY_BYTES = 1 << 22
FAR = 0x8_0000  # where the quarters' image and tables lie
DEPTH = 16
QUERIES = 10_000  # of a whole soak
TRACED = 100  # of a timeline
# What one query in so many brings with it.
DEADLINE, MALFORMED, LANE_RESET, SOFT_RESET, FAULT, NEW_SPLIT = 10, 12, 25, 80, 60, 100

# Descriptor fields that make a good query bad, and the status of each.
MALFORMED_FIELDS: tuple[tuple[dict[str, int], Status], ...] = (
    ({"opcode": 3}, Status.BAD_OPCODE),
    ({"version": ISA_VERSION - 1}, Status.BAD_VERSION),
    ({"stages": 0}, Status.BAD_STAGES),
    ({"stages": 5}, Status.BAD_STAGES),
    ({"stage0_kind": StageKind.RETRIEVE}, Status.BAD_STAGES),
    ({"top_n": 0}, Status.BAD_K),
    ({"top_n": SPLIT.max_top_n + 1}, Status.BAD_K),
    ({"items": 0}, Status.BAD_ITEMS),
    ({"items": SPLIT.max_items + 1}, Status.BAD_ITEMS),
    ({"stage0_model": SPLIT.model_slots}, Status.BAD_MODEL),
    ({"stage0_task_items": 1}, Status.BAD_TASK),
    ({"item_record_bytes": 24}, Status.BAD_RECORD),
    ({"user_record_bytes": 0}, Status.BAD_RECORD),
    ({"user_address": 4}, Status.BAD_RECORD),
    ({"candidates_address": 1 << 40}, Status.REGION),
    ({"candidates_address": 0xF000_0000}, Status.REGION),
    ({"user_address": 0xF000_0000}, Status.REGION),
    ({"features_address": 0xF000_0000}, Status.REGION),
    ({"result_address": 0xF000_0000}, Status.REGION),
    ({"stage0_lanes": 1 << 31}, Status.BAD_LANE),
    ({"features_rows": 0}, Status.BAD_ID),
)


def random_tasks(
    rng: np.random.Generator, k: int, items: int, *, first: bool, last: bool
) -> StageTasks:
    """Return how a stage of at least `items` may be dealt out."""
    sizes = [0, 2, 4, 8, 16] if first else [0, 1, 3, 8]
    task_items = int(rng.choice(sizes))
    mode = StageMode(int(rng.integers(len(StageMode))))
    if last:
        return StageTasks(task_items=task_items)
    if mode in (StageMode.LOCAL, StageMode.PROPORTIONAL):
        tasks = StageTasks.shared(task_items or 4, k, items, mode)
    else:
        tasks = StageTasks(task_items=task_items, mode=mode)
    exact = mode is not StageMode.PROPORTIONAL and rng.random() < 0.4
    return replace(tasks, exact=bool(exact), adaptive=bool(rng.random() < 0.4))


def random_task_query(
    rng: np.random.Generator, config: AcceleratorConfig, rankers: list[QuantisedRanker]
) -> Query:
    """Return a random query of 1..3 stages, in tasks."""
    stages = int(rng.integers(1, 4))
    items = limit = int(rng.integers(1, config.max_items + 1))
    keep = []
    for _ in range(stages - 1):
        limit = int(rng.integers(1, limit + 1))
        keep.append(limit)
    slots = tuple(int(slot) for slot in rng.integers(0, len(rankers), stages))
    query = random_query(rng, config, rankers, items=items, slots=slots, keep=tuple(keep), top_n=5)
    tasks = tuple(
        random_tasks(rng, k, most, first=i == 0, last=i == stages - 1)
        for i, ((_, k), most) in enumerate(zip(query.stages, [items, *keep], strict=True))
    )
    return replace(query, tasks=tasks, survivor_limit=int(rng.choice([0, 0, 5])))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    tag: int
    query: Query
    request: Request
    status: Status | None  # of a malformed one
    faulty: bool  # memory may have failed
    lane_resets: int  # until it was asked
    soft_resets: int
    part: int | None  # of the timeline; None: it is not in it


class Soak:
    """Random rankers on a device of SPLIT, and random things that happen to it.

    Every answer must be golden's; or bring nothing and say that the query was given up, which must
    have a cause: its deadline, a reset of the device or of one of its lanes since it was asked; or,
    while memory fails, say MEMORY. An answer behind its deadline is wrong. `outcomes` counts
    statuses, `events` what was done, `stages` queries by their number of stages.

    Parameters
    ----------
    device : VerilatedDevice
    seed : int
    log : the device logs its tasks, for `timeline`: None until the traced queries come.
    """

    def __init__(self, device: VerilatedDevice, seed: int, *, log: bool = False) -> None:
        self.device, self.rng = device, np.random.default_rng(seed)
        quarter = SPLIT.lane(1)
        small = random_ranker(self.rng, quarter, name="small")
        self.rankers = [small, shared_schema(self.rng, quarter, small, name="large", dim=16)]
        self.driver = Driver(
            device, SPLIT, MEMORY_BYTES, depth=DEPTH, task_log_entries=LOG_ENTRIES if log else 0
        )
        self.images = {
            False: compile_models(self.rankers, quarter, base=FAR),
            True: compile_models(self.rankers, SPLIT.lane(0)),
        }
        self.outcomes: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.stages: Counter[int] = Counter()
        self.timeline: SoakTrace | None = None
        self._asked: deque[_Asked] = deque()
        self._reset_lanes: list[int] = []
        self._faulty = False
        self.split(SPLITS[0])

    def image(self) -> CompiledModels:
        """Return the models that are loaded."""
        return self.images[0 in self._split]

    def split(self, split: Partition) -> None:
        """Give the lanes other blocks while queries are in flight, load their models."""
        self._split = split
        self.driver.partition(split)
        if self.timeline:
            self.timeline.loads(self._loaded())
        self.driver.load_models(self.image(), list(split))
        self.events["splits"] += 1

    def _loaded(self) -> Images:
        return [(self.image(), tuple(self._split))]

    def run(
        self,
        queries: int,
        say: Callable[[str], None],
        *,
        picture: RunTrace | None = None,
        traced: int = 0,
    ) -> None:
        """Ask `queries` queries, DEPTH in flight; raise RuntimeError for a wrong answer.

        picture : of the last `traced` of them, for `timeline`.
        """
        for number in range(queries):
            if picture is not None and number == max(0, queries - traced):
                self.timeline = SoakTrace(self.driver, picture, self._loaded())
            self._ask()
            if len(self._asked) == DEPTH:
                self._take()
            self._disturb()
            if (number + 1) % 500 == 0:
                say(f"{number + 1} of {queries} queries: {dict(self.outcomes)}")
        while self._asked:
            self._take()
        if self.driver.poll():
            raise RuntimeError("completions left must be 0")

    def _one_in(self, count: int) -> bool:
        return bool(self.rng.integers(count) == 0)

    def _ask(self) -> None:
        rng = self.rng
        query = random_task_query(rng, SPLIT, self.rankers)
        self.stages[len(query.stages)] += 1
        lanes = sorted(self._split)
        chosen = rng.permutation(lanes)[: rng.integers(0, len(lanes) + 1)].tolist()
        request = request_of(query, self.rankers, self.driver, lanes=tuple(chosen))
        status: Status | None = None
        fields: dict[str, int] = {}
        if self._one_in(MALFORMED):
            fields, status = MALFORMED_FIELDS[int(rng.integers(len(MALFORMED_FIELDS)))]
        elif self._one_in(DEADLINE):
            request = replace(request, deadline_cycles=int(rng.integers(1, 20_000)))
        tag = self.driver.submit(request, fields=fields)
        self._asked.append(
            _Asked(
                tag=tag,
                query=query,
                request=request,
                status=status,
                faulty=self._faulty,
                lane_resets=len(self._reset_lanes),
                soft_resets=self.events["soft resets"],
                part=self.timeline.part if self.timeline else None,
            )
        )

    def _take(self) -> None:
        asked = self._asked.popleft()
        completion = self.driver.wait(asked.tag)
        self.driver.release_feature_table(asked.request.features)
        self.outcomes[completion.status.name] += 1
        wrong = self._wrong(completion, asked)
        if wrong:
            raise RuntimeError(f"query {sum(self.outcomes.values())}: {wrong}; {asked}")
        if self.timeline and asked.part is not None:
            self.timeline.take(
                asked.part,
                Answered(
                    query=asked.query,
                    golden=run_query(asked.query, self.rankers, SPLIT),
                    completion=completion,
                    lanes=asked.request.lanes,
                ),
            )

    def _may_give_up(self, completion: Completion, asked: _Asked) -> bool:
        """Return whether something happened that lets a query end with the status that it has."""
        reset = set(self._reset_lanes[asked.lane_resets :])
        deadline = asked.request.deadline_cycles
        passed = completion.queue_cycles + completion.total_cycles
        return {
            Status.LATE: 0 < deadline <= passed,
            Status.LANE_RESET: bool(reset & set(asked.request.lanes or range(SPLIT.lanes))),
            Status.ABORTED: self.events["soft resets"] > asked.soft_resets,
            Status.MEMORY: asked.faulty or self._faulty,
        }.get(completion.status, False)

    def _wrong(self, completion: Completion, asked: _Asked) -> str | None:
        """Return what is wrong with an answer."""
        if self._may_give_up(completion, asked):
            return None if completion.ids.size == 0 else "results of a query that was given up"
        if asked.status is not None:
            return None if completion.status is asked.status else f"{completion.status.name}"
        deadline = asked.request.deadline_cycles
        passed = completion.queue_cycles + completion.total_cycles
        if completion.ok and 0 < deadline < passed:
            return f"an answer {passed - deadline} cycles behind its deadline"
        return difference("query", completion, run_query(asked.query, self.rankers, SPLIT))

    def _disturb(self) -> None:
        """Now and then, after a random time: reset, fail, split."""
        rng = self.rng
        if self._one_in(LANE_RESET):
            self.device.run(int(rng.integers(1, 4000)))
            self._reset_lanes.append(int(rng.integers(SPLIT.lanes)))
            self.driver.reset_lanes(self._reset_lanes[-1:])
            self.events["lane resets"] += 1
        if self._one_in(SOFT_RESET):
            self.device.run(int(rng.integers(1, 4000)))
            self.driver.reset()
            self.events["soft resets"] += 1
        if self._faulty:
            self._clear_faults()
        elif self._one_in(FAULT):
            table = self.image().tables[int(rng.integers(len(self.image().tables)))]
            begin = table.address + int(rng.integers(len(table.payload)))
            self.device.inject_fault(begin, begin + 64)
            self._faulty = True
            self.events["faults"] += 1
        if self._one_in(NEW_SPLIT):
            self._clear_faults()
            self.split(SPLITS[int(rng.integers(len(SPLITS)))])

    def _clear_faults(self) -> None:
        """Let all that may have failed come in, then let memory work again."""
        while self._faulty and self._asked:
            self._take()
        self.device.clear_faults()
        self._faulty = False


def soak(
    queries: int,
    seed: int,
    *,
    say: Callable[[str], None],
    build_dir: Path = BUILD_DIR,
    session_queries: int = 2500,
    trace: Path | None = None,
    traced: int = TRACED,
) -> dict[str, Any]:
    """Run `queries` random queries on the Verilated netlist of SPLIT; return what happened.

    Every session_queries get other rankers and another timing of the memory. trace : file of a
    timeline of the last `traced` queries, those of the last session at most, whose device then logs
    its tasks. Raises RuntimeError with the first wrong answer.
    """
    for name, value in (("queries", queries), ("traced", traced)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    library = build_simulator(SPLIT, build_dir=build_dir, progress=say)
    outcomes: Counter[str] = Counter()
    events: Counter[str] = Counter()
    stages: Counter[int] = Counter()
    cycles, start, start_cpu = 0, time.monotonic(), time.process_time()
    for session, first in enumerate(range(0, queries, session_queries)):
        timing = (
            MemoryTiming(jitter_cycles=20, in_order=False, stall_per_mille=100, seed=seed + 1)
            if session % 2
            else MemoryTiming(jitter_cycles=session, seed=seed + 1)
        )
        with VerilatedDevice(SPLIT, timing, memory_bytes=MEMORY_BYTES, library=library) as device:
            last = trace is not None and first + session_queries >= queries
            job = Soak(device, seed + session, log=last)
            picture = RunTrace(SPLIT, job.rankers, timing) if last else None
            job.run(min(session_queries, queries - first), say, picture=picture, traced=traced)
            if trace is not None and job.timeline:
                job.timeline.write(trace)
                say(f"timeline: {trace} (ui.perfetto.dev)")
            outcomes += job.outcomes
            events += job.events
            stages += job.stages
            cycles += device.cycles
    return {
        "seed": seed,
        "queries": sum(outcomes.values()),
        "outcomes": dict(sorted(outcomes.items())),
        "events": dict(sorted(events.items())),
        "stages": dict(sorted(stages.items())),
        "sessions": -(-queries // session_queries),
        "cycles": cycles,
        "seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(time.process_time() - start_cpu, 1),
        "traced": traced if trace else 0,
    }
