"""A pipeline that really runs: worker processes with float models, an accelerator by its model.

A query ranks the items of one sample. A worker runs all CPU stages of a query, first come first
served; the survivors then hold one lane of the accelerator for as long as its performance model,
which the netlist validates, says. Mirrors scheduler.queueing: two stations in a row.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rpaccel.golden.deeprec import DeeprecInputs
from rpaccel.scheduler.deeprec_models import DeeprecModel, require_runtime
from rpaccel.scheduler.deeprec_profile import peak_bytes
from rpaccel.scheduler.deeprec_tables import open_tables
from rpaccel.scheduler.sizes import Sizes
from rpaccel.spec.deeprec import load_deeprec
from rpaccel.workloads.deeprec_inputs import random_inputs, random_weights

VARIANTS = 4  # batches of random features that samples take their items from
START_S = 300.0  # what a worker may need to map its tables and build its models


@dataclass(frozen=True, kw_only=True)
class CpuStage:
    """One float model; the best `keep` items go on."""

    model: str
    keep: int

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ValueError(f"keep must be at least 1, not {self.keep}")


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


@dataclass(frozen=True, kw_only=True)
class WorkerAsk:
    """What every worker runs.

    sizes : items of each sample.    scale_rows : of all tables.    folder : of the tables.
    """

    stages: tuple[CpuStage, ...]
    sizes: tuple[int, ...]
    scale_rows: float
    folder: Path
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.stages or not self.sizes:
            raise ValueError("stages and sizes must hold at least one each")


@dataclass(frozen=True, kw_only=True)
class Served:
    """One answer of a worker: wall and CPU time of the service [s]."""

    query: int
    sample: int
    service_s: float
    cpu_s: float


def sample_sizes(sizes: Sizes, samples: int) -> tuple[int, ...]:
    """Return the sizes of equally likely samples: midpoints of as many equal shares."""
    if samples < 1:
        raise ValueError(f"samples must be at least 1, not {samples}")
    return tuple(sizes.quantile((i + 0.5) / samples) for i in range(samples))


class CpuStages:
    """The CPU stages of one worker, their tables mapped and touched.

    Members
    -------
    table_bytes : int  Size of the tables, which all workers share [B].
    """

    def __init__(self, ask: WorkerAsk) -> None:
        self._ask = ask
        rng = np.random.default_rng([ask.seed, 4])
        self._models: list[DeeprecModel] = []
        self._features: list[list[DeeprecInputs]] = []
        self.table_bytes = 0
        for number, stage in enumerate(ask.stages):
            config = load_deeprec(stage.model)
            folder = ask.folder / f"stage{number}"  # a store holds one model
            tables = open_tables(config, folder, scale_rows=ask.scale_rows, seed=ask.seed)
            tables.touch()
            self.table_bytes += tables.bytes
            weights = random_weights(config, ask.seed)
            self._models.append(DeeprecModel(config, weights, tables.groups))
            self._features.append(
                [
                    random_inputs(config, max(ask.sizes), rng, ask.scale_rows)
                    for _ in range(VARIANTS)
                ]
            )

    def rank(self, sample: int) -> npt.NDArray[np.int64]:
        """Return the items of a sample that survive the last stage, best first.

        An item's score is the last column of the model's output; ties go to the lower number.
        """
        ids = np.arange(self._ask.sizes[sample])
        which: slice | npt.NDArray[np.int64] = slice(len(ids))
        stages = zip(self._ask.stages, self._models, self._features, strict=True)
        for stage, model, features in stages:
            scores = model.run(features[sample % VARIANTS].take(which))[:, -1]
            ids = ids[np.argsort(-scores, kind="stable")[: stage.keep]]
            which = ids
        return ids


def _end_with_parent() -> None:
    """Leave no worker behind if its parent is killed: the queue would never say so."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(ask: WorkerAsk, tasks: Any, results: Any) -> None:
    _end_with_parent()
    stages = CpuStages(ask)
    stages.rank(int(np.argmax(ask.sizes)))  # compiles, allocates
    results.put(None)
    while (task := tasks.get()) is not None:
        query, sample = task
        start, start_cpu = time.perf_counter(), time.thread_time()
        stages.rank(sample)
        cpu_s, wall_s = time.thread_time() - start_cpu, time.perf_counter() - start
        results.put(Served(query=query, sample=sample, service_s=wall_s, cpu_s=cpu_s))
    results.put((peak_bytes(), stages.table_bytes))


