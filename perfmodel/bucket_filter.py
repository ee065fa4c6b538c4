"""Cycles of the bucket filter. Exact: equal to rtl.bucket_filter (tests/rtl/test_bucket_filter)."""

from __future__ import annotations

from rpaccel.spec.isa import BINS

# Bin register, count register and first read of the chain: rtl.bucket_filter settle_cycles.
SETTLE_CYCLES = 3


def first_survivor_cycles(bins_scanned: int = BINS) -> int:
    """Return the cycles from the last score taken to the first id offered.

    bins_scanned : 1..BINS, from the top bin down to the lowest that qualifies.
    """
    return SETTLE_CYCLES + bins_scanned


def tail_cycles(emitted: int, bins_scanned: int = BINS) -> int:
    """Return the cycles from the last score taken until idle, with a reader that never stalls.

    A stage without survivors scans every bin and ends without the first read.
    """
    return first_survivor_cycles(bins_scanned) + emitted


def busy_cycles(scores: int, emitted: int, bins_scanned: int = BINS) -> int:
    """Return the `busy` counter of one stage: scores, settling, scan and survivors."""
    return scores + tail_cycles(emitted, bins_scanned) - 1
