"""Lanes' gather units a cycle at a time, with list readers, row network and memory, compiled.

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
from rpaccel.perfmodel.fetch_kernels import go_on_fetch, offer_fetch, step_fetch
from rpaccel.perfmodel.gather_unit_state import (
    BATCH_ENDED,
    DENSE,
    IDS_TAKEN,
    MOST_BATCHES,
    NEVER,
    RELEASES,
    GatherSizes,
    GatherState,
    GatherTrace,
    Network,
    OrderState,
    Traces,
)
from rpaccel.perfmodel.record_kernels import (
    ask_records,
    offer_records,
    pop_record_burst,
    take_answer,
)
from rpaccel.perfmodel.row_bank_kernels import step_bank
from rpaccel.perfmodel.row_bank_state import NONE, Ints, RowState
from rpaccel.perfmodel.row_port_kernels import answer_beats, check_bursts, send_burst
from rpaccel.perfmodel.row_reader_kernels import collect_answers, fetch_beats, offer_rows
from rpaccel.perfmodel.walk_kernels import leaves, pool, resolve, walk

__all__ = [
    "begin_gather", "free_bank", "go_on_gathers", "release_gather", "run_gather", "start_gather",
    "step_gathers",
]  # fmt: skip

BURST_BEATS = 16
ROWS_BUFFERED = 2  # a StreamBuffer's places
WATCHED = 1  # cycles without a move outside the units: then units are looked at, too

_SOURCES = sources(sys.modules[__name__])


@fast
def _list_beats(sizes: GatherSizes, unit: Any) -> int:
    """Return the beats of the list's next burst."""
    place = unit.address // sizes.beat_bytes % sizes.boundary_beats
    return min(unit.beats, BURST_BEATS, sizes.boundary_beats - place)


@fast
def _offer(sizes: GatherSizes, unit: Any, state: GatherState, fabric: OrderState) -> None:
    """Offer the bursts of this cycle: list and records."""
    order = fabric.orders[unit.order]
    offer_burst(sizes, order, unit.beats > 0, unit.address, _list_beats(sizes, unit))
    for i in range(unit.shares):
        offer_records(sizes, state, fabric.orders[unit.order + 1 + i], unit.share + i)


@fast
def _pop(sizes: GatherSizes, unit: Any, state: GatherState, fabric: OrderState) -> None:
    """Drop the bursts that went."""
    order = fabric.orders[unit.order]
    if order.granted:
        unit.beats -= order.beats
        unit.address += order.beats * sizes.beat_bytes
    for i in range(unit.shares):
        if fabric.orders[unit.order + 1 + i].granted:
            pop_record_burst(state, unit.share + i)


@fast
def _queue_ids(sizes: GatherSizes, unit: Any, fabric: OrderState, taken: bool, now: int) -> bool:
    """Move the queue of ids; return whether an answer of the list's is taken."""
    order = fabric.orders[unit.order]
    room = unit.ids_inner < unit.ids
    takes = pushed = False
    if unit.listed:
        pushed = order.full > 0 and unit.words > 0 and room
        ends = unit.word == sizes.words - 1 or unit.words == 1
        takes = (pushed and ends) or unit.words == 0
        if pushed:
            unit.words -= 1
            unit.word = 0 if ends else unit.word + 1
    else:
        late = (
            unit.ids_left <= unit.ids_late and now < unit.ids_from + unit.ids_late - unit.ids_left
        )
        pushed = unit.ids_left > 0 and room and not late
        unit.ids_left -= pushed
    out = unit.ids_out and not taken
    if unit.ids_inner and not out:
        unit.ids_inner -= 1
        out = 1
    unit.ids_out = out
    unit.ids_inner += pushed
    return takes


