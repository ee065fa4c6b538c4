"""Cycles of the bucket filter. Exact: equal to rtl.bucket_filter (tests/rtl/test_bucket_filter)."""

from __future__ import annotations

from collections.abc import Sequence

from rpaccel.spec.isa import BINS

# Bin register, count register and first read of the chain: rtl.bucket_filter settle_cycles.
SETTLE_CYCLES = 3
MAX_SCAN_CYCLES = 16  # rtl.bucket_filter: the scan looks at as many bins a cycle as this needs
SPLIT_START_CYCLES = 1  # rtl.bucket_filter REFINE
SPLIT_END_CYCLES = 1  # rtl.bucket_split DONE
PASS_CYCLES = 1  # rtl.bucket_split FETCH


def scan_cycles(bins_scanned: int, bins: int = BINS) -> int:
    """Return the cycles of the scan over `bins_scanned` of `bins` bins, from the top down."""
    per_cycle = -(-bins // MAX_SCAN_CYCLES)
    return -(-bins_scanned // per_cycle)


def exact_cycles(passes: Sequence[tuple[int, int]]) -> int:
    """Return the cycles that an exact k takes between scan and first id; 0 without passes.

    passes : (entries split, groups looked at) of each, as `golden.bucket_filter.best_of` counts.
    At most 24 passes of at most (entries of the cut bin, 4).
    """
    if not passes:
        return 0
    splitting = sum(PASS_CYCLES + entries + groups for entries, groups in passes)
    return SPLIT_START_CYCLES + splitting + SPLIT_END_CYCLES


def first_survivor_cycles(
    bins_scanned: int = BINS, bins: int = BINS, passes: Sequence[tuple[int, int]] = ()
) -> int:
    """Return the cycles from the last score taken to the first id offered.

    bins_scanned : 1..bins, from the top bin down to the lowest that qualifies. bins : of the unit.
    At most 19 without passes.
    """
    return SETTLE_CYCLES + scan_cycles(bins_scanned, bins) + exact_cycles(passes)


def tail_cycles(
    emitted: int,
    bins_scanned: int = BINS,
    bins: int = BINS,
    passes: Sequence[tuple[int, int]] = (),
) -> int:
    """Return the cycles from the last score taken until idle, with a reader that never stalls.

    A stage without survivors scans every bin and ends without the first read.
    """
    return first_survivor_cycles(bins_scanned, bins, passes) + emitted


def busy_cycles(
    scores: int,
    emitted: int,
    bins_scanned: int = BINS,
    bins: int = BINS,
    passes: Sequence[tuple[int, int]] = (),
) -> int:
    """Return the `busy` counter of one release: scores, settling, scan and survivors."""
    return scores + tail_cycles(emitted, bins_scanned, bins, passes) - 1
