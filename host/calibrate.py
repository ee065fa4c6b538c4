"""Choices behind a quantisation: scales, fixed-point ratios, and the bins of the filter.

Ref: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", arXiv:1712.05877, section 2 (scales, fixed-point multipliers).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from rpaccel.golden.quantised import MAX_MULTIPLIER, MAX_SHIFT
from rpaccel.spec.isa import BINS

Array = npt.NDArray[np.float64]
Method = Literal["max", "percentile", "error"]
METHODS: tuple[Method, ...] = ("max", "percentile", "error")
LEVELS = 127
PERCENTILE = 99.99  # of |x|
CLIPS = np.linspace(1.0, 0.4, 13)  # parts of max |x| that the error search tries


def fixed_point(ratio: float) -> tuple[int, int]:
    """Return (multiplier, shift) with multiplier / 2**shift = ratio within 2**-16 of it.

    The multiplier has 16 significant bits unless the shift would pass its limit.
    Raises ValueError for a ratio that is not positive, too large, or too small for 8 bits.
    """
    if not ratio > 0 or not np.isfinite(ratio):
        raise ValueError(f"ratio must be positive and finite, not {ratio}")
    _, exponent = np.frexp(ratio)  # ratio = mantissa * 2**exponent, mantissa in [0.5, 1)
    shift = min(16 - int(exponent), MAX_SHIFT)
    multiplier = int(np.rint(np.ldexp(ratio, shift)))
    if multiplier > MAX_MULTIPLIER:
        multiplier, shift = int(np.rint(np.ldexp(ratio, shift - 1))), shift - 1
    if shift < 0:
        raise ValueError(f"ratio must be at most {MAX_MULTIPLIER}, not {ratio:.4g}")
    if multiplier < 128:
        low = 128 / 2**MAX_SHIFT
        raise ValueError(f"ratio must be at least {low:.4g}, not {ratio:.4g}")
    return multiplier, shift


def fixed_points(
    ratios: npt.ArrayLike,
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """Return (multiplier, shift) of every ratio."""
    pairs = [fixed_point(float(ratio)) for ratio in np.asarray(ratios, dtype=np.float64).ravel()]
    multiplier = np.array([pair[0] for pair in pairs], dtype=np.uint16)
    return multiplier, np.array([pair[1] for pair in pairs], dtype=np.uint8)


def _clip_error(x: Array, limit: Array) -> Array:
    """Return the mean squared error per column of rounding x to 127 steps up to `limit`."""
    step = np.maximum(limit, 1e-30) / LEVELS
    rounded = np.clip(np.rint(x / step), -LEVELS, LEVELS) * step
    return np.asarray(((rounded - x) ** 2).mean(axis=0))


def limits(x: npt.ArrayLike, method: Method) -> Array:
    """Return the largest magnitude to represent, per column of x[n, columns].

    max: max |x|. percentile: the 99.99th of |x|. error: the part of max |x| with the least
    squared rounding and clipping error. A column of zeros gives 0.
    """
    values = np.asarray(x, dtype=np.float64)
    largest = np.abs(values).max(axis=0)
    if method == "max":
        return np.asarray(largest)
    if method == "percentile":
        return np.asarray(np.percentile(np.abs(values), PERCENTILE, axis=0))
    if method != "error":
        raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    errors = np.stack([_clip_error(values, largest * clip) for clip in CLIPS])
    return np.asarray(largest * CLIPS[errors.argmin(axis=0)])


def tensor_scale(x: npt.ArrayLike, method: Method) -> float:
    """Return one scale for all of x: the value of one int8 step."""
    limit = float(limits(np.asarray(x, dtype=np.float64).reshape(-1, 1), method)[0])
    return limit / LEVELS if limit > 0 else 1.0 / LEVELS


def channel_scales(x: npt.ArrayLike, method: Method, spread: float) -> Array:
    """Return a scale per column of x[n, columns].

    spread : 0 gives all columns the widest column's scale, 1 each its own, 0.5 the geometric mean.
    """
    limit = limits(x, method)
    widest = float(limit.max(initial=0.0))
    if widest == 0:
        return np.full(limit.shape, 1.0 / LEVELS)
    own = np.maximum(np.where(limit > 0, limit, widest), widest * 2.0**-12)
    return np.asarray(own**spread * widest ** (1.0 - spread) / LEVELS)


def quantise_array(x: npt.ArrayLike, scale: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """Return int8 clamp(round(x / scale)) in [-127, 127]."""
    steps = np.rint(np.asarray(x, dtype=np.float64) / np.asarray(scale, dtype=np.float64))
    return np.clip(steps, -LEVELS, LEVELS).astype(np.int8)


def calibrate_edges(
    logits: Sequence[npt.NDArray[np.int64]] | npt.NDArray[np.int64], k: int
) -> tuple[npt.NDArray[np.int16], int]:
    """Return (edges int16[15], threshold) that keep the filter's overshoot small.

    logits : one array of int16 logits per training query, each at least `k` long. An edge at a
    query's k-th best logit cuts that query without overshoot; 15 edges are placed by dynamic
    programming so that the sum of overshoots over the queries is least. The threshold lies under
    the lowest cut by the distance from it to the median cut, so that unseen users rarely underfill.
    """
    queries = [np.sort(np.asarray(query, dtype=np.int64))[::-1] for query in logits]
    for query in queries:
        if len(query) < k:
            raise ValueError(f"k must be at most {len(query)}, the candidates of a query, not {k}")
    if k < 1 or not queries:
        raise ValueError(f"k and the number of queries must be at least 1, not {k}, {len(queries)}")
    queries.sort(key=lambda query: int(query[k - 1]))
    cuts = np.array([query[k - 1] for query in queries])
    places = _least_overshoot(_overshoots(queries, cuts, k), BINS - 1)
    chosen = cuts[places]
    filled = np.concatenate([chosen, np.repeat(chosen[-1:], BINS - 1 - len(chosen))])
    margin = int(np.median(cuts) - cuts[0]) + 1
    threshold = max(-32768, int(cuts[0]) - margin)
    return filled.astype(np.int16), threshold


def _overshoots(
    queries: Sequence[npt.NDArray[np.int64]], cuts: npt.NDArray[np.int64], k: int
) -> npt.NDArray[np.int64]:
    """Return [edge, query]: ids above k that pass an edge at cuts[edge]; 0 above the diagonal."""
    passed = np.stack([np.searchsorted(-query, -cuts, side="right") for query in queries], axis=1)
    return np.asarray(np.triu(passed - k))


def _least_overshoot(cost: npt.NDArray[np.int64], most: int) -> list[int]:
    """Return at most `most` row indices, the first 0: query q uses the last chosen row <= q.

    Minimises the sum of cost[chosen row of q, q].
    """
    n = cost.shape[0]
    prefix = np.concatenate([np.zeros((n, 1), np.int64), np.cumsum(cost, axis=1)], axis=1)
    # best[b]: least cost of queries 0..b-1 with the edges used so far.
    best = np.full(n + 1, np.iinfo(np.int64).max // 4)
    best[0] = 0
    choices = []
    for _ in range(min(most, n)):
        start = best[:n, None] + prefix - prefix[np.arange(n), np.arange(n)][:, None]
        start[np.tril_indices(n, k=0, m=n + 1)] = np.iinfo(np.int64).max // 4
        choice = start.argmin(axis=0)
        choices.append(choice)
        best = start[choice, np.arange(n + 1)]
    end, places = n, []
    for choice in reversed(choices):
        end = int(choice[end])
        places.append(end)
    return places[::-1]
