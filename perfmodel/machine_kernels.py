"""A machine under a load, compiled: the events of `perfmodel.machine`, one after the other.

Events of one cycle come in the order in which they were made; the grant looks when they are over.
"""

from __future__ import annotations

import sys
from typing import Any

from numba import njit

from rpaccel.perfmodel.compiled import ENTRY, fast, sources
from rpaccel.perfmodel.event_kernels import (
    ANSWERED,
    ARRIVE,
    CHAIN,
    COMPUTED,
    COUNTED,
    EVENT_KIND,
    EVENT_ONE,
    EVENT_OTHER,
    FREE,
    GATHER,
    GATHERED,
    HANDED,
    OFFER,
    drop_event,
    next_time,
    push_event,
)
from rpaccel.perfmodel.machine_cycles import (
    ANSWERED_CYCLES,
    COMPUTED_CYCLES,
    GRANT_GAP_CYCLES,
    HANDED_CYCLES,
    TASK_CYCLES,
)
from rpaccel.perfmodel.machine_funnel_kernels import (
    accept_query,
    arrive,
    count_survivors,
    offer_task,
    release_survivors,
)
from rpaccel.perfmodel.machine_lane_kernels import (
    begin_task,
    choose_chain,
    end_gather,
    flow_scores,
    gather_batch,
    is_ready,
    next_cycle,
    start_gather,
    task_of,
)
from rpaccel.perfmodel.machine_state import NONE, MachineState, MachineTables
from rpaccel.perfmodel.sequencer import NEVER, SCORE_CYCLES

__all__ = [
    "DONE", "FEW_RELEASES", "GO_ON", "MANY_TASKS", "NO_PROFILE", "PAST", "SMALL", "follow_move",
    "grant_stage", "grant_task", "run_machine", "serve_event", "take_event",
]  # fmt: skip

# Why a run stops: all is over; a profile lacks, which `run.asks` says: goes on when it is there;
# something has no room: to be run anew with more; a stage has more tasks than releases; there are
# more tasks than the load can have; something was to be in the past. GO_ON : it does not.
DONE, NO_PROFILE, SMALL, FEW_RELEASES, MANY_TASKS, PAST, GO_ON = range(7)

_SOURCES = sources(sys.modules[__name__])


@fast
def schedule_chain(tables: MachineTables, state: MachineState, n: int) -> None:
    """Note when the lane's core chooses next."""
    due = next_cycle(tables, state, n)
    if due < NEVER and due != state.lanes[n].due:
        state.lanes[n].due = due
        push_event(state, max(due, state.run[0].now), CHAIN, n, 0)


@fast
def flow_stage(tables: MachineTables, state: MachineState, place: int) -> bool:
    """Take the scores of the tasks whose turn it is, in their stage and in their lane.

    Return whether every release is known.
    """
    turns, depth = state.turns, 1  # stages that are looked at, each for the sake of the one before
    turns[0] = place
    while depth:
        stage = state.stages[turns[depth - 1]]
        if stage.first == NONE:
            depth -= 1
            continue
        task = state.tasks[stage.first]
        lane = state.lanes[task.lane]
        if stage.first != task_of(task.lane, lane.scored):
            depth -= 1  # looked at again when the lane's task before is scored
            continue
        opened = max(stage.open, lane.score)
        if not task.flows:
            flow_scores(state, stage.first, opened)
            schedule_chain(tables, state, task.lane)
        if task.end == NEVER:
            depth -= 1
            continue
        scored = max(task.end + SCORE_CYCLES, opened + task.items)
        stage.first = task.next
        lane.scored += 1
        lane.score = stage.open = scored
        stage.scored += task.items
        stage.tasks += 1
        push_event(state, scored + ANSWERED_CYCLES, ANSWERED, task.lane, 0)
        _log(state, stage, task, scored)
        if not release_survivors(tables, state, task.stage, scored, task.final > 0):
            return False
        if lane.scored < lane.given:
            other = state.tasks[task_of(task.lane, lane.scored)].stage
            if other != task.stage:
                turns[depth] = other
                depth += 1
    return True


