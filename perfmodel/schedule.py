"""When sub-batches are gathered and computed: two FEATURE banks, one gather, one sequencer.

Exact recurrence. Sub-batch j is gathered when the gather unit and its bank are free (sub-batch
j - 2 has been computed), and computed when it has been gathered and the sequencer is free:

    gather_start[j]  = max(gather_end[j-1], compute_end[j-2])
    compute_start[j] = max(gather_end[j], compute_end[j-1])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BANKS = 2
Integers = NDArray[np.int64]


class Timeline(NamedTuple):
    """Starts and ends of every sub-batch, integers of equal shape, sub-batches on axis 0."""

    gather_start: Integers
    gather_end: Integers
    compute_start: Integers
    compute_end: Integers


def double_buffered(
    gather: Sequence[int] | Integers,
    compute: Sequence[int] | Integers,
    start: int | Integers = 0,
    handover: int = 0,
    release: int = 0,
) -> Timeline:
    """Return the timeline of sub-batches that take `gather[j]` and `compute[j]` cycles.

    gather, compute : int[J] or int[J, points]; a sub-batch that a point does not have takes 0.
    start : cycle in which the first gather may start.
    handover : cycles from a gathered sub-batch to the first cycle of its computing.
    release : cycles from the end of computing until its bank can be written again.
    """
    gathers, computes = np.asarray(gather, np.int64), np.asarray(compute, np.int64)
    if gathers.shape != computes.shape or not len(gathers):
        raise ValueError(
            f"gather and compute must have equal lengths, not {gathers.shape}, {computes.shape}"
        )
    line = Timeline(*(np.zeros_like(gathers) for _ in range(4)))
    zero = np.zeros_like(gathers[0]) + np.asarray(start, np.int64)
    for j in range(len(gathers)):
        gather_free = line.gather_end[j - 1] if j else zero
        bank_free = line.compute_end[j - BANKS] + release if j >= BANKS else zero
        line.gather_start[j] = np.maximum(gather_free, bank_free)
        line.gather_end[j] = line.gather_start[j] + gathers[j]
        compute_free = line.compute_end[j - 1] if j else zero
        line.compute_start[j] = np.maximum(line.gather_end[j] + handover, compute_free)
        line.compute_end[j] = line.compute_start[j] + computes[j]
    return line


def split_items(items: int, sub_batch: int) -> list[int]:
    """Return the sizes of the sub-batches: full ones, then the rest."""
    if items < 1 or sub_batch < 1:
        raise ValueError(f"items and sub_batch must be at least 1, not {items}, {sub_batch}")
    full, rest = divmod(items, sub_batch)
    return [sub_batch] * full + ([rest] if rest else [])
