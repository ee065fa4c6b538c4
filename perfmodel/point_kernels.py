"""The compiled part of `perfmodel.analytic`: a query of many tasks.

From the tasks of `perfmodel.task_kernels`, which are exact, `query_points` deals those of a query
out to lanes by the rules of `perfmodel.machine`. Simplified there, beside what the machine
simplifies:

* a task that follows another on a lane is the task alone, moved until it keeps the distance of
  tasks that follow each other as fast as they can;
* memory serves tasks one after the other, in the order of their grants: a task's data are there no
  sooner than all that was asked before could be read;
* scores always find a place in their lane.

With one task per stage nothing of this applies, and a query takes what `perfmodel.lane` says.
"""

from __future__ import annotations

import sys

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rpaccel.perfmodel import (
    bucket_filter,
    lane,
    machine_cycles,
    ordered_top_n,
    sequencer,
)
from rpaccel.perfmodel.compiled import ENTRY, fast, sources
from rpaccel.perfmodel.task_kernels import (
    BEGIN,
    END,
    FOLLOWED,
    GATHERED,
    HANDED,
    MEMORY,
    NEXT,
)

__all__ = [
    "BACK", "BOUND", "BOUNDS", "DEMAND", "FAULT", "FAULTS", "FRONT", "INTERVAL", "LANE_FIELDS",
    "LATENCY", "MACHINE_FIELDS", "MAX_LANES", "RESULTS", "query_points",
]  # fmt: skip

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MAX_LANES = 32  # spec.accelerator

# A row of results [cycles]. INTERVAL : between queries, if there are always more.
# BOUND : what sets it, place in BOUNDS. DEMAND : cycles of the shared memory. FAULT : 0, or 1 + the
# place in FAULTS of a rule that is broken; -1 : there is no such machine.
RESULTS = 7
LATENCY, FRONT, BACK, INTERVAL, BOUND, DEMAND, FAULT = range(RESULTS)
BOUNDS = ("front lanes", "back lanes", "memory", "funnels", "task grant")
FAULTS = (
    "nothing may be negative",
    "front, back and control must sum to the latency",
    "a query must not be faster than its memory",
    "a query must not be slower than its tasks one after the other",
)

_OPEN, _END_CYCLES, _SCORE = lane.OPEN_CYCLES, lane.END_CYCLES, lane.SCORE_CYCLES
_OFFER, _TASK, _GAP = (
    machine_cycles.OFFER_CYCLES,
    machine_cycles.TASK_CYCLES,
    machine_cycles.GRANT_GAP_CYCLES,
)
_COMPUTED = machine_cycles.COMPUTED_CYCLES
_RELEASE, _ANSWER = machine_cycles.RELEASE_CYCLES, machine_cycles.ANSWER_CYCLES
_COUNTED = bucket_filter.first_survivor_cycles()
_LISTED = ordered_top_n.LATENCY_CYCLES + 1
_NEVER = sequencer.NEVER
# A row of machines: lanes of both stages, the first lane of the second, funnels, served items.
MACHINE_FIELDS = 5
_FRONT_LANES, _BACK_LANES, _BACK_FIRST, _FUNNELS, _TOP_N = range(MACHINE_FIELDS)
# A row of deals: how a stage's items are dealt out. SIZE : items of a task, LAST : of the last one;
# FULL_SIZE, LAST_SIZE : their places among the sizes of tasks. TASK_K : see spec.stage_tasks.
DEAL_FIELDS = 7
COUNT, SIZE, LAST, FULL_SIZE, LAST_SIZE, TASK_K, ITEMS = range(DEAL_FIELDS)
# A row of lanes: it takes a task, its last logit, its model.
LANE_FIELDS = 3
_READY, _END, _MODEL = range(LANE_FIELDS)
_SOURCES = sources(sys.modules[__name__])


@fast
def _give(lanes: Ints, first: int, count: int, valid: int) -> tuple[int, int]:
    """Return (lane, cycle of the grant) of a task that is offered from cycle `valid` on.

    The lowest lane that is ready, or that will be.
    """
    chosen, when = first, lanes[first, _READY]
    for number in range(first, first + count):
        if when <= valid:
            break
        if lanes[number, _READY] < when:
            chosen, when = number, lanes[number, _READY]
    return chosen, max(valid, when)


