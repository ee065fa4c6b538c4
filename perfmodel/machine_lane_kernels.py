"""A lane of a machine under a load, compiled: tasks in, sub-batches through gather and core."""

from __future__ import annotations

import math
from typing import Any

from rpaccel.perfmodel.compiled import fast
from rpaccel.perfmodel.core_kernels import (
    WORK_ITEMS,
    bank_free,
    bottom_cycle,
    next_choice,
    note_gathered,
    place_bottom,
    place_top,
)
from rpaccel.perfmodel.event_kernels import GATHER, GATHERED, OFFER, push_event
from rpaccel.perfmodel.lane_core import LONG_AGO
from rpaccel.perfmodel.machine_cycles import IDS_CYCLES
from rpaccel.perfmodel.machine_state import DRAINS, FLYING, NONE, TASKS, MachineState, MachineTables
from rpaccel.perfmodel.sequencer import NEVER, SCORE_CYCLES
from rpaccel.perfmodel.shared_memory import (
    begin_read,
    end_read,
    next_read_end,
    pass_cycles,
    share_out,
)

__all__ = [
    "begin_task", "choose_chain", "end_gather", "flow_scores", "gather_batch", "is_ready",
    "late_ids", "log_gather", "next_cycle", "note_batch", "start_gather", "task_of",
]  # fmt: skip

USER_BANKS = 2  # rtl.lane: tasks gathered or computed
ROUNDING = 1e-6  # [cycles] of sums of parts of cycles


@fast
def task_of(lane_number: int, number: int) -> int:
    """Return the place of a lane's task of that number."""
    return lane_number * TASKS + number % TASKS


@fast
def is_ready(state: MachineState, n: int) -> bool:
    """Return whether lane `n` takes a task."""
    lane = state.lanes[n]
    return bool(
        lane.handing == 0
        and lane.given - lane.computed < USER_BANKS
        and lane.given - lane.answered < TASKS
    )


@fast
def late_ids(state: MachineState, task: Any) -> tuple[int, int]:
    """Return how many ids of a later stage's task, its last ones, leave the filter one a cycle.

    And the cycle in which the lane can be given the first of them.
    """
    filtered = state.stages[task.stage - 1]
    skipped = task.first - filtered.before  # ids of the last release that went to others
    return max(0, task.items + min(0, skipped)), filtered.leaves + max(0, skipped)


@fast
def begin_task(tables: MachineTables, state: MachineState, n: int, place: int, begin: int) -> None:
    """Let a task of lane `n` begin: its sub-batches wait to be gathered, its ids are taken."""
    lane, task = state.lanes[n], state.tasks[place]
    task.begin = begin
    lane.model = task.model
    lane.batches += tables.profiles[task.profile].batches
    stage = state.stages[task.stage]
    if stage.number:
        late, first = late_ids(state, task)
        task.wait = max(0, first + late - task.items - begin - IDS_CYCLES)
        stage.receiving = begin + IDS_CYCLES + task.wait + task.items
        push_event(state, stage.receiving, OFFER, stage.query, 0)


@fast
def _flying(state: MachineState, n: int, number: int) -> int:
    """Return the place in the log of a lane's sub-batch."""
    return int(state.flying[n, number % FLYING])


@fast
def log_gather(tables: MachineTables, state: MachineState, n: int, start: int) -> None:
    """Note that lane `n` may gather its next sub-batch from `start` on, if that is kept."""
    run, lane = state.run[0], state.lanes[n]
    if not len(state.batch_log):
        return
    if run.batches == len(state.batch_log):
        run.small = 1
        return
    task = state.tasks[task_of(n, lane.gather_task)]
    batch = tables.batches[tables.profiles[task.profile].batch + lane.gather_batch]
    state.flying[n, state.cores[n].gathered % FLYING] = run.batches
    entry, stage = state.batch_log[run.batches], state.stages[task.stage]
    entry.query, entry.stage, entry.lane = stage.query, stage.number, n
    entry.items, entry.gathering = tables.works[batch.work, WORK_ITEMS], start
    run.batches += 1


