"""Queries through stages that split, merge and rank their requests, as compiled code.

The next event is the earliest of: an arrival, a query that is ready for its next stage, a request
that a server takes. What a server takes decides its end, so ends need no events of their own, and
when a pool takes next changes only with what enters it or leaves it. At one time arrivals come
first, then queries that are ready, then pools by number.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from rpaccel.perfmodel.compiled import ENTRY, fast, sources
from rpaccel.scheduler.fcfs_kernels import take_server
from rpaccel.scheduler.recpipe_kernels import busy_servers, pop_entry, push_entry

__all__ = ["COUNTERS", "NONE", "STAGE", "STATE", "Pools", "Queries", "Stages", "advance"]

NONE = -1  # no query, no stage
NEVER = np.inf

Array = Any  # of NumPy here, of the compiler there

# A stage as the kernel wants it, those of a pool next to each other; stage_queues.Stage explains
# the fields. most : items of a query at most. table : where its times begin. following : the stage
# behind it.
STAGE = np.dtype([
    ("pool", np.int32), ("batch", np.int32), ("split", np.int32), ("merge", np.int32),
    ("even", np.int32), ("most", np.int32), ("priority", np.int32), ("following", np.int32),
    ("table", np.int64), ("window_s", np.float64), ("deadline_s", np.float64),
    ("before_s", np.float64), ("after_s", np.float64),
], align=True)  # fmt: skip

# coming : the next arrival; events : queries on their way to a stage; done : that have left
STATE = np.dtype([("coming", np.int64), ("events", np.int64), ("done", np.int64)], align=True)

# What went through a stage.
COUNTERS = np.dtype([
    ("entered", np.int64), ("left", np.int64), ("items_in", np.int64), ("items_out", np.int64),
    ("requests", np.int64), ("busy_s", np.float64),
], align=True)  # fmt: skip


class Stages(NamedTuple):
    """Settings and counters, and what waits: int32[stages] head and tail, int64[stages] items."""

    setting: Array
    counter: Array
    head: Array
    tail: Array
    items: Array


class Pools(NamedTuple):
    """Servers. first : int32[pools + 1], stages by pool; next_s : when each takes next.

    free_s : float64[pools, most servers], heaps of the first `servers`.
    """

    servers: Array
    slowdown: Array
    first: Array
    next_s: Array
    free_s: Array


class Queries(NamedTuple):
    """One run's queries, float64[n] or int32[n]; from `stage` on they are written.

    entry : int32[kinds], the first stage of each kind. who, times_s : a heap of those on their way.
    """

    arrival_s: Array
    size: Array
    kind: Array
    entry: Array
    stage: Array  # where it is or goes
    ready_s: Array  # when it is there
    left: Array  # items that no server has taken
    following: Array  # the next query of its list
    end_s: Array  # the latest end of its parts; of its last stage, and what is behind it
    who: Array
    times_s: Array


@fast
def _due_s(stages: Stages, queries: Queries, stage: int) -> float:
    """Return when a stage's next request may start: full, or its first query waited long enough."""
    head = stages.head[stage]
    if head == NONE:
        return NEVER
    setting = stages.setting[stage]
    if setting.window_s == 0 or stages.items[stage] >= setting.batch:
        return queries.ready_s[head]
    return queries.ready_s[head] + setting.window_s


@fast
def _plan(stages: Stages, pools: Pools, queries: Queries, pool: int, now_s: float) -> None:
    """Write when a pool takes something next."""
    due = NEVER
    for stage in range(pools.first[pool], pools.first[pool + 1]):
        due = min(due, _due_s(stages, queries, stage))
    pools.next_s[pool] = max(due, pools.free_s[pool, 0], now_s)


@fast
def _enter(stages: Stages, pools: Pools, queries: Queries, query: int, now_s: float) -> None:
    """Put a query that is ready behind the others of its stage."""
    stage = queries.stage[query]
    setting, counter = stages.setting[stage], stages.counter[stage]
    size = min(queries.size[query], setting.most)
    queries.ready_s[query], queries.left[query], queries.end_s[query] = now_s, size, now_s
    queries.following[query] = NONE
    if stages.head[stage] == NONE:
        stages.head[stage] = query
    else:
        queries.following[stages.tail[stage]] = query
    stages.tail[stage] = query
    stages.items[stage] += size
    counter.entered += 1
    counter.items_in += size
    _plan(stages, pools, queries, setting.pool, now_s)


@fast
def _send(
    stages: Stages, pools: Pools, queries: Queries, state: Array, query: int, stage: int,
    now_s: float, ready_s: float,
) -> None:  # fmt: skip
    """Let a query go to a stage, where it is ready at once or later."""
    queries.stage[query] = stage
    if ready_s <= now_s:
        _enter(stages, pools, queries, query, now_s)
    else:
        state.events = push_entry(queries.times_s, queries.who, state.events, ready_s, query)


