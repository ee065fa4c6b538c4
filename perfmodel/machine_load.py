"""What a machine is asked: queries, their stages, and what leaves the filters between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rpaccel.perfmodel.bucket_filter import exact_cycles, first_survivor_cycles
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.perfmodel.shapes import ModelShape
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import MAX_STAGES, StageMode
from rpaccel.spec.platform import MemoryTiming
from rpaccel.spec.stage_tasks import StageTasks

__all__ = ["Machine", "QueryLoad", "Release", "StageLoad", "leaving_ids"]

UNKNOWN = -1
WHOLE, GLOBAL = int(StageMode.WHOLE), int(StageMode.GLOBAL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """What leaves a filter at a time.

    cycles : from the last score taken to the first id, perfmodel.bucket_filter.
    exact : of those, cycles in which a bin is cut to an exact k: ids have been counted before.
    """

    ids: int
    cycles: int = first_survivor_cycles()
    exact: int = 0

    @classmethod
    def of(cls, ids: int, bins_scanned: int, passes: Sequence[tuple[int, int]] = ()) -> Release:
        """Return a release. bins_scanned, passes : see perfmodel.bucket_filter."""
        cycles = first_survivor_cycles(bins_scanned, passes=passes)
        return cls(ids=ids, cycles=cycles, exact=exact_cycles(passes))


@dataclass(frozen=True, kw_only=True)
class StageLoad:
    """One stage of a query.

    model : that every lane that may run it holds. k : that the filter keeps; not of the last stage.
    tasks : how its items are dealt out. lanes : that may run it, empty: all.
    sub_batch : of the descriptor; 0 takes the slot's.
    releases : what leaves the filter after each task, or once if `tasks` is WHOLE; empty: as
        `leaving_ids` says.
    """

    model: str
    k: int = 0
    tasks: StageTasks = field(default_factory=StageTasks)
    lanes: tuple[int, ...] = ()
    sub_batch: int = 0
    releases: tuple[Release, ...] = ()


@dataclass(frozen=True, kw_only=True)
class QueryLoad:
    """A query that waits from cycle `arrival` on.

    items : candidates of the first stage. after : number of another query of the load, at whose end
    it is made; `arrival` is then the time from that end, in which the host works, say.
    """

    arrival: int
    items: int
    stages: tuple[StageLoad, ...]
    records: RecordSizes
    top_n: int
    after: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.stages) <= MAX_STAGES:
            raise ValueError(f"stages must be in 1..{MAX_STAGES}, not {len(self.stages)}")
        if self.items < 1 or self.arrival < 0:
            raise ValueError(
                f"items must be at least 1 and arrival at least 0, not {self.items}, {self.arrival}"
            )


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine as its partition has it.

    lanes : number -> model -> its shape on config.lane(number). Shapes of one name are the same
    model with other records: a lane does not change between them.
    row_hits : model -> share of its rows' beats that read no memory; 0 if left out.
    bank_skews : model -> skew of the banks' reads, see costs.GatherMachine; 1 if left out.
    """

    config: AcceleratorConfig
    memory: MemoryTiming
    lanes: Mapping[int, Mapping[str, ModelShape]]
    row_hits: Mapping[str, float] = field(default_factory=dict)
    bank_skews: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = [lane for lane in self.lanes if not 0 <= lane < self.config.lanes]
        if wrong or not self.lanes:
            raise ValueError(
                f"lanes must be some of 0..{self.config.lanes - 1}, not {sorted(self.lanes)}"
            )

    def lanes_of(self, stage: StageLoad) -> tuple[int, ...]:
        """Return the lanes that may run `stage`. Raises ValueError if one lacks its model."""
        lanes = tuple(lane for lane in stage.lanes or self.lanes if lane in self.lanes)
        lacking = [lane for lane in lanes if stage.model not in self.lanes[lane]]
        if lacking or not lanes:
            raise ValueError(f"lanes of {stage.model} must hold it, not {lacking or 'none'}")
        return lanes


def leaving_ids(
    mode: int, k: int, task_k: int, task: int, done: int, left: int, items: int, final: bool
) -> int:
    """Return the ids that leave after a task if the filter keeps just what it is asked for.

    mode, k, task_k : of the stage. task : number of the task, whose last score is the `done`th of
    the stage's. left : ids that have left before. items : of the stage, or UNKNOWN before its end.
    WHOLE leaves once. GLOBAL: what is sure to be chosen whatever the scores to come, at most.
    Also compiled by perfmodel.machine_funnel_kernels.
    """
    if final or mode == WHOLE:
        due = k
    elif mode == GLOBAL:
        due = k - (k if items == UNKNOWN else items - done)
    else:
        due = task_k * (task + 1)
    return max(0, min(due, k, done) - left)
