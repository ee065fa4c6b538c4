"""A pipeline that really runs: workers with float models, an accelerator by its model.

A query ranks the items of one sample. A worker runs all CPU stages of a query, first come first
served; the survivors then hold one lane of the accelerator for as long as its performance model,
which the netlist validates, says. Mirrors scheduler.queueing: two stations in a row.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np

from rpaccel.scheduler.workers import Part, Served, Workers

PR_SET_TIMERSLACK = 29  # linux/prctl.h


@dataclass(frozen=True, kw_only=True)
class LaneStage:
    """A stage on the accelerator: `lanes` queries at a time, `service_s` each, behind a link."""

    name: str
    lanes: int
    service_s: float
    link_s: float

    def __post_init__(self) -> None:
        if self.lanes < 1 or min(self.service_s, self.link_s) < 0:
            raise ValueError(f"lanes must be at least 1 and no time negative, not {self}")


def fine_timer() -> None:
    """Let sleeps of this thread end when they are due; Linux takes 50 us more (prctl(2)).

    Does nothing where there is no prctl.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)


class Lanes:
    """The accelerator's lanes: threads that hold a query as long as the model says."""

    def __init__(self, stage: LaneStage, done: Callable[[int], None]) -> None:
        self._stage, self._done = stage, done
        self._queue: SimpleQueue[tuple[float, int] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._run) for _ in range(stage.lanes)]
        for thread in self._threads:
            thread.start()

    def submit(self, query: int) -> None:
        """Send a query's survivors across the link."""
        self._queue.put((time.perf_counter() + self._stage.link_s, query))

    def close(self) -> None:
        """End the lanes once they are idle."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        fine_timer()
        while (task := self._queue.get()) is not None:
            ready, query = task
            end = max(ready, time.perf_counter()) + self._stage.service_s
            time.sleep(max(0.0, end - time.perf_counter()))
            self._done(query)


class LivePipeline:
    """Workers, then lanes if there are any; `answer` is called once for every query.

    parts : of each sample. A query goes on when all its parts are answered, with the best `keep`
        of what they kept.

    Members
    -------
    served : the workers' answers, in their order.
    kept : query -> its items behind the workers, best first; ties go to the lower number.
    """

    def __init__(
        self,
        workers: Workers,
        parts: Sequence[Sequence[Part]],
        keep: int,
        lane_stage: LaneStage | None,
        answer: Callable[[int], None],
    ) -> None:
        self.served: list[Served] = []
        self.kept: dict[int, list[int]] = {}
        self._workers, self._parts, self._keep, self._answer = workers, parts, keep, answer
        self._lanes = None if lane_stage is None else Lanes(lane_stage, answer)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._open: dict[int, list[Served]] = {}  # queries at the workers: answered parts
        self._error: RuntimeError | None = None

    def start(self, queries: int) -> None:
        """Collect the answers of the next `queries`."""
        self._thread = threading.Thread(target=self._collect, args=(queries,))
        self._thread.start()

    def submit(self, query: int, sample: int) -> None:
        """Send a query to the workers; answered at once if a worker has ended."""
        with self._lock:
            failed = self._error is not None
            if not failed:
                self._open[query] = []
        if failed:
            self._answer(query)
        else:
            for part in self._parts[sample]:
                self._workers.submit(query, part)

    def join(self) -> None:
        """Wait until all are answered, and end the lanes. Raises RuntimeError if a worker ended."""
        if self._thread is not None:
            self._thread.join()
        if self._lanes is not None:
            self._lanes.close()
        if self._error is not None:
            raise self._error

    def _collect(self, queries: int) -> None:
        try:
            while len(self.kept) < queries:
                served = self._workers.next_answer()
                self.served.append(served)
                done = self._open[served.query]
                done.append(served)
                if len(done) == len(self._parts[served.part.sample]):
                    self._go_on(served.query)
        except RuntimeError as error:
            # Whoever asks waits for every answer before it can hear of the error.
            with self._lock:
                self._error = error
                left, self._open = sorted(self._open), {}
            for query in left:
                self._answer(query)

    def _go_on(self, query: int) -> None:
        with self._lock:
            parts = self._open.pop(query)
        ids = parts[0].ids
        if len(parts) > 1:
            ids = np.concatenate([one.ids for one in parts])
            scores = np.concatenate([one.scores for one in parts])
            ids = ids[np.lexsort((ids, -scores))]
        self.kept[query] = ids[: self._keep].tolist()
        (self._answer if self._lanes is None else self._lanes.submit)(query)