@fast
def _dense_turn(unit: Any, state: GatherState) -> int:
    """Return the share whose dense beat goes, counted from the lane's first, or NONE."""
    turn = NONE
    asks = False
    for i in range(unit.shares):
        if state.shares[unit.share + i].two == DENSE:
            asks = True
            if i == unit.dense_turn:
                turn = i
    if not asks:
        unit.dense_turn = NONE
        return NONE
    if turn == NONE:
        for i in range(unit.shares):
            if state.shares[unit.share + i].two == DENSE and (
                turn == NONE
                or distance(i, unit.dense_last, unit.shares)
                < distance(turn, unit.dense_last, unit.shares)
            ):
                turn = i
        unit.dense_last = turn
    unit.dense_turn = turn
    return turn


@fast
def _deal(unit: Any) -> int:
    """Return the share that is offered a candidate in this cycle, or NONE."""
    if not unit.deal_left:
        return NONE
    batch = min(unit.deal_left, unit.sub_batch)
    if unit.deal_place < batch and not unit.ids_out:
        return NONE
    return unit.deal_place % unit.shares


@fast
def _dealt(unit: Any) -> bool:
    """Go to the next candidate; return whether it was an item."""
    batch = min(unit.deal_left, unit.sub_batch)
    real = unit.deal_place < batch
    unit.deal_place += 1
    if unit.deal_place >= batch and unit.deal_place >= unit.shares:
        unit.deal_left -= batch
        unit.deal_place = 0
    return bool(real)


@fast
def _step_shares(
    sizes: GatherSizes, unit: Any, state: GatherState, trace: GatherTrace, rows: RowState,
    fabric: OrderState, now: int,
) -> bool:  # fmt: skip
    """Move all shares of a lane on; return whether an id is taken."""
    several = unit.shares > 1
    turn = _dense_turn(unit, state) if several else 0
    offered = _deal(unit) if several else (0 if unit.ids_out else NONE)
    hold = several and not unit.pooled
    past_user = taken = False
    for k in range(unit.shares):
        i = unit.share + k
        share, reader = state.shares[i], rows.readers[i]
        goes = share.two == DENSE and turn == k
        advances = goes if share.two == DENSE else leaves(unit, share)
        if k == 0 and share.tickets_out:
            past_user = not state.tickets[i, share.tickets_head].user
        pool(unit, state, reader, i, goes or (hold and k > 0), now)
        asked = ask_records(sizes, unit, state, trace, i, offered == k)
        if advances:
            resolve(state, reader, i)
        walk(unit, state, trace, i, advances)
        take_answer(unit, state, fabric.orders[unit.order + 1 + k], i)
        if asked:
            taken = _dealt(unit) if several else True
    if past_user:
        unit.pooled = 1
    return taken


@fast
def _join(unit: Any, state: GatherState, now: int) -> bool:
    """Return whether all shares have written their part of the next sub-batch."""
    for i in range(unit.share, unit.share + unit.shares):
        share = state.shares[i]
        if not share.batches or state.batches[i, share.batches_head] > now:
            return False
    for i in range(unit.share, unit.share + unit.shares):
        share = state.shares[i]
        share.batches -= 1
        share.batches_head = wrap(share.batches_head + 1, MOST_BATCHES)
    unit.batches -= 1
    if unit.batches == 0:
        unit.on = 0
    return True


@fast
def _release(unit: Any, state: GatherState, n: int, now: int) -> None:
    """Free the banks that become free by this cycle: cycles in which all is quiet are left out."""
    while state.releases[n, unit.released] <= now:
        state.releases[n, unit.released] = NEVER
        unit.released = wrap(unit.released + 1, RELEASES)
        for i in range(unit.share, unit.share + unit.shares):
            state.shares[i].banks -= 1


@fast
def free_bank(state: GatherState, n: int, cycle: int) -> None:
    """Let the oldest bank in use of lane `n` become free in `cycle`, which is yet to come."""
    place = state.units[n].released
    while state.releases[n, place] != NEVER:
        place = wrap(place + 1, RELEASES)
    state.releases[n, place] = cycle


