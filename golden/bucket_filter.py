"""The filter between stages: the ids of the highest bins that hold at least k, or the exact k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Array = np.ndarray
KEY_DIGITS = 24  # of 2 bits: 16 of the logit, 32 of the id


@dataclass(frozen=True, kw_only=True, eq=False)
class FilterResult:
    """What one release emits, in the order of emission.

    ids : int64[m]; logits : int64[m]; positions : int64[m] into the input (of all sub-batches);
    bins : entries stored so far, by bin, int64[edges + 1];
    cut_bin : the highest bin c such that bins c.. hold k - held; 0 if all do not; the number of
    bins if k - held is 0;
    underfill : all bins hold fewer than k - held; overfill : more than `limit` were chosen;
    overshoot : entries of the chosen bins, also those released before, above k - held;
    dropped : scores not stored so far;
    passes : exact only: (entries split, groups looked at) of every pass over the cut bin.
    """

    ids: Array
    logits: Array
    positions: Array
    bins: Array
    cut_bin: int
    underfill: bool
    overfill: bool = False
    overshoot: int = 0
    dropped: int = 0
    passes: tuple[tuple[int, int], ...] = ()

    @property
    def bins_scanned(self) -> int:
        """Bins looked at from the top down, at least 1."""
        return max(1, len(self.bins) - self.cut_bin)


def bin_of(logits: Array, edges: Array) -> Array:
    """Return the bin of each logit: the number of edges <= logit."""
    return np.searchsorted(np.asarray(edges, dtype=np.int64), logits, side="right")


def bucket_filter(
    ids: Array,
    logits: Array,
    edges: Array,
    threshold: int,
    k: int,
    *,
    exact: bool = False,
    adaptive: bool = False,
    limit: int = 0,
) -> FilterResult:
    """Return the ids of the fewest top bins that hold at least k ids.

    Highest bin first, newest first inside a bin; logits below `threshold` are dropped. With
    fewer than k kept, all of them are returned and `underfill` is set.

    exact : of the lowest of these bins only the best by (logit descending, id ascending) that
    fill k, in the order of `best_of`.
    adaptive : in place of `threshold`, see `stored_mask`: only scores that cannot be chosen drop.
    limit : at most so many leave, the first in the order of emission; 0: no limit.
    """
    return filter_sub_batches(
        [(ids, logits)], edges, threshold, k, [0], exact=exact, adaptive=adaptive, limit=limit
    )[0]


def filter_sub_batches(
    batches: Sequence[tuple[Array, Array]],
    edges: Array,
    threshold: int,
    k: int,
    held: Sequence[int],
    *,
    exact: bool = False,
    adaptive: bool = False,
    limit: int = 0,
) -> list[FilterResult]:
    """Return what leaves after every sub-batch of one query; bins and store are carried on.

    batches : (ids, logits) of each. held : of each; after sub-batch j leave the entries, not
    released before, of the fewest top bins that hold at least k - held[j] of all seen so far; if
    exact and held[j] > 0, of the bins that hold at most k - held[j]. `limit` counts per release;
    what it cuts off is gone.

    With held[j] = items still to come, the union of all releases is exactly the choice of
    `bucket_filter` over the whole query. With less held it is a superset of that, unless exact.
    Raises ValueError if exact and an entry of the bin to be cut has been released before: that
    needs held[j] < items still to come.
    """
    ids, logits = (
        np.concatenate([np.asarray(batch[part], dtype=np.int64) for batch in batches])
        for part in (0, 1)
    )
    bins = bin_of(logits, edges)
    count = len(edges) + 1
    stored = stored_mask(bins, count, k) if adaptive else logits >= threshold
    released = np.zeros(len(ids), dtype=bool)
    results, end = [], 0
    for (batch, _), hold in zip(batches, held, strict=True):
        end += len(batch)
        target = max(0, k - hold)
        seen = stored & (np.arange(len(ids)) < end)
        counts = np.bincount(bins[seen], minlength=count)
        from_bin = np.append(np.cumsum(counts[::-1])[::-1], 0)  # ids in bins c.., c = 0..count
        enough = np.flatnonzero(from_bin >= target)
        cut = int(enough[-1]) if enough.size else 0
        partial = exact and from_bin[cut] > target
        whole_from = cut + 1 if partial else cut  # bins from here on are taken whole
        taken = seen & (bins >= whole_from)
        fresh = np.flatnonzero(taken & ~released)
        order = fresh[np.lexsort((-fresh, -bins[fresh]))]
        passes: tuple[tuple[int, int], ...] = ()
        if partial and not hold:
            chain = np.flatnonzero(seen & (bins == cut))[::-1]
            if released[chain].any():
                raise ValueError("held must be at least the items to come if exact")
            best, passes = best_of(ids[chain], logits[chain], target - int(from_bin[cut + 1]))
            order = np.concatenate([order, chain[best]])
            taken = taken | (seen & (bins == cut))
        overfill = bool(limit and len(order) > limit)
        order = order[:limit] if overfill else order
        released |= taken
        results.append(
            FilterResult(
                ids=ids[order],
                logits=logits[order],
                positions=order,
                bins=counts,
                cut_bin=cut,
                underfill=bool(from_bin[0] < target),
                overfill=overfill,
                overshoot=0 if partial else max(0, int(from_bin[cut]) - target),
                dropped=end - int(counts.sum()),
                passes=passes,
            )
        )
    return results


def stored_mask(bins: Array, count: int, k: int) -> Array:
    """Return which scores an adaptive filter stores: those of the floor and above.

    bins : int64[n] in 0..count - 1, in the order of arrival. The floor starts at bin 0. A score
    raises it by one bin, for those after it, when the bins above it hold at least k stored
    entries before that score: then nothing at the floor can be among the fewest top bins that
    hold k. So a score below the floor is never missed, in any order.
    """
    counts, floor, above = [0] * count, 0, 0
    stored = np.zeros(len(bins), dtype=bool)
    for position, bin_index in enumerate(bins.tolist()):
        climbs = above >= k
        if bin_index >= floor:
            stored[position] = True
            counts[bin_index] += 1
            above += bin_index > floor
        if climbs:
            floor += 1
            above -= counts[floor]
    return stored


def best_of(ids: Array, logits: Array, need: int) -> tuple[Array, tuple[tuple[int, int], ...]]:
    """Return the indices of the `need` best by (logit descending, id ascending), and the passes.

    A radix selection, first digit first: a pass splits the chain into 4 groups by a digit of
    2 bits of the key (logit, inverted id). Groups from the top leave while they fit; the first
    that does not is the next pass's chain, at the next digit in which any two entries of this
    pass differed. Inside a group the newest comes first after an even number of passes. Of equal
    keys the first in the chain leave.
    """
    keys = ((logits + (1 << 15)) << 32 | (~ids & 0xFFFFFFFF)).tolist()
    chain, digit = list(range(len(keys))), KEY_DIGITS - 1
    out: list[int] = []
    passes = []
    while True:
        groups: list[list[int]] = [[], [], [], []]
        for index in chain:
            groups[keys[index] >> 2 * digit & 3].append(index)
        groups = [group[::-1] for group in groups]  # pushed one before the other
        looked = 0
        for group in reversed(groups):
            looked += 1
            if len(group) > need:
                break
            out += group
            need -= len(group)
            if not need:
                break
        passes.append((len(chain), looked))
        if not need:
            return np.array(out, dtype=np.int64), tuple(passes)
        differ = 0
        for left, right in pairwise(chain):
            differ |= keys[left] ^ keys[right]
        lower = differ & (1 << 2 * digit) - 1
        if not lower:
            return np.array(out + group[:need], dtype=np.int64), tuple(passes)
        chain, digit = group, (lower.bit_length() - 1) // 2
