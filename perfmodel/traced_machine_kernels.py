"""A machine under a load whose records are known, compiled: events, and gathers a cycle at a time.

Events are those of `perfmodel.machine_kernels` but for gathers, which are those of
`perfmodel.gather_unit_kernels`: all cycles before an event's have been gone through by then.
"""

from __future__ import annotations

import sys
from typing import Any

from numba import njit

from rpaccel.perfmodel import lane as one_lane
from rpaccel.perfmodel.compiled import ENTRY, fast, sources
from rpaccel.perfmodel.dispatcher_kernels import (
    choose_funnel,
    end_query,
    end_task,
    end_writing,
    follow_accept,
    free_funnel,
    next_note,
    note_fetched,
    write_completion,
)
from rpaccel.perfmodel.dispatcher_state import Dispatch
from rpaccel.perfmodel.event_kernels import (
    ANSWERED,
    ARRIVE,
    CHAIN,
    CHOOSE,
    ENDED,
    FETCHED,
    FREE,
    GATHER,
    GATHERED,
    NOTE,
    OFFER,
    TAKEN,
    WRITE,
    WRITTEN,
    next_time,
    push_event,
)
from rpaccel.perfmodel.fetch_kernels import fetches
from rpaccel.perfmodel.gather_unit_kernels import free_bank, go_on_gathers, start_gather
from rpaccel.perfmodel.gather_unit_state import (
    BATCH_ENDED,
    IDS_TAKEN,
    Network,
    Traces,
)
from rpaccel.perfmodel.machine_kernels import (
    DONE,
    GO_ON,
    NO_PROFILE,
    PAST,
    follow_move,
    grant_stage,
    grant_task,
    serve_event,
    take_event,
)
from rpaccel.perfmodel.machine_lane_kernels import late_ids, log_gather, note_batch, task_of
from rpaccel.perfmodel.machine_state import NONE, MachineState, MachineTables
from rpaccel.perfmodel.row_bank_state import Ints
from rpaccel.perfmodel.sequencer import NEVER

__all__ = ["SETTLE_CYCLES", "STUCK", "run_traced_machine"]

SETTLE_CYCLES = 64  # after the last gather; then nothing moves any more
PATIENCE = 1 << 22  # cycles without the end of a sub-batch: far above any memory's
STUCK = GO_ON + 1  # why a run stops: a gather waits and nothing moves
_TAKE = one_lane.TAKE_CYCLES
_SOURCES = sources(sys.modules[__name__])


@fast
def _await_gather(state: MachineState, n: int) -> None:
    """Say when lane `n` takes the start of its next task's gather, if it gathers none."""
    lane = state.lanes[n]
    if lane.gathering or state.cores[n].gathered == lane.batches:
        return
    lane.gathering = 1
    begin = state.tasks[task_of(n, lane.gather_task)].begin
    push_event(state, begin + _TAKE, GATHER, n, 0)


@fast
def _await_ids(state: MachineState, unit: Any, task: Any, stage: Any) -> None:
    """Let ids come when they have left the filter; of a long task they wait before the lane."""
    unit.ids_late, unit.ids_from = late_ids(state, task)
    if task.wait or task.items > unit.ids:
        stage.receiving, unit.tells = NEVER, 1


@fast
def _start(
    tables: MachineTables, state: MachineState, network: Network, traces: Traces,
    first_tasks: Ints, n: int, now: int,
) -> None:  # fmt: skip
    """Let lane `n` gather its next task."""
    task = state.tasks[task_of(n, state.lanes[n].gather_task)]
    stage, unit = state.stages[task.stage], network.gathers.units[n]
    size = tables.stage_kinds[stage.kind].task_items
    number = task.first // size if size else 0
    start_gather(network, traces.walk, n, first_tasks[task.stage] + number, now)
    if stage.number:
        _await_ids(state, unit, task, stage)
    log_gather(tables, state, n, now)


@fast
def _end_batch(tables: MachineTables, state: MachineState, n: int, now: int) -> None:
    """Note a sub-batch that lane `n` has gathered."""
    if note_batch(tables, state, n, now):
        state.lanes[n].gathering = 0
    else:
        log_gather(tables, state, n, now)


@fast
def _ring(state: MachineState, network: Network, dispatch: Dispatch, number: int, now: int) -> None:
    """Let a query come: through the ring if there is one."""
    run = dispatch.run[0]
    if not run.rings:
        choose_funnel(state, dispatch, number, now)
        return
    dispatch.order[run.arrived] = number
    run.arrived += 1
    network.fetch[0].waiting += 1


@fast
def _dispatch(
    tables: MachineTables, state: MachineState, network: Network, dispatch: Dispatch,
    kind: int, one: int, now: int,
) -> None:  # fmt: skip
    """Do what an event of the dispatcher comes to."""
    accepted = state.run[0].accepted
    if kind == ARRIVE:
        _ring(state, network, dispatch, one, now)
    elif kind == FETCHED:
        note_fetched(state, dispatch, now)
    elif kind == TAKEN:
        network.fetch[0].entries -= 1
    elif kind == CHOOSE:
        choose_funnel(state, dispatch, one, now)
    elif kind == ANSWERED:
        end_task(state, dispatch, one, now)
    elif kind == NOTE:
        serve_event(tables, state, ANSWERED, next_note(state, dispatch, now), 0, now)
    elif kind == ENDED:
        end_query(state, dispatch, one, now)
    elif kind == WRITE:
        write_completion(state, dispatch, now)
    elif kind == WRITTEN:
        end_writing(state, dispatch, one, now)
    else:
        free_funnel(state, dispatch, one)
        serve_event(tables, state, kind, one, 0, now)
    follow_accept(state, dispatch, accepted, now)


