"""A gather share's records a cycle at a time: asked for ahead, complete when all beats are there.

Names are those of rtl.record_reader.
"""

from __future__ import annotations

from typing import Any

from rpaccel.perfmodel.compiled import fast, wrap
from rpaccel.perfmodel.fabric_reader_kernels import offer_burst
from rpaccel.perfmodel.gather_unit_state import (
    BUFFER_PLACES,
    GatherSizes,
    GatherState,
    GatherTrace,
)

__all__ = ["ask_records", "offer_records", "pop_record_burst", "take_answer"]

IDLE, USER, ITEMS = range(3)

Record = Any


@fast
def offer_records(sizes: GatherSizes, state: GatherState, order: Record, i: int) -> None:
    """Offer the oldest burst that waits."""
    share = state.shares[i]
    burst = state.bursts[i, share.buffered_head]
    offer_burst(sizes, order, share.buffered > 0, burst.address, burst.beats)


@fast
def pop_record_burst(state: GatherState, i: int) -> None:
    """Drop the oldest burst."""
    share = state.shares[i]
    share.buffered -= 1
    share.buffered_head = wrap(share.buffered_head + 1, BUFFER_PLACES)


@fast
def _ask(state: GatherState, i: int, address: int, beats: int) -> None:
    share = state.shares[i]
    burst = state.bursts[i, wrap(share.buffered_head + share.buffered, BUFFER_PLACES)]
    burst.address, burst.beats = address, beats
    share.buffered += 1
    share.reading += 1
    share.room -= beats


@fast
def ask_records(
    sizes: GatherSizes, unit: Record, state: GatherState, trace: GatherTrace, i: int, offered: bool
) -> bool:
    """Ask for the user's record, then for items'; return whether a candidate is taken.

    offered : there is one. What waits for its data is `pushed` until `take_answer`.
    """
    share = state.shares[i]
    may = share.buffered < BUFFER_PLACES and share.reading < unit.in_flight
    share.pushed = 0
    if share.state == USER:
        if not share.left:
            share.pushed, share.state = 1, ITEMS
            share.asked_record = share.begin + 1
            return False
        place = share.address // sizes.beat_bytes % sizes.boundary_beats
        beats = min(share.left, unit.record_burst, sizes.boundary_beats - place)
        if may and share.room >= beats:
            _ask(state, i, share.address, beats)
            share.address += beats * sizes.beat_bytes
            share.left -= beats
        return False
    record = share.asked_record
    if share.state == IDLE or not offered or record == share.end:
        return False
    if share.waiting_inner == unit.records:
        return False
    if not trace.bad[record]:
        if not may or share.room < unit.item_beats:
            return False
        _ask(state, i, trace.address[record], unit.item_beats)
    share.pushed = 1
    share.asked_record += 1
    return True


@fast
def take_answer(unit: Record, state: GatherState, order: Record, i: int) -> None:
    """Take the beat that has come, and let what was asked for wait."""
    share = state.shares[i]
    if order.full:
        share.due -= 1
        if share.due == 0:
            share.complete += 1
            share.due = unit.item_beats
        share.reading -= order.ends
    share.waiting_inner += share.pushed
