"""Ports of a row network, a cycle at a time: bursts to memory, beats to the banks.

Names are those of rtl.read_channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rpaccel.perfmodel.compiled import distance, fast, wrap
from rpaccel.perfmodel.row_bank_state import NONE, RowSizes, RowState

__all__ = ["answer_beats", "check_bursts", "send_burst"]


@fast
def answer_beats(sizes: RowSizes, state: RowState, p: int, now: int) -> bool:
    """Give memory's beats to the banks; return whether a beat moved."""
    port = state.ports[p]
    moved = False
    if port.beat_valid:
        bank = state.banks[port.beat_bank]
        places = state.arrived.shape[1]
        place = bank.arrived_head + bank.arrived_inner + bank.arrived_out
        state.arrived[port.beat_bank, wrap(place, places)] = port.beat_read
        bank.arrives = bank.active = 1
        if port.beat_last:
            ids = state.returned.shape[1]
            back = state.returned[p, wrap(port.ids_head + port.ids_back, ids)]
            back.id, back.free_at = port.beat_id, now + sizes.id_cycles
            port.ids_back += 1
        port.beat_valid = 0
        moved = True
    if port.left == 0 and port.pending and state.pending[p, port.pending_head].due <= now:
        burst = state.pending[p, port.pending_head]
        port.left, port.id = burst.beats, burst.id
        port.bank, port.read = burst.bank, burst.read
        port.pending_head = wrap(port.pending_head + 1, state.pending.shape[1])
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
def check_bursts(sizes: RowSizes, state: RowState, p: int) -> bool:
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
            or distance(b, port.last, sizes.banks) < distance(chosen, port.last, sizes.banks)
        ):
            chosen = b
    if chosen != NONE:
        bank = state.banks[chosen]
        state.stages[p, 0] = state.asked[chosen, bank.asked_head]
        bank.ask_leaves = bank.active = 1
        port.first_valid, port.last = 1, chosen
        moved = True
    return moved
