"""A whole machine under a load: funnels, tasks, lanes, shared memory; an event per grant.

A query's tasks are placed when they are granted, from what was granted before: formulas of
`perfmodel.task_profile` for the lane, the turns of `perfmodel.shared_memory` for what lanes share.
A single query on a single lane takes exactly what `perfmodel.lane.predict_query` says.

Simplified: memory serves the task that was granted first; the four-deep queue of a lane's answers
and reading ahead are left out.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rpaccel.perfmodel import ordered_top_n
from rpaccel.perfmodel.lane import END_CYCLES, OPEN_CYCLES, SCORE_CYCLES
from rpaccel.perfmodel.layer_engine import LONG_AGO
from rpaccel.perfmodel.machine_load import Machine, QueryLoad, Release, StageLoad, expected_ids
from rpaccel.perfmodel.shared_memory import SharedMemory
from rpaccel.perfmodel.task_profile import TaskProfile, task_profile
from rpaccel.spec.isa import StageMode

__all__ = ["MachineReport", "QueryRecord", "TaskRecord", "simulate"]

ACCEPT_CYCLES = 1  # Funnel: IDLE to RUN
OFFER_CYCLES = 1  # Funnel: offer register
TASK_CYCLES = 2  # TaskGrant: choice, grant; to the task's first cycle
GRANT_GAP_CYCLES = 2  # TaskGrant: one task in 2 cycles
AGAIN_CYCLES = 2  # Funnel: from a choice to when the next offer is made
HANDED_CYCLES = 1  # Gather: busy falls after the last sub-batch
COMPUTED_CYCLES = 2  # Lane: last logit to `computed`
RELEASE_CYCLES = 2  # BucketFilter: idle to the next release
ANSWER_CYCLES = 4  # Funnel: from the completion to IDLE, without the results
FORGET_EVERY = 4096  # grants
ROUNDING = 1e-6  # [cycles] of sums of parts of cycles

ARRIVE, OFFER, WAKE, READY, COUNTED, FREE = range(6)


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRecord:
    """One task; times in cycles of the machine.

    start : given to the lane. gathered : all its data are there. end : after its last logit.
    scored : its last score is taken.
    """

    query: int
    stage: int
    lane: int
    items: int
    start: int
    gathered: int
    end: int
    scored: int


@dataclass(kw_only=True, slots=True)
class QueryRecord:
    """One query. accepted : by a funnel. end : its completion is offered.

    stages : (first cycle, end, items) of each stage that ran.
    """

    arrival: int
    accepted: int = 0
    end: int = 0
    stages: list[tuple[int, int, int]]

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
    """What became of a load, in the order of the queries given.

    array_cycles : by lane, in which a row enters its array.
    memory_cycles : in which the shared memory is used up.
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
        """Rate of completions between the first and the last one, after a tenth of them."""
        ends = sorted(query.end for query in self.queries)
        first = len(ends) // 10
        span = ends[-1] - ends[first]
        return (len(ends) - 1 - first) / span if span else 0.0


class _Lane:
    """What a lane has been given."""

    __slots__ = ("array", "ends", "given", "model", "number", "scored", "waiting")

    def __init__(self, number: int) -> None:
        self.number = number
        self.model = ""
        self.ends = LONG_AGO  # last logit of the last task
        self.scored = 0  # last score taken
        self.given = 0  # items so far
        self.waiting: deque[tuple[int, int]] = deque()  # items so far, when their scores have gone
        self.array = 0


class _Stage:
    """A stage of a query in a funnel.

    given, there : items that have been dealt out, that can be. known : there are no more.
    receiving : until then the lane of the last task takes its ids.
    open : from then on the sink takes the next score. begun : first cycle.
    tasks : granted. left : ids that have left its filter.
    """

    __slots__ = ("begun", "given", "known", "lanes", "left", "load", "open", "receiving",
                 "releases", "tasks", "there")  # fmt: skip

    def __init__(self, load: StageLoad, lanes: int) -> None:
        self.load, self.lanes = load, lanes
        self.there = self.given = self.receiving = self.open = self.tasks = self.left = 0
        self.known = False
        self.begun = -1
        self.releases: deque[Release] = deque(load.releases)


class _Funnel:
    """A query at work. offer : (stage, items, final), seen by the grant from cycle `valid` on."""

    __slots__ = ("index", "offer", "query", "record", "stages", "valid")

    def __init__(self, index: int, query: QueryLoad, record: QueryRecord, masks: list[int]) -> None:
        self.index, self.query, self.record = index, query, record
        self.stages = [_Stage(*each) for each in zip(query.stages, masks, strict=True)]
        self.stages[0].there, self.stages[0].known = query.items, True
        self.offer: tuple[int, int, bool] | None = None
        self.valid = 0

    def due(self, now: int) -> tuple[int, int, bool] | None:
        """Return the task of the highest stage that has one: (stage, items, final)."""
        for number in reversed(range(len(self.stages))):
            stage = self.stages[number]
            rest, size = stage.there - stage.given, stage.load.tasks.task_items
            if rest == 0 or stage.receiving > now:
                continue
            if size and (rest > size or (rest == size and stage.known)):
                return number, size, stage.known and rest == size
            if stage.known:
                return number, rest, True
        return None


