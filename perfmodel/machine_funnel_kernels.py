"""Queries at work in a machine, compiled: what stages deal out, what leaves their filters."""

from __future__ import annotations

from typing import Any

from rpaccel.perfmodel import bucket_filter, lane, machine_load, ordered_top_n
from rpaccel.perfmodel.compiled import fast
from rpaccel.perfmodel.event_kernels import (
    ARRIVE,
    COUNTED,
    ENDED,
    FREE,
    OFFER,
    WAKE,
    push_event,
)
from rpaccel.perfmodel.machine_cycles import (
    ACCEPT_CYCLES,
    ANSWER_CYCLES,
    IDS_QUEUED_CYCLES,
    OFFER_CYCLES,
)
from rpaccel.perfmodel.machine_state import NONE, MachineState, MachineTables

__all__ = ["accept_query", "arrive", "count_survivors", "offer_task", "release_survivors"]

_WHOLE, _UNKNOWN = machine_load.WHOLE, machine_load.UNKNOWN
_OPEN, _END = lane.OPEN_CYCLES, lane.END_CYCLES
_FIRST_SURVIVOR = bucket_filter.first_survivor_cycles()
_LISTED = ordered_top_n.LATENCY_CYCLES + 1
_leaving: Any = fast(machine_load.leaving_ids)


@fast
def arrive(state: MachineState, number: int, now: int) -> None:
    run = state.run[0]
    state.queries[number].arrival = now
    state.waiting[run.waiting] = number
    run.waiting += 1
    accept_query(state, now)


@fast
def accept_query(state: MachineState, now: int) -> None:
    """Give the query that waits longest to a free funnel."""
    run = state.run[0]
    if run.accepted == run.waiting or run.free == 0:
        return
    run.free -= 1
    number = state.waiting[run.accepted]
    run.accepted += 1
    query = state.queries[number]
    query.accepted = now + ACCEPT_CYCLES
    first = state.stages[query.stage]
    first.there, first.known = query.items, 1
    state.working[run.working] = number
    run.working += 1
    push_event(state, query.accepted + _OPEN, OFFER, number, 0)


@fast
def _due(tables: MachineTables, state: MachineState, query: Any, now: int) -> None:
    """Note the task of the query's highest stage that has one."""
    for place in range(query.stage + query.stages - 1, query.stage - 1, -1):
        stage = state.stages[place]
        rest, size = stage.there - stage.given, tables.stage_kinds[stage.kind].task_items
        if rest == 0 or stage.receiving > now:
            continue
        if size and (rest > size or (rest == size and stage.known)):
            query.offer, query.offer_items = place, size
            query.final = stage.known and rest == size
            return
        if stage.known:
            query.offer, query.offer_items, query.final = place, rest, 1
            return


@fast
def offer_task(tables: MachineTables, state: MachineState, number: int, now: int) -> None:
    """Offer a task if there is one and none is offered; it stays until it is granted."""
    query = state.queries[number]
    if query.offer == NONE and now + OFFER_CYCLES > query.valid:
        _due(tables, state, query, now)
        if query.offer != NONE:
            query.valid = now + OFFER_CYCLES
            push_event(state, query.valid, WAKE, number, 0)


@fast
def _end(state: MachineState, stage: Any, closed: int) -> None:
    """End the query of `stage`, its last one, which ends in cycle `closed`."""
    run, number = state.run[0], stage.query
    query = state.queries[number]
    if stage.given:
        stage.end = closed
    query.end = closed + _END
    other = query.follower
    while other != NONE:
        push_event(state, query.end + state.queries[other].arrival, ARRIVE, other, 0)
        other = state.queries[other].sibling
    found = False
    for place in range(run.working):
        found = found or state.working[place] == number
        if found and place + 1 < run.working:
            state.working[place] = state.working[place + 1]
    run.working -= 1
    if run.dispatched:
        push_event(state, query.end, ENDED, number, 0)
    else:
        push_event(state, query.end + ANSWER_CYCLES + query.top_n, FREE, NONE, 0)


@fast
def count_survivors(
    tables: MachineTables, state: MachineState, place: int, ids: int, now: int
) -> None:
    """Make survivors items of the next stage. ids : twice those, and 1 if they are the last."""
    stage, following = state.stages[place], state.stages[place + 1]
    kind, exact = tables.stage_kinds[stage.kind], 0
    if kind.releases:
        exact = tables.releases[kind.release + stage.counted, 2]
    stage.counted += 1
    stage.before, stage.leaves = following.there, now + exact + IDS_QUEUED_CYCLES
    following.there += ids >> 1
    following.known = ids & 1
    if following.known:
        stage.end = now
        if following.there == 0:
            _end(state, following, now)
            return
    offer_task(tables, state, stage.query, now)


@fast
def release_survivors(
    tables: MachineTables, state: MachineState, place: int, scored: int, final: bool
) -> bool:
    """Let go what leaves the filter after a task, or end the query; return if that is known."""
    stage = state.stages[place]
    query, kind = state.queries[stage.query], tables.stage_kinds[stage.kind]
    if stage.number == query.stages - 1:
        if final:
            _end(state, stage, scored + _LISTED)
    elif final or kind.mode != _WHOLE:
        if kind.releases:
            if stage.releases == kind.releases:
                return False
            ids = tables.releases[kind.release + stage.releases, 0]
            cycles = tables.releases[kind.release + stage.releases, 1]
            exact = tables.releases[kind.release + stage.releases, 2]
            stage.releases += 1
        else:
            items = _UNKNOWN if stage.number else stage.there
            ids = _leaving(
                kind.mode, kind.k, kind.task_k, stage.tasks - 1, stage.scored, stage.left, items,
                final,
            )  # fmt: skip
            cycles, exact = _FIRST_SURVIVOR, 0
        stage.left += ids
        stage.open = scored + cycles + ids
        push_event(state, scored + cycles - exact, COUNTED, place, 2 * ids + final)
    return True