@fast
def _log(state: MachineState, stage: Any, task: Any, scored: int) -> None:
    """Note a task whose scores are taken."""
    run = state.run[0]
    if run.tasks == len(state.log):
        run.full = 1
        return
    entry = state.log[run.tasks]
    run.tasks += 1
    entry.query, entry.stage, entry.lane, entry.items = (
        stage.query, stage.number, task.lane, task.items,
    )  # fmt: skip
    entry.start, entry.begin = task.start, task.begin
    entry.gathered, entry.computing = task.gathered, task.computing
    entry.end, entry.scored = task.end, scored


@fast
def _profile(tables: MachineTables, stage: Any, n: int, items: int) -> int:
    """Return the place of a task's profile, or NONE if it lacks."""
    place = tables.newest[tables.profile_kinds[stage.kind, n]]
    while place != NONE and tables.profiles[place].items != items:
        place = tables.profiles[place].next
    return int(place)


@fast
def _give(tables: MachineTables, state: MachineState, n: int, task: Any, place: int) -> None:
    """Give a task to lane `n`; it begins when the array is idle if its model is another one."""
    lane = state.lanes[n]
    idle = lane.computed == lane.given
    lane.given += 1
    lane.handing = 1
    lane.array += tables.profiles[task.profile].array
    if task.model == lane.model or idle:
        begin_task(tables, state, n, place, task.start)
    else:
        lane.pending = 1


@fast
def _grant(tables: MachineTables, state: MachineState, query: Any, n: int, profile: int) -> None:
    """Give the task that a query offers to lane `n`."""
    run, lane = state.run[0], state.lanes[n]
    now = run.now
    place = task_of(n, lane.given)
    task, stage = state.tasks[place], state.stages[query.offer]
    task.stage, task.lane, task.final, task.items = query.offer, n, query.final, query.offer_items
    task.model, task.profile = tables.models[stage.kind, n], profile
    task.start, task.held, task.flows, task.next = now + TASK_CYCLES, 0, 0, NONE
    task.first, task.wait = stage.given, 0
    task.begin = task.gathered = task.computing = task.end = NEVER
    run.next_choice = query.valid = now + GRANT_GAP_CYCLES
    query.offer = NONE
    push_event(state, now + GRANT_GAP_CYCLES, OFFER, stage.query, 0)
    if stage.start == NONE:
        stage.start = task.start
    stage.given += task.items
    if stage.first == NONE:
        stage.first = place
    else:
        state.tasks[stage.last].next = place
    stage.last = place
    run.memory += tables.profiles[profile].memory
    stage.receiving = NEVER if stage.number else 0
    _give(tables, state, n, task, place)
    run.ready &= ~(1 << n)


@fast
def grant_task(tables: MachineTables, state: MachineState) -> int:
    """Grant a task of the oldest query that has one for a lane that is ready; return the lane.

    NONE if there is none, or if its profile lacks: then `run.asks_stage` says of what.
    """
    run = state.run[0]
    for place in range(run.working):
        query = state.queries[state.working[place]]
        if query.offer == NONE or query.valid > run.now:
            continue
        stage = state.stages[query.offer]
        able = tables.stage_kinds[stage.kind].lanes & run.ready
        if able:
            n = 0
            while not able >> n & 1:
                n += 1
            profile = _profile(tables, stage, n, query.offer_items)
            if profile == NONE:
                run.asks_stage, run.asks_lane = query.offer, n
                run.asks_items = query.offer_items
                return NONE
            _grant(tables, state, query, n, profile)
            return n
    return NONE


@fast
def _look(state: MachineState, n: int) -> None:
    if is_ready(state, n):
        state.run[0].ready |= 1 << n


@fast
def _computed(tables: MachineTables, state: MachineState, n: int, now: int) -> None:
    """Note that lane `n` has computed a task: the next one may begin."""
    lane = state.lanes[n]
    lane.computed += 1
    if lane.pending and lane.computed == lane.given - 1:
        lane.pending = 0
        place = task_of(n, lane.computed)
        begin_task(tables, state, n, place, max(now, state.tasks[place].start))


