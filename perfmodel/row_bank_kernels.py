"""The row network a cycle at a time, as compiled code: readers, banks, ports, memory.

A cycle's steps read registers as they were when it began: a step that takes from a queue comes
before the step that fills it, and what a bank gets in a cycle is noted and put away at its end.
Names are those of rtl.row_bank, rtl.read_order, rtl.read_crossbar and rtl.read_channel. Banks in
which nothing moves are left out, and so are cycles in which all wait for memory. All compiled code
is in this file: the compiler's cache looks at a function's own file only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from rpaccel.perfmodel.row_bank_state import NONE, PLACES, Ints, RowSizes, RowState, RowTrace

__all__ = ["STUCK", "run"]

HIT, MERGED, MISS, REFUSED = range(4)
STUCK = -2
QUIET_CYCLES = 4  # without a move, then nothing but memory can cause one

Record = Any

# No array is made or kept in here: without counting references it is four times as fast.
_OPTIONS: dict[str, Any] = {
    "cache": True, "forceinline": True, "error_model": "numpy", "_nrt": False
}  # fmt: skip
fast = njit(**_OPTIONS)


@fast
def _wrap(place: int, places: int) -> int:
    """Return a ring's place, which is at most `places` too far."""
    return place - places if place >= places else place


@fast
def _distance(number: int, last: int, count: int) -> int:
    """Return how far after the round's last choice `number` comes."""
    distance = number - last - 1
    return distance if distance >= 0 else distance + count


@fast
def _offer(sizes: RowSizes, trace: RowTrace, state: RowState) -> bool:
    """Readers to banks: one row per bank; return whether any went."""
    moved = False
    count = sizes.readers
    for stage in range(2):  # the banks choose, then the chosen ones go
        for i in range(count):
            reader = state.readers[i]
            if reader.asked == reader.rows or reader.used == sizes.slots:
                continue
            row = reader.first + reader.asked
            b = trace.bank[row]
            bank = state.banks[b]
            if stage == 0:
                if bank.rows_inner == sizes.row_places:
                    continue
                if bank.chosen == NONE or _distance(i, bank.last, count) < _distance(
                    bank.chosen, bank.last, count
                ):
                    bank.chosen = i
            elif bank.chosen == i:
                bank.chosen = NONE
                bank.last = i
                size = state.waiting.shape[1]
                place = bank.rows_head + bank.rows_inner + bank.rows_out
                waits = state.waiting[b, _wrap(place, size)]
                waits.row = row
                waits.reader = i
                waits.place = reader.newest * sizes.row_beats
                reader.newest = _wrap(reader.newest + 1, sizes.slots)
                bank.pushed = bank.active = 1
                reader.asked += 1
                reader.used += 1
                moved = True
    return moved


@fast
def _fetch(sizes: RowSizes, trace: RowTrace, state: RowState, now: int) -> bool:
    """Give each reader its next beat, if it is there; return whether any got one."""
    moved = False
    for i in range(sizes.readers):
        reader = state.readers[i]
        place = reader.oldest * sizes.row_beats + reader.index
        if not state.there[i, place]:
            continue
        state.there[i, place] = 0
        reader.index += 1
        reader.end = now + 1  # the register in front of the reader
        if reader.index == trace.beats[reader.first + reader.answered]:
            reader.index = 0
            reader.answered += 1
            reader.oldest = _wrap(reader.oldest + 1, sizes.slots)
            reader.used -= 1
        moved = True
    return moved


@fast
def _collect(sizes: RowSizes, state: RowState) -> bool:
    """Banks' answers to readers: one per reader; return whether any went."""
    moved = False
    for b in range(sizes.banks):
        bank = state.banks[b]
        if bank.answers:
            reader = state.readers[state.answers[b, bank.answers_head].reader]
            if reader.chosen == NONE or _distance(b, reader.last, sizes.banks) < _distance(
                reader.chosen, reader.last, sizes.banks
            ):
                reader.chosen = b
            moved = True
    if moved:
        for i in range(sizes.readers):
            reader = state.readers[i]
            if reader.chosen != NONE:
                bank = state.banks[reader.chosen]
                bank.answer_leaves = bank.active = 1
                state.there[i, state.answers[reader.chosen, bank.answers_head].place] = 1
                reader.last = reader.chosen
                reader.chosen = NONE
    return moved


