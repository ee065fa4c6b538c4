"""Fit of the popularity law of `criteo_trace` to the published hit rates of FIFO caches.

The hit rate of a FIFO cache under independent references comes from its characteristic time T:
    sum p T / (1 + p T) = rows of the cache,  hit rate = sum p**2 T / (1 + p T).
Ref: V. Martina, M. Garetto, E. Leonardi, "A unified approach to the performance analysis of caching
systems", INFOCOM 2014 (FIFO and RANDOM); E. Gelenbe, "A unified approach to the evaluation of a
class of replacement algorithms", 1973. Simulation agrees within 0.1 points (tests).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rpaccel.workloads.criteo_trace import LARGE_TABLES, TABLE_COPIES, TABLE_ROWS, PopularityLaw

Floats = npt.NDArray[np.float64]

# RecPipe's artifact, embedding/results/{ratio}_{MB}_{share}.json, "hitrate_1": lines of 128 bytes
# (all copies together) -> hit rate [%] of the first stage's FIFO cache, warmed by one pass.
PUBLISHED_HIT_RATES = {
    4096: 21.9925,
    8192: 28.3129,
    16384: 34.7025,
    32768: 40.9349,
    49152: 44.4247,
    65536: 46.8282,
    98304: 50.0870,
    131072: 52.3122,
}
# Smaller caches of the same files: not fitted, compared.
PUBLISHED_SMALL = {81: 1.4359, 409: 5.7557, 819: 9.4726, 1638: 14.3152}

EXACT_RANKS = 2000  # one by one; then ranges of equal probability, 0.3 % wide
STEPS = 3000
START = (2.0, 1.1)  # (shift, exponent)
ROUNDS = 20


def fit_law(
    published: Mapping[int, float] = PUBLISHED_HIT_RATES, *, digits: int = 4
) -> PopularityLaw:
    """Return the law whose hit rates are nearest in the sense of least squares; deterministic.

    published : lines of 128 bytes -> hit rate [%]. Gauss-Newton over (log shift, exponent).
    Raises RuntimeError if it does not settle.
    """
    lines, rates = list(published), np.array(list(published.values()))

    def residuals(point: Floats) -> Floats:
        law = PopularityLaw(shift=float(np.exp(point[0])), exponent=float(point[1]))
        return predicted_hit_rates(law, lines) - rates

    point = np.array([np.log(START[0]), START[1]])
    for _ in range(ROUNDS):
        now = residuals(point)
        steps = np.diag([1e-4, 1e-5])
        slopes = np.stack([(residuals(point + s) - now) / s.sum() for s in steps], axis=1)
        move = np.linalg.lstsq(slopes, -now, rcond=None)[0]
        point = point + np.clip(move, -0.5, 0.5)
        if np.abs(move).max() < 10.0 ** -(digits + 2):
            return PopularityLaw(
                shift=round(float(np.exp(point[0])), digits),
                exponent=round(float(point[1]), digits),
            )
    raise RuntimeError(f"the fit must settle within {ROUNDS} rounds, not end at {point}")


def predicted_hit_rates(
    law: PopularityLaw,
    lines: Sequence[int],
    *,
    tables: Sequence[int] = LARGE_TABLES,
    copies: int = TABLE_COPIES,
) -> Floats:
    """Return the hit rates [%] of FIFO caches of `lines` rows, one access to each table a sample.

    lines : rows of all `copies` copies of the tables together; lines // copies bind (`copied`).
    """
    chances, rows = _classes(law, tables)
    return np.array([_fifo_hit_rate(chances, rows, count // copies) for count in lines])


def pinned_hit_rate(
    law: PopularityLaw, rows: int, *, tables: Sequence[int] = LARGE_TABLES, scale: int = 1
) -> float:
    """Return the hit rate [%] of the `rows` most popular rows of all tables: the best static set.

    scale : every table has so many times its rows, with the same law.
    Within one class of ranks (0.3 % wide) rows count as equally popular.
    Raises ValueError for a scale below 1.
    """
    if scale < 1:
        raise ValueError(f"scale must be at least 1, not {scale}")
    chances, counts = _classes(law, tables, scale)
    order = np.argsort(-chances, kind="stable")
    taken = np.diff(np.minimum(np.cumsum(counts[order]), rows), prepend=0)
    return float(100 * (chances[order] * taken).sum())


def _classes(law: PopularityLaw, tables: Sequence[int], scale: int = 1) -> tuple[Floats, Floats]:
    """Return (probability that an access is to one row, rows) of classes of alike rows."""
    chances, counts = [], []
    for table in tables:
        rows = TABLE_ROWS[table] * scale
        steps = np.geomspace(EXACT_RANKS, max(rows, EXACT_RANKS + 1), STEPS).astype(np.int64)
        edges = np.unique(np.minimum(np.append(np.arange(EXACT_RANKS), steps), rows))
        count = np.diff(edges).astype(np.float64)
        chances.append(np.diff(law.mass(edges, rows)) / count / len(tables))
        counts.append(count)
    return np.concatenate(chances), np.concatenate(counts)


def _fifo_hit_rate(chances: Floats, rows: Floats, capacity: int) -> float:
    """Return the hit rate [%]; the characteristic time is found by bisection of its logarithm."""
    if capacity >= rows.sum():
        return 100.0
    if capacity == 0:
        return 0.0
    low, high = 0.0, 60.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        time = chances * np.exp(middle)
        low, high = (middle, high) if (rows * time / (1 + time)).sum() < capacity else (low, middle)
    time = chances * np.exp(low)
    return float(100 * (rows * chances * time / (1 + time)).sum())
