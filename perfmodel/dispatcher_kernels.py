"""The query dispatcher, compiled: descriptors to funnels, completions to memory, in turn.

Names are those of rtl.dispatcher, rtl.submission_queue and rtl.completion_writer.
"""

from __future__ import annotations

from typing import Any

from rpaccel.perfmodel.compiled import fast
from rpaccel.perfmodel.dispatcher_state import Dispatch
from rpaccel.perfmodel.event_kernels import (
    CHOOSE,
    ENDED,
    FREE,
    NOTE,
    TAKEN,
    WRITE,
    WRITTEN,
    push_event,
)
from rpaccel.perfmodel.machine_funnel_kernels import arrive
from rpaccel.perfmodel.machine_lane_kernels import task_of
from rpaccel.perfmodel.machine_state import NONE, MachineState
from rpaccel.perfmodel.memory_fabric import QUEUE_CYCLES, REGION_CHECK_CYCLES, WRITE_STEPS

__all__ = [
    "choose_funnel", "end_query", "end_task", "end_writing", "follow_accept", "free_funnel",
    "next_note", "note_fetched", "write_completion",
]  # fmt: skip

CHOOSE_CYCLES = 3  # Dispatcher: IDLE, DECODE, CHECK
SHARE_CYCLES = 1  # WriteShare: a request waits for its turn
BEAT_CYCLES = SHARE_CYCLES + REGION_CHECK_CYCLES + 1  # CompletionWriter: to the first beat
PACK_CYCLES = SHARE_CYCLES + 1  # CompletionWriter: from a request to the first result
CLEAR_CYCLES = 2  # Funnel: from the last result to IDLE
NOTED_CYCLES = 2  # Funnel: from the end of its last task to its completion

Record = Any


@fast
def _take_next(state: MachineState, dispatch: Dispatch, arrived: int) -> None:
    """Say when the next descriptor leaves the queue, if it is there and none waits for a funnel."""
    run = dispatch.run[0]
    if run.busy or run.taken == arrived:
        return
    number = dispatch.order[run.taken]
    shown = max(dispatch.queries[number].fetched + QUEUE_CYCLES, run.last_taken + 1)
    run.last_taken = max(shown + run.descriptor_beats, run.idle_from)
    run.busy = 1
    run.taken += 1
    push_event(state, run.last_taken + 1, TAKEN, number, 0)
    push_event(state, run.last_taken + CHOOSE_CYCLES, CHOOSE, number, 0)


@fast
def note_fetched(state: MachineState, dispatch: Dispatch, now: int) -> None:
    """Note that the last beat of the next descriptor has come."""
    run = dispatch.run[0]
    dispatch.queries[dispatch.order[run.fetched]].fetched = now
    run.fetched += 1
    _take_next(state, dispatch, run.fetched)


@fast
def choose_funnel(state: MachineState, dispatch: Dispatch, number: int, now: int) -> None:
    """Let a query wait for a funnel."""
    arrive(state, number, now)
    if dispatch.run[0].rings:
        state.queries[number].arrival = dispatch.queries[number].fetched


@fast
def free_funnel(state: MachineState, dispatch: Dispatch, funnel: int) -> None:
    """Let a funnel be idle."""
    dispatch.run[0].idle |= 1 << funnel


@fast
def follow_accept(state: MachineState, dispatch: Dispatch, accepted: int, now: int) -> None:
    """Follow queries that were accepted now: the lowest idle funnel has each. accepted : before."""
    run = dispatch.run[0]
    for place in range(accepted, state.run[0].accepted):
        funnel = 0
        while not run.idle >> funnel & 1:
            funnel += 1
        run.idle &= ~(1 << funnel)
        number = state.waiting[place]
        dispatch.queries[number].funnel = funnel
        dispatch.of_funnel[funnel] = number
        run.busy, run.idle_from = 0, now + 1
        if run.rings:
            _take_next(state, dispatch, run.fetched)


@fast
def _plan_write(state: MachineState, dispatch: Dispatch, now: int) -> None:
    """Say when the next completion is written: the turn comes to one after the other."""
    run = dispatch.run[0]
    run.due = NONE
    if run.writing or not run.done:
        return
    turn = (run.turn + now - run.turn_at) % run.turns
    for steps in range(run.turns):
        funnel = (turn + steps) % run.turns
        if run.done >> funnel & 1:
            run.due, run.due_funnel = now + steps, funnel
            break
    push_event(state, run.due, WRITE, 0, 0)