@fast
def _answer(sizes: RowSizes, state: RowState, p: int, now: int) -> bool:
    """Give memory's beats to the banks; return whether a beat moved."""
    port = state.ports[p]
    moved = False
    if port.beat_valid:
        bank = state.banks[port.beat_bank]
        places = state.arrived.shape[1]
        place = bank.arrived_head + bank.arrived_inner + bank.arrived_out
        state.arrived[port.beat_bank, _wrap(place, places)] = port.beat_read
        bank.arrives = bank.active = 1
        if port.beat_last:
            ids = state.returned.shape[1]
            back = state.returned[p, _wrap(port.ids_head + port.ids_back, ids)]
            back.id, back.free_at = port.beat_id, now + sizes.id_cycles
            port.ids_back += 1
        port.beat_valid = 0
        moved = True
    if port.left == 0 and port.pending and state.pending[p, port.pending_head].due <= now:
        burst = state.pending[p, port.pending_head]
        port.left, port.id = burst.beats, burst.id
        port.bank, port.read = burst.bank, burst.read
        port.pending_head = _wrap(port.pending_head + 1, state.pending.shape[1])
        port.pending -= 1
    if port.left:
        port.left -= 1
        port.beat_valid, port.beat_bank, port.beat_read = 1, port.bank, port.read
        port.beat_id, port.beat_last = port.id, port.left == 0
        port.read += 1
        port.beats += 1
        moved = True
    return moved


@fast
def _send(sizes: RowSizes, state: RowState, p: int, now: int, book: Any, memory: int) -> bool:
    """Send a burst to memory if an id is free; return whether one went."""
    port = state.ports[p]
    if not port.second_valid:
        return False
    burst, ids = state.stages[p, 1], state.returned.shape[1]
    if port.fresh:
        burst.id = ids - port.fresh
        port.fresh -= 1
    elif port.ids_back and state.returned[p, port.ids_head].free_at <= now:
        burst.id = state.returned[p, port.ids_head].id
        port.ids_head = _wrap(port.ids_head + 1, ids)
        port.ids_back -= 1
    else:
        return False
    edge = now + sizes.first_edge
    due = np.int64(book(memory, edge, burst.id, burst.address, burst.beats)) - sizes.first_edge
    # in the order of (due, sent)
    count = state.pending.shape[1]
    place = port.pending_head + port.pending
    while place > port.pending_head and state.pending[p, _wrap(place - 1, count)].due > due:
        state.pending[p, _wrap(place, count)] = state.pending[p, _wrap(place - 1, count)]
        place -= 1
    state.pending[p, _wrap(place, count)] = burst
    state.pending[p, _wrap(place, count)].due = due
    port.pending += 1
    port.second_valid = 0
    return True


@fast
def _check(sizes: RowSizes, state: RowState, p: int) -> bool:
    """Banks to the two stages of the region check; return whether a burst moved."""
    port = state.ports[p]
    moved = False
    if not port.second_valid and port.first_valid:
        state.stages[p, 1] = state.stages[p, 0]
        port.second_valid, port.first_valid = 1, 0
        moved = True
    if port.first_valid:
        return moved
    chosen = NONE
    for b in range(p, sizes.banks, sizes.ports):
        if state.banks[b].asked and (
            chosen == NONE
            or _distance(b, port.last, sizes.banks) < _distance(chosen, port.last, sizes.banks)
        ):
            chosen = b
    if chosen != NONE:
        bank = state.banks[chosen]
        state.stages[p, 0] = state.asked[chosen, bank.asked_head]
        bank.ask_leaves = bank.active = 1
        port.first_valid, port.last = 1, chosen
        moved = True
    return moved