@fast
def _key_s(stages: Stages, queries: Queries, stage: int, by_deadline: bool) -> float:
    query = stages.head[stage]
    if by_deadline:
        return queries.arrival_s[query] + stages.setting[stage].deadline_s
    return queries.ready_s[query]


@fast
def _choose(
    stages: Stages, pools: Pools, queries: Queries, pool: int, by_deadline: bool, now_s: float
) -> int:
    """Return the stage of a pool that goes first: by priority, then its first query's key."""
    first, end = pools.first[pool], pools.first[pool + 1]
    best = NONE
    for stage in range(first, end):
        if _due_s(stages, queries, stage) > now_s:
            continue
        if best == NONE:
            best = stage
            continue
        mine, other = stages.setting[stage].priority, stages.setting[best].priority
        if mine == other:
            key = _key_s(stages, queries, stage, by_deadline)
            best_key = _key_s(stages, queries, best, by_deadline)
            before = stages.head[stage] < stages.head[best]
            if key < best_key or (key == best_key and before):
                best = stage
        elif mine < other:
            best = stage
    return best


@fast
def _items(stages: Stages, queries: Queries, stage: int) -> int:
    """Return the items of a stage's next request."""
    setting = stages.setting[stage]
    query = stages.head[stage]
    total = queries.left[query]
    if setting.split:
        part = setting.batch
        if setting.even:
            size = min(queries.size[query], setting.most)
            parts = (size + part - 1) // part
            part = (size + parts - 1) // parts
        total = min(total, part)
    if setting.merge and total == queries.left[query]:
        other = queries.following[query]
        while other != NONE and total < setting.batch:
            more = queries.left[other]
            if total + more > setting.batch:
                if not setting.split:
                    break
                more = setting.batch - total
            total += more
            other = queries.following[other]
    return total


@fast
def _leave(
    stages: Stages, pools: Pools, queries: Queries, state: Array, stage: int, query: int,
    now_s: float,
) -> None:  # fmt: skip
    """Send a query on whose items are all taken."""
    setting = stages.setting[stage]
    stages.counter[stage].left += 1
    end = queries.end_s[query] + setting.after_s
    following = setting.following
    if following == NONE:
        queries.end_s[query] = end
        queries.stage[query] = NONE
        state.done += 1
    else:
        ready = end + stages.setting[following].before_s
        _send(stages, pools, queries, state, query, following, now_s, ready)


@fast
def _take(
    stages: Stages, pools: Pools, queries: Queries, state: Array, tables: Array, pool: int,
    by_deadline: bool, now_s: float,
) -> None:  # fmt: skip
    """Let the server of a pool that is free first take a request."""
    stage = _choose(stages, pools, queries, pool, by_deadline, now_s)
    setting, counter = stages.setting[stage], stages.counter[stage]
    servers, free_s = pools.servers[pool], pools.free_s[pool]
    total = _items(stages, queries, stage)
    time = tables[setting.table + total]
    if pools.slowdown[pool] > 0:
        time *= 1 + pools.slowdown[pool] * busy_servers(free_s, servers, now_s)
    end = now_s + time
    take_server(free_s, servers, end)
    stages.items[stage] -= total
    counter.requests += 1
    counter.items_out += total
    counter.busy_s += time
    while total > 0:
        query = stages.head[stage]
        taken = min(total, queries.left[query])
        total -= taken
        queries.left[query] -= taken
        queries.end_s[query] = max(queries.end_s[query], end)
        if queries.left[query] == 0:
            stages.head[stage] = queries.following[query]
            _leave(stages, pools, queries, state, stage, query, now_s)
    _plan(stages, pools, queries, pool, now_s)


@njit(**ENTRY, nogil=True)
def advance(
    stages: Stages,
    pools: Pools,
    queries: Queries,
    states: Array,
    tables: Array,
    by_deadline: bool,
    _sources: int = sources(sys.modules[__name__]),
) -> None:
    """Serve all queries.

    tables : float64[...], times of a request by its items, one stage behind the other [s]
    states : STATE[1]. by_deadline : among equal priorities the least arrival plus deadline goes
    first; else who came first to the pool.
    """
    state, count = states[0], queries.arrival_s.size
    while True:
        arrival = queries.arrival_s[state.coming] if state.coming < count else NEVER
        ready = queries.times_s[0] if state.events else NEVER
        pool = 0
        for other in range(1, pools.next_s.size):
            if pools.next_s[other] < pools.next_s[pool]:
                pool = other
        taken = pools.next_s[pool]
        if arrival <= ready and arrival <= taken:
            if arrival == NEVER:
                break
            query = state.coming
            state.coming += 1
            stage = queries.entry[queries.kind[query]]
            there = arrival + stages.setting[stage].before_s
            _send(stages, pools, queries, state, query, stage, arrival, there)
        elif ready <= taken:
            query = queries.who[0]
            state.events = pop_entry(queries.times_s, queries.who, state.events)
            _enter(stages, pools, queries, query, ready)
        else:
            _take(stages, pools, queries, state, tables, pool, by_deadline, taken)
