"""The front of a row bank, a cycle at a time: rows taken apart, beats through the static cache.

Names are those of rtl.row_front.
"""

from __future__ import annotations

from typing import Any

from rpaccel.perfmodel.compiled import fast, wrap
from rpaccel.perfmodel.row_bank_state import RowSizes, RowState, RowTrace

__all__ = ["answer_waits", "look_waits", "step_front", "take_beat"]

Record = Any


@fast
def take_beat(sizes: RowSizes, trace: RowTrace, state: RowState, b: int, op: Record) -> None:
    """Write the next beat of the oldest row into `op`."""
    bank = state.banks[b]
    waits = state.waiting[b, bank.rows_head]
    beat = trace.first[waits.row] + bank.beat
    op.key, op.at, op.pinned = trace.key[beat], trace.at[beat], trace.pinned[beat]
    op.reader, op.place, op.beat = waits.reader, waits.place + bank.beat, bank.beat
    op.last = bank.beat + 1 == trace.beats[waits.row]
    bank.beat = 0 if op.last else bank.beat + 1
    bank.row_leaves = op.last


@fast
def answer_waits(sizes: RowSizes, state: RowState, b: int) -> bool:
    """Return whether the oldest beat is pinned, and a reader's, and not yet answered."""
    bank = state.banks[b]
    op = state.front[b, bank.front_head]
    return op.valid and op.pinned and op.reader < sizes.answering and not bank.answered


@fast
def look_waits(state: RowState, b: int) -> bool:
    """Return whether the oldest beat is to go through the look-ahead cache, and has not.

    A pinned one too if its row has several beats: a row's beats stay together.
    """
    bank = state.banks[b]
    op = state.front[b, bank.front_head]
    alone = op.beat == 0 and op.last
    return op.valid and not bank.looked and not (op.pinned and alone)


@fast
def step_front(sizes: RowSizes, trace: RowTrace, state: RowState, b: int) -> bool:
    """Move all beats on if the oldest is through; return whether anything moved."""
    bank = state.banks[b]
    op = state.front[b, bank.front_head]
    if answer_waits(sizes, state, b) or look_waits(state, b):
        return False
    moved = op.valid > 0
    state.counters[0].pinned += bank.answered
    # the youngest meets the split a cycle after it came, or when it can go on
    newest = state.front[b, wrap(bank.front_head + sizes.lookup_cycles - 1, sizes.lookup_cycles)]
    if newest.fresh:
        newest.pinned = newest.pinned >> state.split[0] & 1
        newest.fresh = 0
    bank.answered = bank.looked = 0
    op.valid = bank.rows_out
    if op.valid:
        take_beat(sizes, trace, state, b, op)
        op.fresh = 1
    bank.front_head = wrap(bank.front_head + 1, sizes.lookup_cycles)
    for stage in range(sizes.lookup_cycles):
        moved = moved or state.front[b, stage].valid > 0
    return moved
