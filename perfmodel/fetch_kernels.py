"""Descriptors out of the submission ring, a cycle at a time, compiled: rtl.submission_queue."""

from __future__ import annotations

from typing import Any

from rpaccel.perfmodel.compiled import fast
from rpaccel.perfmodel.fabric_reader_kernels import fetch_answer, offer_burst
from rpaccel.perfmodel.gather_unit_state import GatherSizes, OrderState

__all__ = ["fetches", "go_on_fetch", "offer_fetch", "step_fetch"]

FETCH_IDLE, FETCH_REQUEST, FETCH_COLLECT = range(3)

Record = Any


@fast
def fetches(fetch: Record) -> bool:
    """Return whether a descriptor is fetched, or will be from this cycle on."""
    begins = fetch.waiting > 0 and fetch.entries < fetch.most
    return bool(fetch.state != FETCH_IDLE or begins)


@fast
def offer_fetch(sizes: GatherSizes, fetch: Record, fabric: OrderState) -> None:
    """Offer the burst of this cycle."""
    fetch.ended = 0
    if fetch.state != FETCH_IDLE:
        address = fetch.base + (fetch.head & (fetch.size - 1)) * fetch.bytes
        order = fabric.orders[fetch.order]
        offer_burst(sizes, order, fetch.state == FETCH_REQUEST, address, fetch.beats)


@fast
def step_fetch(fetch: Record, fabric: OrderState) -> bool:
    """Take the beat of this cycle; return whether an answer has moved."""
    if fetch.state != FETCH_COLLECT:
        return False
    order = fabric.orders[fetch.order]
    fetch.ended = order.full > 0 and order.ends > 0
    return fetch_answer(fabric, fetch.order, True)


@fast
def go_on_fetch(fetch: Record, fabric: OrderState) -> bool:
    """Go to the next state when bursts have been granted; return whether it is another one."""
    if fetch.state == FETCH_IDLE:
        if not fetches(fetch):
            return False
        fetch.waiting -= 1
        fetch.entries += 1
        fetch.state = FETCH_REQUEST
    elif fetch.state == FETCH_REQUEST:
        if fabric.orders[fetch.order].granted:
            fetch.state = FETCH_COLLECT
    elif fetch.ended:
        fetch.head += 1
        fetch.state = FETCH_IDLE
    return True