@fast
def _look_up(ways: int, state: RowState, b: int, key: int, at: int) -> tuple[int, int]:
    """Return (event, line or NONE) of a LOOK, after it."""
    for line in range(at * ways, at * ways + ways):
        if state.tags[b, line] == key:
            return MERGED if state.flying[b, line] else HIT, line
    for step in range(ways):
        way = _wrap(state.next_way[b, at] + step, ways)
        line = at * ways + way
        if not state.flying[b, line]:
            state.counters[0].evictions += state.tags[b, line] != NONE
            state.tags[b, line] = key
            state.flying[b, line] = 1
            state.next_way[b, at] = _wrap(way + 1, ways)
            return MISS, line
    return REFUSED, NONE


@fast
def _enter(sizes: RowSizes, trace: RowTrace, state: RowState, b: int) -> int:
    """Send a fill, or else the next look, into the cache; return the op, or NONE."""
    bank = state.banks[b]
    op = state.ops[b, bank.next_op]
    if bank.fill != NONE:
        op.fill, op.read = 1, bank.fill
        line = state.read_line[b, bank.fill]
        if line != NONE:
            state.flying[b, line] = 0
    elif bank.rows_out and bank.waiter_credits and (bank.inside or bank.row_credits):
        waits = state.waiting[b, bank.rows_head]
        beat = trace.first[waits.row] + bank.beat
        op.fill, op.row, op.beat = 0, waits.row, bank.beat
        op.reader, op.place = waits.reader, waits.place + bank.beat
        op.last = bank.beat + 1 == trace.beats[waits.row]
        op.event, op.line = _look_up(sizes.ways, state, b, trace.key[beat], trace.at[beat])
        bank.waiter_credits -= 1
        bank.row_credits -= not bank.inside
        bank.inside = not op.last
        bank.beat += 1
    else:
        return NONE
    entered = bank.next_op
    bank.next_op = _wrap(entered + 1, state.ops.shape[1])
    return entered


@fast
def _push_answer(state: RowState, b: int, reader: int, place: int) -> None:
    bank = state.banks[b]
    answer = state.answers[b, _wrap(bank.answers_head + bank.answers, PLACES)]
    answer.reader, answer.place = reader, place
    bank.answers += 1


@fast
def _join(state: RowState, b: int, read: int, op: Record) -> None:
    """Add the owner of a look that is merged: the newest of those that wait."""
    bank, first = state.banks[b], state.owners[b, read]
    number = bank.free_waiter
    waiter = state.joined[b, number]
    bank.free_waiter = waiter.next
    waiter.reader, waiter.place, waiter.next = op.reader, op.place, first.next
    first.next = number


@fast
def _serve(sizes: RowSizes, state: RowState, b: int, op: Record) -> bool:
    """Answer the next owner of a read that is filled; return whether it was the last."""
    bank = state.banks[b]
    if bank.walking:
        number = bank.waiter
        owner = state.joined[b, number]
        _push_answer(state, b, owner.reader, owner.place)
        bank.waiter = owner.next
        owner.next, bank.free_waiter = bank.free_waiter, number
        bank.waiter_back += 1
    else:
        owner = state.owners[b, op.read]
        _push_answer(state, b, owner.reader, owner.place)
        bank.waiter = owner.next
    bank.walking = bank.waiter != NONE
    if bank.walking:
        return False
    group = op.read // sizes.row_beats
    state.left[b, group] -= 1
    current = state.groups[b, bank.groups_head] if bank.groups else NONE
    if state.left[b, group] == 0 and (group != current or bank.misses == 0):
        _free_group(state, b, group)
    return True


@fast
def _free_group(state: RowState, b: int, group: int) -> None:
    bank = state.banks[b]
    state.groups[b, _wrap(bank.groups_head + bank.groups, state.groups.shape[1])] = group
    bank.groups += 1
    bank.reads_back += 1


