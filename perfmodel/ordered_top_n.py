"""Cycles of the ordered top-n list. Exact: equal to rtl.ordered_top_n (tests/rtl)."""

from __future__ import annotations

LATENCY_CYCLES = 2  # input register, list register: rtl.ordered_top_n latency_cycles


def first_result_cycles() -> int:
    """Return the cycles from the last score taken to the first result offered."""
    return LATENCY_CYCLES


def tail_cycles(count: int) -> int:
    """Return the cycles from the last score taken until idle, with a reader that never stalls."""
    return LATENCY_CYCLES + count


def busy_cycles(scores: int, count: int) -> int:
    """Return the `busy` counter of one list: scores, settling and results."""
    return scores + tail_cycles(count) - 1
