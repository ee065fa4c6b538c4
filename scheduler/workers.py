"""Worker processes that run the CPU stages of queries, first come first served."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rpaccel.golden.deeprec import DeeprecInputs
from rpaccel.golden.dlrm import Float
from rpaccel.scheduler.deeprec_models import DeeprecModel, require_runtime
from rpaccel.scheduler.deeprec_profile import peak_bytes
from rpaccel.scheduler.deeprec_tables import check_memory, open_tables
from rpaccel.scheduler.sizes import Sizes
from rpaccel.spec.deeprec import load_deeprec
from rpaccel.workloads.deeprec_inputs import random_inputs, random_weights

VARIANTS = 4  # batches of random features that samples take their items from
START_S = 300.0  # what a worker may need to map its tables and build its models
Items = npt.NDArray[np.int64]
Brought = Sequence[Items]  # of each sample: what it brings to the workers


@dataclass(frozen=True, kw_only=True)
class CpuStage:
    """One float model; the best `keep` items go on."""

    model: str
    keep: int

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ValueError(f"keep must be at least 1, not {self.keep}")


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


@dataclass(frozen=True, kw_only=True, order=True)
class Part:
    """Items `first` to `end` of what a sample brings: what one request holds."""

    sample: int
    first: int
    end: int


def parts_of(sizes: Sequence[int], batch: int | None) -> tuple[tuple[Part, ...], ...]:
    """Return the requests of each sample: full ones of `batch` items and a rest; None: one."""
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be at least 1, not {batch}")
    return tuple(
        tuple(
            Part(sample=sample, first=first, end=min(first + (batch or size), size))
            for first in range(0, size, batch or size)
        )
        for sample, size in enumerate(sizes)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """One answer of a worker: wall and CPU time of the service [s], and what survived.

    ids, scores : int64[n], float32[n]  The items that the last stage keeps, best first; ties go to
        the lower number.
    """

    part: Part
    query: int
    ids: Items
    scores: Float
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

    def rank(self, part: Part, items: Items | None = None) -> tuple[Items, Float]:
        """Return the items that survive the last stage, best first, and their scores.

        An item's score is the last column of the model's output; ties go to the lower number.
        items : int64[n]  What the sample brings, ascending; None: all it has.
        """
        which: slice | Items = slice(part.first, part.end)
        ids = np.arange(part.first, part.end)
        if items is not None:
            ids = which = items[which]
        best = np.empty(0, np.float32)
        stages = zip(self._ask.stages, self._models, self._features, strict=True)
        for stage, model, features in stages:
            scores = model.run(features[part.sample % VARIANTS].take(which))[:, -1]
            order = np.argsort(-scores, kind="stable")[: stage.keep]
            ids, best = ids[order], scores[order]
            which = ids
        return ids, best


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
    stages.rank(Part(sample=0, first=0, end=max(ask.sizes)))  # compiles, allocates
    results.send(None)
    while (task := tasks.get()) is not None:
        query, part, items = task
        start, start_cpu = time.perf_counter(), time.thread_time()
        ids, scores = stages.rank(part, items)
        cpu_s, wall_s = time.thread_time() - start_cpu, time.perf_counter() - start
        served = Served(
            query=query, part=part, ids=ids, scores=scores, service_s=wall_s, cpu_s=cpu_s
        )
        results.send(served)
    results.send((peak_bytes(), stages.table_bytes))


class Workers:
    """Worker processes behind one queue. Use as a context; memory is known behind it.

    Raises RuntimeError if a worker cannot start, or ends, ValueError where memory does not hold
    them (`check_memory`).

    Members
    -------
    peak_bytes : int  Most memory that they held together, the tables counted once [B].
    """

    def __init__(self, ask: WorkerAsk, count: int) -> None:
        if count < 1:
            raise ValueError(f"workers must be at least 1, not {count}")
        require_runtime()
        models = [load_deeprec(stage.model) for stage in ask.stages]
        check_memory(models, scale_rows=ask.scale_rows, processes=count)
        self.count = count
        self.peak_bytes = 0
        self._ready: list[Any] = []  # workers that have answered
        context = multiprocessing.get_context("spawn")
        self._tasks = context.SimpleQueue()
        pipes = [context.Pipe(duplex=False) for _ in range(count)]
        self._results = [mine for mine, _ in pipes]
        self._ends = [theirs for _, theirs in pipes]
        self._processes = [
            context.Process(target=_work, args=(ask, self._tasks, end), daemon=True)
            for end in self._ends
        ]

    def __enter__(self) -> Self:
        # The first one creates the tables, the others find them.
        for process, end, results in zip(self._processes, self._ends, self._results, strict=True):
            process.start()
            end.close()  # so that the worker's end is the only one: reading fails if it dies
            if not results.poll(START_S):
                raise RuntimeError(f"a worker must start within {START_S:g} s")
            self._receive(results)
        return self

    @staticmethod
    def _receive(results: Any) -> Any:
        try:
            return results.recv()
        except EOFError as error:
            raise RuntimeError("a worker must live; it ended, see its error above") from error

    def submit(self, query: int, part: Part, items: Items | None = None) -> None:
        """Put a request behind the others; does not block before thousands wait.

        items : int64[n]  What `part` counts; None: all items of its sample.
        """
        self._tasks.put((query, part, items))

    def next_answer(self) -> Served:
        """Wait for the next answer of any worker. Raises RuntimeError if one has ended."""
        if not self._ready:
            self._ready = list(connection.wait(self._results))
        answer: Served = self._receive(self._ready.pop(0))
        return answer

    def run_alone(self, parts: Sequence[Part], items: Brought | None = None) -> list[Served]:
        """Serve one request after another. items : of each sample; None: all it has."""
        found = []
        for query, part in enumerate(parts):
            self.submit(query, part, None if items is None else items[part.sample])
            found.append(self.next_answer())
        return found

    def run_at_once(
        self, parts: Sequence[Part], items: Brought | None = None
    ) -> tuple[list[Served], float]:
        """Serve requests that all wait; return the answers, and what each took of a worker [s].

        The mean: its service, and all else that keeps the worker from the next request. The first
        one's way to a worker is in it, too: many requests make that little.
        """
        start = time.perf_counter()
        for query, part in enumerate(parts):
            self.submit(query, part, None if items is None else items[part.sample])
        answers = [self.next_answer() for _ in parts]
        return answers, (time.perf_counter() - start) / max(1, len(parts)) * self.count

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
        held = [self._receive(results) for results in self._results]
        table_bytes = held[0][1]
        self.peak_bytes = table_bytes + sum(peak - table_bytes for peak, _ in held)
        for process in self._processes:
            process.join()