@fast
def _run(lanes: Ints, number: int, stage: int, grant: int, task: Ints, memory: int) -> int:
    """Place a task on a lane; return the cycle of its last logit. memory : it has read all then."""
    start = grant + _TASK
    idle = lanes[number, _END] + _COMPUTED
    same = lanes[number, _MODEL] == stage
    if not same and idle > grant:
        start = max(start, idle)
    begin = start + max(0, memory - start - task[GATHERED])
    handed, end = begin + task[HANDED], begin + task[END]
    if same:
        handed = max(handed, lanes[number, _READY] + task[NEXT])
        end = max(end, lanes[number, _END] + task[NEXT])
    lanes[number, _READY], lanes[number, _END], lanes[number, _MODEL] = handed, end, stage
    return end


@fast
def _load(tasks: Ints, deal: Ints, full: int, last: int, lanes: int) -> float:
    """Return the cycles that a query's stage takes of each of its lanes."""
    return ((deal[COUNT] - 1) * tasks[full, NEXT] + tasks[last, NEXT]) / lanes


@fast
def _count(digit: int, size: int, carry: int) -> tuple[int, int]:
    """Return (digit, carry) after a digit of a counter is told to count, or not."""
    digit += carry
    return (0, 1) if digit == size else (digit, 0)


@njit(**ENTRY)
def query_points(
    first: int, sizes: Ints, machines: Ints, tasks: Ints, front_rows: Ints, back_rows: Ints,
    front_deals: Ints, back_deals: Ints, releases: Ints, lanes: Ints, results: Floats,
    _sources: int = _SOURCES,
) -> None:  # fmt: skip
    """Write a row of results for each point from number `first` on.

    The number of a point counts, the fastest axis last: families of machines, sub-batch front,
    sub-batch back, task items front, task items back, k, machines of a family.
    sizes : int64[6], lengths of all axes but the first.
    machines : int64[families * machines, MACHINE_FIELDS], from the family of `first` on.
    tasks : int64[n, TASK_FIELDS]. front_rows, back_rows : int64[machines, sub-batches, sizes of
    tasks], rows of tasks; -1 for one that cannot be.
    front_deals : int64[task items, k, DEAL_FIELDS]; back_deals the same.
    releases : int64[most tasks of stage 0, 2], lanes : int64[MAX_LANES, LANE_FIELDS], for work.
    results : float64[points, RESULTS].
    """
    number, width = first // sizes[5], first % sizes[5]
    number, k = number // sizes[4], number % sizes[4]
    number, back_items = number // sizes[3], number % sizes[3]
    number, front_items = number // sizes[2], number % sizes[2]
    number, back_batch = number // sizes[1], number % sizes[1]
    front_batch, family = number % sizes[0], 0
    for n in range(results.shape[0]):
        at = family * sizes[5] + width
        front, back = front_deals[front_items, k], back_deals[back_items, k]
        front_full = front_rows[at, front_batch, front[FULL_SIZE]]
        front_last = front_rows[at, front_batch, front[LAST_SIZE]]
        back_full = back_rows[at, back_batch, back[FULL_SIZE]]
        back_last = back_rows[at, back_batch, back[LAST_SIZE]]
        if min(front_full, front_last, back_full, back_last) < 0:
            results[n, FAULT] = -1
        else:
            _query(
                machines[at], tasks, front, back, front_full, front_last, back_full, back_last,
                releases, lanes, results[n],
            )  # fmt: skip
        width, carry = _count(width, sizes[5], 1)
        k, carry = _count(k, sizes[4], carry)
        back_items, carry = _count(back_items, sizes[3], carry)
        front_items, carry = _count(front_items, sizes[2], carry)
        back_batch, carry = _count(back_batch, sizes[1], carry)
        front_batch, carry = _count(front_batch, sizes[0], carry)
        family += carry


