"""What became of a load on a machine: its queries, its tasks, how busy the lanes were."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["MachineReport", "QueryRecord", "TaskRecord"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRecord:
    """One task; times in cycles of the machine.

    start : given to the lane. gathered : all its data are there. computing : its first layer is
    chosen. end : its last logit. scored : its last score is taken.
    """

    query: int
    stage: int
    lane: int
    items: int
    start: int
    gathered: int
    computing: int
    end: int
    scored: int


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


@dataclass(frozen=True, kw_only=True)
class MachineReport:
    """What became of a load, queries in the order in which they were given.

    array_cycles : by lane, in which a row enters its array.
    memory_cycles : of all ports, or of all row banks if those are more.
    """

    queries: tuple[QueryRecord, ...]
    tasks: tuple[TaskRecord, ...]
    array_cycles: dict[int, int]
    memory_cycles: float

    @property
    def cycles(self) -> int:
        """End of the last query."""
        return max(query.end for query in self.queries)

    @property
    def queries_per_cycle(self) -> float:
        """Rate of completions after the first tenth of them; 0 if there is no time between."""
        ends = sorted(query.end for query in self.queries)
        first = len(ends) // 10
        span = ends[-1] - ends[first]
        return (len(ends) - 1 - first) / span if span else 0.0
