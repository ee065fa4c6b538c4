"""First-come-first-served stations as compiled recursions over queries, no event queue.

A query takes the server that is free first, so the times at which servers are taken again are the
departures of the station, in order: what comes out needs no sorting.
Ref: J. Kiefer and J. Wolfowitz, "On the theory of queues with many servers", 1955.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numba import njit

from rpaccel.perfmodel.compiled import ENTRY, fast, sources

__all__ = [
    "NOBODY",
    "is_before",
    "replace_least",
    "serve_station",
    "serve_until",
    "take_server",
]

NOBODY = -1  # in place of a query: the server was never used

Array = Any


@fast
def take_server(free_s: Array, servers: int, end_s: float) -> None:
    """Let the server that is free first, of so many, work until end_s."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= servers:
            break
        if child + 1 < servers and free_s[child + 1] < free_s[child]:
            child += 1
        if free_s[child] >= end_s:
            break
        free_s[at] = free_s[child]
        at = child
    free_s[at] = end_s


@fast
def is_before(time_s: float, query: int, other_s: float, other: int) -> bool:
    """Return whether an entry comes first: of equal times the lower query does."""
    return time_s < other_s or (time_s == other_s and query < other)


@fast
def replace_least(times_s: Array, who: Array, count: int, time_s: float, query: int) -> None:
    """Put (time_s, query) in place of the first of `count` entries."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= count:
            break
        right = child + 1
        if right < count and is_before(times_s[right], who[right], times_s[child], who[child]):
            child = right
        if not is_before(times_s[child], who[child], time_s, query):
            break
        times_s[at], who[at] = times_s[child], who[child]
        at = child
    times_s[at], who[at] = time_s, query


@fast
def _emit(out_s: Array, out_query: Array, count: int, ready_s: float, query: int) -> int:
    """Append a departure; among equal times the lower query goes first."""
    at = count
    while at > 0 and out_s[at - 1] == ready_s and out_query[at - 1] > query:
        out_s[at], out_query[at] = out_s[at - 1], out_query[at - 1]
        at -= 1
    out_s[at], out_query[at] = ready_s, query
    return count + 1


@njit(**ENTRY, nogil=True)
def serve_station(
    ready_s: Array,
    query: Array,
    service_s: Array,
    delay_s: float,
    free_s: Array,
    holder: Array,
    start_s: Array,
    out_s: Array,
    out_query: Array,
    _sources: int = sources(sys.modules[__name__]),
) -> None:
    """Serve queries in order and write their starts and departures.

    ready_s : float64[n]      when each comes, non-decreasing [s]
    query : int32[n]          who comes, 0..n-1; ascending among equal times
    service_s : float64[n] or float64[1], by query  service time, or one for all [s]
    delay_s : added to every departure [s]
    free_s : float64[servers]  scratch; holder : int32[servers]  scratch
    start_s : float64[n], by query  written: start of its service [s]
    out_s : float64[n], out_query : int32[n]  written: departures plus delay_s, in the order of
        (time, query)
    """
    servers = free_s.size
    for server in range(servers):
        free_s[server], holder[server] = -1e300, NOBODY
    same = service_s.size == 1
    count = 0
    for index in range(ready_s.size):
        ready, who, free = ready_s[index], query[index], free_s[0]
        begin = free if free > ready else ready
        start_s[who] = begin
        if holder[0] != NOBODY:
            count = _emit(out_s, out_query, count, free + delay_s, holder[0])
        replace_least(free_s, holder, servers, begin + service_s[0 if same else who], who)
    for left in range(servers, 0, -1):
        if holder[0] != NOBODY:
            count = _emit(out_s, out_query, count, free_s[0] + delay_s, holder[0])
        replace_least(free_s, holder, left - 1, free_s[left - 1], holder[left - 1])


@fast
def _end_s(begin_s: float, service_s: Array, free_s: Array) -> float:
    """Return when a query that starts then would leave the last station."""
    end = begin_s
    for station in range(service_s.size):
        end = max(end, free_s[station, 0]) + service_s[station]
    return end


# No default for `sources`: it makes every call slow, and this one is called at every look. All that
# is compiled into it is in this file.
@njit(**ENTRY, nogil=True)
def serve_until(
    arrival_s: Array,
    at: int,
    until_s: float,
    open_s: float,
    most_s: float,
    service_s: Array,
    servers: Array,
    free_s: Array,
    holder: Array,
    start_s: Array,
    finish_s: Array,
) -> int:
    """Serve queries from number `at` on through stations until one would start at `until_s`.

    Stations take queries in the order in which the first takes them, which is that in which they
    come if service times are constant. Servers keep their state between calls.

    arrival_s : float64[n], non-decreasing [s]. open_s : nothing starts before [s]
    most_s : a query whose latency would be longer is not served; its finish is infinite [s]
    service_s : float64[stations]; servers : int64[stations]
    free_s : float64[stations, most servers], holder : int32, same  heaps of the first servers
    start_s, finish_s : float64[n]  written. Returns the first query that has not started.
    """
    while at < arrival_s.size:
        came = arrival_s[at]
        begin = max(came, open_s, free_s[0, 0])
        if begin >= until_s:
            break
        start_s[at] = begin
        end = _end_s(begin, service_s, free_s)
        if end - came <= most_s:
            for station in range(service_s.size):
                begin = max(begin, free_s[station, 0]) + service_s[station]
                replace_least(free_s[station], holder[station], servers[station], begin, at)
        else:
            end = np.inf
        finish_s[at] = end
        at += 1
    return at
