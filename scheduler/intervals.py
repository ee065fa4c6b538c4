"""Confidence intervals of simulated quantiles, and the distributions that they need.

Latencies of neighbouring queries depend on each other, so an interval comes from how much the
quantile moves between long sections of the run, not from the number of queries.
Ref: S. Asmussen and P. Glynn, "Stochastic Simulation", 2007, section III.5 (sectioning);
M. Abramowitz and I. Stegun, "Handbook of Mathematical Functions", 26.5.8 and 26.7.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from rpaccel.scheduler.arrivals import Floats

__all__ = [
    "SECTIONS", "beta_share", "mean_interval", "quantile_intervals", "quantile_place",
    "quantiles_of", "student_t",
]  # fmt: skip

SECTIONS = 20  # of a run: few degrees of freedom, but each section is long
CONFIDENCE = 0.95


def beta_share(share: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_share(a, b), to about 1e-12.

    share : in 0..1. a, b : positive; for whole numbers this is the probability of at least a
    successes of share `share` among a + b - 1 trials.
    """
    if not (0 <= share <= 1 and a > 0 and b > 0):
        raise ValueError(f"share must be in 0..1, a and b positive, not {share}, {a}, {b}")
    if share in (0.0, 1.0):
        return share
    if share > (a + 1) / (a + b + 2):  # the fraction converges on the other side
        return 1.0 - beta_share(1 - share, b, a)
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        + a * math.log(share) + b * math.log1p(-share)
    )  # fmt: skip
    return math.exp(log_front) / a * _beta_fraction(share, a, b)


def _beta_fraction(share: float, a: float, b: float) -> float:
    # Lentz's evaluation of the continued fraction 26.5.8.
    upper, lower, value = 1e300, 1.0, 1.0
    for step in range(1, 100_000):
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) * share / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * share / ((a + 2 * m - 1) * (a + 2 * m))
        upper = (1.0 + term / upper) or 1e-300
        lower = 1.0 / ((1.0 + term * lower) or 1e-300)
        value *= upper * lower
        if abs(upper * lower - 1.0) < 1e-14:
            return value
    raise ValueError(f"the beta function does not converge at {share}, {a}, {b}")


@lru_cache(maxsize=64)
def student_t(confidence: float, freedom: int) -> float:
    """Return t with P(-t < T < t) = confidence for `freedom` degrees of freedom, to 1e-9."""
    if not (0 < confidence < 1 and freedom >= 1):
        raise ValueError(
            f"confidence must be in 0..1 and freedom at least 1, not {confidence}, {freedom}"
        )
    low, high = 0.0, 1.0
    while _outside(high, freedom) > 1 - confidence:
        high *= 2
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _outside(middle, freedom) > 1 - confidence else (low, middle)
    return high


def _outside(t: float, freedom: int) -> float:
    return beta_share(freedom / (freedom + t * t), freedom / 2, 0.5)


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the mean of independent, nearly normal values, and half of its interval."""
    if len(values) < 2:
        raise ValueError(f"values must be two or more, not {len(values)}")
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    half = student_t(confidence, len(values) - 1) * math.sqrt(variance / len(values))
    return mean, half


def quantile_intervals(
    values: Floats, quantiles: Sequence[float], confidence: float = CONFIDENCE
) -> list[tuple[float, float]]:
    """Return an interval of each quantile of a run's `values`, by sectioning.

    values : float64[n] in the order of the run; at least SECTIONS of them. quantiles : in 0..1.
    The middle is the whole run's quantile; the spread is that of the sections' quantiles about it.
    """
    length = values.size // SECTIONS
    if length < 1:
        raise ValueError(f"values must hold at least {SECTIONS} latencies, not {values.size}")
    whole = quantiles_of(values, quantiles)
    parts = values[values.size - length * SECTIONS :].reshape(SECTIONS, length)
    places = [quantile_place(quantile, length) for quantile in quantiles]
    ordered = np.partition(parts, places, axis=1)
    found = []
    for middle, place in zip(whole, places, strict=True):
        spread = math.sqrt(float(np.sum((ordered[:, place] - middle) ** 2)) / (SECTIONS - 1))
        half = student_t(confidence, SECTIONS - 1) * spread / math.sqrt(SECTIONS)
        found.append((middle - half, middle + half))
    return found


def quantiles_of(values: Floats, quantiles: Sequence[float]) -> list[float]:
    """Return the quantiles of `values` as values that occur (the inverse of the sample's cdf)."""
    places = [quantile_place(quantile, values.size) for quantile in quantiles]
    ordered = np.partition(values, places)
    return [float(ordered[place]) for place in places]


def quantile_place(quantile: float, count: int) -> int:
    """Return which of `count` values in order is the quantile."""
    # The least k with (k + 1) / count >= quantile; a product like 0.07 * 100 may end a hair above.
    return min(max(math.ceil(quantile * count - 1e-9) - 1, 0), count - 1)