class _Run:
    """One simulation."""

    def __init__(self, machine: Machine, queries: Sequence[QueryLoad]) -> None:
        self.machine, self.queries = machine, queries
        self.config = machine.config
        self.records = [QueryRecord(arrival=query.arrival, stages=[]) for query in queries]
        self.lanes = {number: _Lane(number) for number in machine.lanes}
        self.memory = SharedMemory()
        self.memory_work = 0.0
        self.tasks: list[TaskRecord] = []
        self.events: list[tuple[int, int, int, object, object]] = []
        self.sequence = 0
        self.waiting: deque[int] = deque()
        self.free = machine.config.funnels
        self.working: list[_Funnel] = []  # the oldest first
        self.ready = sum(1 << number for number in machine.lanes)
        self.next_choice = 0
        self.profiles: dict[tuple[object, ...], TaskProfile] = {}
        self.masks: dict[tuple[str, tuple[int, ...]], int] = {}
        # Lanes of one shape share their profiles.
        self.shape_of = {number: self.config.lane_shape(number) for number in machine.lanes}

    def run(self) -> MachineReport:
        """Serve every query."""
        for index, query in enumerate(self.queries):
            self._at(query.arrival, ARRIVE, index)
        handlers = (
            self._arrive, self._offer, self._nothing, self._lane_ready, self._counted, self._freed,
        )  # fmt: skip
        events = self.events
        while events:
            now = events[0][0]
            while events and events[0][0] == now:
                _, _, kind, one, other = heapq.heappop(events)
                handlers[kind](now, one, other)
            self._choose(now)
        assert not self.waiting and not self.working, "queries wait and nothing moves"
        return MachineReport(
            queries=tuple(self.records),
            tasks=tuple(self.tasks),
            array_cycles={number: lane.array for number, lane in self.lanes.items()},
            memory_cycles=self.memory_work,
        )

    def _at(self, time: int, kind: int, one: object = None, other: object = None) -> None:
        self.sequence += 1
        heapq.heappush(self.events, (time, self.sequence, kind, one, other))

    def _nothing(self, now: int, one: Any, other: Any) -> None:
        """Wake the grant."""

    def _arrive(self, now: int, index: Any, _: Any) -> None:
        self.waiting.append(index)
        self._accept(now)

    def _freed(self, now: int, _: Any, __: Any) -> None:
        self.free += 1
        self._accept(now)

    def _lane_ready(self, now: int, lane: Any, _: Any) -> None:
        self.ready |= 1 << lane

    def _accept(self, now: int) -> None:
        """Give the query that waits longest to a free funnel."""
        if not self.waiting or not self.free:
            return
        self.free -= 1
        index = self.waiting.popleft()
        query, record = self.queries[index], self.records[index]
        record.accepted = now + ACCEPT_CYCLES
        funnel = _Funnel(index, query, record, [self._mask(stage) for stage in query.stages])
        self.working.append(funnel)
        self._at(record.accepted + OPEN_CYCLES, OFFER, funnel)

    def _mask(self, stage: StageLoad) -> int:
        key = stage.model, stage.lanes
        if key not in self.masks:
            self.masks[key] = sum(1 << lane for lane in self.machine.lanes_of(stage))
        return self.masks[key]

    def _offer(self, now: int, funnel: Any, _: Any) -> None:
        """Offer a task if there is one and none is offered; it stays until it is granted."""
        if funnel.offer is None and now + OFFER_CYCLES > funnel.valid:
            funnel.offer = funnel.due(now)
            if funnel.offer is not None:
                funnel.valid = now + OFFER_CYCLES
                self._at(funnel.valid, WAKE)

    def _choose(self, now: int) -> None:
        """Grant a task of the oldest query that has one for a lane that is ready."""
        if now < self.next_choice or not self.ready:
            return
        for funnel in self.working:
            offer = funnel.offer
            if offer is not None and funnel.valid <= now:
                able = funnel.stages[offer[0]].lanes & self.ready
                if able:
                    lane = self.lanes[(able & -able).bit_length() - 1]
                    self.ready &= ~(1 << lane.number)
                    self.next_choice = now + GRANT_GAP_CYCLES
                    funnel.offer, funnel.valid = None, now + AGAIN_CYCLES
                    self._grant(now, funnel, lane, *offer)
                    self._at(now + GRANT_GAP_CYCLES, OFFER, funnel)
                    return

    def _profile(
        self, lane: _Lane, load: StageLoad, query: QueryLoad, items: int, first: bool
    ) -> TaskProfile:
        key = self.shape_of[lane.number], load.model, items, load.sub_batch, query.records, first
        profile = self.profiles.get(key)
        if profile is None:
            profile = task_profile(
                self.config.lane(lane.number),
                self.machine.lanes[lane.number][load.model],
                items,
                load.sub_batch,
                self.machine.memory,
                query.records,
                first=first,
                row_hits=self.machine.row_hits.get(load.model, 0.0),
            )
            self.profiles[key] = profile
        return profile

    def _grant(
        self, now: int, funnel: _Funnel, lane: _Lane, number: int, items: int, final: bool
    ) -> None:
        """Place a task: its gather, its computing, its scores, what follows from them."""
        stage = funnel.stages[number]
        profile = self._profile(lane, stage.load, funnel.query, items, number == 0)
        start = now + TASK_CYCLES
        begin = start
        if lane.model != stage.load.model:
            begin = max(begin, lane.ends + COMPUTED_CYCLES)  # the array is idle
            lane.model = stage.load.model
        served = self.memory.reserve(begin, profile.gather, profile.memory)
        gathered = math.ceil(served - ROUNDING)
        late = gathered - profile.gather
        open_at = max(stage.open, lane.scored)
        end = max(
            late + profile.end, lane.ends + profile.interval, self._room(lane, profile, open_at)
        )
        handed = max(late + profile.handed_over, end - profile.drain)
        scored = max(end + SCORE_CYCLES, open_at + items)

        before, lane.ends = lane.ends, end
        lane.scored, stage.open = scored, scored
        lane.given += items
        lane.array += profile.array
        lane.waiting.append((lane.given, scored))
        self.memory_work += profile.memory
        self._at(max(handed + HANDED_CYCLES, before + COMPUTED_CYCLES), READY, lane.number)
        if stage.begun < 0:
            stage.begun = start
        stage.given += items
        stage.tasks += 1
        self.tasks.append(
            TaskRecord(
                query=funnel.index, stage=number, lane=lane.number, items=items, start=start,
                gathered=gathered, end=end, scored=scored,
            )
        )  # fmt: skip
        if number:
            over = items - self.config.sub_batch_max  # more than the lane has place for
            stage.receiving = start + items if over <= 0 else gathered
            self._at(stage.receiving, OFFER, funnel)
        self._release(funnel, number, final, scored)
        if len(self.tasks) % FORGET_EVERY == 0:
            self.memory.forget(now)

    def _room(self, lane: _Lane, profile: TaskProfile, open_at: int) -> int:
        """Return the earliest last logit for which the lane has room: scores wait in the lane."""
        needed = lane.given + profile.items - self.config.sub_batch_max
        waiting = lane.waiting
        while waiting and waiting[0][0] < needed:
            waiting.popleft()
        if needed <= 0:
            return 0
        if waiting:
            given, scored = waiting[0]
            return scored - (given - needed) + profile.largest
        return open_at + needed - lane.given + profile.largest

    def _release(self, funnel: _Funnel, number: int, final: bool, scored: int) -> None:
        """Let go what leaves the filter after this task, or end the query with its list."""
        stage = funnel.stages[number]
        if number == len(funnel.stages) - 1:
            if final:
                self._end(funnel, number, scored + ordered_top_n.LATENCY_CYCLES + 1)
            return
        if stage.load.tasks.mode is StageMode.WHOLE and not final:
            return
        release = self._leaving(funnel, stage, final)
        stage.left += release.ids
        counted = scored + release.cycles
        stage.open = counted + release.ids + RELEASE_CYCLES
        self._at(counted, COUNTED, funnel, (number, release.ids, final))

    def _leaving(self, funnel: _Funnel, stage: _Stage, final: bool) -> Release:
        if stage.load.releases:
            return stage.releases.popleft()
        return Release(
            ids=expected_ids(
                stage.load,
                task=stage.tasks - 1,
                done=stage.given,
                left=stage.left,
                items=funnel.query.items if stage is funnel.stages[0] else None,
                final=final,
            )
        )

    def _counted(self, now: int, funnel: Any, what: Any) -> None:
        """Make survivors candidates of the next stage."""
        number, ids, final = what
        stage, following = funnel.stages[number], funnel.stages[number + 1]
        following.there += ids
        following.known = final
        if final:
            funnel.record.stages.append((stage.begun, now, stage.given))
            if following.there == 0:
                self._end(funnel, number + 1, now)
                return
        self._offer(now, funnel, None)

    def _end(self, funnel: _Funnel, number: int, closed: int) -> None:
        """End the query: its last stage ends in cycle `closed`."""
        stage = funnel.stages[number]
        if stage.begun >= 0:
            funnel.record.stages.append((stage.begun, closed, stage.given))
        funnel.record.end = closed + END_CYCLES
        self.working.remove(funnel)
        self._at(funnel.record.end + ANSWER_CYCLES + funnel.query.top_n, FREE)


def simulate(machine: Machine, queries: Sequence[QueryLoad]) -> MachineReport:
    """Return what becomes of `queries` on `machine`; they are taken in the order of arrival.

    Raises ValueError if a stage has no lane, or one without its model.
    """
    return _Run(machine, queries).run()
