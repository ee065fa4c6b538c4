"""A pipeline that really runs: workers with float models, an accelerator by its model.

A query ranks the items of one sample. A worker runs all CPU stages of a query, first come first
served; in front of the workers or behind them, a query holds one lane of the accelerator for as
long as its performance model, which the netlist validates, says. What the lane answers is the
golden device's: see lane_ranker. Mirrors scheduler.queueing: two stations in a row.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np

from rpaccel.scheduler.workers import Items, Part, Served, Workers

PR_SET_TIMERSLACK = 29  # linux/prctl.h
Ranker = Callable[[int, Sequence[int]], Sequence[int]]  # (sample, items) -> the best, best first


@dataclass(frozen=True, kw_only=True)
class LaneStage:
    """A stage on the accelerator: `lanes` queries at a time, behind a link.

    items, service_s, link_s : of each sample, times in [s]. first : in front of the workers.
    """

    name: str
    lanes: int
    items: tuple[int, ...]
    service_s: tuple[float, ...]
    link_s: tuple[float, ...]
    first: bool = False

    def __post_init__(self) -> None:
        if self.lanes < 1 or min(*self.service_s, *self.link_s) < 0:
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

    def __init__(self, stage: LaneStage, done: Callable[[int, int, Sequence[int]], None]) -> None:
        self.stage, self._done = stage, done
        self._queue: SimpleQueue[tuple[float, int, int, Sequence[int]] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._run) for _ in range(stage.lanes)]
        for thread in self._threads:
            thread.start()

    def submit(self, query: int, sample: int, items: Sequence[int]) -> None:
        """Send a query's items across the link."""
        ready = time.perf_counter() + self.stage.link_s[sample]
        self._queue.put((ready, query, sample, items))

    def close(self) -> None:
        """End the lanes once they are idle."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        fine_timer()
        while (task := self._queue.get()) is not None:
            ready, query, sample, items = task
            end = max(ready, time.perf_counter()) + self.stage.service_s[sample]
            time.sleep(max(0.0, end - time.perf_counter()))
            self._done(query, sample, items)


def merged(parts: Sequence[Served], keep: int) -> list[int]:
    """Return the best `keep` items of a query's parts, best first; ties go to the lower number."""
    ids = parts[0].ids
    if len(parts) > 1:
        ids = np.concatenate([one.ids for one in parts])
        scores = np.concatenate([one.scores for one in parts])
        ids = ids[np.lexsort((ids, -scores))]
    return [int(item) for item in ids[:keep]]


def to_workers(best: Sequence[int]) -> Items:
    """Return the items of a list in ascending order: ties then go to the lower number."""
    return np.sort(np.asarray(best, np.int64))


class LivePipeline:
    """Workers, then lanes if there are any, or lanes and then workers.

    `answer` is called once for every query.

    parts : of what each sample brings to the workers. A query leaves them when all its parts are
        answered, with the best `keep` of what they kept.
    lanes : their stage, and what they answer.

    Members
    -------
    served : the workers' answers, in their order.
    ranked : query -> the list that it ends with, best first.
    """

    def __init__(
        self,
        workers: Workers,
        parts: Sequence[Sequence[Part]],
        keep: int,
        lanes: tuple[LaneStage, Ranker] | None,
        answer: Callable[[int], None],
    ) -> None:
        self.served: list[Served] = []
        self.ranked: dict[int, list[int]] = {}
        self._workers, self._parts, self._keep, self._answer = workers, parts, keep, answer
        self._accelerator = lanes
        self._lanes = None if lanes is None else Lanes(lanes[0], self._leave_lane)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._open: dict[int, list[Served]] = {}  # queries at the workers: answered parts
        self._error: RuntimeError | None = None  # of the workers
        self._fault: RuntimeError | None = None  # of a lane, the last

    def start(self, queries: int) -> None:
        """Collect the answers of the next `queries`."""
        self._thread = threading.Thread(target=self._collect, args=(queries,))
        self._thread.start()

    def submit(self, query: int, sample: int) -> None:
        """Send a query to the first stage; answered at once if a worker has ended."""
        if self._lanes is not None and self._lanes.stage.first:
            self._lanes.submit(query, sample, range(self._lanes.stage.items[sample]))
        else:
            self._enter_workers(query, sample, None)

    def join(self) -> None:
        """Wait until all are answered, and end the lanes.

        Raises RuntimeError if a worker ended or the ranker of the lanes raised it.
        """
        if self._thread is not None:
            self._thread.join()
        if self._lanes is not None:
            self._lanes.close()
        error = self._error or self._fault
        if error is not None:
            raise error

    def _enter_workers(self, query: int, sample: int, items: Items | None) -> None:
        with self._lock:
            failed = self._error is not None
            if not failed:
                self._open[query] = []
        if failed:
            self._answer(query)
        else:
            for part in self._parts[sample]:
                self._workers.submit(query, part, items)

    def _collect(self, queries: int) -> None:
        try:
            while queries:
                served = self._workers.next_answer()
                self.served.append(served)
                done = self._open[served.query]
                done.append(served)
                if len(done) == len(self._parts[served.part.sample]):
                    queries -= 1
                    self._leave_workers(served.query, served.part.sample)
        except RuntimeError as error:
            # Whoever asks waits for every answer before it can hear of the error.
            with self._lock:
                self._error = error
                left, self._open = sorted(self._open), {}
            for query in left:
                self._answer(query)

    def _leave_workers(self, query: int, sample: int) -> None:
        with self._lock:
            parts = self._open.pop(query)
        best = merged(parts, self._keep)
        if self._lanes is None or self._lanes.stage.first:
            self._end(query, best)
        else:
            self._lanes.submit(query, sample, best)

    def _leave_lane(self, query: int, sample: int, items: Sequence[int]) -> None:
        assert self._accelerator is not None, "lanes hold queries of an accelerator"
        stage, rank = self._accelerator
        try:
            best = list(rank(sample, items))
        except RuntimeError as error:
            # It goes on unranked: whoever asks waits for every answer before it hears of the fault.
            self._fault, best = error, list(items)
        if stage.first:
            self._enter_workers(query, sample, to_workers(best))
        else:
            self._end(query, best)

    def _end(self, query: int, best: list[int]) -> None:
        self.ranked[query] = best
        self._answer(query)
