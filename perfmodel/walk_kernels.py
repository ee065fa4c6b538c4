"""A gather share's walk a cycle at a time: records to steps, tickets and pooled rows.

Names are those of rtl.feature_walker, rtl.id_resolver and rtl.pooler.
"""

from __future__ import annotations

from typing import Any

from rpaccel.perfmodel.compiled import fast, wrap
from rpaccel.perfmodel.gather_unit_state import (
    BATCH,
    COUNT,
    MOST_BATCHES,
    NOTHING,
    ROW,
    ZERO,
    GatherState,
    GatherTrace,
)

__all__ = ["leaves", "pool", "resolve", "walk"]

POOL_CYCLES = 5  # Pooler: from the ticket to the end of a sub-batch
IDLE, ACQUIRE, STEPS, FINISH = range(4)

Record = Any


@fast
def leaves(unit: Record, share: Record) -> bool:
    """Return whether what the resolver holds, if not a dense beat, can leave in this cycle."""
    if share.two in (NOTHING, COUNT):
        return True
    return share.tickets_inner < unit.tickets and (share.two != ROW or share.rows_room > 0)


@fast
def pool(unit: Record, state: GatherState, reader: Record, i: int, blocked: bool, now: int) -> None:
    """Take the beat of the oldest ticket, or pass without one. blocked : not in this cycle."""
    share = state.shares[i]
    reader.takes = 0
    if share.tickets_out and not blocked:
        kind = state.tickets[i, share.tickets_head].kind
        if kind != ROW or reader.full:
            reader.takes = kind == ROW
            share.beat += 1
            if kind == BATCH or share.beat == unit.row_beats:
                share.beat = share.tickets_out = 0
                share.tickets_head = wrap(share.tickets_head + 1, state.tickets.shape[1])
            if kind == BATCH:
                place = wrap(share.batches_head + share.batches, MOST_BATCHES)
                state.batches[i, place] = now + POOL_CYCLES
                share.batches += 1
    if share.tickets_inner and not share.tickets_out:
        share.tickets_inner -= 1
        share.tickets_out = 1


@fast
def resolve(state: GatherState, reader: Record, i: int) -> None:
    """Let go what the resolver holds: a ticket, a row's request, or a dense beat."""
    share = state.shares[i]
    if share.two in (ROW, ZERO, BATCH):
        place = share.tickets_head + share.tickets_out + share.tickets_inner
        ticket = state.tickets[i, wrap(place, state.tickets.shape[1])]
        ticket.kind, ticket.user = share.two, share.two_user
        share.tickets_inner += 1
        reader.rows += share.two == ROW
    share.two, share.two_user = share.one, share.one_user
    share.one = NOTHING


@fast
def walk(unit: Record, state: GatherState, trace: GatherTrace, i: int, advances: bool) -> None:
    """Make the next step of the walk."""
    share = state.shares[i]
    popped = False
    record = share.record
    if share.walk == ACQUIRE:
        bad, first = trace.bad[record], trace.first[record]
        may = advances and not (first and _no_bank(unit, share))
        if may and share.waiting_out and (bad or share.complete):
            popped = True
            share.complete -= not bad
            share.step = trace.begin[record]
            share.walk = FINISH if share.step == trace.begin[record + 1] else STEPS
            if first:
                share.banks += 1
                share.item_banks = unit.item_banks
    elif share.walk == STEPS and advances:
        share.one = trace.steps[share.step]
        share.one_user = record == share.begin
        share.step += 1
        if share.step == trace.begin[record + 1]:
            share.walk = FINISH
    elif share.walk == FINISH and advances:
        share.one, share.one_user = (BATCH if trace.last[record] else NOTHING), 0
        if not trace.bad[record]:
            share.room += unit.user_beats if record == share.begin else unit.item_beats
        share.record += 1
        share.walk = IDLE if share.record == share.end else ACQUIRE
    if popped:
        share.waiting_out = 0
    if share.waiting_inner and not share.waiting_out:
        share.waiting_inner -= 1
        share.waiting_out = 1


@fast
def _no_bank(unit: Record, share: Record) -> bool:
    """Return whether a sub-batch has no bank. Another number of banks begins with all free."""
    if share.item_banks == unit.item_banks:
        return bool(share.banks == unit.item_banks)
    return bool(share.banks != 0)
