"""A run's timeline for Perfetto: what a device logged, and what the model says, in one picture.

The model (`perfmodel.machine`) is told when queries were fetched, what their filters let pass (by
the golden model), how long their lists are, and which share of rows read no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rpaccel.golden.lane import Query, QueryResult
from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.compile import CompiledModels
from rpaccel.host.driver import Completion, Driver
from rpaccel.host.query import fetched_after
from rpaccel.host.task_log import TaskLogReader, TaskRecord
from rpaccel.host.timeline import device_events
from rpaccel.main_job.query_load import query_load
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.machine_load import Machine
from rpaccel.perfmodel.machine_report import MachineReport
from rpaccel.perfmodel.shapes import ModelShape
from rpaccel.perfmodel.timeline import machine_events
from rpaccel.perfmodel.trace_events import Event, query_span, trace_json
from rpaccel.scheduler.shapes import compiled_shape
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.platform import MemoryTiming as ModelTiming

__all__ = [
    "LOG_ENTRIES", "Answered", "DeviceTrace", "Images", "RunTrace", "hit_share",
    "retrieval_events", "row_totals", "task_log_of", "write_events",
]  # fmt: skip

LOG_ENTRIES = 1024  # of a device's log of tasks, at most between two calls of `add`
QUERIES = 2  # the device's second process
MODEL = 3  # the model's first
TOLD = MODEL + 3  # of the model that is told the records, if there is one

Images = Sequence[tuple[CompiledModels, Sequence[int]]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """A query, the golden answer, the device's.

    lanes : that it may use; (): all. sub_batch : of the descriptor; 0: as the compiler chose.
    """

    query: Query
    golden: QueryResult
    completion: Completion
    lanes: tuple[int, ...] = ()
    sub_batch: int = 0


def row_totals(driver: Driver) -> dict[str, int]:
    """Return the row banks' counters together, in beats."""
    banks = driver.row_counters()
    return {name: sum(bank[name] for bank in banks) for name in banks[0]}


def hit_share(before: Mapping[str, int], after: Mapping[str, int]) -> float:
    """Return the share of rows' beats that read no memory between two looks at the counters."""
    beats = {name: after[name] - before[name] for name in after}
    found = beats["pinned"] + beats["hits"] + beats["merged"]
    return found / max(1, found + beats["misses"] + beats["refused"])


def task_log_of(driver: Driver) -> TaskLogReader:
    """Return the log of a driver's device. Raises ValueError if it keeps none."""
    if driver.task_log is None:
        raise ValueError("driver must keep a log of tasks for a timeline, not none")
    return driver.task_log


