"""What arrivals do to a queue: one server, equal service times, a fixed load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rpaccel.scheduler.arrivals import Process
from rpaccel.scheduler.intervals import quantile_intervals, quantiles_of
from rpaccel.scheduler.peak import WARM_UP
from rpaccel.scheduler.queueing import Station, finish_times_s

__all__ = ["QueueTail", "queue_tails"]


@dataclass(frozen=True, kw_only=True)
class QueueTail:
    """A queue under arrivals of one process.

    busy : of the server, in 0..1.
    gap_spread : standard deviation of the gaps over their mean; 1 of Poisson arrivals.
    p95 : latency over the service time; low, high : its 95 % interval.
    """

    process: str
    gap_ms: float
    busy: float
    gap_spread: float
    p95: float
    low: float
    high: float


def queue_tails(
    processes: Sequence[Process],
    gaps_ms: Sequence[float],
    busy: float,
    *,
    queries: int = 400_000,
    seed: int = 0,
) -> list[QueueTail]:
    """Return the tail of every process at every mean gap, the server so busy."""
    found = []
    for process in processes:
        for gap_ms in gaps_ms:
            arrivals = process.draw(queries, 1e3 / gap_ms, seed)
            service_s = busy * gap_ms * 1e-3
            station = Station(name="queue", servers=1, service_s=service_s)
            latency = (finish_times_s(arrivals, [station])[0] - arrivals) / service_s
            judged, gaps = latency[int(queries * WARM_UP) :], np.diff(arrivals)
            ((low, high),) = quantile_intervals(judged, [0.95])
            found.append(
                QueueTail(
                    process=process.name,
                    gap_ms=gap_ms,
                    busy=busy,
                    gap_spread=float(gaps.std() / gaps.mean()),
                    p95=quantiles_of(judged, [0.95])[0],
                    low=low,
                    high=high,
                )
            )
    return found
