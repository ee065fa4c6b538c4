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
    "BEGIN", "END", "END_AFTER", "END_TURN", "FOLLOWED", "GATHERED", "HANDED", "MEMORY", "NEXT",
    "PARTS", "PARTS_HELD", "TAKEN_AFTER", "TAKEN_TURN", "TASK_FIELDS", "lane_tasks",
]  # fmt: skip

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# A row of tasks [cycles]. From its first, on an idle lane: the first gather may start, all data are
# there, the lane takes the next task, the last logit. TAKEN_AFTER, END_AFTER : from all data to the
# latter two, if the lane waits for data. On a lane that always has a task waiting, NEXT : from task
# to task, FOLLOWED : by how much the last logit is later. MEMORY : of the shared memory. PARTS :
# sub-batches; PARTS_HELD : of those the lane takes data for before scores are taken. TAKEN_TURN,
# END_TURN : from then on to the latter two, if it is late; LONG_AGO if it has place for all scores.
TASK_FIELDS = 13
(BEGIN, GATHERED, HANDED, END, TAKEN_AFTER, END_AFTER, NEXT, FOLLOWED, MEMORY, PARTS, PARTS_HELD,
 TAKEN_TURN, END_TURN) = range(TASK_FIELDS)  # fmt: skip
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

    works : int64[works, WORK_FIELDS]. asked : int64[n, 4], (full sub-batches, their work, work of
    the last one or -1, banks of items). gathers : float64[n, 6], (start, handover,
    share, item, memory cycles, ports) as of GatherCost. rules : int64[4], (block_size, skew, places
    for scores, dependency).
    out : int64[n, TASK_FIELDS].
    """
    for n in range(asked.shape[0]):
        _lane_task(works, asked[n], gathers[n], rules, 1, lane_core.LONG_AGO, out[n])
        _lane_task(works, asked[n], gathers[n], rules, REPEATS, lane_core.LONG_AGO, out[n])
        if out[n, END_TURN] > lane_core.LONG_AGO:
            _lane_task(works, asked[n], gathers[n], rules, 1, out[n, END], out[n])


@fast
def _lane_task(  # noqa: PLR0912, PLR0915  (parts would have a dozen arguments and results)
    works: Ints, asked: Ints, gather: Floats, rules: Ints, repeats: int, turn: int, out: Ints
) -> None:
    """Go through a task alone, or `repeats` that follow each other: write the fields of either.

    turn : no score is taken before; LONG_AGO: all are as they come.
    """
    full, work, rest, banks = asked[0], asked[1], asked[2], asked[3]
    block, skew, depth, dependency = rules[0], rules[1], rules[2], rules[3]
    count = full + (1 if rest >= 0 else 0)
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
    parts, held, drained = count, 0, lane_core.LONG_AGO
    walked = 0.0
    while tops < repeats * count:
        # A lane holds two tasks: the one before the last must be computed.
        if bottoms == task * count + at and task < repeats and tops >= (task - 1) * count:
            if at == 0:
                computed = ended if tops < task * count else ended_before
                walked = 0.0
                gathered = max(max(handed, computed + _COMPUTED) + _TASK + begin, gathered)
            size = works[work if at < full else rest, WORK_ITEMS]
            before = np.rint(walked)
            walked += _sub_batch(size, ports, share, item)
            gathered = max(gathered, crosses[banks - 1])
            gathered += int(np.rint(walked) - before)
            at += 1
        may_bottom = _NEVER
        if bottoms < task * count + at and bottoms - tops < _BANKS:
            may_bottom = gathered + handover
        may_top = _NEVER
        if tops < bottoms:
            may_top = crosses[bottoms - 1 - tops]
        now = max(choose, min(may_bottom, may_top))
        if may_bottom <= now:
            w = work if at <= full else rest
            row, choose, crossed = bottom_times(
                works, w, now, row, items, stack, crossed, block, skew
            )
            items, stack = works[w, WORK_ITEMS], works[w, BOTTOM_LAST]
            crosses = (crossed, crosses[0], crosses[1], crosses[2])
            bottoms += 1
            if at == count:
                handed_first, handed_before, handed = handed_before, handed, now + _HANDED
                task, at = task + 1, 0
        else:
            w = work if tops % count < full else rest
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
            if tops % count == 0:
                ended_before, ended = ended, logit
                if tops == count and repeats > 1:
                    out[FOLLOWED] = ended - out[END]
    if turn > lane_core.LONG_AGO:
        out[TAKEN_TURN], out[END_TURN] = handed - turn, ended - turn
    elif repeats == 1:
        out[BEGIN], out[GATHERED], out[HANDED], out[END] = begin, gathered, handed, ended
        out[TAKEN_TURN] = lane_core.LONG_AGO
        out[END_TURN] = lane_core.LONG_AGO + (1 if drained > lane_core.LONG_AGO else 0)
        out[PARTS_HELD] = parts
        w = rest if rest >= 0 else work
        row, choose, crossed = bottom_times(
            works, w, handover, lane_core.LONG_AGO, 0, 0, 0, block, skew
        )
        _, _, logit = top_times(
            works,
            w,
            max(choose, crossed),
            row,
            works[w, WORK_ITEMS],
            works[w, BOTTOM_LAST],
            lane_core.LONG_AGO,
            block,
            skew,
            dependency,
        )
        out[PARTS], out[TAKEN_AFTER], out[END_AFTER] = count, handover + _HANDED, logit
        out[MEMORY] = int(np.rint(min(gather[4], walked)))
    else:
        out[NEXT] = (handed - handed_first) // 2