@fast
def gather_batch(tables: MachineTables, state: MachineState, n: int) -> None:
    """Say when lane `n` gathers its next sub-batch, if that is known and it gathers none."""
    lane, core = state.lanes[n], state.cores[n]
    if lane.gathering or core.gathered == lane.batches:
        return
    task = state.tasks[task_of(n, lane.gather_task)]
    profile = tables.profiles[task.profile]
    free = bank_free(core, profile.banks)
    if free == NEVER:
        return
    start = task.begin + task.wait + profile.start if lane.gather_batch == 0 else lane.gathered
    lane.gathering = 1
    push_event(state, max(start, free), GATHER, n, 0)


@fast
def start_gather(tables: MachineTables, state: MachineState, n: int, now: int) -> None:
    """Let lane `n` gather a sub-batch beside those that are gathered."""
    lane = state.lanes[n]
    task = state.tasks[task_of(n, lane.gather_task)]
    profile = tables.profiles[task.profile]
    batch = tables.batches[profile.batch + lane.gather_batch]
    wait = profile.wait * tables.works[batch.work, WORK_ITEMS]
    log_gather(tables, state, n, now)
    _go_on(state, now)
    begin_read(state.reads, n, batch.walk, batch.memory, batch.walk, wait)
    _share(state)


@fast
def _go_on(state: MachineState, now: int) -> None:
    run = state.run[0]
    pass_cycles(state.reads, len(state.reads), now - run.since)
    run.since = now


@fast
def _share(state: MachineState) -> None:
    """Share the memory among those that gather now; note when the next one is ready."""
    run = state.run[0]
    share_out(state.reads, len(state.reads))
    cycles, lane = next_read_end(state.reads, len(state.reads))
    if lane == NONE:
        return
    due = int(math.ceil(run.since + cycles - ROUNDING))  # noqa: RUF046  (a float in compiled code)
    if due != run.read_due:
        run.read_due = due
        push_event(state, due, GATHERED, NONE, 0)


@fast
def end_gather(tables: MachineTables, state: MachineState, now: int) -> int:
    """Note the gather that is ready now; return its lane. NONE if there is none any more."""
    run = state.run[0]
    if run.read_due != now:
        return NONE
    cycles, n = next_read_end(state.reads, len(state.reads))
    pass_cycles(state.reads, len(state.reads), cycles)
    run.since += cycles
    end_read(state.reads, n)
    run.read_due = NONE
    _share(state)
    state.lanes[n].gathering = 0
    note_batch(tables, state, n, now)
    return n


@fast
def note_batch(tables: MachineTables, state: MachineState, n: int, now: int) -> bool:
    """Note a sub-batch of lane `n` that is gathered now; return whether it is its task's last."""
    lane, core = state.lanes[n], state.cores[n]
    state.run[0].steps += 1
    lane.gathered = now
    if len(state.batch_log):
        state.batch_log[_flying(state, n, core.gathered)].gathered = now
    note_gathered(core, now)
    task = state.tasks[task_of(n, lane.gather_task)]
    lane.gather_batch += 1
    if lane.gather_batch < tables.profiles[task.profile].batches:
        return False
    task.gathered = now
    lane.gather_task, lane.gather_batch = lane.gather_task + 1, 0
    return True


@fast
def _handover(tables: MachineTables, state: MachineState, n: int) -> int:
    """Return the hand-over of the next sub-batch that the array takes."""
    task = state.tasks[task_of(n, state.lanes[n].bottom_task)]
    return int(tables.profiles[task.profile].handover)


@fast
def _top_items(tables: MachineTables, state: MachineState, n: int) -> int:
    """Return the items of the sub-batch that is to be scored next."""
    lane = state.lanes[n]
    task = state.tasks[task_of(n, lane.top_task)]
    batch = tables.batches[tables.profiles[task.profile].batch + lane.top_batch]
    return int(tables.works[batch.work, WORK_ITEMS])


