"""Queueing simulation: open-loop arrivals through first-come-first-served stations in a row.

Exact recursions instead of an event loop, compiled (`fcfs_kernels`). A query that reaches a station
of c servers starts at max(its arrival, the earliest time a server is free); ties keep the order of
the queries. Latency counts from the scheduled arrival: a late system omits nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rpaccel.scheduler.arrivals import Floats, poisson_arrivals_s
from rpaccel.scheduler.fcfs_kernels import serve_station
from rpaccel.scheduler.intervals import SECTIONS, quantile_intervals, quantiles_of
from rpaccel.scheduler.peak import LEAST_QUERIES, WARM_UP, Sla, find_peak

MOST_LOAD = 0.97  # of a capacity: beyond it queues do not settle within a run
Queries = NDArray[np.int32]


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
    # 95 % intervals of "p50", "p95", "p99", "tail"; {} of too short a run
    interval_ms: dict[str, tuple[float, float]]
    wait_ms: dict[str, float]  # mean wait in each station's queue
    utilisation: dict[str, float]  # offered load of each station, as simulated


def serve(ready_s: Floats, service_s: float | Floats, servers: int) -> tuple[Floats, Floats]:
    """Return (start, finish) of queries that are ready at `ready_s`, served in that order.

    ready_s : float64[queries], non-decreasing. Both results are in the order of `ready_s`.
    """
    ready = np.ascontiguousarray(ready_s, np.float64)
    order = np.arange(ready.size, dtype=np.int32)
    start, _, _ = _serve_in_order(ready, order, service_s, servers, 0.0)
    return start, start + service_s


def _serve_in_order(
    ready_s: Floats, query: Queries, service_s: float | Floats, servers: int, delay_s: float
) -> tuple[Floats, Floats, Queries]:
    # Returns start by query, then departures (plus delay_s) and who departs, in their order.
    service = np.ascontiguousarray(np.atleast_1d(service_s), np.float64)
    if service.size not in (1, ready_s.size):
        raise ValueError(f"service_s must hold 1 or {ready_s.size} times, not {service.size}")
    start, out, who = np.empty_like(ready_s), np.empty_like(ready_s), np.empty_like(query)
    free, holder = np.empty(servers), np.empty(servers, np.int32)
    serve_station(ready_s, query, service, delay_s, free, holder, start, out, who)
    return start, out, who


def finish_times_s(
    arrivals_s: Floats, stations: Sequence[Station], last_delay_s: float = 0.0
) -> tuple[Floats, list[Floats]]:
    """Return each query's finish time and its wait at every station, in query order [s]."""
    finish = np.ascontiguousarray(arrivals_s, np.float64)
    if np.any(finish[1:] < finish[:-1]):
        raise ValueError("arrivals must not go back in time")
    delays = [station.delay_s for station in stations] + [0.0]
    order, query = finish + delays[0], np.arange(finish.size, dtype=np.int32)
    waits = []
    for station, here_s, next_s in zip(stations, delays, delays[1:], strict=False):
        ready = finish + here_s
        start, order, query = _serve_in_order(
            order, query, station.service_s, station.servers, next_s
        )
        waits.append(start - ready)
        finish = start + station.service_s
    return finish + last_delay_s, waits


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
    shares = [0.5, 0.95, 0.99, percentile / 100]
    quantiles = quantiles_of(latency_ms, shares)
    names = ("p50", "p95", "p99", "tail")
    intervals = quantile_intervals(latency_ms, shares) if len(latency_ms) >= SECTIONS else []
    span_s = float(arrivals_s[-1] - arrivals_s[0])
    load_qps = (len(arrivals_s) - 1) / span_s if span_s > 0 else 0.0
    return LatencyReport(
        queries=len(latency_ms),
        mean_ms=float(latency_ms.mean()),
        p50_ms=quantiles[0],
        p95_ms=quantiles[1],
        p99_ms=quantiles[2],
        tail_ms=quantiles[3],
        max_ms=float(latency_ms.max()),
        interval_ms=dict(zip(names, intervals, strict=False)),
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
    """Return the largest Poisson load whose tail latency meets `sla_s` [queries/s].

    By `peak.find_peak`: no run is longer than `queries`, the length of the stations' service times.
    0 if even an idle system misses it; always below saturation, where no queue settles. Within
    `tolerance` of the simulated crossing.
    """

    def latencies(load_qps: float, count: int) -> Floats:
        arrivals = poisson_arrivals_s(count, load_qps, seed)
        shorter = [replace(s, service_s=_first(s.service_s, count)) for s in stations]
        return finish_times_s(arrivals, shorter, last_delay_s)[0] - arrivals

    limit_qps = capacity_qps(stations)
    if not np.isfinite(limit_qps):
        return 0.0
    least = max(LEAST_QUERIES, min(2048, queries))
    sla = Sla(limit_s=sla_s, percentile=percentile, first=least, most=max(least, queries))
    return find_peak(latencies, sla, limit_qps=limit_qps, resolution=tolerance).qps


def _first(service_s: float | Floats, count: int) -> float | Floats:
    return service_s if np.ndim(service_s) == 0 else np.asarray(service_s)[:count]