@fast
def end_task(state: MachineState, dispatch: Dispatch, n: int, now: int) -> None:
    """Let a lane say that a task is done: one lane in a cycle does, that of lowest number."""
    run = dispatch.run[0]
    dispatch.notes[n] += 1
    if run.note_due == NONE:
        run.note_due = max(now, run.noted_at + 1)
        push_event(state, run.note_due, NOTE, 0, 0)


@fast
def next_note(state: MachineState, dispatch: Dispatch, now: int) -> int:
    """Return the lane that says so now."""
    run, n = dispatch.run[0], 0
    while not dispatch.notes[n]:
        n += 1
    dispatch.notes[n] -= 1
    task = state.tasks[task_of(n, state.lanes[n].answered)]
    dispatch.queries[state.stages[task.stage].query].noted = now
    run.noted_at, run.note_due = now, NONE
    for other in range(len(dispatch.notes)):
        if dispatch.notes[other]:
            run.note_due = now + 1
    if run.note_due != NONE:
        push_event(state, run.note_due, NOTE, 0, 0)
    return n


@fast
def _all_noted(state: MachineState, dispatch: Dispatch, number: int) -> bool:
    """Return whether every task of a query that has been scored is noted."""
    for n in range(len(state.lanes)):
        lane = state.lanes[n]
        for place in range(lane.answered, lane.scored):
            task = state.tasks[task_of(n, place)]
            if state.stages[task.stage].query == number:
                return False
    return True


@fast
def end_query(state: MachineState, dispatch: Dispatch, number: int, now: int) -> None:
    """Let the completion of a query wait for its turn, when the funnel knows of all its tasks."""
    known = dispatch.queries[number].noted + NOTED_CYCLES
    if not _all_noted(state, dispatch, number):
        known = now + 1
    if known > now:
        state.queries[number].end += known - now
        state.queries[number].late += known - now
        push_event(state, known, ENDED, number, 0)
        return
    dispatch.run[0].done |= 1 << dispatch.queries[number].funnel
    _plan_write(state, dispatch, now)


@fast
def write_completion(state: MachineState, dispatch: Dispatch, now: int) -> None:
    """Write results and completion if it is the turn of one that waits."""
    run = dispatch.run[0]
    if run.due != now:  # another one came before
        return
    funnel = run.due_funnel
    run.done &= ~(1 << funnel)
    run.writing, run.due = 1, NONE
    query = state.queries[dispatch.of_funnel[funnel]]
    listed = state.stages[query.stage + query.stages - 1].given
    asks, free = _write_results(run, min(query.top_n, listed), now + 1)
    last = asks + BEAT_CYCLES + run.completion_beats - 1
    push_event(state, free, FREE, funnel, 0)
    push_event(state, _answered(run, last) + 1, WRITTEN, funnel, 0)


@fast
def _write_results(run: Record, count: int, asks: int) -> tuple[int, int]:
    """Return when the completion's burst is asked for, and when the funnel is idle.

    asks : when the first burst of results is asked for.
    """
    size, taken = run.beat_results, asks - 1
    left = (count + size - 1) // size
    while left:
        burst = min(left, run.burst_beats)
        first = asks + max(BEAT_CYCLES, PACK_CYCLES + size)
        last = first + (burst - 1) * (size + 1)
        packs = asks + PACK_CYCLES if burst == 1 else last - size
        left -= burst
        taken = packs + (count - 1) % size
        asks = _answered(run, last) + 1
    return asks + 1, taken + CLEAR_CYCLES


@fast
def _answered(run: Record, last: int) -> int:
    """Return when the writer has memory's response to a burst whose last beat goes in `last`."""
    return int(last + max(WRITE_STEPS, run.write_cycles) + 1)


@fast
def end_writing(state: MachineState, dispatch: Dispatch, funnel: int, now: int) -> None:
    """Let the turn go on: it is the next one's now."""
    run = dispatch.run[0]
    run.writing, run.turn, run.turn_at = 0, (funnel + 1) % run.turns, now
    _plan_write(state, dispatch, now)
