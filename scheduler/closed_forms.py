"""Closed forms of queueing theory that the simulation is held to.

Ref: L. Kleinrock, "Queueing Systems, Volume 1", 1975, sections 3.2 (M/M/1),
3.5 (M/M/c), 5.6 (M/G/1); A. Cobham, "Priority assignment in waiting line problems", 1954.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def _utilisation(load_qps: float, service_s: float, servers: int = 1) -> float:
    utilisation = load_qps * service_s / servers
    if not 0 <= utilisation < 1:
        raise ValueError(f"utilisation must be below 1, not {utilisation:.3f}")
    return utilisation


def mm1_latency_s(load_qps: float, service_s: float) -> float:
    """Return the mean time in an M/M/1 system of mean service time `service_s` [s]."""
    return service_s / (1 - _utilisation(load_qps, service_s))


def mm1_quantile_s(load_qps: float, service_s: float, quantile: float) -> float:
    """Return the `quantile` (0..1) of the time in an M/M/1 system, which is exponential [s]."""
    return -math.log(1 - quantile) * mm1_latency_s(load_qps, service_s)


def erlang_c(load_qps: float, service_s: float, servers: int) -> float:
    """Return the probability that a query waits in an M/M/c system."""
    utilisation = _utilisation(load_qps, service_s, servers)
    offered = load_qps * service_s
    blocked = 1.0  # Erlang B by its recursion over servers
    for server in range(1, servers + 1):
        blocked = offered * blocked / (server + offered * blocked)
    return blocked / (1 - utilisation * (1 - blocked))


def mmc_wait_s(load_qps: float, service_s: float, servers: int) -> float:
    """Return the mean wait in the queue of an M/M/c system [s]."""
    waits = erlang_c(load_qps, service_s, servers)
    return waits * service_s / (servers * (1 - _utilisation(load_qps, service_s, servers)))


def md1_wait_s(load_qps: float, service_s: float) -> float:
    """Return the mean wait in the queue of an M/D/1 system [s]."""
    utilisation = _utilisation(load_qps, service_s)
    return utilisation * service_s / (2 * (1 - utilisation))


def mg1_wait_s(load_qps: float, service_s: float, second_moment_s2: float) -> float:
    """Return the mean wait of an M/G/1 queue, E[S] and E[S^2] given (Pollaczek-Khinchine) [s]."""
    return load_qps * second_moment_s2 / (2 * (1 - _utilisation(load_qps, service_s)))


def mmc_wait_quantile_s(load_qps: float, service_s: float, servers: int, quantile: float) -> float:
    """Return the `quantile` (0..1) of the wait in an M/M/c queue [s]."""
    waits = erlang_c(load_qps, service_s, servers)
    if 1 - quantile >= waits:
        return 0.0
    return math.log(waits / (1 - quantile)) * service_s / (servers - load_qps * service_s)


def priority_waits_s(
    loads_qps: Sequence[float], service_s: Sequence[float], second_moments_s2: Sequence[float]
) -> list[float]:
    """Return the mean wait of every class of an M/G/1 queue with priorities, the first class first.

    A query in service is never put aside (Cobham 1954) [s].
    """
    triples = list(zip(loads_qps, service_s, second_moments_s2, strict=True))
    residual = sum(load * second for load, _, second in triples) / 2
    _utilisation(sum(load * service for load, service, _ in triples), 1.0)
    waits, above = [], 0.0
    for load, service, _ in triples:
        here = above + load * service
        waits.append(residual / ((1 - above) * (1 - here)))
        above = here
    return waits
