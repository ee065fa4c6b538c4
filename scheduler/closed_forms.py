"""Closed forms of queueing theory that the simulation is held to.

Ref: L. Kleinrock, "Queueing Systems, Volume 1", 1975, sections 3.2 (M/M/1),
3.5 (M/M/c), 5.6 (M/G/1).
"""

from __future__ import annotations

import math


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
