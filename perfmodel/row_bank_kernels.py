"""A row bank, a cycle at a time: looks and fills through the look-ahead cache, reads, answers.

Names are those of rtl.row_bank. What a bank gets in a cycle is noted and put away at its end.
"""

from __future__ import annotations

from typing import Any

from rpaccel.perfmodel.compiled import fast, wrap
from rpaccel.perfmodel.row_bank_state import EPOCHS, NONE, PLACES, RowSizes, RowState, RowTrace
from rpaccel.perfmodel.row_front_kernels import answer_waits, look_waits, step_front, take_beat

__all__ = ["step_bank"]


HIT, MERGED, PASSED, MISS, REFUSED = range(5)  # PASSED: pinned, or a prefetch that is over

Record = Any


@fast
def _marked(state: RowState, b: int, line: int) -> bool:
    """Return whether the line is marked in the present epoch of its prefetcher."""
    mark = state.marks[b, line]
    return mark != NONE and state.epochs[mark // EPOCHS] == mark % EPOCHS


@fast
def _find(ways: int, state: RowState, b: int, op: Record) -> int:
    """Return the line of the op's beat, or NONE."""
    for line in range(op.at * ways, op.at * ways + ways):
        if state.tags[b, line] == op.key:
            return line
    return NONE


@fast
def _victim(ways: int, state: RowState, b: int, op: Record) -> int:
    """Return the line that the op's beat would get, or NONE."""
    for step in range(ways):
        line = op.at * ways + wrap(state.next_way[b, op.at] + step, ways)
        if not state.flying[b, line] and not _marked(state, b, line):
            return line
    return NONE


@fast
def _replace(ways: int, state: RowState, b: int, op: Record) -> None:
    """Give the op's line to its beat."""
    counters, line = state.counters[0], op.line
    counters.evictions += state.tags[b, line] != NONE
    counters.unused += state.unread[b, line]
    state.tags[b, line] = op.key
    state.flying[b, line] = 1
    state.next_way[b, op.at] = wrap(line - op.at * ways + 1, ways)


@fast
def _look_up(ways: int, state: RowState, b: int, op: Record) -> None:
    """Find the op's beat, or a line for it."""
    line = _find(ways, state, b, op)
    op.line, op.event = line, HIT
    if line == NONE:
        op.line, op.event = _victim(ways, state, b, op), MISS
        if op.line == NONE:
            op.event = REFUSED
            return
        _replace(ways, state, b, op)
    else:
        counters = state.counters[0]
        counters.used += state.unread[b, line]
        if state.flying[b, line]:
            op.event = MERGED
            counters.late += state.unread[b, line]
    state.marks[b, op.line], state.unread[b, op.line] = NONE, 0


@fast
def _prefetch(sizes: RowSizes, state: RowState, b: int, op: Record) -> None:
    """Mark the op's beat, or a line for it, if that leaves enough lines to looks."""
    ways = sizes.ways
    found = _find(ways, state, b, op)
    op.line = _victim(ways, state, b, op) if found == NONE else found
    op.event = PASSED
    unmarked = 0
    for line in range(op.at * ways, op.at * ways + ways):
        unmarked += line != op.line and not _marked(state, b, line)
    leaves = unmarked >= sizes.free_ways
    if found == NONE:
        if op.line == NONE or not leaves:
            state.counters[0].dropped += 1
            return
        op.event = MISS
        state.counters[0].prefetches += 1
        _replace(ways, state, b, op)
        state.unread[b, op.line] = 1
    owner = op.reader - sizes.answering
    state.marks[b, op.line] = owner * EPOCHS + state.epochs[owner] if leaves else NONE


@fast
def _look(sizes: RowSizes, state: RowState, b: int, op: Record) -> None:
    """Look a beat up; what it may use is taken."""
    bank = state.banks[b]
    op.fill, op.event = 0, PASSED
    if op.pinned:
        op.line = NONE
    elif op.reader < sizes.answering:
        _look_up(sizes.ways, state, b, op)
    else:
        _prefetch(sizes, state, b, op)
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
        if owner.reader < sizes.answering:
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
def _wanted(sizes: RowSizes, state: RowState, b: int, op: Record) -> bool:
    """Return whether the next owner of a read that is filled is a reader."""
    return state.banks[b].walking or state.owners[b, op.read].reader < sizes.answering


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
    burst.beats, burst.owner, burst.place = bank.run, sizes.others + b, bank.run_read
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
        return (can_answer or not _wanted(sizes, state, b, op)) and _serve(sizes, state, b, op)
    hit, missed = op.event == HIT, op.event >= MISS
    ask = (op.last or not missed) and bank.run + missed > 0
    if (ask and not can_ask) or (hit and not can_answer):
        return False
    counters = state.counters[0]
    if missed:
        _miss(sizes, state, b, op)
        counters.misses += op.event == MISS and op.reader < sizes.answering
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
    if op.fill:
        return _wanted(sizes, state, b, op)
    return op.event == HIT and (can_ask or bank.run == 0)


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
        and answer_waits(sizes, state, b)
        and (bank.turn or not _answers(sizes, state, b, can_ask))
    ):
        if can_answer:
            op = state.front[b, bank.front_head]
            _push_answer(state, b, op.reader, op.place)
            bank.answered, bank.turn, moved = 1, 0, True
        can_answer = False
    if bank.found != NONE:
        answers, walking = bank.answers, bank.walking
        if _resolve(sizes, state, b, can_answer, can_ask):
            bank.found, moved = NONE, True
        if bank.answers != answers:
            bank.turn = 1
        moved = moved or bank.answers != answers or bank.walking != walking
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
