"""The compiled part of `perfmodel.analytic`: a query of many tasks.

From the tasks of `perfmodel.task_kernels`, which are exact, `query_points` deals those of a query
out to lanes by the rules of `perfmodel.machine`. Simplified there, beside what the machine
simplifies:

* a task that follows another on a lane is the task alone, moved until it keeps the distance of
  tasks that follow each other as fast as they can;
* a task reads at an even rate from its first gather until all its data are there; what lanes that
  read at a time get of the memory is as in the machine (`perfmodel.shared_memory`). If data come
  later, it is the task alone, as much later as its first data, but no earlier than all data allow;
* a lane without place for scores of a task goes on when those of its stage's tasks before are
  taken; nor does it read much farther before.

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
from rpaccel.perfmodel.point_lane_kernels import (
    ENDED,
    GIVEN_FIELDS,
    GIVEN_ITEMS,
    GRANT,
    HANDED_AT,
    LANE_FIELDS,
    LAST_LOGIT,
    MODEL,
    READY,
    ROW,
    START,
    give_task,
    go_on,
    is_scored,
    least_ready,
    note_data,
    resume_reading,
)
from rpaccel.perfmodel.shared_memory import (
    begin_read,
    end_read,
    lateness,
    pass_cycles,
)
from rpaccel.perfmodel.task_kernels import (
    BEFORE_FOLLOWED,
    BEGIN,
    END,
    FOLLOWED,
    GATHERED,
    MEMORY,
    NEXT,
    WAIT,
    WALK,
    behind,
)

__all__ = [
    "BACK", "BOUND", "BOUNDS", "DEMAND", "FAULT", "FAULTS", "FRONT", "GIVEN_FIELDS", "INTERVAL",
    "LANE_FIELDS", "LATENCY", "MACHINE_FIELDS", "MAX_LANES", "RESULTS", "query_points",
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
    "a query must not be slower than its tasks one after the other, and their reads again",
)

_OPEN, _END_CYCLES, _SCORE = lane.OPEN_CYCLES, lane.END_CYCLES, lane.SCORE_CYCLES
_OFFER, _TASK, _GAP = (
    machine_cycles.OFFER_CYCLES,
    machine_cycles.TASK_CYCLES,
    machine_cycles.GRANT_GAP_CYCLES,
)
_COMPUTED = machine_cycles.COMPUTED_CYCLES
_IDS, _ANSWER = machine_cycles.IDS_CYCLES, machine_cycles.ANSWER_CYCLES
_COUNTED = bucket_filter.first_survivor_cycles()
_LISTED = ordered_top_n.LATENCY_CYCLES + 1
_NEVER = sequencer.NEVER
_IN_TIME = 1.005  # times as long as alone: no matter
# A row of machines: lanes of both stages, the first lane of the second, funnels, served items.
MACHINE_FIELDS = 5
_FRONT_LANES, _BACK_LANES, _BACK_FIRST, _FUNNELS, _TOP_N = range(MACHINE_FIELDS)
# A row of deals: how a stage's items are dealt out. SIZE : items of a task, LAST : of the last one;
# FULL_SIZE, LAST_SIZE : their places among the sizes of tasks. TASK_K : see spec.stage_tasks.
DEAL_FIELDS = 7
COUNT, SIZE, LAST, FULL_SIZE, LAST_SIZE, TASK_K, ITEMS = range(DEAL_FIELDS)
_SOURCES = sources(sys.modules[__name__])


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
    front_deals: Ints, back_deals: Ints, releases: Ints, given: Ints, lanes: Ints, reads: Floats,
    results: Floats, _sources: int = _SOURCES,
) -> None:  # fmt: skip
    """Write a row of results for each point from number `first` on.

    The number of a point counts, the fastest axis last: families of machines, sub-batch front,
    sub-batch back, task items front, task items back, k, machines of a family.
    sizes : int64[6], lengths of all axes but the first.
    machines : int64[families * machines, MACHINE_FIELDS], from the family of `first` on.
    tasks : int64[n, TASK_FIELDS]. front_rows, back_rows : int64[machines, sub-batches, sizes of
    tasks], rows of tasks; -1 for one that cannot be.
    front_deals : int64[task items, k, DEAL_FIELDS]; back_deals the same.
    releases : int64[most tasks, 2], given : int64[2, most tasks, GIVEN_FIELDS], lanes :
    int64[MAX_LANES, LANE_FIELDS], reads : float64[MAX_LANES, READ_FIELDS], for work.
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
                releases, given, lanes, reads, results[n],
            )  # fmt: skip
        width, carry = _count(width, sizes[5], 1)
        k, carry = _count(k, sizes[4], carry)
        back_items, carry = _count(back_items, sizes[3], carry)
        front_items, carry = _count(front_items, sizes[2], carry)
        back_batch, carry = _count(back_batch, sizes[1], carry)
        front_batch, carry = _count(front_batch, sizes[0], carry)
        family += carry


