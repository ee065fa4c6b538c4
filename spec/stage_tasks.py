"""How a stage's items are dealt out to lanes, and how the filter after it treats the tasks."""

from __future__ import annotations

from dataclasses import dataclass

from rpaccel.spec.isa import StageMode, StageOption


@dataclass(frozen=True, kw_only=True)
class StageTasks:
    """One stage's part of a descriptor that has to do with tasks and its filter.

    task_items : items of a task, the last one has the rest; 0: all of the stage in one task.
    RecPipe calls a query's task a sub-batch.
    task_k : LOCAL, PROPORTIONAL: how many of k a full task is worth.
    exact, adaptive : see StageOption.
    """

    task_items: int = 0
    task_k: int = 0
    mode: StageMode = StageMode.WHOLE
    exact: bool = False
    adaptive: bool = False

    @classmethod
    def shared(
        cls, task_items: int, k: int, items: int, mode: StageMode = StageMode.LOCAL
    ) -> StageTasks:
        """Return tasks that are worth their share of k of `items`, rounded up."""
        return cls(task_items=task_items, task_k=-(-k * task_items // items), mode=mode)

    @property
    def options(self) -> int:
        """The descriptor's options."""
        return StageOption.EXACT * self.exact | StageOption.ADAPTIVE * self.adaptive

    @property
    def legal(self) -> bool:
        """Whether a device takes it as a stage before the last one."""
        shared = self.mode in (StageMode.LOCAL, StageMode.PROPORTIONAL)
        return not (
            (self.exact and self.mode is StageMode.PROPORTIONAL)
            or (shared and (self.task_k < 1 or self.task_items == 0))
        )

    def sizes(self, items: int) -> list[int]:
        """Return the items of each task of a stage of `items`."""
        size = self.task_items or max(1, items)
        full, rest = divmod(items, size)
        return [size] * full + [rest] * (rest > 0)

    def shares(self, k: int, tasks: int) -> list[int]:
        """Return how many are to have left after each task; k after the last one."""
        return [min(k, self.task_k * (task + 1)) for task in range(tasks - 1)] + [k]
