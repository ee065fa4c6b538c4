"""The lanes of `perfmodel.point_kernels`, compiled: their tasks, what these read and score.

What is simplified is said there.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rpaccel.perfmodel import lane_core, machine_cycles, sequencer
from rpaccel.perfmodel.compiled import fast
from rpaccel.perfmodel.shared_memory import (
    begin_read,
    end_read,
    next_read_end,
    pass_cycles,
    share_out,
)
from rpaccel.perfmodel.task_kernels import (
    AFTER_END,
    AFTER_HANDED,
    BEGIN,
    END,
    END_TURN,
    GATHERED,
    HANDED,
    MEMORY,
    PARTS,
    PARTS_HELD,
    TAKEN_TURN,
    WAIT,
    WALK,
    after_data,
    behind,
)

__all__ = [
    "ENDED", "GIVEN_FIELDS", "GIVEN_ITEMS", "GRANT", "HANDED_AT", "LANE_FIELDS", "LAST_LOGIT",
    "MODEL", "READY", "ROW", "START", "give_task", "go_on", "is_scored", "least_ready", "note_data",
    "resume_reading",
]  # fmt: skip

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_TASK, _COMPUTED = machine_cycles.TASK_CYCLES, machine_cycles.COMPUTED_CYCLES
_NEVER = sequencer.NEVER
# A row of lanes: it takes a task, its last logit, its model, the task given last: stage and number
# there. The first two are NEVER as long as they are not known. RUN : tasks of its model in a row.
LANE_FIELDS = 6
READY, ENDED, MODEL, STAGE, NUMBER, RUN = range(LANE_FIELDS)
# A row of given tasks: row of tasks, items, lane, grant, first cycle. READS : how far it has read.
# The lane's task before allows HANDED and END no earlier than LEAST_HANDED and LEAST_END. BEGUN :
# first cycle, if it were alone and its first data came when they came. NEVER until known: DATA :
# all data are there; HANDED_AT, LAST_LOGIT : its lane takes another one, its last logit.
GIVEN_FIELDS = 12
(ROW, GIVEN_ITEMS, LANE, GRANT, START, READS, LEAST_HANDED, LEAST_END, DATA, BEGUN, HANDED_AT,
 LAST_LOGIT) = range(GIVEN_FIELDS)  # fmt: skip
# READS of a given task: it has begun; it reads, until it is over or has no place for scores; it has
# stopped; it waits until they are taken; it reads the rest; it has read all.
_STARTS, _FIRST_PART, _STOPPED, _TURN, _LAST_PART, _READ = range(6)
_ROUNDING = 1e-3  # [cycles] of sums of parts of cycles, at speeds that are right to 1e-6


@fast
def least_ready(lanes: Ints, first: int, count: int, valid: int) -> int:
    """Return the lane that takes a task that is offered from cycle `valid` on.

    The lowest lane that is ready, or that will be first.
    """
    chosen = first
    for number in range(first, first + count):
        if lanes[chosen, READY] <= valid:
            break
        if lanes[number, READY] < lanes[chosen, READY]:
            chosen = number
    return chosen


@fast
def _note_ends(given: Ints, lanes: Ints, tasks: Ints, opened: int) -> None:
    """Note when a given task's lane takes another one, and its last logit.

    opened : from then on its scores are taken.
    """
    task, n, begin, data = tasks[given[ROW]], given[LANE], given[BEGUN], given[DATA]
    after_handed, after_end = after_data(task, data - given[START] - task[BEGIN])
    handed = max(begin + task[HANDED], data + after_handed, opened + task[TAKEN_TURN])
    end = max(begin + task[END], data + after_end, opened + task[END_TURN])
    given[HANDED_AT] = max(handed, given[LEAST_HANDED])
    given[LAST_LOGIT] = max(end, given[LEAST_END])
    lanes[n, READY], lanes[n, ENDED] = given[HANDED_AT], given[LAST_LOGIT]


@fast
def note_data(given: Ints, lanes: Ints, tasks: Ints, now: int) -> None:
    """Note that a given task's data are there."""
    given[DATA] = now
    if tasks[given[ROW], END_TURN] == lane_core.LONG_AGO:
        _note_ends(given, lanes, tasks, 0)