@fast
def _query(  # noqa: PLR0912, PLR0915  (parts would have a dozen arguments and results)
    has: Ints, tasks: Ints, front: Ints, back: Ints, front_full: int, front_last: int,
    back_full: int, back_last: int, releases: Ints, lanes: Ints, result: Floats,
) -> None:  # fmt: skip
    """Write the results of a query. Times count from the funnel's acceptance."""
    for number in range(max(has[_FRONT_LANES], has[_BACK_FIRST] + has[_BACK_LANES])):
        lanes[number, _READY], lanes[number, _END], lanes[number, _MODEL] = 0, -_COMPUTED, -1
    now = _OPEN
    demand = serial = busy = 0
    memory = 0  # from then on it is free
    given = there = left = receiving = seen = 0
    front_open = back_open = begin = counted = 0
    front_given = back_given = 0
    while back_given < back[COUNT]:
        while seen < front_given and releases[seen, 0] <= now:
            there = releases[seen, 1]
            seen += 1
        known = seen == front[COUNT]
        items, rest = 0, there - given
        if receiving <= now:
            if rest > back[SIZE] or (known and rest == back[SIZE]):
                items = back[SIZE]
            elif known:
                items = rest
        if items == 0 and front_given == front[COUNT]:
            # Nothing to offer: until ids leave the filter, or the lane has taken its ids.
            next_ids = releases[seen, 0] if seen < front_given else _NEVER
            now = min(next_ids, receiving) if receiving > now else next_ids
            continue
        if items == 0:
            last = front_given == front[COUNT] - 1
            task = tasks[front_last if last else front_full]
            size = front[LAST] if last else front[SIZE]
            number, grant = _give(lanes, 0, has[_FRONT_LANES], now + _OFFER)
        else:
            back_given += 1
            task = tasks[back_last if back_given == back[COUNT] else back_full]
            size = items
            number, grant = _give(lanes, has[_BACK_FIRST], has[_BACK_LANES], now + _OFFER)
        memory = max(memory, grant + _TASK + task[BEGIN]) + task[MEMORY]
        demand += task[MEMORY]
        end = _run(lanes, number, 0 if items == 0 else 1, grant, task, memory)
        busy += lanes[number, _READY] - grant
        now = grant + _GAP
        serial += _GAP + _OFFER + _TASK + task[END] + task[FOLLOWED] + _COMPUTED
        serial += _SCORE + size + _COUNTED
        if items == 0:
            if front_given == 0:
                begin = grant + _TASK
            front_given += 1
            if front_given + has[_FRONT_LANES] <= front[COUNT]:
                end += task[FOLLOWED]
            scored = max(end + _SCORE, front_open + size)
            due = back[ITEMS] if last else min(front[TASK_K] * front_given, back[ITEMS])
            due = min(due, (front_given - 1) * front[SIZE] + size)
            counted = scored + _COUNTED
            front_open = counted + due - left + _RELEASE
            serial += due - left + _RELEASE
            left = due
            releases[front_given - 1, 0], releases[front_given - 1, 1] = counted, due
        else:
            given += items
            receiving = grant + _TASK + items
            if back_given + has[_BACK_LANES] <= back[COUNT]:
                end += task[FOLLOWED]
            back_open = max(end + _SCORE, back_open + size)
    closed = back_open + _LISTED
    latency = closed + _END_CYCLES
    result[LATENCY], result[FRONT], result[BACK] = latency, counted - begin, closed - counted
    result[DEMAND] = demand

    front_load = _load(tasks, front, front_full, front_last, has[_FRONT_LANES])
    back_load = _load(tasks, back, back_full, back_last, has[_BACK_LANES])
    if has[_BACK_FIRST] == 0:
        # Lanes run both models in turn, as they do for a query alone.
        for number in range(has[_FRONT_LANES]):
            if lanes[number, _MODEL] == 1:
                busy += max(0, lanes[number, _END] + _COMPUTED - lanes[number, _READY])
        front_load = busy / has[_FRONT_LANES]
        back_load = 0
    interval, bound = front_load, 0
    if back_load > interval:
        interval, bound = back_load, 1
    if demand > interval:
        interval, bound = demand, 2
    funnel = (latency + _ANSWER + has[_TOP_N]) / has[_FUNNELS]
    if funnel > interval:
        interval, bound = funnel, 3
    grants = (front[COUNT] + back[COUNT]) * _GAP
    if grants > interval:
        interval, bound = grants, 4
    result[INTERVAL], result[BOUND] = interval, bound
    result[FAULT] = _fault(result, begin, serial + _OPEN + _LISTED + _END_CYCLES)


@fast
def _fault(result: Floats, begin: int, serial: int) -> int:
    """Return 0, or 1 + the place of the rule in FAULTS that is broken."""
    latency = result[LATENCY]
    if min(latency, result[FRONT], result[BACK], result[INTERVAL], result[DEMAND]) < 0:
        return 1
    if begin + result[FRONT] + result[BACK] + _END_CYCLES != latency:
        return 2
    if latency < result[DEMAND]:
        return 3
    if latency > serial:
        return 4
    return 0