def write_events(path: Path, *sources: Iterable[Event]) -> None:
    """Write events as a file that ui.perfetto.dev and chrome://tracing open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(trace_json(*sources))


class RunTrace:
    """Events of a device's run and of the model's.

    Parameters
    ----------
    config : AcceleratorConfig
    rankers : of the queries' slots.
    timing : of the device's memory; the model is told its read latency.
    """

    def __init__(
        self, config: AcceleratorConfig, rankers: Sequence[QuantisedRanker], timing: MemoryTiming
    ) -> None:
        self.config, self.rankers = config, rankers
        self.memory = ModelTiming(
            latency_cycles=timing.read_latency_cycles, source="the simulated memory"
        )
        self.events: list[Event] = []

    def add(
        self,
        images: Images,
        answered: Sequence[Answered],
        log: Iterable[TaskRecord],
        hits: float,
        *,
        retrieved: bool = False,
        told: MachineReport | None = None,
    ) -> None:
        """Add queries that shared a machine which was split and loaded in one way.

        images : with the lanes that hold them. log : of the queries' tasks. hits : share of rows
        that read no memory. The model leaves out queries that did not end well.
        retrieved : a retrieval was in front of the queries' stages; the model is told when it was
        over. told : what another model says of them, which is told their records; all ended well.
        """
        if retrieved:
            completions = [each.completion for each in answered]
            self.events += retrieval_events(completions, process=QUERIES)
            answered = [
                replace(each, completion=_behind_retrieval(each.completion)) for each in answered
            ]
        self.events += device_events(log, [each.completion for each in answered])
        done = [each for each in answered if each.completion.ok]
        if not done:
            return
        completions = [each.completion for each in done]
        fetched = fetched_after(completions)
        start = completions[0].ended_at - _in_device(completions[0]) - fetched[0]
        held: dict[int, dict[str, ModelShape]] = {}
        loads = []
        for number, (each, arrival) in enumerate(zip(done, fetched, strict=True)):
            models, lanes = [], []
            for stage, (slot, _) in enumerate(each.query.stages):
                image, own = _holder(images, self.rankers[slot].name)
                name, shape = self._shape(image, slot, each, number, stage)
                for lane in own:
                    held.setdefault(lane, {}).setdefault(name, shape)
                models.append(name)
                lanes.append(tuple(n for n in own if not each.lanes or n in each.lanes))
            loads.append(
                query_load(
                    each.query, each.golden, self.rankers, lanes, models=models, arrival=arrival,
                    sub_batch=each.sub_batch,
                )
            )  # fmt: skip
        names = {name for shapes in held.values() for name in shapes}
        machine = Machine(
            config=self.config,
            memory=self.memory,
            lanes=held,
            row_hits=dict.fromkeys(names, hits),
        )
        report = simulate(machine, loads, sub_batches=True)
        tags = [completion.tag for completion in completions]
        self.events += machine_events(report, process=MODEL, start=start, tags=tags)
        if told is not None:
            begin = start - min(query.arrival for query in told.queries)
            self.events += machine_events(
                told, process=TOLD, start=begin, tags=tags, source="model, told the records"
            )

    def write(self, path: Path) -> None:
        """Write the picture; see `write_events`."""
        write_events(path, self.events)

    def _shape(
        self, image: CompiledModels, slot: int, each: Answered, number: int, stage: int
    ) -> tuple[str, ModelShape]:
        """Return the shape of a stage's model, and its name: one of its own if lists vary."""
        ranker = self.rankers[slot]
        if not any(feature.multi_hot for feature in ranker.features):
            return ranker.name, compiled_shape(image, ranker.name)
        user = np.frombuffer(each.query.user_record, np.uint8)[None, :]
        reached = each.golden.stages[stage].ids if stage < len(each.golden.stages) else ()
        ids = reached if len(reached) else each.query.candidates
        items = np.ascontiguousarray(each.query.features[ids])
        return f"{number}.{stage}", compiled_shape(image, ranker.name, user, items)


class DeviceTrace:
    """What a device does from now on, beside the model, in a picture of its own.

    Parameters
    ----------
    driver : Driver  With a log of tasks.
    rankers : of the queries' slots.
    timing : of the device's memory.
    images : what is loaded, with the lanes that hold it.
    """

    def __init__(
        self,
        driver: Driver,
        rankers: Sequence[QuantisedRanker],
        timing: MemoryTiming,
        images: Images,
    ) -> None:
        self._driver, self._images, self._log = driver, images, task_log_of(driver)
        self._picture = RunTrace(driver.config, rankers, timing)
        self._log.take()  # of queries before
        self._rows = row_totals(driver)

    def take(self, answered: Sequence[Answered], told: MachineReport | None = None) -> None:
        """Add queries, all that were asked since the last call. told : see RunTrace.add."""
        rows = row_totals(self._driver)
        hits = hit_share(self._rows, rows)
        self._picture.add(self._images, answered, self._log.take(), hits, told=told)
        self._rows = rows

    def write(self, path: Path) -> None:
        """Write the picture of all that was taken."""
        self._picture.write(path)


def _behind_retrieval(completion: Completion) -> Completion:
    """Return a completion as if the query had come when its retrieval was over."""
    found = completion.stage_cycles[0]
    return replace(
        completion,
        queue_cycles=0,
        total_cycles=completion.total_cycles - found,
        stage_cycles=(*completion.stage_cycles[1:], 0),
    )


def retrieval_events(completions: Iterable[Completion], *, process: int) -> list[Event]:
    """Return spans of the retrievals that queries began with. process : of the queries."""
    events = []
    for each in completions:
        begun = each.ended_at - each.total_cycles
        facts = {
            "rows": each.items[0],
            "scan_cycles": each.gather_cycles[0],
            "stalled_cycles": each.filter_cycles[0],
        }
        events += query_span(
            "retrieval", each.tag, begun, begun + each.stage_cycles[0], process=process,
            facts=facts,
        )  # fmt: skip
    return events


def _in_device(completion: Completion) -> int:
    return completion.queue_cycles + completion.total_cycles


def _holder(images: Images, model: str) -> tuple[CompiledModels, Sequence[int]]:
    return next((image, lanes) for image, lanes in images if model in image.names)
