"""The filter between stages: at least k ids of the highest bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rpaccel.spec.isa import BINS

Array = np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class FilterResult:
    """Survivors in the order of emission.

    ids : int64[m]; logits : int64[m]; positions : int64[m] into the input; bins : the counters,
    int64[16]; cut_bin : the lowest bin emitted; underfill : fewer than k passed the threshold.
    """

    ids: Array
    logits: Array
    positions: Array
    bins: Array
    cut_bin: int
    underfill: bool


def bin_of(logits: Array, edges: Array) -> Array:
    """Return the bin of each logit: the number of edges <= logit."""
    return np.searchsorted(np.asarray(edges, dtype=np.int64), logits, side="right")


def bucket_filter(ids: Array, logits: Array, edges: Array, threshold: int, k: int) -> FilterResult:
    """Return the ids of the fewest top bins that hold at least k ids.

    Highest bin first, newest first inside a bin; logits below `threshold` are dropped. With
    fewer than k kept, all of them are returned and `underfill` is set.
    """
    ids = np.asarray(ids, dtype=np.int64)
    logits = np.asarray(logits, dtype=np.int64)
    kept = np.flatnonzero(logits >= threshold)
    bins = bin_of(logits[kept], edges)
    counts = np.bincount(bins, minlength=BINS)
    from_bin = np.cumsum(counts[::-1])[::-1]  # ids in bins c..15
    underfill = bool(from_bin[0] < k)
    cut_bin = 0 if underfill else int(np.flatnonzero(from_bin >= k)[-1])
    order = np.lexsort((-kept, -bins))
    positions = kept[order][bins[order] >= cut_bin]
    return FilterResult(
        ids=ids[positions],
        logits=logits[positions],
        positions=positions,
        bins=counts,
        cut_bin=cut_bin,
        underfill=underfill,
    )
