"""A whole machine under a load: funnels, tasks, lanes, filters, shared memory; event by event.

Chains of layers are exact (`perfmodel.lane_core`), gathers are those of `perfmodel.costs`, and
what lanes share is dealt out by `perfmodel.shared_memory`. A query on a machine that is idle, each
stage a task on one lane, takes what `perfmodel.lane.predict_query` says.

Simplified: memory serves who asks first, where the netlist takes turns; a fourth stage does not
wait for the filter of the first; a lane whose scores find no place stops before the top chain, not
inside it; reading ahead is left out.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

from rpaccel.perfmodel import ordered_top_n
from rpaccel.perfmodel.lane import END_CYCLES, OPEN_CYCLES, SCORE_CYCLES
from rpaccel.perfmodel.machine_funnel import FunnelStage, QueryFunnel
from rpaccel.perfmodel.machine_lane import LaneTask, MachineLane
from rpaccel.perfmodel.machine_load import Machine, QueryLoad, StageLoad
from rpaccel.perfmodel.machine_report import MachineReport, QueryRecord, StageRecord, TaskRecord
from rpaccel.perfmodel.sequencer import NEVER
from rpaccel.perfmodel.shared_memory import SharedMemory
from rpaccel.perfmodel.task_profile import TaskProfile, task_profile
from rpaccel.spec.isa import StageMode

__all__ = ["simulate"]

ACCEPT_CYCLES = 1  # Funnel: IDLE to RUN
OFFER_CYCLES = 1  # Funnel: offer register
TASK_CYCLES = 2  # TaskGrant: choice, grant; to the task's first cycle
GRANT_GAP_CYCLES = 2  # TaskGrant: one task in 2 cycles; Funnel: from a choice to the next offer
HANDED_CYCLES = 1  # Gather: busy falls after the last sub-batch
COMPUTED_CYCLES = 2  # Lane: last logit to `computed`
ANSWERED_CYCLES = 2  # Lane: last score to the end of the task
RELEASE_CYCLES = 2  # BucketFilter: idle to the next release
ANSWER_CYCLES = 4  # Funnel: from the completion to IDLE, without the results
FORGET_EVERY = 4096  # tasks

ARRIVE, OFFER, WAKE, COUNTED, FREE, CHAIN, HANDED, COMPUTED, ANSWERED, DRAINED = range(10)


class _Run:
    """One simulation."""

    def __init__(self, machine: Machine, queries: Sequence[QueryLoad]) -> None:
        self.machine, self.queries = machine, queries
        self.records = [QueryRecord(arrival=query.arrival) for query in queries]
        self.memory = SharedMemory()
        self.memory_cycles = 0.0
        self.lanes = {
            number: MachineLane(number, machine.config.lane(number), self.memory)
            for number in machine.lanes
        }
        self.configs = {number: machine.config.lane(number) for number in machine.lanes}
        self.tasks: list[TaskRecord] = []
        self.events: list[tuple[int, int, int, Any, Any]] = []
        self.sequence = 0
        self.waiting: deque[int] = deque()
        self.free = machine.config.funnels
        self.working: list[QueryFunnel] = []  # the oldest first
        self.ready = sum(1 << number for number in machine.lanes)
        self.next_choice = 0
        self.profiles: dict[tuple[object, ...], TaskProfile] = {}
        self.followers: defaultdict[int, list[int]] = defaultdict(list)
        self.masks: dict[tuple[str, tuple[int, ...]], int] = {}

    def run(self) -> MachineReport:
        """Serve every query."""
        handlers = (
            self._arrive, self._offer, self._wake, self._counted, self._freed, self._chain,
            self._handed, self._computed, self._answered, self._drained,
        )  # fmt: skip
        for index, query in enumerate(self.queries):
            if query.after is None:
                self._at(query.arrival, ARRIVE, index)
            else:
                self.followers[query.after].append(index)
        events, pop = self.events, heapq.heappop
        while events:
            now = events[0][0]
            while events and events[0][0] == now:
                _, _, kind, one, other = pop(events)
                handlers[kind](now, one, other)
            if now >= self.next_choice and self.ready:
                self._choose(now)
        assert not self.waiting and not self.working, "queries wait and nothing moves"
        if self.followers:
            raise ValueError(f"after must be a query that ends, not {sorted(self.followers)}")
        return MachineReport(
            queries=tuple(self.records),
            tasks=tuple(self.tasks),
            array_cycles={number: lane.array_cycles for number, lane in self.lanes.items()},
            memory_cycles=self.memory_cycles,
        )

    def _at(self, time: int, kind: int, one: object = None, other: object = None) -> None:
        self.sequence += 1
        heapq.heappush(self.events, (time, self.sequence, kind, one, other))

    def _wake(self, now: int, _: Any, __: Any) -> None:
        """Let the grant look again."""

    def _arrive(self, now: int, index: int, _: Any) -> None:
        self.records[index].arrival = now
        self.waiting.append(index)
        self._accept(now)

    def _freed(self, now: int, _: Any, __: Any) -> None:
        self.free += 1
        self._accept(now)

    def _accept(self, now: int) -> None:
        """Give the query that waits longest to a free funnel."""
        if not self.waiting or not self.free:
            return
        self.free -= 1
        index = self.waiting.popleft()
        load, record = self.queries[index], self.records[index]
        record.accepted = now + ACCEPT_CYCLES
        funnel = QueryFunnel(index, load, record, [self._mask(stage) for stage in load.stages])
        self.working.append(funnel)
        self._at(record.accepted + OPEN_CYCLES, OFFER, funnel)

    def _mask(self, stage: StageLoad) -> int:
        key = stage.model, stage.lanes
        if key not in self.masks:
            self.masks[key] = sum(1 << lane for lane in self.machine.lanes_of(stage))
        return self.masks[key]

    def _offer(self, now: int, funnel: QueryFunnel, _: Any) -> None:
        """Offer a task if there is one and none is offered; it stays until it is granted."""
        if funnel.offer is None and now + OFFER_CYCLES > funnel.valid:
            funnel.offer = funnel.due(now)
            if funnel.offer is not None:
                funnel.valid = now + OFFER_CYCLES
                self._at(funnel.valid, WAKE)

    def _choose(self, now: int) -> None:
        """Grant a task of the oldest query that has one for a lane that is ready."""
        for funnel in self.working:
            offer = funnel.offer
            if offer is None or funnel.valid > now:
                continue
            able = offer[0].lanes & self.ready
            if able:
                self.next_choice = now + GRANT_GAP_CYCLES
                funnel.offer, funnel.valid = None, now + GRANT_GAP_CYCLES
                self._at(now + GRANT_GAP_CYCLES, OFFER, funnel)
                self._grant(now, funnel, self.lanes[(able & -able).bit_length() - 1], *offer)
                return

    def _profile(self, lane: int, stage: FunnelStage, load: QueryLoad, items: int) -> TaskProfile:
        asked = stage.load
        shape = self.machine.lanes[lane][asked.model]
        key = lane, asked.model, items, asked.sub_batch, load.records, stage.number == 0
        if key not in self.profiles:
            self.profiles[key] = task_profile(
                self.configs[lane],
                shape,
                items,
                asked.sub_batch,
                self.machine.memory,
                load.records,
                first=stage.number == 0,
                row_hits=self.machine.row_hits.get(asked.model, 0.0),
            )
        return self.profiles[key]

    def _grant(
        self,
        now: int,
        funnel: QueryFunnel,
        lane: MachineLane,
        stage: FunnelStage,
        items: int,
        final: bool,
    ) -> None:
        """Give a task to a lane."""
        start = now + TASK_CYCLES
        task = LaneTask(
            owner=(funnel, stage, lane, final),
            model=self.machine.lanes[lane.number][stage.load.model].name,
            items=items,
            profile=self._profile(lane.number, stage, funnel.load, items),
            start=start,
        )
        if stage.start < 0:
            stage.start = start
        stage.given += items
        stage.turns.append(task)
        self.memory_cycles += sum(batch[2] for batch in task.profile.batches)
        lane.give(task)
        self.ready &= ~(1 << lane.number)
        if stage.number:
            stage.receiving = start + items
            self._at(stage.receiving, OFFER, funnel)
        self._flow(stage)
        self._schedule(lane)

    def _schedule(self, lane: MachineLane) -> None:
        """Note when the lane's core chooses next."""
        due = lane.next_cycle()
        if due < NEVER and due != lane.due:
            lane.due = due
            self._at(due, CHAIN, lane)

    def _chain(self, now: int, lane: MachineLane, _: Any) -> None:
        """Place the chain that is due, unless a later event does."""
        if lane.due != now or lane.next_cycle() != now:
            return
        lane.due = NEVER
        batch, is_top = lane.choose(now)
        if batch.last:
            if is_top:
                self._at(batch.logit + COMPUTED_CYCLES, COMPUTED, lane)
                self._flow(batch.task.owner[1])
            else:
                self._at(now + HANDED_CYCLES, HANDED, lane)
        self._schedule(lane)

    def _handed(self, now: int, lane: MachineLane, _: Any) -> None:
        lane.handed_over()
        self._look(lane)

    def _computed(self, now: int, lane: MachineLane, _: Any) -> None:
        lane.computed(now)
        self._look(lane)
        self._schedule(lane)

    def _answered(self, now: int, lane: MachineLane, _: Any) -> None:
        lane.answered()
        self._look(lane)

    def _look(self, lane: MachineLane) -> None:
        if lane.ready:
            self.ready |= 1 << lane.number

    def _drained(self, now: int, lane: MachineLane, items: int) -> None:
        """Make place for scores."""
        lane.held -= items
        self._schedule(lane)

    def _flow(self, stage: FunnelStage) -> None:
        """Take the scores of the tasks whose turn it is, in their stage and in their lane."""
        while stage.turns:
            task = stage.turns[0]
            funnel, _, lane, final = task.owner
            if lane.turns[0] is not task:
                return  # looked at again when the lane's task before is scored
            opened = max(stage.open, lane.scored)
            if not task.flows:
                task.flows = True
                if task.held:
                    self._at(opened + task.held, DRAINED, lane, task.held)
                self._schedule(lane)
            if task.end == NEVER:
                return
            scored = max(task.end + SCORE_CYCLES, opened + task.items)
            stage.turns.popleft()
            lane.turns.popleft()
            lane.scored = stage.open = scored
            stage.scored += task.items
            stage.tasks += 1
            self._at(scored + ANSWERED_CYCLES, ANSWERED, lane)
            self._record(funnel.index, stage.number, lane.number, task, scored)
            self._release(funnel, stage, scored, final=final)
            if lane.turns and lane.turns[0].owner[1] is not stage:
                self._flow(lane.turns[0].owner[1])

    def _record(self, query: int, stage: int, lane: int, task: LaneTask, scored: int) -> None:
        self.tasks.append(
            TaskRecord(
                query=query, stage=stage, lane=lane, items=task.items, start=task.start,
                gathered=task.gathered, computing=task.computing, end=task.end, scored=scored,
            )
        )  # fmt: skip
        if len(self.tasks) % FORGET_EVERY == 0:
            self.memory.forget(task.start)

    def _release(
        self, funnel: QueryFunnel, stage: FunnelStage, scored: int, *, final: bool
    ) -> None:
        """Let go what leaves the filter after a task, or end the query with its list."""
        if funnel.is_last(stage):
            if final:
                self._end(funnel, stage, scored + ordered_top_n.LATENCY_CYCLES + 1)
        elif final or stage.load.tasks.mode is not StageMode.WHOLE:
            release = stage.leaving(final=final)
            stage.left += release.ids
            counted = scored + release.cycles
            stage.open = counted + release.ids + RELEASE_CYCLES
            self._at(counted, COUNTED, funnel, (stage, release.ids, final))

    def _counted(self, now: int, funnel: QueryFunnel, what: tuple[FunnelStage, int, bool]) -> None:
        """Make survivors items of the next stage."""
        stage, ids, final = what
        following = funnel.stages[stage.number + 1]
        following.there += ids
        following.known = final
        if final:
            self._close(funnel, stage, now)
            if following.there == 0:
                self._end(funnel, following, now)
                return
        self._offer(now, funnel, None)

    def _close(self, funnel: QueryFunnel, stage: FunnelStage, now: int) -> None:
        funnel.record.stages.append(StageRecord(start=stage.start, end=now, items=stage.given))

    def _end(self, funnel: QueryFunnel, stage: FunnelStage, closed: int) -> None:
        """End the query: `stage`, its last one, ends in cycle `closed`."""
        if stage.given:
            self._close(funnel, stage, closed)
        funnel.record.end = closed + END_CYCLES
        for index in self.followers.pop(funnel.index, ()):
            self._at(funnel.record.end + self.queries[index].arrival, ARRIVE, index)
        self.working.remove(funnel)
        self._at(funnel.record.end + ANSWER_CYCLES + funnel.load.top_n, FREE)


def simulate(machine: Machine, queries: Sequence[QueryLoad]) -> MachineReport:
    """Return what becomes of `queries` on `machine`; they are taken in the order of arrival.

    Raises ValueError if a stage has no lane, or one without its model.
    """
    return _Run(machine, queries).run()