@fast
def _serve(
    tables: MachineTables, state: MachineState, network: Network, traces: Traces,
    dispatch: Dispatch, first_tasks: Ints, now: int,
) -> tuple[int, int]:  # fmt: skip
    """Take the next event; return lane and stage as `serve_event`."""
    kind, one, other = take_event(state, now)
    if kind in (ARRIVE, FREE) or kind >= ANSWERED:
        _dispatch(tables, state, network, dispatch, kind, one, now)
        return NONE, NONE
    if kind == GATHER:
        _start(tables, state, network, traces, first_tasks, one, now)
        return NONE, NONE
    if kind == GATHERED:
        _end_batch(tables, state, one, now)
        return one, NONE
    if kind != CHAIN:
        return serve_event(tables, state, kind, one, other, now)
    core = state.cores[one]
    taken = core.taken
    lane, stage = serve_event(tables, state, kind, one, other, now)
    if core.taken != taken:
        free = core.crossed - 1
        if free < network.clock[0]:
            state.run[0].past = 1
        free_bank(network.gathers, one, free)
    return lane, stage


@fast
def _gather(network: Network, traces: Traces, book: Any, until: int) -> tuple[bool, bool]:
    """Go on before cycle `until`, until a unit has something to tell.

    Return whether one has, and whether one was at work in the last cycle.
    """
    clock, units = network.clock, network.gathers.units
    while clock[0] < until:
        at_work = fetches(network.fetch[0])
        for n in range(len(units)):
            at_work = at_work or units[n].on > 0
        if at_work:
            clock[1] = clock[0] + 1
        elif clock[0] - clock[1] > SETTLE_CYCLES:
            break
        told = go_on_gathers(network, traces, book, until)
        if at_work:
            clock[1] = clock[0]
        if told:
            return True, at_work
    return False, clock[1] == clock[0]


@fast
def _note(state: MachineState, network: Network) -> None:
    """Make events of what units told of the last cycle."""
    now = network.clock[0] - 1
    for n in range(len(network.gathers.units)):
        ended = network.gathers.units[n].ended
        if ended & BATCH_ENDED:
            push_event(state, now, GATHERED, n, 0)
        if ended & IDS_TAKEN:
            task = state.tasks[task_of(n, state.lanes[n].gather_task)]
            stage = state.stages[task.stage]
            stage.receiving = now + 1
            push_event(state, now + 1, OFFER, stage.query, 0)
    if network.fetch[0].ended:
        push_event(state, now, FETCHED, 0, 0)


@fast
def _grant(tables: MachineTables, state: MachineState) -> tuple[int, int]:
    """Let the grant look in this cycle; return the lane that gets a task, and its stage."""
    run = state.run[0]
    run.chosen, run.asks_stage = 1, NONE
    if run.now < run.next_choice or not run.ready:
        return NONE, NONE
    lane = grant_task(tables, state)
    if run.asks_stage != NONE:
        run.chosen = 0  # it looks again when the profile is there
    return lane, NONE if lane == NONE else grant_stage(state, lane)


@fast
def _pass_time(state: MachineState, network: Network, traces: Traces, book: Any, time: int) -> int:
    """Go on to the next event, in cycle `time`, or to what a unit has to tell before.

    Return why the run stops, or GO_ON.
    """
    run, clock = state.run[0], network.clock
    told, at_work = _gather(network, traces, book, min(time, clock[0] + PATIENCE))
    if told:
        _note(state, network)
        time = clock[0] - 1
    elif time == NEVER:
        return STUCK if at_work else DONE
    elif clock[0] < time and at_work:
        return GO_ON
    else:
        clock[0] = time
    if time > run.now:
        run.now, run.chosen = time, 0
    return GO_ON


@njit(**ENTRY)
def run_traced_machine(
    tables: MachineTables, state: MachineState, network: Network, traces: Traces, book: Any,
    dispatch: Dispatch, first_tasks: Ints, _sources: int = _SOURCES,
) -> int:  # fmt: skip
    """Serve queries until all are, or until something lacks; return why it stops.

    first_tasks : int64[stages of all queries], of the walk's tasks. _sources : never given, see
    perfmodel.compiled.
    """
    run, why = state.run[0], GO_ON
    while why == GO_ON:
        time = next_time(state)
        lane = stage = NONE
        if time == run.now:
            lane, stage = _serve(tables, state, network, traces, dispatch, first_tasks, time)
        elif not run.chosen:
            lane, stage = _grant(tables, state)
            if run.asks_stage != NONE:
                return NO_PROFILE
        elif time < run.now:
            return PAST
        else:
            why = _pass_time(state, network, traces, book, time)
        if lane != NONE:
            _await_gather(state, lane)
        if why == GO_ON:
            why = follow_move(tables, state, lane, stage)
    return why