@fast
def start_gather(network: Network, trace: GatherTrace, n: int, task: int, now: int) -> None:
    """Begin a task on lane `n`: cycle `now` is that in which the unit takes its start.

    task : of trace.tasks. The last sub-batch of the task before has ended.
    """
    state, rows = network.gathers, network.rows
    unit, asked = state.units[n], trace.tasks[task]
    stage = trace.stages[asked.stage]
    unit.user_beats, unit.item_beats = stage.user_beats, stage.item_beats
    unit.row_beats, unit.sub_batch = stage.row_beats, stage.sub_batch
    unit.item_banks = stage.item_banks
    unit.on, unit.since = 1, now + 1
    unit.listed = asked.list_beats > 0
    unit.beats, unit.address, unit.word = asked.list_beats, asked.address, 0
    unit.words = asked.items if unit.listed else 0
    unit.ids_left, unit.ids_late = 0 if unit.listed else asked.items, 0
    unit.deal_left, unit.deal_place = asked.items, 0
    unit.pooled, unit.dense_turn, unit.dense_last = 0, NONE, NONE
    unit.batches = (asked.items + stage.sub_batch - 1) // stage.sub_batch
    for k in range(unit.shares):
        share, reader = state.shares[unit.share + k], rows.readers[unit.share + k]
        mine = trace.shares[asked.share + k]
        share.walk = share.state = 1
        share.record = share.begin = mine.begin
        share.end = mine.end
        share.left = stage.user_beats if k == 0 else 0
        share.address = trace.address[mine.begin]
        share.room = unit.ring_beats
        share.due = share.left if share.left else stage.item_beats
        reader.first = mine.row
        reader.rows = reader.asked = reader.answered = reader.next = 0


@fast
def _step_unit(network: Network, trace: GatherTrace, unit: Any, now: int) -> bool:
    """Move a unit that is at work on by cycle `now`; return whether an answer has moved."""
    sizes, fabric, taken = network.sizes, network.fabric, False
    if now > unit.since:
        taken = _step_shares(sizes, unit, network.gathers, trace, network.rows, fabric, now)
    moved = fetch_answer(fabric, unit.order, _queue_ids(sizes, unit, fabric, taken, now))
    for i in range(unit.shares):
        moved = fetch_answer(fabric, unit.order + 1 + i, True) or moved
    if unit.tells and unit.ids_left == 0:
        unit.tells, unit.ended = 0, IDS_TAKEN
    return moved


@fast
def _same(words: Ints, seen: Ints) -> bool:
    """Return whether all is as it was; what is there now is kept."""
    same = True
    for n in range(words.shape[0]):
        for field in range(words.shape[1]):
            if words[n, field] != seen[n, field]:
                seen[n, field], same = words[n, field], False
    return same


@fast
def _wake(network: Network, now: int) -> int:
    """Return the cycle in which something may move again, if nothing does before it is time to."""
    state, rows, wake = network.gathers, network.rows, NEVER
    for p in range(network.sizes.ports):
        port = rows.ports[p]
        if port.pending:
            wake = min(wake, rows.pending[p, port.pending_head].due)
        if port.second_valid and not port.fresh and port.ids_back:
            wake = min(wake, rows.returned[p, port.ids_head].free_at)
    for i in range(len(state.shares)):
        if state.shares[i].batches:
            wake = min(wake, state.batches[i, state.shares[i].batches_head])
        reader = rows.readers[i]
        if reader.asked < reader.rows and reader.next >= now:
            wake = min(wake, reader.next)
    for n in range(len(state.units)):
        unit = state.units[n]
        wake = min(wake, state.releases[n, unit.released])
        if unit.on and unit.since + 1 >= now:  # shares move from the cycle after it on
            wake = min(wake, unit.since if unit.since >= now else now)
        if 0 < unit.ids_left <= unit.ids_late:
            due = unit.ids_from + unit.ids_late - unit.ids_left
            if due >= now:
                wake = min(wake, due)
    return int(max(wake, now))


