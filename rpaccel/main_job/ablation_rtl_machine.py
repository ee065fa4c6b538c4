"""A machine with some of RPAccel's ideas: how it is split and loaded, what it is asked, its host.

`scheduler.ablation` has the same designs for the model of the `paper` machine. The host between two
stages (without O.2) works in simulated time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rpaccel.golden.lane import Query, QueryResult, run_query
from rpaccel.host.bus import Bus
from rpaccel.host.compile import CompiledModels, compile_models
from rpaccel.host.driver import Completion, Driver, FeatureTable, Request
from rpaccel.host.partition import Partition, Rectangle, split_8_2, whole
from rpaccel.host.query import fetched_after
from rpaccel.host.records import padded_record_bytes
from rpaccel.host.row_pins import Pins, profile_rows
from rpaccel.main_job.criteo_machine import MEMORY_BYTES
from rpaccel.main_job.criteo_models import (
    EIGHT_TWO,
    OTHERS,
    PROFILE_QUERIES,
    CriteoModels,
    compile_criteo,
)
from rpaccel.main_job.netlist import difference
from rpaccel.main_job.run_trace import Answered
from rpaccel.scheduler.ablation import Design
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import StageMode
from rpaccel.spec.stage_tasks import StageTasks

__all__ = [
    "ClockedBus", "Place", "Questions", "RtlHost", "Times", "make_places",
]  # fmt: skip

POLL_CYCLES = 64  # between two looks of the host at its ring
LIMIT_CYCLES = 20_000_000  # of all queries that are asked together


class ClockedBus(Bus, Protocol):
    """A bus whose device has a clock that the host can let run."""

    @property
    def cycles(self) -> int:
        """Cycles since the simulation began."""
        ...

    def run(self, cycles: int) -> None:
        """Let `cycles` cycles pass."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """A machine that is split and loaded in one way.

    images : in the order of loading, with their lanes. pins : what the static caches hold, and
    whether lanes read ahead; None: nothing, and they do not (O.4 is off).
    """

    name: str
    partition: Partition
    images: tuple[tuple[CompiledModels, tuple[int, ...]], ...]
    pins: Pins | None = None

    def image_of(self, model: str) -> tuple[CompiledModels, tuple[int, ...]]:
        """Return the image that holds a model, and its lanes."""
        for image, lanes in self.images:
            if model in image.names:
                return image, lanes
        raise ValueError(f"{self.name} must hold {model}")


def _place_name(design: Design) -> str:
    """Return the name of the place that a design needs, of `make_places`."""
    two, split = design.has("O.1"), design.has("O.3")
    name = (EIGHT_TWO if two else "quarters") if split else "whole"
    return f"{name}, pinned" if design.has("O.4") else name


def make_places(models: CriteoModels, config: AcceleratorConfig) -> dict[str, Place]:
    """Return the places of all designs by name.

    Pinned rows are those that other queries name most often. A machine of one stage pins rows of
    the large ranker in all lines, one of two stages shares them as `compile_criteo` does.
    Raises ValueError for a machine that cannot be split so.
    """
    split = split_8_2(config)
    images = compile_criteo(models, config)
    twos = [lane for lane in range(config.lanes) if config.lane_shape(lane) == (2, 2)][:4]
    corners = [(row, col) for row in (0, 2) for col in (0, 2)]
    quarters = {
        lane: Rectangle.square(row, col, 2) for lane, (row, col) in zip(twos, corners, strict=True)
    }
    large = compile_models([models.large], config.lane(twos[0]))
    both = compile_models(list(models.rankers), config.lane(0))
    popular = _popular(models, config)
    pinned = compile_models(list(models.rankers), config.lane(0), pins=popular)
    back, front = (images.large, images.back), images.front[EIGHT_TWO]
    made = (
        Place(name="whole", partition=whole(config), images=((both, (0,)),)),
        Place(
            name="whole, pinned",
            partition=whole(config),
            images=((pinned, (0,)),),
            pins=popular,
        ),
        Place(name="quarters", partition=quarters, images=((large, tuple(twos)),)),
        Place(
            name=EIGHT_TWO,
            partition=split,
            images=(back, (images.small[EIGHT_TWO], front)),
        ),
        Place(
            name=f"{EIGHT_TWO}, pinned",
            partition=split,
            images=(back, (images.first, front)),
            pins=images.pins,
        ),
    )
    return {place.name: place for place in made}


def _popular(models: CriteoModels, config: AcceleratorConfig) -> Pins:
    """Return the large ranker's rows that other queries of one stage name most often."""
    asked = [models.workload.query(OTHERS + number) for number in range(PROFILE_QUERIES)]
    queries = [
        replace(models.query(each, StageMode.WHOLE, config), stages=((1, models.funnel.served),))
        for each in asked
    ]
    counts = profile_rows(models.rankers, queries)[0]
    room = config.static_cache_lines * config.banks * config.beat_bytes // models.large.dim
    return Pins(
        split=config.static_cache_lines, rows=([name for name, _ in counts.most_common(room)], ())
    )


