"""Queueing simulation: open-loop arrivals through first-come-first-served stations in a row.

Exact recursions instead of an event loop. A query that reaches a station of c servers starts at
max(its arrival, the earliest time a server is free); ties keep the order of the queries.
Ref: J. Kiefer and J. Wolfowitz, "On the theory of queues with many servers", 1955; D. Lindley,
"The theory of queues with a single server", 1952.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rpaccel.scheduler.arrivals import Floats, poisson_arrivals_s

WARM_UP = 0.1  # share of the queries that is left out of the percentiles


@dataclass(frozen=True, kw_only=True)
class Station:
    """A group of equal servers behind one queue.

    name : str                    in reports
    servers : int
    service_s : float64[queries]  service time of each query, or one float for all [s]
    delay_s : float               pure delay before the queue, e.g. a transfer [s]
    """

    name: str
    servers: int
    service_s: float | Floats
    delay_s: float = 0.0

    def __post_init__(self) -> None:
        if self.servers < 1:
            raise ValueError(f"servers must be at least 1, not {self.servers}")
        if np.min(self.service_s) < 0 or self.delay_s < 0:
            raise ValueError(f"times of station {self.name} must not be negative")

    def offered_load(self, load_qps: float) -> float:
        """Utilisation that `load_qps` asks of the servers; 1 and above never settles."""
        return load_qps * float(np.mean(self.service_s)) / self.servers


@dataclass(frozen=True, kw_only=True)
class LatencyReport:
    """Latencies after warm-up [ms], from the scheduled arrival to the answer."""

    queries: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    tail_ms: float  # at the percentile that was asked for
    max_ms: float
    wait_ms: dict[str, float]  # mean wait in each station's queue
    utilisation: dict[str, float]  # offered load of each station, as simulated


def serve(ready_s: Floats, service_s: float | Floats, servers: int) -> tuple[Floats, Floats]:
    """Return (start, finish) of queries that are ready at `ready_s`, served in that order.

    ready_s : float64[queries], non-decreasing. Both results are in the order of `ready_s`.
    """
    times = np.broadcast_to(np.asarray(service_s, np.float64), ready_s.shape)
    if servers == 1:
        return _serve_one(ready_s, times)
    if np.ndim(service_s) == 0:
        return _serve_constant(ready_s, times, servers)
    free = [-np.inf] * servers  # a heap of the times at which servers are free again
    start = np.empty_like(ready_s)
    for index, (ready, time) in enumerate(zip(ready_s.tolist(), times.tolist(), strict=True)):
        begin = max(ready, free[0])
        start[index] = begin
        heapq.heapreplace(free, begin + time)
    return start, start + times


def _serve_one(ready_s: Floats, times: Floats) -> tuple[Floats, Floats]:
    # finish[i] = max over j <= i of ready[j] + times[j] + ... + times[i]
    total = np.cumsum(times)
    finish = total + np.maximum.accumulate(ready_s - (total - times))
    return np.maximum(finish - times, ready_s), finish


def _serve_constant(ready_s: Floats, times: Floats, servers: int) -> tuple[Floats, Floats]:
    # Equal service times finish in order, so query i follows query i - servers.
    start = np.empty_like(ready_s)
    for server in range(servers):
        start[server::servers] = _serve_one(ready_s[server::servers], times[server::servers])[0]
    return start, start + times


def finish_times_s(
    arrivals_s: Floats, stations: Sequence[Station], last_delay_s: float = 0.0
) -> tuple[Floats, list[Floats]]:
    """Return each query's finish time and its wait at every station, in query order [s]."""
    ready = np.asarray(arrivals_s, np.float64)
    if np.any(np.diff(ready) < 0):
        raise ValueError("arrivals must not go back in time")
    waits = []
    for station in stations:
        ready = ready + station.delay_s
        order = np.argsort(ready, kind="stable")  # ties keep the order of the queries
        service = station.service_s
        in_order = service if np.ndim(service) == 0 else np.asarray(service)[order]
        start, finish = serve(ready[order], in_order, station.servers)
        wait = np.empty_like(ready)
        wait[order] = start - ready[order]
        waits.append(wait)
        ready = np.empty_like(ready)
        ready[order] = finish
    return ready + last_delay_s, waits


def simulate(
    arrivals_s: Floats,
    stations: Sequence[Station],
    last_delay_s: float = 0.0,
    percentile: float = 99.0,
) -> LatencyReport:
    """Run every arrival through the stations and return the latencies after warm-up."""
    finish, waits = finish_times_s(arrivals_s, stations, last_delay_s)
    first = int(len(finish) * WARM_UP)
    latency_ms = (finish - arrivals_s)[first:] * 1e3
    quantiles = np.percentile(latency_ms, [50, 95, 99, percentile], method="inverted_cdf")
    span_s = float(arrivals_s[-1] - arrivals_s[0])
    load_qps = (len(arrivals_s) - 1) / span_s if span_s > 0 else 0.0
    return LatencyReport(
        queries=len(latency_ms),
        mean_ms=float(latency_ms.mean()),
        p50_ms=float(quantiles[0]),
        p95_ms=float(quantiles[1]),
        p99_ms=float(quantiles[2]),
        tail_ms=float(quantiles[3]),
        max_ms=float(latency_ms.max()),
        wait_ms={
            station.name: float(wait[first:].mean()) * 1e3
            for station, wait in zip(stations, waits, strict=True)
        },
        utilisation={station.name: station.offered_load(load_qps) for station in stations},
    )


def capacity_qps(stations: Sequence[Station]) -> float:
    """Return the load at which the busiest station saturates [queries/s]."""
    busiest = max(station.offered_load(1.0) for station in stations)
    return 1.0 / busiest if busiest > 0 else float("inf")


def qps_under_sla(
    stations: Sequence[Station],
    sla_s: float,
    *,
    queries: int = 20_000,
    seed: int = 0,
    last_delay_s: float = 0.0,
    percentile: float = 99.0,
    tolerance: float = 1e-3,
) -> float:
    """Return the largest Poisson load whose tail latency meets `sla_s`, by bisection [queries/s].

    0 if even an idle system misses it; always below saturation, where no queue settles. Within
    `tolerance` of the simulated crossing.
    """

    def tail_ms(load_qps: float) -> float:
        arrivals = poisson_arrivals_s(queries, load_qps, seed)
        return simulate(arrivals, stations, last_delay_s, percentile).tail_ms

    low, high = 0.0, capacity_qps(stations)
    if not np.isfinite(high) or tail_ms(high * 1e-6) > sla_s * 1e3:
        return 0.0
    while high - low > tolerance * high:
        middle = (low + high) / 2
        low, high = (middle, high) if tail_ms(middle) <= sla_s * 1e3 else (low, middle)
    return low
