"""Queries through pools of servers that their stages may share, compiled: many pipelines at a time.

A query visits pools one after another; a visit is one or more requests, each on the server that is
free first, and ends with the last of them. Visits are served in the order in which they come to a
pool, whatever their stage; a request takes longer the more servers of the pool are busy when it
begins. Without that, and with a pool for each visit of one request, these are the stations of
`scheduler.queueing`. Events lie in a heap by (time, query).
Ref: J. Kiefer and J. Wolfowitz, "On the theory of queues with many servers", 1955.
"""

from __future__ import annotations

import sys
from typing import Any

from numba import njit

from rpaccel.perfmodel.compiled import ENTRY, fast, sources
from rpaccel.scheduler.fcfs_kernels import is_before, replace_least, take_server

__all__ = ["busy_servers", "pop_entry", "push_entry", "serve_pipelines"]

Array = Any


@fast
def push_entry(times_s: Array, who: Array, count: int, time_s: float, query: int) -> int:
    """Add an entry; return how many there are."""
    at = count
    while at > 0:
        parent = (at - 1) // 2
        if not is_before(time_s, query, times_s[parent], who[parent]):
            break
        times_s[at], who[at] = times_s[parent], who[parent]
        at = parent
    times_s[at], who[at] = time_s, query
    return count + 1


@fast
def pop_entry(times_s: Array, who: Array, count: int) -> int:
    """Take the first entry away; return how many are left."""
    last = count - 1
    replace_least(times_s, who, last, times_s[last], who[last])
    return last


@fast
def busy_servers(free_s: Array, servers: int, time_s: float) -> int:
    """Return how many servers are busy beyond a time."""
    count = 0
    for server in range(servers):
        count += free_s[server] > time_s
    return count


@njit(**ENTRY, nogil=True)
def serve_pipelines(
    arrivals: Array,
    load_qps: Array,
    visits: Array,
    pool: Array,
    parts: Array,
    full_s: Array,
    last_s: Array,
    delay_s: Array,
    servers: Array,
    slowdown: Array,
    ratios: Array,
    free_s: Array,
    step: Array,
    times_s: Array,
    who: Array,
    latency_s: Array,
    _sources: int = sources(sys.modules[__name__]),
) -> None:
    """Serve the same queries by every pipeline and write their latencies.

    arrivals : float64[q]  at a load of 1, ascending; scaled by load_qps : float64[n]
    visits : int32[n]      visits of a query
    pool, parts : int32[n, v]       where, and requests of a visit
    full_s, last_s : float64[n, v]  service time of all its requests but the last, of the last [s]
    delay_s : float64[n, v + 1]     pure delay before each visit, and after the last [s]
    servers : int32[p]; slowdown : float64[p]  share of itself by which a request takes longer for
        each other server of the pool that is busy when it begins
    ratios : float64[p, q]  factor on a query's service times in a pool
    free_s : float64[p, most servers], step : int32[q], times_s : float64[q], who : int32[q] scratch
    latency_s : float64[n, q]  written: from the arrival to the answer [s]
    """
    queries = arrivals.size
    for case in range(load_qps.size):
        for place in range(servers.size):
            for server in range(servers[place]):
                free_s[place, server] = -1e300
        load, events, coming = load_qps[case], 0, 0
        while coming < queries or events > 0:
            if coming < queries:
                time_s = arrivals[coming] / load + delay_s[case, 0]
            if coming < queries and (
                events == 0 or not is_before(times_s[0], who[0], time_s, coming)
            ):
                query = coming
                step[query] = 0
                coming += 1
            else:
                time_s, query = times_s[0], who[0]
                events = pop_entry(times_s, who, events)
            visit = step[query]
            place = pool[case, visit]
            ratio, ends = ratios[place, query], time_s
            for part in range(parts[case, visit]):
                last = part == parts[case, visit] - 1
                free = free_s[place, 0]
                begin = free if free > time_s else time_s
                service = ratio * (last_s[case, visit] if last else full_s[case, visit])
                if slowdown[place] > 0:
                    busy = busy_servers(free_s[place], servers[place], begin)
                    service *= 1 + slowdown[place] * busy
                end = begin + service
                take_server(free_s[place], servers[place], end)
                ends = max(ends, end)
            ends += delay_s[case, visit + 1]
            visit += 1
            step[query] = visit
            if visit == visits[case]:
                latency_s[case, query] = ends - arrivals[query] / load
            else:
                events = push_entry(times_s, who, events, ends, query)
