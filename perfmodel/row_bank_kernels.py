"""A row bank, a cycle at a time: looks and fills through the look-ahead cache, reads, answers.

Names are those of rtl.row_bank. What a bank gets in a cycle is noted and put away at its end.
"""

from __future__ import annotations

from typing import Any

from rpaccel.perfmodel.compiled import fast, wrap
from rpaccel.perfmodel.row_bank_state import NONE, PLACES, RowSizes, RowState, RowTrace
from rpaccel.perfmodel.row_front_kernels import answer_waits, look_waits, step_front, take_beat

__all__ = ["step_bank"]


HIT, MERGED, PINNED, MISS, REFUSED = range(5)  # PINNED: only takes its turn

Record = Any


@fast
def _look_up(ways: int, state: RowState, b: int, key: int, at: int) -> tuple[int, int]:
    """Return (event, line or NONE) of a LOOK, after it."""
    for line in range(at * ways, at * ways + ways):
        if state.tags[b, line] == key:
            return MERGED if state.flying[b, line] else HIT, line
    for step in range(ways):
        way = wrap(state.next_way[b, at] + step, ways)
        line = at * ways + way
        if not state.flying[b, line]:
            state.counters[0].evictions += state.tags[b, line] != NONE
            state.tags[b, line] = key
            state.flying[b, line] = 1
            state.next_way[b, at] = wrap(way + 1, ways)
            return MISS, line
    return REFUSED, NONE


@fast
def _look(sizes: RowSizes, state: RowState, b: int, op: Record) -> None:
    """Look a beat up; what it may use is taken."""
    bank = state.banks[b]
    op.fill, op.event = 0, PINNED
    if not op.pinned:
        op.event, op.line = _look_up(sizes.ways, state, b, op.key, op.at)
    bank.waiter_credits -= 1
    bank.row_credits -= not bank.inside
    bank.inside = not op.last


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
    elif not (bank.waiter_credits and (bank.inside or bank.row_credits)):
        return NONE
    elif sizes.lookup_cycles:
        if not look_waits(state, b):
            return NONE
        state.ops[b, bank.next_op] = state.front[b, bank.front_head]
        _look(sizes, state, b, op)
    else:
        if not bank.rows_out:
            return NONE
        take_beat(sizes, trace, state, b, op)
        _look(sizes, state, b, op)
    entered = bank.next_op
    bank.next_op = wrap(entered + 1, state.ops.shape[1])
    return entered


@fast
def _push_answer(state: RowState, b: int, reader: int, place: int) -> None:
    bank = state.banks[b]
    answer = state.answers[b, wrap(bank.answers_head + bank.answers, PLACES)]
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
    state.groups[b, wrap(bank.groups_head + bank.groups, state.groups.shape[1])] = group
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
        bank.run_key, bank.run_read = op.key, read
    bank.run += 1
    bank.misses += 1


@fast
def _ask(sizes: RowSizes, state: RowState, b: int) -> None:
    """Send the run of misses as a burst."""
    bank = state.banks[b]
    burst = state.asked[b, wrap(bank.asked_head + bank.asked, PLACES)]
    burst.address = bank.run_key * sizes.beat_bytes
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
    bank.groups_head = wrap(bank.groups_head + 1, state.groups.shape[1])
    bank.groups -= 1
    state.left[b, group] += bank.misses
    if state.left[b, group] == 0:
        _free_group(state, b, group)
    bank.misses = 0


@fast
def _resolve(sizes: RowSizes, state: RowState, b: int, can_answer: bool, can_ask: bool) -> bool:
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
    elif op.event == MERGED:
        _join(state, b, state.line_read[b, op.line], op)
        counters.merged += 1
    bank.waiter_back += op.event != MERGED
    if ask:
        _ask(sizes, state, b)
    if op.last:
        _end_row(state, b)
    return True


@fast
def _answers(sizes: RowSizes, state: RowState, b: int, can_ask: bool) -> bool:
    """Return whether the op that was found has an answer to give."""
    bank = state.banks[b]
    if bank.found == NONE:
        return False
    op = state.ops[b, bank.found]
    return op.fill or (op.event == HIT and (can_ask or bank.run == 0))


@fast
def _settle(sizes: RowSizes, state: RowState, b: int) -> bool:
    """Answer, read or wait; pinned beats and the others take turns. Return whether it moved."""
    bank = state.banks[b]
    moved = bank.answer_leaves + bank.ask_leaves > 0
    can_answer, can_ask = bank.answers < PLACES, bank.asked < PLACES
    if bank.answer_leaves:
        bank.answers -= 1
        bank.answers_head = wrap(bank.answers_head + 1, PLACES)
    if bank.ask_leaves:
        bank.asked -= 1
        bank.asked_head = wrap(bank.asked_head + 1, PLACES)
    bank.answer_leaves = bank.ask_leaves = 0
    if (
        sizes.lookup_cycles
        and answer_waits(state, b)
        and (bank.turn or not _answers(sizes, state, b, can_ask))
    ):
        if can_answer:
            op = state.front[b, bank.front_head]
            _push_answer(state, b, op.reader, op.place)
            bank.answered, bank.turn, moved = 1, 0, True
        can_answer = False
    if bank.found != NONE:
        answers = bank.answers
        if _resolve(sizes, state, b, can_answer, can_ask):
            bank.found, moved = NONE, True
        if bank.answers != answers:
            bank.turn, moved = 1, True
    return moved


@fast
def _queues(state: RowState, b: int, filled: bool) -> bool:
    """Move the bank's two queues and its credits on; return whether anything moved."""
    bank = state.banks[b]
    moved = bank.pushed + bank.arrives > 0
    if bank.row_leaves:
        bank.rows_out, bank.row_leaves = 0, 0
        bank.rows_head = wrap(bank.rows_head + 1, state.waiting.shape[1])
    if bank.rows_inner and not bank.rows_out:
        bank.rows_inner -= 1
        bank.rows_out, moved = 1, True
    bank.rows_inner += bank.pushed

    if filled or bank.fill == NONE:
        bank.fill = NONE
        if bank.arrived_out:
            bank.fill, moved = state.arrived[b, bank.arrived_head], True
            bank.arrived_head = wrap(bank.arrived_head + 1, state.arrived.shape[1])
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
def step_bank(sizes: RowSizes, trace: RowTrace, state: RowState, b: int, running: bool) -> bool:
    """Move a bank on; return whether anything moved. running : the cache has been cleared."""
    bank = state.banks[b]
    moved = _settle(sizes, state, b)
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
    filled = entered != NONE and state.ops[b, entered].fill > 0
    if sizes.lookup_cycles:
        bank.looked |= entered != NONE and not filled
        moved = step_front(sizes, trace, state, b) or moved
    moved = _queues(state, b, filled) or moved or entered != NONE
    bank.active = moved
    return moved