@fast
def _chain(tables: MachineTables, state: MachineState, n: int, now: int) -> int:
    """Place the chain chosen in cycle `now`; return the stage whose scores may flow, or NONE."""
    state.lanes[n].due = NEVER
    place, is_top = choose_chain(tables, state, n, now)
    if place == NONE:
        return NONE
    if is_top:
        push_event(state, state.tasks[place].end + COMPUTED_CYCLES, COMPUTED, n, 0)
        return int(state.tasks[place].stage)
    push_event(state, now + HANDED_CYCLES, HANDED, n, 0)
    return NONE


@fast
def take_event(state: MachineState, now: int) -> tuple[int, int, int]:
    """Return kind and two numbers of the next event, which is now; queries come before all else."""
    run = state.run[0]
    if run.arrivals < len(state.arrivals):
        number = state.arrivals[run.arrivals]
        if state.queries[number].arrival == now:
            run.arrivals += 1
            return ARRIVE, number, 0
    kind, one, other = (
        state.heap[0, EVENT_KIND],
        state.heap[0, EVENT_ONE],
        state.heap[0, EVENT_OTHER],
    )
    drop_event(state)
    return kind, one, other


@fast
def serve_event(
    tables: MachineTables, state: MachineState, kind: int, one: int, other: int, now: int
) -> tuple[int, int]:
    """Do what an event that is not of a gather comes to.

    Return the lane in which it moves something, and the stage whose scores may flow; or NONE.
    """
    run = state.run[0]
    if kind == CHAIN:
        due = state.lanes[one].due
        if due <= now and next_cycle(tables, state, one) == due:
            return one, _chain(tables, state, one, due)
    elif kind == OFFER:
        offer_task(tables, state, one, now)
    elif kind == COUNTED:
        count_survivors(tables, state, one, other, now)
    elif kind == ARRIVE:
        arrive(state, one, now)
    elif kind == FREE:
        run.free += 1
        accept_query(state, now)
    elif kind == HANDED:
        state.lanes[one].handing = 0
        _look(state, one)
    elif kind == ANSWERED:
        state.lanes[one].answered += 1
        _look(state, one)
    elif kind == COMPUTED:
        _computed(tables, state, one, now)
        _look(state, one)
        return one, NONE
    return NONE, NONE


@fast
def follow_move(tables: MachineTables, state: MachineState, lane: int, stage: int) -> int:
    """Follow what moved in a lane, and scores that may flow; return why a run stops, or GO_ON.

    lane, stage : or NONE.
    """
    run = state.run[0]
    if stage != NONE and not flow_stage(tables, state, stage):
        return FEW_RELEASES
    if lane != NONE:
        schedule_chain(tables, state, lane)
    if run.full:
        return MANY_TASKS
    if run.small:
        return SMALL
    return PAST if run.past else GO_ON


@fast
def grant_stage(state: MachineState, lane: int) -> int:
    """Return the stage of the task that a lane was given last."""
    return int(state.tasks[task_of(lane, state.lanes[lane].given - 1)].stage)


@njit(**ENTRY)
def run_machine(  # noqa: PLR0912  (one for each reason to stop)
    tables: MachineTables, state: MachineState, _sources: int = _SOURCES
) -> int:
    """Serve queries until all are, or until something lacks; return why it stops.

    _sources : never given, see perfmodel.compiled.
    """
    run = state.run[0]
    while True:
        time = next_time(state)
        lane = stage = NONE
        if time == run.now:
            kind, one, other = take_event(state, time)
            if kind == GATHER:
                start_gather(tables, state, one, time)
            elif kind == GATHERED:
                lane = end_gather(tables, state, time)
            else:
                lane, stage = serve_event(tables, state, kind, one, other, time)
        elif not run.chosen:
            run.asks_stage = NONE
            if run.now >= run.next_choice and run.ready:
                lane = grant_task(tables, state)
                if run.asks_stage != NONE:
                    return NO_PROFILE
                if lane != NONE:
                    stage = grant_stage(state, lane)
            run.chosen = 1
        elif time == NEVER:
            return DONE
        elif time < run.now:
            return PAST
        else:
            run.now, run.chosen = time, 0
        if lane != NONE:
            gather_batch(tables, state, lane)
        why = follow_move(tables, state, lane, stage)
        if why != GO_ON:
            return why
