"""Readers of the memory fabric besides the row banks, a cycle at a time: answers back in order.

Names are those of rtl.read_order and rtl.read_crossbar.
"""

from __future__ import annotations

from typing import Any

from rpaccel.perfmodel.compiled import distance, fast, wrap
from rpaccel.perfmodel.gather_unit_state import NONE, GatherSizes, OrderState

__all__ = ["choose_answers", "enter_requests", "fetch_answer", "offer_burst", "port_of"]

Record = Any


@fast
def port_of(sizes: GatherSizes, address: int) -> int:
    """Return the memory port of an address: spec.stripe."""
    stripe, bank = address >> sizes.stripe_shift, 0
    for _ in range(sizes.bank_slices):
        bank ^= stripe & ((1 << sizes.bank_bits) - 1)
        stripe >>= sizes.bank_bits
    return bank & (sizes.ports - 1)


@fast
def offer_burst(sizes: GatherSizes, order: Record, valid: bool, address: int, beats: int) -> None:
    """Offer a burst to its port in this cycle, if a slot is free."""
    order.asks = valid and order.used < order.slots
    order.granted = 0
    if order.asks:
        order.address, order.beats, order.port = address, beats, port_of(sizes, address)


@fast
def fetch_answer(fabric: OrderState, r: int, ready: bool) -> bool:
    """Take the answer that waits if `ready`, and fetch the next; return whether any moved."""
    order = fabric.orders[r]
    if order.full and not ready:
        return False
    moved = order.full > 0
    order.full = 0
    at = order.oldest * order.slot_beats + order.index
    if fabric.there[r, at]:
        fabric.there[r, at] = 0
        order.full, moved = 1, True
        order.index += 1
        order.ends = order.index == fabric.lengths[r, order.oldest]
        if order.ends:
            order.index = 0
            order.oldest = wrap(order.oldest + 1, order.slots)
            order.used -= 1
    return moved


@fast
def choose_answers(fabric: OrderState, ports: int) -> int:
    """Give each reader one of the ports' answers for it; return the ports taken from, a bit each.

    A reader takes turns among the ports that have one.
    """
    count, taken = len(fabric.orders), 0
    for p in range(ports):
        if fabric.held[p] and fabric.beats[p, 0].owner < count:
            order = fabric.orders[fabric.beats[p, 0].owner]
            if order.chosen == NONE or distance(p, order.last, ports) < distance(
                order.chosen, order.last, ports
            ):
                order.chosen = p
    for r in range(count):
        order = fabric.orders[r]
        if order.chosen != NONE:
            fabric.there[r, fabric.beats[order.chosen, 0].place] = 1
            taken |= 1 << order.chosen
            order.last, order.chosen = order.chosen, NONE
    return taken


@fast
def enter_requests(fabric: OrderState) -> bool:
    """Note the bursts that went; return whether any did."""
    moved = False
    for r in range(len(fabric.orders)):
        order = fabric.orders[r]
        if order.granted:
            fabric.lengths[r, order.newest] = order.beats
            order.newest = wrap(order.newest + 1, order.slots)
            order.used += 1
            moved = True
    return moved
