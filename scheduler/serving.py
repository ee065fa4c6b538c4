"""A pipeline that really runs: workers with float models, an accelerator by its model.

A query ranks the items of one sample. A worker runs all CPU stages of a query, first come first
served; the survivors then hold one lane of the accelerator for as long as its performance model,
which the netlist validates, says. Mirrors scheduler.queueing: two stations in a row.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from rpaccel.scheduler.workers import Served, Workers


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


class Lanes:
    """The accelerator's lanes: threads that hold a query as long as the model says."""

    def __init__(self, stage: LaneStage, done: Callable[[Served], None]) -> None:
        self._stage, self._done = stage, done
        self._queue: SimpleQueue[tuple[float, Served] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._run) for _ in range(stage.lanes)]
        for thread in self._threads:
            thread.start()

    def submit(self, served: Served) -> None:
        """Send a query's survivors across the link."""
        self._queue.put((time.perf_counter() + self._stage.link_s, served))

    def close(self) -> None:
        """End the lanes once they are idle."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            ready, served = task
            end = max(ready, time.perf_counter()) + self._stage.service_s
            time.sleep(max(0.0, end - time.perf_counter()))
            self._done(served)


class LivePipeline:
    """Workers, then lanes if there are any; `answer` is called once for every query.

    Members
    -------
    served : the workers' answers, in their order.
    """

    def __init__(
        self, workers: Workers, lane_stage: LaneStage | None, answer: Callable[[int], None]
    ) -> None:
        self.served: list[Served] = []
        self._workers, self._answer = workers, answer
        self._lanes = None if lane_stage is None else Lanes(lane_stage, self._finish)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._open: set[int] = set()  # queries at the workers
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
                self._open.add(query)
        if failed:
            self._answer(query)
        else:
            self._workers.submit(query, sample)

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
            for _ in range(queries):
                served = self._workers.next_answer()
                with self._lock:
                    self._open.remove(served.query)
                self.served.append(served)
                if self._lanes is None:
                    self._finish(served)
                else:
                    self._lanes.submit(served)
        except RuntimeError as error:
            # Whoever asks waits for every answer before it can hear of the error.
            with self._lock:
                self._error = error
                left, self._open = sorted(self._open), set()
            for query in left:
                self._answer(query)

    def _finish(self, served: Served) -> None:
        self._answer(served.query)