@fast
def _waits(tables: MachineTables, state: MachineState, n: int, handover: int) -> bool:
    """Return whether the next chain is a top chain whose scores find no place yet.

    None is taken from it before the stage's tasks before it have been scored. It has begun then, in
    the cycle of its choice, and waits for its last layer: nothing goes before it.
    """
    lane, core = state.lanes[n], state.cores[n]
    if core.scored == core.taken or state.tasks[task_of(n, lane.top_task)].flows:
        return False
    return bool(
        lane.held + _top_items(tables, state, n) > core.depth
        and bottom_cycle(core, handover) > next_choice(core, handover)
    )


@fast
def next_cycle(tables: MachineTables, state: MachineState, n: int) -> int:
    """Return the cycle of the next chain, which may be past; NEVER if it waits or is not known."""
    handover = _handover(tables, state, n)
    if _waits(tables, state, n, handover):
        return NEVER
    return next_choice(state.cores[n], handover)


@fast
def flow_scores(state: MachineState, place: int, opened: int) -> None:
    """Let the scores of a task be taken as they come, from the cycle after `opened` on."""
    task = state.tasks[place]
    lane = state.lanes[task.lane]
    task.flows = 1
    _take_scores(state, task.lane, task.held, opened + task.held)
    lane.held -= task.held


@fast
def _take_scores(state: MachineState, n: int, count: int, last: int) -> None:
    """Let `count` scores that are behind all others be taken, one a cycle, the last not before."""
    lane = state.lanes[n]
    if lane.drained + count < last:
        row = state.drains[n, lane.drains % DRAINS]
        row[0], row[1] = last - count, lane.placed - lane.held
        lane.drains += 1
        lane.drained = last - count
    lane.drained += count


@fast
def _score_room(state: MachineState, n: int, items: int) -> int:
    """Return the cycle from which on the scores of `items` more have a place in lane `n`'s queue.

    None of those before waits for its turn, or all of these find a place beside it.
    """
    lane = state.lanes[n]
    most = lane.placed + items - state.cores[n].depth  # so many are taken before
    for back in range(1, min(lane.drains, DRAINS) + 1):
        row = state.drains[n, (lane.drains - back) % DRAINS]
        if row[1] < most:
            return row[0] + most - row[1] + 1
    return LONG_AGO


@fast
def choose_chain(tables: MachineTables, state: MachineState, n: int, now: int) -> tuple[int, bool]:
    """Place the chain that is chosen in cycle `now`, which may be past if its scores had no place.

    Return its task if it is the last one there, and the kind. The task is a place, or NONE. The
    kind : whether it was a top chain.
    """
    lane, core = state.lanes[n], state.cores[n]
    state.run[0].steps += 1
    if bottom_cycle(core, _handover(tables, state, n)) <= now:
        place = task_of(n, lane.bottom_task)
        task = state.tasks[place]
        profile = tables.profiles[task.profile]
        work = tables.batches[profile.batch + lane.bottom_batch].work
        crossed = place_bottom(core, tables.works, work, now)
        if len(state.batch_log):
            entry = state.batch_log[_flying(state, n, core.taken - 1)]
            entry.taken, entry.crossed = now, crossed
        task.computing = min(task.computing, now)
        lane.bottom_batch += 1
        if lane.bottom_batch < profile.batches:
            return NONE, False
        lane.bottom_task, lane.bottom_batch = lane.bottom_task + 1, 0
        return place, False
    place = task_of(n, lane.top_task)
    task = state.tasks[place]
    profile = tables.profiles[task.profile]
    work = tables.batches[profile.batch + lane.top_batch].work
    items = tables.works[work, WORK_ITEMS]
    room = _score_room(state, n, items)
    logit = place_top(core, tables.works, work, now, room)
    if len(state.batch_log):
        entry = state.batch_log[_flying(state, n, core.scored - 1)]
        entry.chosen, entry.logit = now, logit
    if task.flows:
        _take_scores(state, n, items, logit + SCORE_CYCLES)
    else:
        task.held += items
        lane.held += items
    lane.placed += items
    lane.top_batch += 1
    if lane.top_batch < profile.batches:
        return NONE, True
    task.end = logit
    lane.top_task, lane.top_batch = lane.top_task + 1, 0
    return place, True
