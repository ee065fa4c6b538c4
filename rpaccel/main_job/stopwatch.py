"""Wall and CPU time of a piece of work and of the tools that it calls."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["timed"]


@contextmanager
def timed() -> Iterator[list[float]]:
    """Yield a list that holds wall and CPU seconds of this process and its children at the end."""

    def cpu() -> float:
        usage = [
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ]
        return sum(use.ru_utime + use.ru_stime for use in usage)

    seconds: list[float] = []
    wall, before = time.monotonic(), cpu()
    yield seconds
    seconds += [time.monotonic() - wall, cpu() - before]