class Workers:
    """Worker processes behind one queue. Use as a context; memory is known behind it.

    Members
    -------
    peak_bytes : int  Most memory that they held together, the tables counted once [B].
    """

    def __init__(self, ask: WorkerAsk, count: int) -> None:
        if count < 1:
            raise ValueError(f"workers must be at least 1, not {count}")
        require_runtime()
        self.count = count
        self.peak_bytes = 0
        context = multiprocessing.get_context("spawn")
        self._tasks, self._results = context.SimpleQueue(), context.SimpleQueue()
        self._processes = [
            context.Process(target=_work, args=(ask, self._tasks, self._results), daemon=True)
            for _ in range(count)
        ]

    def __enter__(self) -> Self:
        # The first one creates the tables, the others find them.
        for process in self._processes:
            process.start()
            self._wait_for_result(process)
        return self

    def _wait_for_result(self, process: Any) -> None:
        end = time.monotonic() + START_S
        while self._results.empty():
            if not process.is_alive() or time.monotonic() > end:
                raise RuntimeError("a worker must start; it ended with the error above")
            time.sleep(0.01)
        self._results.get()

    def submit(self, query: int, sample: int) -> None:
        """Put a query behind the others; does not block."""
        self._tasks.put((query, sample))

    def next_answer(self) -> Served:
        """Wait for the next answer of any worker."""
        answer: Served = self._results.get()
        return answer

    def run_alone(self, samples: Sequence[int]) -> list[tuple[Served, float]]:
        """Serve one query after another; each answer with its latency, transport included [s]."""
        found = []
        for query, sample in enumerate(samples):
            start = time.perf_counter()
            self.submit(query, sample)
            served = self.next_answer()
            found.append((served, time.perf_counter() - start))
        return found

    def run_spaced(self, samples: Sequence[int], gaps_s: Sequence[float]) -> list[Served]:
        """Serve one query per entry, each so long after the one before it [s].

        A worker that slept finds its caches colder than one that never does.
        """
        due = time.perf_counter()
        for query, (sample, gap_s) in enumerate(zip(samples, gaps_s, strict=True)):
            due += gap_s
            time.sleep(max(0.0, due - time.perf_counter()))
            self.submit(query, sample)
        return [self.next_answer() for _ in samples]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            for process in self._processes:
                process.kill()
            return
        for _ in self._processes:
            self._tasks.put(None)
        held = [self._results.get() for _ in self._processes]
        table_bytes = held[0][1]
        self.peak_bytes = table_bytes + sum(peak - table_bytes for peak, _ in held)
        for process in self._processes:
            process.join()


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
    """Workers, then lanes if there are any, under queries that `answer` is called for.

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

    def start(self, queries: int) -> None:
        """Collect the answers of the next `queries`."""
        self._thread = threading.Thread(target=self._collect, args=(queries,))
        self._thread.start()

    def join(self) -> None:
        """Wait until they are answered, and end the lanes."""
        if self._thread is not None:
            self._thread.join()
        if self._lanes is not None:
            self._lanes.close()

    def _collect(self, queries: int) -> None:
        for _ in range(queries):
            served = self._workers.next_answer()
            self.served.append(served)
            if self._lanes is None:
                self._finish(served)
            else:
                self._lanes.submit(served)

    def _finish(self, served: Served) -> None:
        self._answer(served.query)
