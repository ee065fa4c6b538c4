"""Tasks on a lane, alone and one behind another, by the rules of `lane_core`; compiled."""

from __future__ import annotations

import sys

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rpaccel.perfmodel import lane_core, machine_cycles, sequencer
from rpaccel.perfmodel.compiled import ENTRY, fast, sources
from rpaccel.perfmodel.core_kernels import (
    BOTTOM_LAST,
    TOP_LAST,
    WORK_ITEMS,
    bottom_times,
    chain_room,
    top_times,
)

__all__ = [
    "AFTER_END", "AFTER_HANDED", "BEFORE_FOLLOWED", "BEGIN", "END", "END_AFTER", "END_TURN",
    "FOLLOWED", "GATHERED", "HANDED", "LATE", "LATE_DATA", "LATE_END", "LATE_HANDED", "MEMORY",
    "NEXT", "OTHERS", "PARTS", "PARTS_HELD", "TAKEN_AFTER", "TAKEN_TURN", "TASK_FIELDS", "WAIT",
    "WALK", "after_data", "behind", "lane_tasks",
]  # fmt: skip

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# A row of tasks [cycles]. From its first, on an idle lane: the first gather may start, all data are
# there, the lane takes the next task, the last logit. TAKEN_AFTER, END_AFTER : from all data to the
# latter two, if the lane waits for data. On a lane that always has a task waiting, NEXT : from task
# to task, FOLLOWED : by how much the last logit is later, at most. MEMORY : of the shared memory.
# PARTS : sub-batches; PARTS_HELD : of those the lane takes data for before scores are taken.
# TAKEN_TURN, END_TURN : from then on to the latter two, if it is late; LONG_AGO if it has place for
# all scores. WALK : of its gathers alone, which the array may hold up; WAIT : of these for the
# shared memory, if that is as long busy as it is free.
# Of a task behind 1, 2, or more on its lane, see `behind`: AFTER_HANDED, AFTER_END : from those of
# the one before, were it the last, to its own; BEFORE_FOLLOWED : by how much that one's last logit
# is later. Of a task whose gathers take longer, see LATE: LATE_DATA : from the first gather until
# all data are there; LATE_HANDED, LATE_END : from then on until the lane takes the next task, and
# to the last logit.
OTHERS = 4  # so many and more: they follow each other evenly, in pairs
LATE = (1.2, 1.5, 2.0, 3.0)  # times as long as alone
TASK_FIELDS = 15 + 3 * OTHERS + 3 * len(LATE)
(BEGIN, GATHERED, HANDED, END, TAKEN_AFTER, END_AFTER, NEXT, FOLLOWED, MEMORY, PARTS, PARTS_HELD,
 TAKEN_TURN, END_TURN, WALK, WAIT) = range(15)  # fmt: skip
AFTER_HANDED, AFTER_END, BEFORE_FOLLOWED = range(15, 15 + 3 * OTHERS, OTHERS)
LATE_DATA, LATE_HANDED, LATE_END = range(15 + 3 * OTHERS, TASK_FIELDS, len(LATE))
REPEATS = 5  # tasks, the last two of which count: they follow each other evenly, in pairs

_TASK, _HANDED, _COMPUTED = (
    machine_cycles.TASK_CYCLES,
    machine_cycles.HANDED_CYCLES,
    machine_cycles.COMPUTED_CYCLES,
)
_SOURCES = sources(sys.modules[__name__])
_BANKS, _NEVER = sequencer.BANKS, sequencer.NEVER


