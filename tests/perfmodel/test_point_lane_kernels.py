"""Lanes of a point by hand: when a task that got its data late hands over and ends."""

import numpy as np
import pytest

from rpaccel.perfmodel import lane_core
from rpaccel.perfmodel.machine_cycles import TASK_CYCLES
from rpaccel.perfmodel.point_lane_kernels import (
    BEGUN,
    DATA,
    GIVEN_FIELDS,
    HANDED_AT,
    LANE_FIELDS,
    LAST_LOGIT,
    give_task,
    go_on,
    is_scored,
    note_data,
    resume_reading,
)
from rpaccel.perfmodel.shared_memory import READ_FIELDS, begin_read
from rpaccel.perfmodel.task_kernels import (
    BEGIN,
    END,
    END_AFTER,
    END_TURN,
    GATHERED,
    HANDED,
    MEMORY,
    PARTS,
    PARTS_HELD,
    TAKEN_AFTER,
    TAKEN_TURN,
    TASK_FIELDS,
    WAIT,
    WALK,
)

GRANT = 100
WAITED = 1e-6  # for memory, by the one beside it: as good as nothing, as by the task
START = GRANT + TASK_CYCLES


def task_rows(waits):
    """Return the rows of one task of four sub-batches. waits : its last two find no place."""
    task = np.zeros((1, TASK_FIELDS), np.int64)
    task[0, [BEGIN, GATHERED, HANDED, END]] = 10, 50, 60, 90
    task[0, [TAKEN_AFTER, END_AFTER, MEMORY, PARTS]] = 7, 25, 40, 4
    task[0, [WALK, WAIT]] = 40, 0
    task[0, PARTS_HELD] = 2 if waits else 4
    task[0, [TAKEN_TURN, END_TURN]] = (30, 45) if waits else lane_core.LONG_AGO
    return task


class Lane:
    """One lane that was idle and takes the task."""

    def __init__(self, waits=False, others=0.0):
        self.tasks = task_rows(waits)
        self.given = np.zeros((1, 1, GIVEN_FIELDS), np.int64)
        self.lanes = np.full((1, LANE_FIELDS), -1, np.int64)
        self.lanes[0, :2] = lane_core.LONG_AGO
        self.reads = np.zeros((2, READ_FIELDS))
        give_task(self.one, self.lanes, self.tasks, 0, 0, 0, 0, GRANT)
        begin_read(self.reads, 0, TASK_CYCLES + self.tasks[0, BEGIN], 0.0, 0.0, 0.0)
        if others:
            begin_read(self.reads, 1, 10_000.0, others * 10_000.0, 10_000.0, WAITED * 10_000.0)
        self.clock = float(GRANT)

    @property
    def one(self):
        return self.given[0, 0]

    def go_on(self, until=np.inf):
        """Return the time, and whether it has stopped or is over."""
        self.clock, noted = go_on(
            self.given, self.lanes, self.tasks, self.reads, 2, self.clock, until
        )
        return self.clock, noted


def test_alone_it_takes_what_its_row_says():
    lane = Lane()
    assert lane.go_on(START + 20) == (START + 10, False)
    assert lane.go_on(START + 50) == (START + 10, False)
    assert lane.go_on() == (START + 50, True)
    assert lane.one[[BEGUN, DATA]].tolist() == [START, START + 50]
    assert lane.one[[HANDED_AT, LAST_LOGIT]].tolist() == [START + 60, START + 90]
    assert lane.go_on() == (START + 50, False)


@pytest.mark.parametrize("late, handed, end", [(0, 60, 90), (4, 61, 90), (20, 77, 95)])
def test_data_that_come_late_delay_what_follows_them(late, handed, end):
    """From all data to the hand-over and the last logit it takes no less than its row says."""
    lane = Lane()
    note_data(lane.one, lane.lanes, lane.tasks, START + 50 + late)
    assert lane.one[[HANDED_AT, LAST_LOGIT]].tolist() == [START + handed, START + end]
    assert lane.lanes[0, :2].tolist() == [START + handed, START + end]


def test_a_reader_beside_it_halves_its_speed():
    """Both ask for all the memory: 40 cycles of it take 80."""
    lane = Lane(others=1.0)
    assert lane.go_on() == (pytest.approx(START + 90), True)
    assert lane.one[LAST_LOGIT] == START + 90 + 25


@pytest.mark.parametrize("others, late", [(0.0, 0), (1.0, 20)])
def test_scores_without_a_place_stop_it(others, late):
    """Half is read, 20 cycles alone; what that took longer, the next two sub-batches share."""
    lane, opened = Lane(waits=True, others=others), START + 200
    assert lane.go_on() == (pytest.approx(START + 30 + late), True)
    assert lane.one[BEGUN] == START + late // 2
    assert not is_scored(lane.one, lane.lanes, lane.tasks, opened)
    resume_reading(lane.one, lane.reads, opened, lane.clock)
    while lane.reads[0].any():
        lane.go_on()
    data = opened + 20 + late
    assert lane.one[DATA] == data
    assert is_scored(lane.one, lane.lanes, lane.tasks, opened)
    assert lane.one[HANDED_AT] == max(data + 7, opened + 30)
    assert lane.one[LAST_LOGIT] == max(data + 25, opened + 45)