@fast
def go_on_gathers(network: Network, traces: Traces, book: Any, until: int) -> bool:
    """Go on by a cycle, and leave out those before `until` in which nothing can move.

    Return whether units.ended or fetch.ended tells more. What is left out: a cycle that leaves all
    as it was is like the one before it, up to the next one that something waits for.
    """
    clock, state = network.clock, network.gathers
    told = step_gathers(network, traces, book, clock[0])
    clock[0] += 1
    if clock[2] >= WATCHED and not told:
        same = _same(state.share_words, state.share_seen)
        same = _same(state.unit_words, state.unit_seen) and same
        if clock[2] > WATCHED and same:
            clock[0] = min(max(clock[0], until), _wake(network, clock[0]))
            clock[2] = 0
    return told


@fast
def step_gathers(network: Network, traces: Traces, book: Any, now: int) -> bool:
    """Move all units, banks, ports and the fetch on by cycle `now`; return whether one has ended.

    units.ended, fetch.ended tell more.
    """
    sizes, row_sizes, state = network.sizes, network.row_sizes, network.gathers
    rows, fabric, fetch, moved = network.rows, network.fabric, network.fetch[0], False
    for n in range(len(state.units)):
        unit = state.units[n]
        unit.ended = 0
        if unit.on and now >= unit.since:
            for i in range(unit.share, unit.share + unit.shares):
                reader = rows.readers[i]
                state.shares[i].rows_room = reader.rows - reader.asked < ROWS_BUFFERED
            _offer(sizes, unit, state, fabric)
    offer_fetch(sizes, fetch, fabric)
    moved = offer_rows(row_sizes, traces.rows, rows, now)
    for n in range(len(state.units)):
        unit = state.units[n]
        if unit.on and now >= unit.since:
            moved = _step_unit(network, traces.walk, unit, now) or moved
        _release(unit, state, n, now)
    moved = step_fetch(fetch, fabric) or moved
    moved = fetch_beats(row_sizes, traces.rows, rows, now) or moved
    moved = collect_answers(row_sizes, rows) or moved
    answered = choose_answers(fabric, sizes.ports)
    moved = moved or answered > 0
    for p in range(sizes.ports):
        moved = answer_beats(row_sizes, rows, fabric, p, now, answered >> p & 1) or moved
        moved = send_burst(row_sizes, rows, p, now, book, network.memories[p]) or moved
        moved = check_bursts(row_sizes, rows, fabric, p) or moved
    for b in range(row_sizes.banks):
        if rows.banks[b].active:
            moved = step_bank(row_sizes, traces.rows, rows, b, True) or moved
    moved = enter_requests(fabric) or moved
    moved = go_on_fetch(fetch, fabric) or moved
    network.clock[2] = 0 if moved else network.clock[2] + 1
    ended = fetch.ended
    for n in range(len(state.units)):
        unit = state.units[n]
        if unit.on and now >= unit.since:
            _pop(sizes, unit, state, fabric)
            if _join(unit, state, now):
                unit.ended |= BATCH_ENDED
        ended |= unit.ended
    return ended > 0


@njit(**ENTRY)
def begin_gather(
    network: Network, traces: Traces, task: int, now: int, _sources: int = _SOURCES
) -> None:
    """Begin a task on the first lane: see `start_gather`. _sources : never given."""
    start_gather(network, traces.walk, 0, task, now)


@njit(**ENTRY)
def release_gather(network: Network, cycle: int, _sources: int = _SOURCES) -> None:
    """Free a bank of the first lane: see `free_bank`. _sources : never given."""
    free_bank(network.gathers, 0, cycle)


@njit(**ENTRY)
def run_gather(
    network: Network, traces: Traces, book: Any, until: int, _sources: int = _SOURCES
) -> bool:
    """Run until the next sub-batch of the first lane ends, or up to `until`; return if one ended.

    _sources : never given, see perfmodel.compiled.
    """
    clock, ended = network.clock, False
    while clock[0] < until and not ended:
        ended = go_on_gathers(network, traces, book, until)
    return ended
