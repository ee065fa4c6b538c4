"""The last queries of a soak as a timeline for Perfetto, one split of the array after the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rpaccel.host.driver import Driver
from rpaccel.host.task_log import TaskRecord
from rpaccel.main_job.run_trace import (
    Answered,
    Images,
    RunTrace,
    hit_share,
    row_totals,
    task_log_of,
)

__all__ = ["SoakTrace"]


@dataclass(kw_only=True, eq=False)
class _Part:
    """Queries between two loads of the models. before : the row counters at its begin."""

    images: Images
    before: dict[str, int]
    hits: float = 0.0
    answered: list[Answered] = field(default_factory=list)


class SoakTrace:
    """What a device did from now on, and what the model says of it.

    Parameters
    ----------
    driver : Driver  With a log of tasks.
    picture : RunTrace
    images : what is loaded, with the lanes that hold it.
    """

    def __init__(self, driver: Driver, picture: RunTrace, images: Images) -> None:
        self._driver, self._picture = driver, picture
        self._reader = task_log_of(driver)
        self._reader.take()  # of queries before
        self._log: list[TaskRecord] = []
        self._parts = [_Part(images=images, before=row_totals(driver))]

    @property
    def part(self) -> int:
        """Number of the loads since the first; queries that are asked now belong to it."""
        return len(self._parts) - 1

    def loads(self, images: Images) -> None:
        """Begin another part: `images` will be loaded, which sets the row counters to 0."""
        self._count()
        nothing = dict.fromkeys(self._parts[-1].before, 0)
        self._parts.append(_Part(images=images, before=nothing))

    def take(self, part: int, answered: Answered) -> None:
        """Keep an answer to a query of a part, and the tasks that have ended."""
        self._parts[part].answered.append(answered)
        self._log += self._reader.take()

    def write(self, path: Path) -> None:
        """Write the picture of all that was taken."""
        self._count()
        self._log += self._reader.take()
        for part in self._parts:
            if part.answered:
                log = self._of(part.answered)
                self._picture.add(part.images, part.answered, log, part.hits)
        self._picture.write(path)

    def _of(self, answered: Iterable[Answered]) -> list[TaskRecord]:
        tags = {each.completion.tag for each in answered}
        return [record for record in self._log if record.tag in tags]

    def _count(self) -> None:
        part = self._parts[-1]
        part.hits = hit_share(part.before, row_totals(self._driver))