@fast
def is_scored(given: Ints, lanes: Ints, tasks: Ints, opened: int) -> bool:
    """Return if a given task's last logit is known. opened : from then on its scores are taken."""
    if given[LAST_LOGIT] == _NEVER and given[DATA] != _NEVER:
        _note_ends(given, lanes, tasks, opened)
    return bool(given[LAST_LOGIT] != _NEVER)


@fast
def give_task(
    given: Ints, lanes: Ints, tasks: Ints, row: int, n: int, stage: int, number: int, grant: int
) -> None:
    """Give a task, a row of tasks, to lane `n`. number : of the task in its stage."""
    start, idle = grant + _TASK, lanes[n, ENDED] + _COMPUTED
    least_handed, least_end = lane_core.LONG_AGO, lane_core.LONG_AGO
    if lanes[n, MODEL] == stage:
        others = lanes[n, RUN]
        least_handed = lanes[n, READY] + tasks[row, behind(AFTER_HANDED, others)]
        least_end = lanes[n, ENDED] + tasks[row, behind(AFTER_END, others)]
    else:
        lanes[n, RUN] = 0
        if idle > grant:
            start = max(start, idle)
    lanes[n, RUN] += 1
    given[ROW], given[LANE], given[GRANT], given[START] = row, n, grant, start
    given[LEAST_HANDED], given[LEAST_END], given[READS] = least_handed, least_end, _STARTS
    given[BEGUN], given[DATA], given[HANDED_AT], given[LAST_LOGIT] = start, _NEVER, _NEVER, _NEVER
    lanes[n, READY] = lanes[n, ENDED] = _NEVER
    lanes[n, MODEL], lanes[n, STAGE], lanes[n, NUMBER] = stage, stage, number


@fast
def _begin_part(task: Ints, reads: Floats, n: int, cycles: float, part: float) -> None:
    """Let lane `n` begin to read so much of a task that takes `cycles` alone."""
    memory, walk, wait = task[MEMORY] * part, task[WALK] * part, task[WAIT] * part
    begin_read(reads, n, cycles * part, memory, walk, wait)


@fast
def go_on(
    given: Ints, lanes: Ints, tasks: Ints, reads: Floats, places: int, clock: float, until: float
) -> tuple[float, bool]:
    """Let gathers begin before a time until one has stopped or is over.

    Return the time of the last that did any of these, and whether one has stopped or is over.
    """
    while True:
        cycles, n = next_read_end(reads, places)
        if n < 0 or clock + cycles >= until:
            return clock, False
        pass_cycles(reads, places, cycles)
        clock += cycles
        one = given[lanes[n, STAGE], lanes[n, NUMBER]]
        task = tasks[one[ROW]]
        cycles, part = task[GATHERED] - task[BEGIN], task[PARTS_HELD] / task[PARTS]
        one[READS] += 1
        begins = one[READS] == _FIRST_PART or one[READS] == _LAST_PART
        if one[READS] == _FIRST_PART:
            _begin_part(task, reads, n, cycles, part)
        elif one[READS] == _LAST_PART:
            _begin_part(task, reads, n, float(task[WALK]), 1 - part)  # the array waits for it
        else:
            end_read(reads, n)
            if one[READS] == _STOPPED:
                late = clock - one[START] - task[BEGIN] - cycles * part
                one[BEGUN] += int(max(0.0, late + _ROUNDING) / task[PARTS_HELD])
            if one[READS] == _READ or part == 1:
                now = int(math.ceil(clock - _ROUNDING))  # noqa: RUF046  (a float in compiled code)
                note_data(one, lanes, tasks, now)
        share_out(reads, places)
        if not begins:
            return clock, True


@fast
def resume_reading(given: Ints, reads: Floats, opened: int, clock: float) -> None:
    """Let a given task that has stopped read on as soon as its scores are taken."""
    if given[READS] == _STOPPED and given[DATA] == _NEVER:
        given[READS] = _TURN
        begin_read(reads, given[LANE], max(0.0, opened - clock), 0.0, 0.0, 0.0)
