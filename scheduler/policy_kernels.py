"""A node's queues as compiled code: split, merge, priorities, deadlines, offload, link.

The next event is the earliest of: an arrival, the end of a transfer, a request that a core takes, a
launch of the accelerator. What a server takes decides its end, so ends need no events of their own.
At one time arrivals come first, then transfers, then cores.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numba import njit

from rpaccel.perfmodel.compiled import ENTRY, fast, sources
from rpaccel.scheduler.fcfs_kernels import take_server
from rpaccel.scheduler.policy_state import NONE, Lists, Queries, Tables

__all__ = ["advance"]

NEVER = np.inf

Array = Any


@fast
def _append(lists: Lists, queries: Queries, kind: int, query: int, items: int) -> None:
    queries.following[query] = NONE
    if lists.head[kind] == NONE:
        lists.head[kind] = query
    else:
        queries.following[lists.tail[kind]] = query
    lists.tail[kind] = query
    lists.items[kind] += items


@fast
def _due_s(lists: Lists, queries: Queries, kind: int, full: int, window_s: float) -> float:
    """Return when a kind's next request may start: full, or its first query waited long enough."""
    head = lists.head[kind]
    if head == NONE:
        return NEVER
    if lists.items[kind] >= full:
        return queries.ready_s[head]
    return queries.ready_s[head] + window_s


@fast
def _next_s(lists: Lists, queries: Queries, settings: Array, cpu: bool, now_s: float) -> float:
    """Return when a server takes something next."""
    due = NEVER
    for kind in range(settings.size):
        setting = settings[kind]
        full = setting.batch if cpu else setting.merge_items
        window = setting.window_s if cpu else setting.merge_window_s
        due = min(due, _due_s(lists, queries, kind, full, window))
    return max(due, lists.free_s[0], now_s)


@fast
def _choose(lists: Lists, queries: Queries, settings: Array, cpu: bool, now_s: float) -> int:
    """Return the kind whose head goes first: by priority, deadline, arrival."""
    best = NONE
    if settings.size == 1:
        return 0
    for kind in range(settings.size):
        setting = settings[kind]
        full = setting.batch if cpu else setting.merge_items
        window = setting.window_s if cpu else setting.merge_window_s
        if _due_s(lists, queries, kind, full, window) > now_s:
            continue
        if best == NONE or setting.priority < settings[best].priority:
            best = kind
        elif setting.priority == settings[best].priority:
            mine, other = lists.head[kind], lists.head[best]
            latest = queries.arrival_s[mine] + setting.deadline_s
            others = queries.arrival_s[other] + settings[best].deadline_s
            if latest < others or (latest == others and mine < other):
                best = kind
    return best


@fast
def _arrive(
    queries: Queries,
    settings: Array,
    tables: Tables,
    cpu: Lists,
    accelerator: Lists,
    link: Lists,
    state: Array,
    counters: Array,
) -> None:
    query = state.at
    state.at += 1
    kind, size = queries.kind[query], queries.size[query]
    setting = settings[kind]
    queries.ready_s[query] = queries.arrival_s[query]
    queries.left[query] = size
    queries.finish_s[query] = 0.0
    if size < setting.threshold:
        _append(cpu, queries, kind, query, size)
        return
    transfer = tables.link[setting.table, size]
    if transfer == 0:
        _append(accelerator, queries, kind, query, size)
        return
    state.link_s = max(state.link_s, state.now_s) + transfer
    counters.link_busy_s += transfer
    queries.ready_s[query] = state.link_s
    _append(link, queries, 0, query, size)


@fast
def _run_core(
    queries: Queries, settings: Array, tables: Tables, cpu: Lists, kind: int, now_s: float,
    counters: Array,
) -> None:  # fmt: skip
    """Let a core take a part of the first query, and of those behind it if parts are merged."""
    setting = settings[kind]
    query = cpu.head[kind]
    part = setting.batch
    if setting.even:
        parts = (queries.size[query] + part - 1) // part
        part = (queries.size[query] + parts - 1) // parts
    total = min(part, queries.left[query])
    if setting.merge and total == queries.left[query]:
        other = queries.following[query]
        while other != NONE and total < setting.batch:
            total += min(setting.batch - total, queries.left[other])
            other = queries.following[other]
    time = tables.cpu[setting.table, total]
    rest = total
    while rest > 0:
        query = cpu.head[kind]
        taken = min(rest, queries.left[query])
        rest -= taken
        queries.left[query] -= taken
        queries.finish_s[query] = max(queries.finish_s[query], now_s + time)
        if queries.left[query] == 0:
            cpu.head[kind] = queries.following[query]
    cpu.items[kind] -= total
    take_server(cpu.free_s, cpu.free_s.size, now_s + time)
    counters.cpu_busy_s += time
    counters.cpu_requests += 1
    counters.cpu_items += total


@fast
def _launch(
    queries: Queries, settings: Array, tables: Tables, accelerator: Lists, kind: int, now_s: float,
    counters: Array,
) -> None:  # fmt: skip
    """Run the first query on the accelerator, and whole ones behind it while they fit."""
    setting = settings[kind]
    query = accelerator.head[kind]
    total = queries.size[query]
    end = queries.following[query]
    while end != NONE and total + queries.size[end] <= setting.merge_items:
        total += queries.size[end]
        end = queries.following[end]
    time = tables.accelerator[setting.table, total]
    while query != end:
        queries.left[query] = 0
        queries.finish_s[query] = now_s + time
        query = queries.following[query]
    accelerator.head[kind] = end
    accelerator.items[kind] -= total
    take_server(accelerator.free_s, accelerator.free_s.size, now_s + time)
    counters.accelerator_busy_s += time
    counters.accelerator_requests += 1
    counters.accelerator_items += total


@njit(**ENTRY, nogil=True)
def advance(
    queries: Queries,
    settings: Array,
    tables: Tables,
    cpu: Lists,
    accelerator: Lists,
    link: Lists,
    states: Array,
    totals: Array,
    until: int,
    _sources: int = sources(sys.modules[__name__]),
) -> None:
    """Go on until arrival `until` would be next; until all is taken if there is no such arrival.

    Arrays are those of policy_state: settings[kinds], states[1], totals[1]. The accelerator's
    free_s may be empty if nothing goes there.
    """
    state, counters = states[0], totals[0]
    while True:
        arrival = queries.arrival_s[state.at] if state.at < queries.size.size else NEVER
        core = _next_s(cpu, queries, settings, True, state.now_s)
        launch, moved = NEVER, NEVER
        if accelerator.free_s.size:
            launch = _next_s(accelerator, queries, settings, False, state.now_s)
            if link.head[0] != NONE:
                moved = queries.ready_s[link.head[0]]
        now = min(arrival, core, launch, moved)
        if now == NEVER or (now == arrival and state.at == until):
            break
        state.now_s = now
        if now == arrival:
            _arrive(queries, settings, tables, cpu, accelerator, link, state, counters)
        elif now == moved:
            query = link.head[0]
            link.head[0] = queries.following[query]
            _append(accelerator, queries, queries.kind[query], query, queries.size[query])
        elif now == core:
            kind = _choose(cpu, queries, settings, True, now)
            _run_core(queries, settings, tables, cpu, kind, now, counters)
        else:
            kind = _choose(accelerator, queries, settings, False, now)
            _launch(queries, settings, tables, accelerator, kind, now, counters)