@fast
def _miss(sizes: RowSizes, state: RowState, b: int, op: Record) -> None:
    """Give a look that misses a read: of its row's group."""
    bank = state.banks[b]
    read = state.groups[b, bank.groups_head] * sizes.row_beats + op.beat
    owner = state.owners[b, read]
    owner.reader, owner.place, owner.next = op.reader, op.place, NONE
    state.read_line[b, read] = op.line
    if op.line != NONE:
        state.line_read[b, op.line] = read
    if bank.run == 0:
        bank.run_row, bank.run_beat, bank.run_read = op.row, op.beat, read
    bank.run += 1
    bank.misses += 1


@fast
def _ask(sizes: RowSizes, trace: RowTrace, state: RowState, b: int) -> None:
    """Send the run of misses as a burst."""
    bank = state.banks[b]
    burst = state.asked[b, _wrap(bank.asked_head + bank.asked, PLACES)]
    burst.address = trace.address[bank.run_row] + bank.run_beat * sizes.beat_bytes
    burst.beats, burst.bank, burst.read = bank.run, b, bank.run_read
    bank.asked += 1
    bank.run = 0


@fast
def _end_row(state: RowState, b: int) -> None:
    """Keep the row's group until its reads are filled; give back what it did not need."""
    bank = state.banks[b]
    if bank.misses == 0:
        bank.reads_back += 1
        return
    group = state.groups[b, bank.groups_head]
    bank.groups_head = _wrap(bank.groups_head + 1, state.groups.shape[1])
    bank.groups -= 1
    state.left[b, group] += bank.misses
    if state.left[b, group] == 0:
        _free_group(state, b, group)
    bank.misses = 0


@fast
def _resolve(
    sizes: RowSizes, trace: RowTrace, state: RowState, b: int, can_answer: bool, can_ask: bool
) -> bool:
    """Do what the op that was found comes to; return whether it is through."""
    bank = state.banks[b]
    op = state.ops[b, bank.found]
    if op.fill:
        return can_answer and _serve(sizes, state, b, op)
    hit, missed = op.event == HIT, op.event >= MISS
    ask = (op.last or not missed) and bank.run + missed > 0
    if (ask and not can_ask) or (hit and not can_answer):
        return False
    counters = state.counters[0]
    if missed:
        _miss(sizes, state, b, op)
        counters.misses += op.event == MISS
        counters.refused += op.event == REFUSED
    elif hit:
        _push_answer(state, b, op.reader, op.place)
        counters.hits += 1
    else:
        _join(state, b, state.line_read[b, op.line], op)
        counters.merged += 1
    bank.waiter_back += op.event != MERGED
    if ask:
        _ask(sizes, trace, state, b)
    if op.last:
        _end_row(state, b)
    return True


@fast
def _queues(sizes: RowSizes, trace: RowTrace, state: RowState, b: int, entered: int) -> bool:
    """Move the bank's two queues and its credits on; return whether anything moved."""
    bank = state.banks[b]
    looked = entered != NONE and state.ops[b, entered].fill == 0
    filled = entered != NONE and not looked
    moved = bank.pushed + bank.arrives > 0
    if looked and state.ops[b, entered].last:
        bank.rows_out, bank.beat = 0, 0
        bank.rows_head = _wrap(bank.rows_head + 1, state.waiting.shape[1])
    if bank.rows_inner and not bank.rows_out:
        bank.rows_inner -= 1
        bank.rows_out, moved = 1, True
    bank.rows_inner += bank.pushed

    if filled or bank.fill == NONE:
        bank.fill = NONE
        if bank.arrived_out:
            bank.fill, moved = state.arrived[b, bank.arrived_head], True
            bank.arrived_head = _wrap(bank.arrived_head + 1, state.arrived.shape[1])
            bank.arrived_out = 0
    if bank.arrived_inner and not bank.arrived_out:
        bank.arrived_inner -= 1
        bank.arrived_out, moved = 1, True
    bank.arrived_inner += bank.arrives

    bank.row_credits += bank.reads_back
    bank.waiter_credits += bank.waiter_back
    bank.pushed = bank.arrives = bank.reads_back = bank.waiter_back = 0
    return moved


