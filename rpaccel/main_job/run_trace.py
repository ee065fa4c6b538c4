"""A run's timeline for Perfetto: what a device logged, and what the model says, in one picture.

The model (`perfmodel.machine`) is told when queries were fetched, what their filters let pass (by
the golden model), how long their lists are, and which share of rows read no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rpaccel.golden.lane import Query, QueryResult
from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.compile import CompiledModels
from rpaccel.host.driver import Completion, Driver
from rpaccel.host.query import fetched_after
from rpaccel.host.task_log import TaskRecord
from rpaccel.host.timeline import device_events
from rpaccel.main_job.query_load import query_load
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.machine_load import Machine
from rpaccel.perfmodel.shapes import ModelShape
from rpaccel.perfmodel.timeline import machine_events
from rpaccel.perfmodel.trace_events import Event, query_span, trace_json
from rpaccel.scheduler.shapes import compiled_shape
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.platform import MemoryTiming as ModelTiming

__all__ = ["LOG_ENTRIES", "Answered", "Images", "RunTrace", "hit_share", "row_totals"]

LOG_ENTRIES = 1024  # of a device's log of tasks, at most between two calls of `add`
MODEL = 3  # the model's first process; the device has two

Images = Sequence[tuple[CompiledModels, Sequence[int]]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """A query, the golden answer, the device's. lanes : that it may use; (): all."""

    query: Query
    golden: QueryResult
    completion: Completion
    lanes: tuple[int, ...] = ()


def row_totals(driver: Driver) -> dict[str, int]:
    """Return the row banks' counters together, in beats."""
    banks = driver.row_counters()
    return {name: sum(bank[name] for bank in banks) for name in banks[0]}


def hit_share(before: Mapping[str, int], after: Mapping[str, int]) -> float:
    """Return the share of rows' beats that read no memory between two looks at the counters."""
    beats = {name: after[name] - before[name] for name in after}
    found = beats["pinned"] + beats["hits"] + beats["merged"]
    return found / max(1, found + beats["misses"] + beats["refused"])


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
    ) -> None:
        """Add queries that shared a machine which was split and loaded in one way.

        images : with the lanes that hold them. log : of the queries' tasks. hits : share of rows
        that read no memory. The model leaves out queries that did not end well.
        retrieved : a retrieval was in front of the queries' stages; the model is told when it was
        over.
        """
        if retrieved:
            self.events += _retrievals(each.completion for each in answered)
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
                    each.query, each.golden, self.rankers, lanes, models=models, arrival=arrival
                )
            )
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

    def write(self, path: Path) -> None:
        """Write the picture; ui.perfetto.dev and chrome://tracing open it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(trace_json(self.events))

    def _shape(
        self, image: CompiledModels, slot: int, each: Answered, number: int, stage: int
    ) -> tuple[str, ModelShape]:
        """Return the shape of a stage's model, and its name: one of its own if lists vary."""
        ranker = self.rankers[slot]
        if not any(feature.multi_hot for feature in ranker.features):
            return ranker.name, compiled_shape(image, ranker.name)
        user = np.frombuffer(each.query.user_record, np.uint8)[None, :]
        items = np.ascontiguousarray(each.query.features[each.golden.stages[stage].ids])
        return f"{number}.{stage}", compiled_shape(image, ranker.name, user, items)


def _behind_retrieval(completion: Completion) -> Completion:
    """Return a completion as if the query had come when its retrieval was over."""
    found = completion.stage_cycles[0]
    return replace(
        completion,
        queue_cycles=0,
        total_cycles=completion.total_cycles - found,
        stage_cycles=(*completion.stage_cycles[1:], 0),
    )


def _retrievals(completions: Iterable[Completion]) -> Iterator[Event]:
    for completion in completions:
        begun = completion.ended_at - completion.total_cycles
        end = begun + completion.stage_cycles[0]
        yield from query_span("retrieval", completion.tag, begun, end, process=2)


def _in_device(completion: Completion) -> int:
    return completion.queue_cycles + completion.total_cycles


def _holder(images: Images, model: str) -> tuple[CompiledModels, Sequence[int]]:
    return next((image, lanes) for image, lanes in images if model in image.names)
