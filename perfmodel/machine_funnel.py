"""A query at work in a machine: what its stages can deal out, and what leaves its filters."""

from __future__ import annotations

from collections import deque

from rpaccel.perfmodel.machine_lane import LaneTask
from rpaccel.perfmodel.machine_load import QueryLoad, Release, StageLoad, expected_ids
from rpaccel.perfmodel.machine_report import QueryRecord

__all__ = ["FunnelStage", "QueryFunnel"]


class FunnelStage:
    """A stage of a query.

    lanes : mask of those that may run it. there, given : items so far, and dealt out. known : there
    are no more. receiving : until then the lane of the last task takes its ids.
    turns : tasks in the order in which their scores are taken, the first one from `open` on.
    start : first cycle; -1 before. scored, tasks : items and tasks whose scores have been taken.
    left : ids that have left the filter.
    """

    __slots__ = ("given", "known", "lanes", "left", "load", "number", "open", "receiving",
                 "releases", "scored", "start", "tasks", "there", "turns")  # fmt: skip

    def __init__(self, number: int, load: StageLoad, lanes: int) -> None:
        self.number, self.load, self.lanes = number, load, lanes
        self.there = self.given = self.receiving = self.open = 0
        self.tasks = self.scored = self.left = 0
        self.known = False
        self.start = -1
        self.turns: deque[LaneTask] = deque()
        self.releases: deque[Release] = deque(load.releases)

    def leaving(self, *, final: bool) -> Release:
        """Return what leaves after the task whose scores were taken last."""
        if self.load.releases:
            return self.releases.popleft()
        ids = expected_ids(
            self.load,
            task=self.tasks - 1,
            done=self.scored,
            left=self.left,
            items=None if self.number else self.there,
            final=final,
        )
        return Release(ids=ids)


class QueryFunnel:
    """A query. offer : (stage, items, final), which the grant sees from cycle `valid` on."""

    __slots__ = ("index", "load", "offer", "record", "stages", "valid")

    def __init__(self, index: int, load: QueryLoad, record: QueryRecord, masks: list[int]) -> None:
        self.index, self.load, self.record = index, load, record
        self.stages = [
            FunnelStage(number, *each)
            for number, each in enumerate(zip(load.stages, masks, strict=True))
        ]
        self.stages[0].there, self.stages[0].known = load.items, True
        self.offer: tuple[FunnelStage, int, bool] | None = None
        self.valid = 0

    def due(self, now: int) -> tuple[FunnelStage, int, bool] | None:
        """Return the task of the highest stage that has one: (stage, items, final)."""
        for stage in reversed(self.stages):
            rest, size = stage.there - stage.given, stage.load.tasks.task_items
            if rest == 0 or stage.receiving > now:
                continue
            if size and (rest > size or (rest == size and stage.known)):
                return stage, size, stage.known and rest == size
            if stage.known:
                return stage, rest, True
        return None

    def is_last(self, stage: FunnelStage) -> bool:
        """Whether `stage` is the query's last one."""
        return stage.number == len(self.stages) - 1
