"""A lane's gather unit a cycle at a time, with list reader, row network and memory, compiled.

Names are those of rtl.gather and of its parts. A cycle's steps read registers as they were when it
began: who takes from a queue goes before who fills it.
"""

from __future__ import annotations

import sys
from typing import Any

from numba import njit

from rpaccel.perfmodel.compiled import ENTRY, distance, fast, sources, wrap
from rpaccel.perfmodel.fabric_reader_kernels import (
    choose_answers,
    enter_requests,
    fetch_answer,
    offer_burst,
)
from rpaccel.perfmodel.gather_unit_state import (
    DENSE,
    MOST_BATCHES,
    GatherSizes,
    GatherState,
    GatherTrace,
    OrderState,
)
from rpaccel.perfmodel.record_kernels import (
    ask_records,
    offer_records,
    pop_record_burst,
    take_answer,
)
from rpaccel.perfmodel.row_bank_kernels import step_bank
from rpaccel.perfmodel.row_bank_state import NONE, Ints, RowSizes, RowState, RowTrace
from rpaccel.perfmodel.row_port_kernels import answer_beats, check_bursts, send_burst
from rpaccel.perfmodel.row_reader_kernels import collect_answers, fetch_beats, offer_rows
from rpaccel.perfmodel.walk_kernels import leaves, pool, resolve, walk

__all__ = ["run_gather"]

LIST = 0  # number of the list's reader; then those of records
BURST_BEATS = 16
ROWS_BUFFERED = 2  # a StreamBuffer's places

_SOURCES = sources(sys.modules[__name__])


@fast
def _list_beats(sizes: GatherSizes, unit: Any) -> int:
    """Return the beats of the list's next burst."""
    place = unit.address // sizes.beat_bytes % sizes.boundary_beats
    return min(unit.beats, BURST_BEATS, sizes.boundary_beats - place)


@fast
def _offer(sizes: GatherSizes, state: GatherState, fabric: OrderState) -> None:
    """Offer the bursts of this cycle: list and records."""
    unit = state.unit[0]
    offer_burst(sizes, fabric.orders[LIST], unit.beats > 0, unit.address, _list_beats(sizes, unit))
    for i in range(sizes.shares):
        offer_records(sizes, state, fabric.orders[1 + i], i)


@fast
def _pop(sizes: GatherSizes, state: GatherState, fabric: OrderState) -> None:
    """Drop the bursts that went."""
    unit, order = state.unit[0], fabric.orders[LIST]
    if order.granted:
        unit.beats -= order.beats
        unit.address += order.beats * sizes.beat_bytes
    for i in range(sizes.shares):
        if fabric.orders[1 + i].granted:
            pop_record_burst(state, i)


@fast
def _queue_ids(sizes: GatherSizes, state: GatherState, fabric: OrderState, taken: bool) -> bool:
    """Move the queue of ids; return whether an answer of the list's is taken."""
    unit, order = state.unit[0], fabric.orders[LIST]
    room = unit.ids_inner < sizes.ids
    takes = pushed = False
    if sizes.list_beats:
        pushed = order.full > 0 and unit.words > 0 and room
        ends = unit.word == sizes.words - 1 or unit.words == 1
        takes = (pushed and ends) or unit.words == 0
        if pushed:
            unit.words -= 1
            unit.word = 0 if ends else unit.word + 1
    else:
        pushed = unit.ids_left > 0 and room
        unit.ids_left -= pushed
    out = unit.ids_out and not taken
    if unit.ids_inner and not out:
        unit.ids_inner -= 1
        out = 1
    unit.ids_out = out
    unit.ids_inner += pushed
    return takes


@fast
def _dense_turn(sizes: GatherSizes, state: GatherState) -> int:
    """Return the share whose dense beat goes, or NONE."""
    unit, turn = state.unit[0], NONE
    asks = False
    for i in range(sizes.shares):
        if state.shares[i].two == DENSE:
            asks = True
            if i == unit.dense_turn:
                turn = i
    if not asks:
        unit.dense_turn = NONE
        return NONE
    if turn == NONE:
        for i in range(sizes.shares):
            if state.shares[i].two == DENSE and (
                turn == NONE
                or distance(i, unit.dense_last, sizes.shares)
                < distance(turn, unit.dense_last, sizes.shares)
            ):
                turn = i
        unit.dense_last = turn
    unit.dense_turn = turn
    return turn