@fast
def _bank(sizes: RowSizes, trace: RowTrace, state: RowState, b: int, running: bool) -> bool:
    """Move a bank on; return whether anything moved."""
    bank = state.banks[b]
    moved = bank.answer_leaves + bank.ask_leaves > 0
    can_answer, can_ask = bank.answers < PLACES, bank.asked < PLACES
    if bank.answer_leaves:
        bank.answers -= 1
        bank.answers_head = _wrap(bank.answers_head + 1, PLACES)
    if bank.ask_leaves:
        bank.asked -= 1
        bank.asked_head = _wrap(bank.asked_head + 1, PLACES)
    bank.answer_leaves = bank.ask_leaves = 0

    if bank.found != NONE:
        answers = bank.answers
        if _resolve(sizes, trace, state, b, can_answer, can_ask):
            bank.found, moved = NONE, True
        moved = moved or bank.answers != answers
    entered = NONE
    oldest = sizes.look_cycles - 1
    if bank.found == NONE or state.pipe[b, oldest] == NONE:
        if bank.found == NONE:
            bank.found = state.pipe[b, oldest]
        for stage in range(oldest, -1, -1):
            moved = moved or state.pipe[b, stage] != NONE
            if stage:
                state.pipe[b, stage] = state.pipe[b, stage - 1]
        if running:
            entered = _enter(sizes, trace, state, b)
        state.pipe[b, 0] = entered
    moved = _queues(sizes, trace, state, b, entered) or moved or entered != NONE
    bank.active = moved
    return moved


@fast
def _unanswered(sizes: RowSizes, state: RowState) -> int:
    """Return the readers that still get rows."""
    count = 0
    for i in range(sizes.readers):
        count += state.readers[i].answered < state.readers[i].rows
    return count


@fast
def _wake(sizes: RowSizes, state: RowState, now: int) -> int:
    """Return when something moves again, if nothing does: now or later, or NONE for never."""
    wake = sizes.clear_cycles if now < sizes.clear_cycles else NONE
    for p in range(sizes.ports):
        port = state.ports[p]
        if port.pending:
            due = max(now, state.pending[p, port.pending_head].due)
            wake = due if wake == NONE else min(wake, due)
    return wake


@fast
def run(sizes: RowSizes, trace: RowTrace, state: RowState, book: Any, memories: Ints) -> int:
    """Run all traces; return the cycles up to the last beat, or STUCK if nothing moves any more.

    book : (memory, edge, id, address, beats) -> edge of the first beat of a burst sent at `edge`.
    """
    now, quiet = 0, 0
    left = _unanswered(sizes, state)
    while left:
        if now == sizes.clear_cycles:
            for b in range(sizes.banks):
                state.banks[b].active = 1
        moved = _offer(sizes, trace, state)
        fetched = _fetch(sizes, trace, state, now)
        moved = _collect(sizes, state) or moved or fetched
        for p in range(sizes.ports):
            moved = _answer(sizes, state, p, now) or moved
            moved = _send(sizes, state, p, now, book, memories[p]) or moved
            moved = _check(sizes, state, p) or moved
        for b in range(sizes.banks):
            if state.banks[b].active:
                moved = _bank(sizes, trace, state, b, now >= sizes.clear_cycles) or moved
        if fetched:
            left = _unanswered(sizes, state)
        now += 1
        quiet = 0 if moved else quiet + 1
        if quiet > QUIET_CYCLES:
            now, quiet = _wake(sizes, state, now), 0
            if now == NONE:
                return STUCK
    end = NONE
    for i in range(sizes.readers):
        if state.readers[i].rows:
            end = max(end, state.readers[i].end)
    return end + 1
