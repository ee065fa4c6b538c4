"""A lane of a machine under a load, compiled: tasks in, sub-batches through gather and core."""

from __future__ import annotations

import math
from typing import Any

from rpaccel.perfmodel import shared_memory
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
from rpaccel.perfmodel.machine_state import FLYING, NONE, TASKS, MachineState, MachineTables
from rpaccel.perfmodel.sequencer import NEVER

__all__ = ["begin_task", "choose_chain", "gather_batches", "is_ready", "next_cycle", "task_of"]

USER_BANKS = 2  # rtl.lane: tasks gathered or computed
ROUNDING = 1e-6  # [cycles] of sums of parts of cycles

_WINDOW, _NO_ROOM = shared_memory.WINDOW_CYCLES, shared_memory.NO_ROOM
_reserve: Any = fast(shared_memory.reserve)


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
def begin_task(tables: MachineTables, state: MachineState, n: int, place: int, begin: int) -> None:
    """Let a task of lane `n` begin: its sub-batches wait to be gathered."""
    lane, task = state.lanes[n], state.tasks[place]
    task.begin = begin
    lane.model = task.model
    lane.batches += tables.profiles[task.profile].batches


@fast
def _first_window(state: MachineState) -> int:
    """Return the first of the memory's windows in which something may still be read."""
    run = state.run[0]
    first = run.next_choice
    for n in range(len(state.lanes)):
        lane = state.lanes[n]
        if lane.computed < lane.given:
            first = min(first, state.tasks[task_of(n, lane.computed)].start)
    return first // _WINDOW


@fast
def _read(state: MachineState, start: int, cycles: int, work: float) -> float:
    """Return when reads end that share the memory."""
    run, used = state.run[0], state.used
    if (start + 2 * cycles) // _WINDOW >= run.first_window + len(used) // 2:
        first = _first_window(state)
        for window in range(run.first_window, min(first, run.first_window + len(used))):
            used[window & (len(used) - 1)] = 0.0
        run.first_window = max(first, run.first_window)
    return _reserve(used, run.first_window, _WINDOW, start, cycles, work)


@fast
def _flying(state: MachineState, n: int, number: int) -> int:
    """Return the place in the log of a lane's sub-batch."""
    return int(state.flying[n, number % FLYING])


@fast
def _log_gather(state: MachineState, n: int, task: Any, items: int, start: int) -> None:
    """Note a gather that may start."""
    run = state.run[0]
    if run.batches == len(state.batch_log):
        run.small = 1
        return
    state.flying[n, state.cores[n].gathered % FLYING] = run.batches
    entry, stage = state.batch_log[run.batches], state.stages[task.stage]
    entry.query, entry.stage, entry.lane = stage.query, stage.number, n
    entry.items, entry.gathering = items, start
    run.batches += 1


@fast
def gather_batches(tables: MachineTables, state: MachineState, n: int) -> None:
    """Time the gathers of lane `n` whose bank is known to become free."""
    lane, core = state.lanes[n], state.cores[n]
    while core.gathered < lane.batches:
        task = state.tasks[task_of(n, lane.gather_task)]
        profile = tables.profiles[task.profile]
        free = bank_free(core, profile.banks)
        if free == NEVER:
            return
        batch = tables.batches[profile.batch + lane.gather_batch]
        start = task.begin + profile.start if lane.gather_batch == 0 else lane.gathered
        start = max(start, free)
        end = _read(state, start, batch.walk, batch.memory)
        if end == _NO_ROOM:
            state.run[0].small = 1
            return
        if len(state.batch_log):
            _log_gather(state, n, task, tables.works[batch.work, WORK_ITEMS], start)
        lane.gathered = int(math.ceil(end - ROUNDING))  # noqa: RUF046  (a float in compiled code)
        if len(state.batch_log):
            state.batch_log[_flying(state, n, core.gathered)].gathered = lane.gathered
        note_gathered(core, lane.gathered)
        state.run[0].steps += 1
        lane.gather_batch += 1
        if lane.gather_batch == profile.batches:
            task.gathered = lane.gathered
            lane.gather_task, lane.gather_batch = lane.gather_task + 1, 0


@fast
def _handover(tables: MachineTables, state: MachineState, n: int) -> int:
    """Return the hand-over of the next sub-batch that the array takes."""
    task = state.tasks[task_of(n, state.lanes[n].bottom_task)]
    return int(tables.profiles[task.profile].handover)


@fast
def _is_full(tables: MachineTables, state: MachineState, n: int, handover: int) -> bool:
    """Return whether the next chain is a top chain whose scores find no place."""
    lane, core = state.lanes[n], state.cores[n]
    if core.scored == core.taken or lane.held == 0:
        return False
    task = state.tasks[task_of(n, lane.top_task)]
    if task.flows:
        return False
    batch = tables.batches[tables.profiles[task.profile].batch + lane.top_batch]
    return bool(
        lane.held + tables.works[batch.work, WORK_ITEMS] > core.depth
        and bottom_cycle(core, handover) > next_choice(core, handover)
    )


@fast
def next_cycle(tables: MachineTables, state: MachineState, n: int) -> int:
    """Return the cycle of the next chain; NEVER if none is known, or scores have no place."""
    handover = _handover(tables, state, n)
    if _is_full(tables, state, n, handover):
        return NEVER
    return next_choice(state.cores[n], handover)


@fast
def choose_chain(tables: MachineTables, state: MachineState, n: int, now: int) -> tuple[int, bool]:
    """Place the chain that is due; return its task if it is the last one there, and the kind.

    The task is a place, or NONE. The kind : whether it was a top chain.
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
    logit = place_top(core, tables.works, work, now)
    if len(state.batch_log):
        entry = state.batch_log[_flying(state, n, core.scored - 1)]
        entry.chosen, entry.logit = now, logit
    if not task.flows:
        task.held += tables.works[work, WORK_ITEMS]
        lane.held += tables.works[work, WORK_ITEMS]
    lane.top_batch += 1
    if lane.top_batch < profile.batches:
        return NONE, True
    task.end = logit
    lane.top_task, lane.top_batch = lane.top_task + 1, 0
    return place, True