@fast
def _rate(tasks: Ints, row: int) -> float:
    """Return the share of the memory that a task alone takes while it reads."""
    return float(tasks[row, MEMORY] / max(1, tasks[row, GATHERED] - tasks[row, BEGIN]))


@fast
def _followed(tasks: Ints, row: int, last: int, number: int, count: int, lanes: int) -> int:
    """Return by how much a task's last logit is later as another one follows it on its lane.

    last : row of its stage's last task. number : of the task, from 1 on, of `count`, which `lanes`
    take in turn.
    """
    if number + lanes > count:
        return 0
    others = (number + lanes - 1) // lanes
    return int(tasks[row if number + lanes < count else last, behind(BEFORE_FOLLOWED, others)])


@fast
def _late(tasks: Ints, row: int, reads: Floats, most: float) -> bool:
    """Return whether a task is late if the memory is busy for no more than `most` of the time."""
    task = tasks[row]
    cycles = float(max(1, task[GATHERED] - task[BEGIN]))
    begin_read(reads, 0, cycles, task[MEMORY], task[WALK], task[WAIT])
    late = task[MEMORY] > 0 and (most >= 1 or lateness(reads[0], most / (1 - most)) > _IN_TIME)
    end_read(reads, 0)
    return bool(late)


@fast
def _query(  # noqa: PLR0912, PLR0915  (parts would have a dozen arguments and results)
    has: Ints, tasks: Ints, front: Ints, back: Ints, front_full: int, front_last: int,
    back_full: int, back_last: int, releases: Ints, given: Ints, lanes: Ints, reads: Floats,
    result: Floats,
) -> None:  # fmt: skip
    """Write the results of a query. Times count from the funnel's acceptance."""
    places = max(has[_FRONT_LANES], has[_BACK_FIRST] + has[_BACK_LANES])
    for number in range(places):
        lanes[number, READY], lanes[number, ENDED], lanes[number, MODEL] = 0, -_COMPUTED, -1
        end_read(reads, number)
    front_rate = max(_rate(tasks, front_full), _rate(tasks, front_last))
    back_rate = max(_rate(tasks, back_full), _rate(tasks, back_last))
    fronts = min(has[_FRONT_LANES], front[COUNT]) * front_rate
    backs = min(has[_BACK_LANES], back[COUNT]) * back_rate
    most = max(fronts, backs)  # a stage of one task is over before the next one begins
    if front[COUNT] > 1:
        most = min(fronts + backs, places * max(front_rate, back_rate))
    shares = False  # nobody is late for the memory
    for row in (front_full, front_last, back_full, back_last):
        shares = shares or (places > 1 and _late(tasks, row, reads, most))
    now, clock = _OPEN, 0.0  # of what is offered; of what is gathered
    demand = serial = busy = 0
    gone = there = left = receiving = seen = 0
    front_open = back_open = begin = counted = 0
    front_given = back_given = front_scored = back_scored = 0
    while back_scored < back[COUNT]:
        while front_scored < front_given and is_scored(
            given[0, front_scored], lanes, tasks, front_open
        ):
            one = given[0, front_scored]
            end, size = one[LAST_LOGIT], one[GIVEN_ITEMS]
            busy += one[HANDED_AT] - one[GRANT]
            front_scored += 1
            end += _followed(
                tasks, one[ROW], front_last, front_scored, front[COUNT], has[_FRONT_LANES]
            )
            scored = max(end + _SCORE, front_open + size)
            due = back[ITEMS]
            if front_scored < front[COUNT]:
                due = min(front[TASK_K] * front_scored, due)
            due = min(due, (front_scored - 1) * front[SIZE] + size)
            counted = scored + _COUNTED
            front_open = counted + due - left
            serial += due - left
            left = due
            releases[front_scored - 1, 0], releases[front_scored - 1, 1] = counted, due
        while back_scored < back_given and is_scored(
            given[1, back_scored], lanes, tasks, back_open
        ):
            one = given[1, back_scored]
            end = one[LAST_LOGIT]
            busy += one[HANDED_AT] - one[GRANT]
            back_scored += 1
            end += _followed(tasks, one[ROW], back_last, back_scored, back[COUNT], has[_BACK_LANES])
            back_open = max(end + _SCORE, back_open + one[GIVEN_ITEMS])
        while seen < front_scored and releases[seen, 0] <= now:
            there = releases[seen, 1]
            seen += 1
        if shares:
            if front_scored < front_given:
                resume_reading(given[0, front_scored], reads, front_open, clock)
            if back_scored < back_given:
                resume_reading(given[1, back_scored], reads, back_open, clock)
        known = seen == front[COUNT]
        size, rest = 0, there - gone
        if receiving <= now:
            if rest > back[SIZE] or (known and rest == back[SIZE]):
                size = back[SIZE]
            elif known:
                size = rest
        if size == 0 and front_given == front[COUNT]:
            # Nothing to offer: until ids leave the filter, or the lane has taken its ids.
            soon = receiving if receiving > now else _NEVER
            if seen < front_scored:
                soon = min(soon, releases[seen, 0])
            noted = False
            if shares:
                clock, noted = go_on(given, lanes, tasks, reads, places, clock, soon)
            if not noted:
                now = soon
            continue
        stage, number, first, count = 0, front_given, 0, has[_FRONT_LANES]
        row = front_last if number == front[COUNT] - 1 else front_full
        if size:
            stage, number, first, count = 1, back_given, has[_BACK_FIRST], has[_BACK_LANES]
            row = back_last if number == back[COUNT] - 1 else back_full
        n = least_ready(lanes, first, count, now + _OFFER)
        grant = max(now + _OFFER, lanes[n, READY])
        if shares:
            clock, noted = go_on(given, lanes, tasks, reads, places, clock, grant)
            if noted:
                continue
        task, one = tasks[row], given[stage, number]
        give_task(one, lanes, tasks, row, n, stage, number, grant)
        start = one[START]
        if shares:
            pass_cycles(reads, places, grant - clock)
            begin_read(reads, n, start - grant + task[BEGIN], 0.0, 0.0, 0.0)
            clock = float(grant)
        else:
            note_data(one, lanes, tasks, start + task[GATHERED])
        now = grant + _GAP
        if stage == 0:
            size = front[LAST] if number == front[COUNT] - 1 else front[SIZE]
            if number == 0:
                begin = grant + _TASK
            front_given += 1
        else:
            gone += size
            receiving = start + _IDS + size
            serial += _IDS
            back_given += 1
        one[GIVEN_ITEMS] = size
        demand += task[MEMORY]
        serial += _GAP + _OFFER + _TASK + task[END] + task[FOLLOWED] + _COMPUTED
        serial += _SCORE + size + _COUNTED
    closed = back_open + _LISTED
    latency = closed + _END_CYCLES
    result[LATENCY], result[FRONT], result[BACK] = latency, counted - begin, closed - counted
    result[DEMAND] = demand

    front_load = _load(tasks, front, front_full, front_last, has[_FRONT_LANES])
    back_load = _load(tasks, back, back_full, back_last, has[_BACK_LANES])
    if has[_BACK_FIRST] == 0:
        # Lanes run both models in turn, as they do for a query alone.
        for number in range(has[_FRONT_LANES]):
            if lanes[number, MODEL] == 1:
                busy += max(0, lanes[number, ENDED] + _COMPUTED - lanes[number, READY])
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
    # Scores that wait keep lanes from reading on, and those before may read less for it meanwhile.
    serial += demand if shares else 0
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