@fast
def _deal(sizes: GatherSizes, state: GatherState) -> int:
    """Return the share that is offered a candidate in this cycle, or NONE."""
    unit = state.unit[0]
    if not unit.deal_left:
        return NONE
    batch = min(unit.deal_left, sizes.sub_batch)
    if unit.deal_place < batch and not unit.ids_out:
        return NONE
    return unit.deal_place % sizes.shares


@fast
def _dealt(sizes: GatherSizes, unit: Any) -> bool:
    """Go to the next candidate; return whether it was an item."""
    batch = min(unit.deal_left, sizes.sub_batch)
    real = unit.deal_place < batch
    unit.deal_place += 1
    if unit.deal_place >= batch and unit.deal_place >= sizes.shares:
        unit.deal_left -= batch
        unit.deal_place = 0
    return bool(real)


@fast
def _step_shares(
    sizes: GatherSizes, state: GatherState, trace: GatherTrace, rows: RowState,
    fabric: OrderState, released: int, now: int,
) -> bool:  # fmt: skip
    """Move all shares on; return whether an id is taken. released : a bank is free again."""
    unit, several = state.unit[0], sizes.shares > 1
    turn = _dense_turn(sizes, state) if several else 0
    offered = _deal(sizes, state) if several else (0 if unit.ids_out else NONE)
    hold = several and not unit.pooled
    past_user = taken = False
    for i in range(sizes.shares):
        share, reader = state.shares[i], rows.readers[i]
        goes = share.two == DENSE and turn == i
        advances = goes if share.two == DENSE else leaves(sizes, share)
        if i == 0 and share.tickets_out:
            past_user = not state.tickets[i, share.tickets_head].user
        pool(sizes, state, reader, i, goes or (hold and i > 0), now)
        asked = ask_records(sizes, state, trace, i, offered == i)
        if advances:
            resolve(state, reader, i)
        walk(sizes, state, trace, i, advances, released)
        take_answer(sizes, state, fabric.orders[1 + i], i)
        if asked:
            taken = _dealt(sizes, unit) if several else True
    if past_user:
        unit.pooled = 1
    return taken


@fast
def _join(sizes: GatherSizes, state: GatherState, now: int) -> bool:
    """Return whether all shares have written their part of the next sub-batch."""
    for i in range(sizes.shares):
        share = state.shares[i]
        if not share.batches or state.batches[i, share.batches_head] > now:
            return False
    for i in range(sizes.shares):
        share = state.shares[i]
        share.batches -= 1
        share.batches_head = wrap(share.batches_head + 1, MOST_BATCHES)
    return True


@njit(**ENTRY)
def run_gather(
    sizes: GatherSizes,
    row_sizes: RowSizes,
    trace: GatherTrace,
    row_trace: RowTrace,
    state: GatherState,
    rows: RowState,
    fabric: OrderState,
    book: Any,
    memories: Ints,
    releases: Ints,
    now: int,
    until: int,
    _sources: int = _SOURCES,
) -> int:
    """Run from cycle `now` on; return the cycle after the end of the next sub-batch, or `until`.

    unit.ended tells which. releases : cycles in which banks become free, ascending, `until` or
    later ones behind them. _sources : never given, see perfmodel.compiled.
    """
    unit = state.unit[0]
    unit.ended = 0
    while now < until and not unit.ended:
        released = releases[unit.released] == now
        unit.released += released
        for i in range(sizes.shares):
            reader = rows.readers[i]
            state.shares[i].rows_room = reader.rows - reader.asked < ROWS_BUFFERED
        _offer(sizes, state, fabric)
        offer_rows(row_sizes, row_trace, rows, now)
        taken = False
        if unit.begun:
            taken = _step_shares(sizes, state, trace, rows, fabric, released, now)
        unit.begun = 1
        fetch_answer(fabric, LIST, _queue_ids(sizes, state, fabric, taken))
        for i in range(sizes.shares):
            fetch_answer(fabric, 1 + i, True)
        fetch_beats(row_sizes, row_trace, rows, now)
        collect_answers(row_sizes, rows)
        answered = choose_answers(fabric, sizes.ports)
        for p in range(sizes.ports):
            answer_beats(row_sizes, rows, fabric, p, now, answered >> p & 1)
            send_burst(row_sizes, rows, p, now, book, memories[p])
            check_bursts(row_sizes, rows, fabric, p)
        for b in range(row_sizes.banks):
            if rows.banks[b].active:
                step_bank(row_sizes, row_trace, rows, b, True)
        enter_requests(fabric)
        _pop(sizes, state, fabric)
        unit.ended = _join(sizes, state, now)
        now += 1
    return now