@fast
def _sub_batch(items: int, ports: int, share: float, item: float) -> float:
    """Return the cycles of a walk: costs.GatherCost.sub_batch."""
    return max((items + ports - 1) // ports * share, items * item)


@njit(**ENTRY)
def lane_tasks(
    works: Ints, asked: Ints, gathers: Floats, rules: Ints, out: Ints, _sources: int = _SOURCES
) -> None:
    """Write rows of tasks: equal ones, given to a lane as soon as it takes them.

    works : int64[works, WORK_FIELDS]. asked : int64[n, 7], (full sub-batches, their work, work of
    the last one or -1, banks of items; the first three of the tasks before it). gathers :
    float64[n, 7], (start, handover, share, item, memory cycles, ports, wait of all items) as of
    GatherCost. rules : int64[4], (block_size, skew, places for scores, dependency).
    out : int64[n, TASK_FIELDS].
    """
    for n in range(asked.shape[0]):
        task, gather, row = asked[n], gathers[n], out[n]
        handed, ends = _follow(works, task, gather, rules, 0, 1, lane_core.LONG_AGO, row)
        row[HANDED], row[END] = handed[0], ends[0]
        _end_row(works, task, gather, rules, row)
        handed, ends = _follow(works, task, gather, rules, 0, REPEATS, lane_core.LONG_AGO, row)
        row[NEXT], row[FOLLOWED] = (handed[0] - handed[2]) // 2, 0
        equal, alone = task[0] == task[4] and task[2] == task[6], row[END]
        for others in range(1, OTHERS):
            if not equal:
                _, ends = _follow(works, task, gather, rules, others, 0, lane_core.LONG_AGO, row)
                alone = ends[0]
            handed, ends = _follow(works, task, gather, rules, others, 1, lane_core.LONG_AGO, row)
            row[behind(AFTER_HANDED, others)] = handed[0] - handed[1]
            row[behind(AFTER_END, others)] = ends[0] - alone
            row[behind(BEFORE_FOLLOWED, others)] = ends[1] - alone
            row[FOLLOWED] = max(row[FOLLOWED], ends[1] - alone)
            alone = ends[0]
        for field in (AFTER_HANDED, AFTER_END, BEFORE_FOLLOWED):
            row[behind(field, OTHERS)] = row[behind(field, OTHERS - 1)]
        if equal:
            row[behind(AFTER_HANDED, OTHERS)] = row[behind(AFTER_END, OTHERS)] = row[NEXT]
        for place, late in enumerate(LATE):
            _late(works, task, gather, rules, late, place, row)
        if row[END_TURN] > lane_core.LONG_AGO:
            turn = row[END]
            handed, ends = _follow(works, task, gather, rules, 0, 1, turn, row)
            row[TAKEN_TURN], row[END_TURN] = handed[0] - turn, ends[0] - turn


@fast
def _late(
    works: Ints, task: Ints, gather: Floats, rules: Ints, late: float, place: int, row: Ints
) -> None:
    """Write when a task alone ends whose gathers take `late` times as long."""
    kept = row[BEGIN], row[GATHERED], row[PARTS_HELD], row[TAKEN_TURN], row[END_TURN]
    work = row[WALK], row[MEMORY]
    share, item = gather[2], gather[3]
    gather[2], gather[3] = share * late, item * late
    handed, ends = _follow(works, task, gather, rules, 0, 1, lane_core.LONG_AGO, row)
    gather[2], gather[3] = share, item
    data = row[GATHERED]
    row[LATE_DATA + place] = data - row[BEGIN]
    row[LATE_HANDED + place], row[LATE_END + place] = handed[0] - data, ends[0] - data
    row[BEGIN], row[GATHERED], row[PARTS_HELD], row[TAKEN_TURN], row[END_TURN] = kept
    row[WALK], row[MEMORY] = work


@fast
def after_data(task: Ints, data: int) -> tuple[int, int]:
    """Return from all data on until the lane takes the next task, and to the last logit.

    data : cycles from the first gather until all data are there. Between those of LATE in
    proportion; if it is longer than all of them, the lane waits for data.
    """
    before = task[GATHERED] - task[BEGIN]
    handed, end = task[HANDED] - task[GATHERED], task[END] - task[GATHERED]
    for place in range(len(LATE)):
        here = task[LATE_DATA + place]
        if data <= here:
            part = max(0.0, (data - before) / max(1, here - before))
            handed += int(np.rint(part * (task[LATE_HANDED + place] - handed)))
            end += int(np.rint(part * (task[LATE_END + place] - end)))
            return handed, end
        before, handed, end = here, task[LATE_HANDED + place], task[LATE_END + place]
    return int(task[TAKEN_AFTER]), int(task[END_AFTER])


@fast
def behind(field: int, others: int) -> int:
    """Return the place of a field of a task that is behind so many on its lane, at least one."""
    return field + min(others, OTHERS) - 1


@fast
def _batches(task: Ints) -> int:
    """Return the sub-batches of (full ones, their work, work of the last one or -1)."""
    return int(task[0] + (1 if task[2] >= 0 else 0))


@fast
def _follow(  # noqa: PLR0912, PLR0915  (parts would have a dozen arguments and results)
    works: Ints, asked: Ints, gather: Floats, rules: Ints, others: int, repeats: int, turn: int,
    out: Ints,
) -> tuple[tuple[int, int, int], tuple[int, int]]:  # fmt: skip
    """Go through `others` tasks like those before it, then `repeats` of them, on a lane.

    Return when the lane takes another task than the last one, the one before it, and so on; and the
    last logits of the last one and of the one before.
    turn : no score is taken before; LONG_AGO: all are as they come.
    out : of a task alone: BEGIN, GATHERED, TAKEN_TURN, END_TURN, PARTS_HELD, WALK are written.
    """
    own, before, banks = asked[0:3], asked[4:7], asked[3]
    block, skew, depth, dependency = rules[0], rules[1], rules[2], rules[3]
    count = _batches(before) if others else _batches(own)  # of all tasks but the last
    tasks = others + repeats
    last = _batches(own) if repeats else count
    every = (tasks - 1) * count + last
    begin, handover, share, item = int(gather[0]), int(gather[1]), gather[2], gather[3]
    ports = int(gather[5])
    row, items, stack = lane_core.LONG_AGO, 0, 0
    choose = crossed = gathered = 0
    none = (0, lane_core.LONG_AGO)
    scores = (none, none, none, none)  # SCORED
    crosses = (0, 0, 0, 0)  # QUARTERS; when interactions are done, the last one first
    # Of the last task, and of those before it.
    handed = handed_before = handed_first = -_TASK
    ended = ended_before = -_COMPUTED - _TASK
    bottoms = tops = task = at = 0  # `at` : sub-batches of `task` whose gathers are timed
    parts, held, drained = last, 0, lane_core.LONG_AGO
    walked = 0.0
    while tops < every:
        here = before if task < others else own
        # A lane holds two tasks: the one before the last must be computed.
        if bottoms == task * count + at and task < tasks and tops >= (task - 1) * count:
            if at == 0:
                computed = ended if tops < task * count else ended_before
                walked = 0.0
                gathered = max(max(handed, computed + _COMPUTED) + _TASK + begin, gathered)
            size = works[here[1] if at < here[0] else here[2], WORK_ITEMS]
            before_it = np.rint(walked)
            walked += _sub_batch(size, ports, share, item)
            gathered = max(gathered, crosses[banks - 1])
            gathered += int(np.rint(walked) - before_it)
            at += 1
        may_bottom = _NEVER
        if bottoms < min(task * count + at, every) and bottoms - tops < _BANKS:
            may_bottom = gathered + handover
        may_top = _NEVER
        if tops < bottoms:
            may_top = crosses[bottoms - 1 - tops]
        now = max(choose, min(may_bottom, may_top))
        if may_bottom <= now:
            w = here[1] if at <= here[0] else here[2]
            row, choose, crossed = bottom_times(
                works, w, now, row, items, stack, crossed, block, skew
            )
            items, stack = works[w, WORK_ITEMS], works[w, BOTTOM_LAST]
            crosses = (crossed, crosses[0], crosses[1], crosses[2])
            bottoms += 1
            if at == _batches(here):
                handed_first, handed_before, handed = handed_before, handed, now + _HANDED
                task, at = task + 1, 0
        else:
            number = min(tops // count, tasks - 1)
            scored = before if number < others else own
            part = tops - number * count
            w = scored[1] if part < scored[0] else scored[2]
            size = works[w, WORK_ITEMS]
            room = chain_room(depth, size, scores)
            if held + size > depth:
                parts = min(parts, tops + _BANKS + banks)
                drained = max(drained, turn + held)
                room = max(room, drained + 1 + size - depth)
            row, choose, logit = top_times(
                works, w, now, row, items, stack, room, block, skew, dependency
            )
            items, stack = size, works[w, TOP_LAST]
            if held + size > depth:
                drained = max(drained + size, logit + sequencer.SCORE_CYCLES)
            else:
                held += size
            scores = ((size, logit), scores[0], scores[1], scores[2])
            tops += 1
            if part + 1 == _batches(scored):
                ended_before, ended = ended, logit
    if not others and repeats == 1 and turn == lane_core.LONG_AGO:
        out[BEGIN], out[GATHERED], out[PARTS_HELD] = begin, gathered, parts
        out[TAKEN_TURN] = lane_core.LONG_AGO
        out[END_TURN] = lane_core.LONG_AGO + (1 if drained > lane_core.LONG_AGO else 0)
        out[WALK] = int(np.rint(walked))
        out[MEMORY] = int(np.rint(min(gather[4], walked)))
    return (handed, handed_before, handed_first), (ended, ended_before)


@fast
def _end_row(works: Ints, asked: Ints, gather: Floats, rules: Ints, out: Ints) -> None:
    """Write how long after all data a task ends that waits for them, and what it reads."""
    block, skew, dependency, handover = rules[0], rules[1], rules[3], int(gather[1])
    w = asked[2] if asked[2] >= 0 else asked[1]
    row, choose, crossed = bottom_times(
        works, w, handover, lane_core.LONG_AGO, 0, 0, 0, block, skew
    )
    _, _, logit = top_times(
        works, w, max(choose, crossed), row, works[w, WORK_ITEMS], works[w, BOTTOM_LAST],
        lane_core.LONG_AGO, block, skew, dependency,
    )  # fmt: skip
    out[PARTS], out[TAKEN_AFTER], out[END_AFTER] = _batches(asked), handover + _HANDED, logit
    out[WAIT] = int(np.ceil(gather[6]))
