"""Paired bootstrap over users: intervals of a mean, and of a relative difference of two means.

Ref: B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
CHUNK = 100  # resamples drawn at once: bounds memory


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and its interval, low <= high."""

    estimate: float
    low: float
    high: float


def resampled_means(
    values: npt.NDArray[np.float64], seed: int, resamples: int = RESAMPLES
) -> npt.NDArray[np.float64]:
    """Return the mean of each column over users drawn with replacement.

    values : float64[users, columns].  Returns float64[resamples, columns]; one seed draws the same
    users for every column, so that differences of columns are paired.
    """
    if values.ndim != 2 or values.shape[0] < 1:
        raise ValueError(f"values must have shape [users >= 1, columns], not {values.shape}")
    rng = np.random.default_rng(seed)
    users = values.shape[0]
    means = []
    for start in range(0, resamples, CHUNK):
        count = min(CHUNK, resamples - start)
        draws = rng.integers(0, users, size=(count, users))
        means.append(values[draws].mean(axis=1))
    return np.concatenate(means)


def mean_interval(values: npt.NDArray[np.float64], seed: int = 0, level: float = 0.95) -> Interval:
    """Return mean and percentile interval of float64[users]."""
    means = resampled_means(np.asarray(values, dtype=np.float64)[:, None], seed)[:, 0]
    return _interval(float(np.mean(values)), means, level)


def relative_difference(
    values: npt.NDArray[np.float64],
    base: npt.NDArray[np.float64],
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return mean(values) / mean(base) - 1 with its paired interval; both float64[users]."""
    if len(values) != len(base):
        raise ValueError(f"values and base must be paired, not {len(values)} and {len(base)}")
    means = resampled_means(np.stack([values, base], axis=1), seed)
    estimate = float(np.mean(values) / np.mean(base) - 1)
    return _interval(estimate, means[:, 0] / means[:, 1] - 1, level)


def _interval(estimate: float, means: npt.NDArray[np.float64], level: float) -> Interval:
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(estimate=estimate, low=float(low), high=float(high))
