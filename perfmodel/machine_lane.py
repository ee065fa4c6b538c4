"""A lane of a machine under a load: tasks in, their sub-batches through gather and core, scores."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

from rpaccel.perfmodel.lane_core import LaneCore, SubBatch
from rpaccel.perfmodel.sequencer import BANKS, NEVER
from rpaccel.perfmodel.shared_memory import SharedMemory
from rpaccel.perfmodel.task_profile import TaskProfile
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["LaneTask", "MachineLane"]

USER_BANKS = 2  # rtl.lane: tasks gathered or computed
TASKS = 4  # rtl.lane: tasks given and not done
ROUNDING = 1e-6  # [cycles] of sums of parts of cycles


@dataclass(kw_only=True, slots=True, eq=False)
class LaneTask:
    """A task that a lane has been given; times NEVER until they are known.

    owner : of the caller. start : its first cycle. begin : its first own cycle, after those that
    it waits for its model. gathered : its last data are there. computing : its first layer is
    chosen. end : its last logit.
    held : its scores that wait in the lane. flows : they are taken as they come.
    """

    owner: Any
    model: str
    items: int
    profile: TaskProfile
    start: int
    begin: int = NEVER
    gathered: int = NEVER
    computing: int = NEVER
    end: int = NEVER
    held: int = 0
    flows: bool = False


class MachineLane:
    """Sub-batches of a lane's tasks; the caller says when, from `next_cycle`.

    Parameters
    ----------
    number : int
    config : AcceleratorConfig  Of the lane.
    memory : SharedMemory  Of the machine.
    """

    def __init__(self, number: int, config: AcceleratorConfig, memory: SharedMemory) -> None:
        self.number = number
        self.core = LaneCore(config)
        self.turns: deque[LaneTask] = deque()  # not yet scored
        self.scored = 0  # last score taken
        self.held = 0  # scores that wait
        self.array_cycles = 0
        self.due = NEVER  # of the caller's event
        self._depth = config.sub_batch_max
        self._memory = memory
        self._model = ""
        self._pending: LaneTask | None = None  # waits for its model
        self._given = self._computed = self._answered = 0
        self._handing = False  # a task is gathered
        self._waiting: deque[SubBatch] = deque()  # to be gathered
        self._gathered = 0
        self._gathers = 0
        self._crossed = [0] * BANKS  # of the last sub-batches, by number

    @property
    def ready(self) -> bool:
        """Whether it takes a task."""
        return (
            not self._handing
            and self._given - self._computed < USER_BANKS
            and self._given - self._answered < TASKS
        )

    def give(self, task: LaneTask) -> None:
        """Take a task; it begins when the array is idle if its model is another one."""
        idle = self._computed == self._given
        self._given += 1
        self._handing = True
        self.turns.append(task)
        self.array_cycles += task.profile.array
        if task.model == self._model or idle:
            self._begin(task, task.start)
        else:
            self._pending = task

    def computed(self, now: int) -> None:
        """Note that a task has been computed."""
        self._computed += 1
        if self._pending is not None and self._computed == self._given - 1:
            task, self._pending = self._pending, None
            self._begin(task, max(now, task.start))

    def handed_over(self) -> None:
        """Note that the core has taken the last sub-batch of a task."""
        self._handing = False

    def answered(self) -> None:
        """Note that a task's end has been told."""
        self._answered += 1

    def _begin(self, task: LaneTask, begin: int) -> None:
        task.begin = begin
        self._model = task.model
        profile = task.profile
        start: int | None = begin + profile.start
        for number, (work, walk, memory) in enumerate(profile.batches, start=1):
            batch = SubBatch(
                task, work, walk=walk, handover=profile.handover, memory=memory, start=start,
                last=number == len(profile.batches),
            )  # fmt: skip
            start = None
            self._waiting.append(batch)
            self.core.batches.append(batch)
        self._gather()

    def _gather(self) -> None:
        """Time the gathers whose bank is known to become free."""
        waiting, core = self._waiting, self.core
        while waiting and core.taken > self._gathers - BANKS:
            batch = waiting.popleft()
            start = self._gathered if batch.start is None else batch.start
            start = max(start, self._crossed[self._gathers % BANKS])
            end = self._memory.reserve(start, batch.walk, batch.memory)
            batch.gathered = self._gathered = math.ceil(end - ROUNDING)
            self._gathers += 1
            if batch.last:
                batch.task.gathered = batch.gathered

    def next_cycle(self) -> int:
        """Return the cycle of the next choice; NEVER if none is known, or scores have no place."""
        return NEVER if self._full() else self.core.next_choice()

    def _full(self) -> bool:
        """Whether the next chain is a top chain whose scores find no place."""
        core = self.core
        if not core.bottoms:
            return False
        batch = core.batches[0]
        return (
            not batch.task.flows
            and self.held > 0
            and self.held + batch.work.items > self._depth
            and core.next_is_top()
        )

    def choose(self, now: int) -> tuple[SubBatch, bool]:
        """Place the chain that is due; return its sub-batch, and whether it was a top chain."""
        number = self.core.taken
        batch, is_top = self.core.choose(now)
        task = batch.task
        if not is_top:
            self._crossed[number % BANKS] = batch.crossed
            task.computing = min(task.computing, now)
            self._gather()
        else:
            if not task.flows:
                task.held += batch.work.items
                self.held += batch.work.items
            if batch.last:
                task.end = batch.logit
        return batch, is_top