class Questions:
    """What a design asks its machine: queries of the workload, in one part or two.

    Two parts: without O.2 the host has the first stage's scores, and asks the second stage.
    """

    def __init__(self, models: CriteoModels, design: Design, config: AcceleratorConfig) -> None:
        self.models, self.design, self.config = models, design, config
        self.name = _place_name(design)
        self.two = design.has("O.1")
        self.parts = 2 if self.two and not design.has("O.2") else 1
        funnel = models.funnel
        self.stages = ((0, funnel.keep), (1, funnel.served)) if self.two else ((1, funnel.served),)
        self.tasks = self._tasks() if design.has("O.5") else (StageTasks(),) * len(self.stages)

    def _tasks(self) -> tuple[StageTasks, ...]:
        """Return O.5: four tasks of a query (RecPipe); if the array is split, one for each lane."""
        items, keep = self.models.funnel.items, self.models.funnel.keep
        if not self.two:
            return (StageTasks(task_items=items // 4),)
        front, back = (items // 8, keep // 2) if self.design.has("O.3") else (items // 4, keep // 4)
        mode = StageMode.PROPORTIONAL
        first = StageTasks(task_items=front)
        if self.design.has("O.2"):
            first = StageTasks.shared(front, keep, items, mode)
        return first, StageTasks(task_items=back)

    @property
    def key(self) -> tuple[object, ...]:
        """What the device is asked: designs of one key differ in the host's work alone."""
        return self.name, self.parts, self.stages, self.tasks

    @property
    def in_flight(self) -> int:
        """Queries that keep the machine busy: as many as funnels; on one lane two of one stage.

        Stages of several queries take turns on a lane; the host works between two.
        """
        return self.config.funnels if self.design.has("O.3") or self.two else 2

    def first(self, number: int) -> Query:
        """Return the query, or its first part."""
        asked = self.models.query(self.models.workload.query(number), StageMode.WHOLE, self.config)
        count = 1 if self.parts == 2 else len(self.stages)
        funnel = self.models.funnel
        return replace(
            asked,
            stages=self.stages[:count],
            tasks=self.tasks[:count],
            top_n=min(funnel.keep, self.config.max_top_n) if self.parts == 2 else funnel.served,
        )

    def kept(self, golden: QueryResult) -> npt.NDArray[np.uint32]:
        """Return the ids that the host chooses of a first part's scores: its list, and more."""
        scores = golden.stages[0]
        order = np.lexsort((scores.ids, -scores.logits.astype(np.int64)))
        return scores.ids[order[: self.models.funnel.keep]].astype(np.uint32)

    def second(self, query: Query, kept: npt.NDArray[np.uint32]) -> Query:
        """Return the second part of a query of two: `kept` are the ids that the host chose."""
        return replace(
            query,
            candidates=kept,
            stages=self.stages[1:],
            tasks=self.tasks[1:],
            top_n=self.models.funnel.served,
        )


@dataclass(frozen=True, kw_only=True)
class Times:
    """Of queries by their numbers: fetch of the first part, end of the last [cycles].

    Cycles are counted from the first fetch of all.
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]


@dataclass(kw_only=True, eq=False)
class _Flying:
    number: int
    features: FeatureTable
    queries: list[Query]
    tag: int = -1
    due: int | None = None  # cycle at which the host asks the next part
    completions: list[Completion] = field(default_factory=list)
    goldens: list[QueryResult] = field(default_factory=list)


class RtlHost:
    """A driver over a device that is split and loaded as a place says.

    Parameters
    ----------
    device : ClockedBus  With MEMORY_BYTES of memory, just made.
    depth : queries in flight at most, a power of two. tables : queries that are asked at most.
    log_entries : of the device's log of tasks, a power of two; 0: none is kept.

    `answered` is what was asked last, part by part, in the order of submission.
    """

    def __init__(
        self, device: ClockedBus, place: Place, models: CriteoModels, config: AcceleratorConfig,
        *, depth: int, tables: int, log_entries: int = 0,
    ) -> None:  # fmt: skip
        self.answered: list[Answered] = []
        self.device, self.place, self.models, self.config = device, place, models, config
        record_bytes = padded_record_bytes(models.workload.schema, "item", config)
        self.driver = Driver(
            device,
            config,
            MEMORY_BYTES,
            depth=depth,
            prefetch=place.pins is not None,
            feature_bytes=tables * models.funnel.items * record_bytes,
            task_log_entries=log_entries,
        )
        self.driver.partition(place.partition)
        for image, lanes in place.images:
            self.driver.load_models(image, lanes)

    def ask(
        self, questions: Questions, numbers: Sequence[int], in_flight: int, round_trip_cycles: int
    ) -> Times:
        """Ask queries and check every answer; return when they came and ended.

        in_flight : of them are asked at once, each other one at the end of the one as many places
        before. round_trip_cycles : from the answer to a first part until the second is asked.
        Raises ValueError if the design needs another place, RuntimeError with the first bit that
        differs from the golden model, TimeoutError if no end comes.
        """
        if questions.name != self.place.name:
            raise ValueError(f"place must be {questions.name}, not {self.place.name}")
        flying = [self._prepare(questions, number) for number in numbers]
        for each in flying[:in_flight]:
            each.due = self.device.cycles
        limit = self.device.cycles + LIMIT_CYCLES
        while any(len(each.completions) < questions.parts for each in flying):
            if self.device.cycles > limit:
                raise TimeoutError(f"no end in {LIMIT_CYCLES} cycles; {self.driver.state()}")
            for each in flying:
                if each.due is not None and each.due <= self.device.cycles:
                    each.tag = self.driver.submit(self._request(each.queries[-1], each.features))
                    each.due = None
            due = [each.due for each in flying if each.due is not None]
            wait = min(due, default=LIMIT_CYCLES) - self.device.cycles
            self.device.run(max(1, min(POLL_CYCLES, wait)))
            for completion in self.driver.poll():
                place = next(n for n, each in enumerate(flying) if each.tag == completion.tag)
                self._take(questions, flying[place], completion)
                if len(flying[place].completions) < questions.parts:
                    flying[place].due = self.device.cycles + round_trip_cycles
                elif place + in_flight < len(flying):
                    flying[place + in_flight].due = self.device.cycles
        for each in flying:
            self.driver.release_feature_table(each.features)
        parts = [
            Answered(query=query, golden=golden, completion=completion)
            for each in flying
            for query, golden, completion in zip(
                each.queries, each.goldens, each.completions, strict=True
            )
        ]
        self.answered = sorted(parts, key=lambda part: part.completion.tag)
        return _times(flying)

    def row_counters(self) -> dict[str, int]:
        """Return the row banks' counters together, in beats."""
        banks = self.driver.row_counters()
        return {name: sum(bank[name] for bank in banks) for name in banks[0]}

    def _prepare(self, questions: Questions, number: int) -> _Flying:
        query = questions.first(number)
        features = self.driver.register_feature_table(query.features)
        return _Flying(number=number, features=features, queries=[query])

    def _take(self, questions: Questions, each: _Flying, completion: Completion) -> None:
        """Check an answer; after a first part, make the second of what it lists."""
        query, part = each.queries[-1], len(each.completions)
        golden = run_query(query, self.models.rankers, self.config)
        name = f"{questions.design.name}, query {each.number}, part {part}"
        wrong = difference(name, completion, golden)
        if wrong is not None:
            raise RuntimeError(f"the device is not bit-exact: {wrong}")
        each.completions.append(completion)
        each.goldens.append(golden)
        if len(each.completions) < questions.parts:
            each.queries.append(questions.second(query, questions.kept(golden)))

    def _request(self, query: Query, features: FeatureTable) -> Request:
        return Request(
            user_record=query.user_record,
            candidates=query.candidates,
            features=features,
            stages=[(self.models.rankers[slot].name, k) for slot, k in query.stages],
            top_n=query.top_n,
            tasks=query.tasks,
        )


def _times(flying: Sequence[_Flying]) -> Times:
    parts = [completion for each in flying for completion in each.completions]
    fetched = iter(fetched_after(parts))
    starts, ends = [], []
    for each in flying:
        times = [next(fetched) for _ in each.completions]
        last = each.completions[-1]
        starts.append(times[0])
        ends.append(times[-1] + last.queue_cycles + last.total_cycles)
    return Times(starts=tuple(starts), ends=tuple(ends))
