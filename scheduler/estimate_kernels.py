"""The load at which queues make too many queries late, by the moments of the work, compiled.

Ref: L. Kleinrock, "Queueing Systems, Volume 2", 1976, section 2.1: in heavy traffic waits are
exponential.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from numba import njit

from rpaccel.perfmodel.compiled import ENTRY, fast, sources

__all__ = ["load_of_late"]

Array = Any


@fast
def _late(load_qps: float, first_s: float, second_s2: float, slack_s: Array) -> float:
    """Return the share of late queries: P(wait > w) = busy * exp(-2 w (1 - busy) E[S] / E[S^2])."""
    busy, late = min(load_qps * first_s, 1.0), 0.0
    rate = 2 * (1 - busy) * first_s / second_s2 if second_s2 > 0 else 0.0
    for slack in slack_s:
        if slack < 0:
            late += 1.0
        elif busy > 0 and slack < math.inf:
            late += busy * math.exp(-rate * slack)
    return late / slack_s.size


@njit(**ENTRY)
def load_of_late(
    limit_qps: float,
    late: float,
    moments: Array,
    slack_s: Array,
    _sources: int = sources(sys.modules[__name__]),
) -> float:
    """Return the load below limit_qps at which a share `late` of the queries is late.

    moments : float64[pools, 2]  first and second moment of the work [s, s^2]
    slack_s : float64[pools, points]  time left for waiting at equally likely sizes [s]; infinite
        where the pool has no part in them
    """
    low, high = 0.0, limit_qps
    for _ in range(14):
        middle, found = (low + high) / 2, 0.0
        for pool in range(moments.shape[0]):
            found += _late(middle, moments[pool, 0], moments[pool, 1], slack_s[pool])
        if found <= late:
            low = middle
        else:
            high = middle
    return low
