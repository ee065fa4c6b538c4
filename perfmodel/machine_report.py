"""What became of a load on a machine: its queries, its tasks, how busy the lanes were."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["BatchRecord", "MachineReport", "QueryRecord", "TaskRecord"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRecord:
    """One task; times in cycles of the machine.

    start : given to the lane. begin : its first own cycle, after those that it waits for its model.
    gathered : all its data are there. computing : its first layer is chosen. end : its last logit.
    scored : its last score is taken.
    """

    query: int
    stage: int
    lane: int
    items: int
    start: int
    begin: int
    gathered: int
    computing: int
    end: int
    scored: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRecord:
    """One sub-batch of a task; times in cycles of the machine.

    gathering : its gather starts. gathered : its data are there. taken : by the array, with its
    bottom chain. crossed : its interaction is done. chosen : its top chain. logit : its last.
    """

    query: int
    stage: int
    lane: int
    items: int
    gathering: int
    gathered: int
    taken: int
    crossed: int
    chosen: int
    logit: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRecord:
    """One stage of a query.

    start : first cycle. end : its filter has counted, or its list is whole.
    """

    start: int
    end: int
    items: int

    @property
    def cycles(self) -> int:
        """The completion's stage_cycles."""
        return self.end - self.start


@dataclass(kw_only=True, slots=True)
class QueryRecord:
    """One query. accepted : by a funnel. end : its completion is offered."""

    arrival: int
    accepted: int = 0
    end: int = 0
    stages: list[StageRecord] = field(default_factory=list)

    @property
    def total_cycles(self) -> int:
        """From its acceptance to its completion: the completion's field."""
        return self.end - self.accepted

    @property
    def latency_cycles(self) -> int:
        """From its arrival to its completion."""
        return self.end - self.arrival


@dataclass(frozen=True, kw_only=True, eq=False)
class MachineReport:
    """What became of a load, queries in the order in which they were given.

    query_records, stage_records, task_log : QUERY, STAGE, TASK_LOG[n] of machine_state; lanes by
    their places in `lane_numbers`.
    batch_log : BATCH_LOG[n], as BatchRecord; empty if sub-batches were not asked for.
    array_cycles : by lane, in which a row enters its array.
    memory_cycles : of all ports, or of all row banks if those are more.
    steps : of sub-batches, three each: gathered, through the bottom chain and the interaction,
    through the top chain.
    """

    query_records: NDArray[np.void]
    stage_records: NDArray[np.void]
    task_log: NDArray[np.void]
    batch_log: NDArray[np.void]
    lane_numbers: tuple[int, ...]
    array_cycles: dict[int, int]
    memory_cycles: float
    steps: int

    @cached_property
    def queries(self) -> tuple[QueryRecord, ...]:
        """The queries."""
        closed = self.stage_records[self.stage_records["end"] >= 0]
        stages: list[list[StageRecord]] = [[] for _ in self.query_records]
        for query, start, end, items in closed[["query", "start", "end", "given"]].tolist():
            stages[query].append(StageRecord(start=start, end=end, items=items))
        times = self.query_records[["arrival", "accepted", "end"]].tolist()
        return tuple(
            QueryRecord(arrival=arrival, accepted=accepted, end=end, stages=each)
            for (arrival, accepted, end), each in zip(times, stages, strict=True)
        )

    @cached_property
    def tasks(self) -> tuple[TaskRecord, ...]:
        """The tasks, in the order in which their scores were taken."""
        return tuple(
            TaskRecord(
                query=query, stage=stage, lane=self.lane_numbers[lane], items=items, start=start,
                begin=begin, gathered=gathered, computing=computing, end=end, scored=scored,
            )
            for query, stage, lane, items, start, begin, gathered, computing, end, scored
            in self.task_log.tolist()
        )  # fmt: skip

    @cached_property
    def sub_batches(self) -> tuple[BatchRecord, ...]:
        """The sub-batches, in the order of their gathers; none if they were not asked for."""
        return tuple(
            BatchRecord(
                query=query, stage=stage, lane=self.lane_numbers[lane], items=items,
                gathering=gathering, gathered=gathered, taken=taken, crossed=crossed, chosen=chosen,
                logit=logit,
            )
            for query, stage, lane, items, gathering, gathered, taken, crossed, chosen, logit
            in self.batch_log.tolist()
        )  # fmt: skip

    @property
    def cycles(self) -> int:
        """End of the last query."""
        return int(self.query_records["end"].max())

    @property
    def queries_per_cycle(self) -> float:
        """Rate of completions after the first tenth of them; 0 if there is no time between."""
        ends = np.sort(self.query_records["end"]).tolist()
        first = len(ends) // 10
        span = ends[-1] - ends[first]
        return (len(ends) - 1 - first) / span if span else 0.0
