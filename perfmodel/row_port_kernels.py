"""Ports of a row network, a cycle at a time: bursts to memory, beats to the banks.

Other readers of the memory fabric come before the banks: requester numbers are those of rtl.

Names are those of rtl.read_channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rpaccel.perfmodel.compiled import distance, fast, wrap
from rpaccel.perfmodel.gather_unit_state import OrderState
from rpaccel.perfmodel.row_bank_state import NONE, PLACES, RowSizes, RowState

__all__ = ["answer_beats", "check_bursts", "send_burst"]


@fast
def answer_beats(
    sizes: RowSizes, state: RowState, fabric: OrderState, p: int, now: int, taken: int
) -> bool:
    """Give memory's beats to their requesters; return whether a beat moved.

    taken : whether the oldest beat goes, if it is another reader's than a bank's.
    """
    port = state.ports[p]
    moved = False
    room = fabric.held[p] < PLACES
    if fabric.held[p]:
        beat = fabric.beats[p, 0]
        bank_number = beat.owner - len(fabric.orders)
        if bank_number >= 0:
            bank = state.banks[bank_number]
            places = state.arrived.shape[1]
            place = bank.arrived_head + bank.arrived_inner + bank.arrived_out
            state.arrived[bank_number, wrap(place, places)] = beat.place
            bank.arrives = bank.active = 1
        if bank_number >= 0 or taken:
            if beat.ends:
                ids = state.returned.shape[1]
                back = state.returned[p, wrap(port.ids_head + port.ids_back, ids)]
                back.id, back.free_at = beat.id, now + sizes.id_cycles
                port.ids_back += 1
            fabric.held[p] -= 1
            fabric.beats[p, 0] = fabric.beats[p, 1]
            moved = True
    if port.left == 0 and port.pending and state.pending[p, port.pending_head].due <= now:
        burst = state.pending[p, port.pending_head]
        port.left, port.id = burst.beats, burst.id
        port.owner, port.place = burst.owner, burst.place
        port.pending_head = wrap(port.pending_head + 1, state.pending.shape[1])
        port.pending -= 1
    if port.left and room:
        port.left -= 1
        beat = fabric.beats[p, fabric.held[p]]
        fabric.held[p] += 1
        beat.owner, beat.place, beat.id, beat.ends = port.owner, port.place, port.id, port.left == 0
        port.place += 1
        port.beats += 1
        moved = True
    return moved


@fast
def send_burst(sizes: RowSizes, state: RowState, p: int, now: int, book: Any, memory: int) -> bool:
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
        port.ids_head = wrap(port.ids_head + 1, ids)
        port.ids_back -= 1
    else:
        return False
    edge = now + sizes.first_edge
    due = np.int64(book(memory, edge, burst.id, burst.address, burst.beats)) - sizes.first_edge
    # in the order of (due, sent)
    count = state.pending.shape[1]
    place = port.pending_head + port.pending
    while place > port.pending_head and state.pending[p, wrap(place - 1, count)].due > due:
        state.pending[p, wrap(place, count)] = state.pending[p, wrap(place - 1, count)]
        place -= 1
    state.pending[p, wrap(place, count)] = burst
    state.pending[p, wrap(place, count)].due = due
    port.pending += 1
    port.second_valid = 0
    return True


@fast
def check_bursts(sizes: RowSizes, state: RowState, fabric: OrderState, p: int) -> bool:
    """Requesters to the two stages of the region check; return whether a burst moved."""
    port = state.ports[p]
    moved = False
    if not port.second_valid and port.first_valid:
        state.stages[p, 1] = state.stages[p, 0]
        port.second_valid, port.first_valid = 1, 0
        moved = True
    if port.first_valid:
        return moved
    readers = len(fabric.orders)
    requesters = readers + sizes.banks
    chosen = NONE
    for r in range(readers):
        order = fabric.orders[r]
        if order.asks and order.port == p:
            chosen = _first(chosen, r, port.last, requesters)
    for b in range(p, sizes.banks, sizes.ports):
        if state.banks[b].asked:
            chosen = _first(chosen, readers + b, port.last, requesters)
    if chosen == NONE:
        return moved
    port.first_valid, port.last = 1, chosen
    if chosen < readers:
        order, burst = fabric.orders[chosen], state.stages[p, 0]
        burst.address, burst.beats, burst.owner = order.address, order.beats, chosen
        burst.place = order.newest * order.slot_beats
        order.granted = 1
    else:
        bank = state.banks[chosen - readers]
        state.stages[p, 0] = state.asked[chosen - readers, bank.asked_head]
        bank.ask_leaves = bank.active = 1
    return True


@fast
def _first(chosen: int, other: int, last: int, count: int) -> int:
    """Return whichever of two requesters comes first after the last choice; chosen : or NONE."""
    if chosen == NONE or distance(other, last, count) < distance(chosen, last, count):
        return other
    return chosen
