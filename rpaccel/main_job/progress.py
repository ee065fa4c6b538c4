"""Progress of the main job: one line a step, with the time it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """Prints numbered steps and their notes to standard output.

    Parameters
    ----------
    steps : int  How many steps there are.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._step = 0
        self._start = time.monotonic()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step; on leaving, remember how long it took."""
        self._step += 1
        start = time.monotonic()
        print(f"[{self._step}/{self._steps}] {title}", flush=True)
        yield
        self.seconds[title] = round(time.monotonic() - start, 1)

    def note(self, text: str) -> None:
        """Print a line under the current step."""
        for line in text.splitlines() or [""]:
            print(f"      {line}", flush=True)

    def count(self, done: int, total: int, what: str) -> None:
        """Show `done` of `total`; overwrites itself on a terminal, every quarter elsewhere."""
        if sys.stdout.isatty():
            end = "\n" if done == total else "\r"
            print(f"      {what}: {done}/{total}", end=end, flush=True)
        elif done == total or done * 4 // total != (done - 1) * 4 // total:
            print(f"      {what}: {done}/{total}", flush=True)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start [s]."""
        return time.monotonic() - self._start
