"""Thousands of configurations, each simulated over many queries, through an executor.

Half are pipelines of first-come-first-served stages, half nodes that split, offload and merge the
queries of a heavy tail. All see the same arrivals and sizes, scaled.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from rpaccel.scheduler.arrivals import Floats, exponential_gaps, poisson_arrivals_s
from rpaccel.scheduler.deeprecsched import BATCHES, THRESHOLDS
from rpaccel.scheduler.intervals import quantiles_of
from rpaccel.scheduler.many import run_many
from rpaccel.scheduler.peak import WARM_UP
from rpaccel.scheduler.policy import Node, Policy, run_policy
from rpaccel.scheduler.queueing import Station, finish_times_s
from rpaccel.scheduler.sizes import heavy_tail

__all__ = ["NodeCase", "PipelineCase", "ScaleReport", "Tails", "evaluate", "random_cases",
           "run_scale"]  # fmt: skip

CORES = 40
ITEMS = np.arange(5001, dtype=np.float64)
CPU_S = 0.8e-3 + 0.04e-3 * ITEMS  # [s] assumed: of the size of the paper's models
ACCELERATOR_S = 2e-3 + 0.007e-3 * ITEMS  # assumed, likewise
CHUNK = 50  # cases of a task


@dataclass(frozen=True, kw_only=True)
class PipelineCase:
    """Stages in a row, exponential service; `busy` : of the slowest stage, in 0..1."""

    servers: tuple[int, ...]
    mean_s: tuple[float, ...]
    busy: float


@dataclass(frozen=True, kw_only=True)
class NodeCase:
    """40 cores and an accelerator; `busy` : of the busier of the two, in 0..1."""

    policy: Policy
    busy: float


@dataclass(frozen=True, kw_only=True)
class Tails:
    """Latencies of one case after warm-up [ms], at the load that its `busy` asks for."""

    load_qps: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, kw_only=True)
class ScaleReport:
    """What a run took. cpu_s : of all processes if `cases` ran here, by their own clocks [s]."""

    cases: int
    queries: int
    wall_s: float
    cpu_s: float
    p99_ms: tuple[float, float, float]  # least, median and largest of the cases

    @property
    def queries_per_core_s(self) -> float:
        """Queries simulated per second of one core."""
        return self.cases * self.queries / self.cpu_s


def random_cases(count: int, seed: int) -> list[PipelineCase | NodeCase]:
    """Return `count` different enough cases: pipelines and nodes in turn."""
    random = np.random.default_rng(seed)
    cases: list[PipelineCase | NodeCase] = []
    for place in range(count):
        busy = float(random.uniform(0.3, 0.95))
        if place % 2 == 0:
            stages = int(random.integers(1, 4))
            cases.append(
                PipelineCase(
                    servers=tuple(random.integers(1, 9, stages).tolist()),
                    mean_s=tuple(random.uniform(1e-3, 10e-3, stages).tolist()),
                    busy=busy,
                )
            )
            continue
        policy = Policy(
            batch=int(random.choice(BATCHES[4:])),
            threshold=int(random.choice(THRESHOLDS[4:])),
            even=bool(random.integers(2)),
            merge=bool(random.integers(2)),
            merge_items=int(random.choice([0, 1000, 4000])),
        )
        cases.append(NodeCase(policy=policy, busy=busy))
    return cases


@lru_cache(maxsize=8)
def _unit_s(queries: int, seed: int) -> Floats:
    return poisson_arrivals_s(queries, 1.0, seed)


@lru_cache(maxsize=8)
def _sizes(queries: int, seed: int) -> NDArray[np.int32]:
    return heavy_tail().draw(queries, seed)


@lru_cache(maxsize=8)
def _gaps(queries: int, seed: int) -> Floats:
    return exponential_gaps(queries, seed)


def _pipeline(case: PipelineCase, queries: int, seed: int) -> tuple[float, Floats]:
    stations = [
        Station(name=str(stage), servers=count, service_s=mean * _gaps(queries, seed + 1 + stage))
        for stage, (count, mean) in enumerate(zip(case.servers, case.mean_s, strict=True))
    ]
    load = case.busy * min(n / mean for n, mean in zip(case.servers, case.mean_s, strict=True))
    arrivals = _unit_s(queries, seed) / load
    return load, finish_times_s(arrivals, stations)[0] - arrivals


def _node(case: NodeCase, queries: int, seed: int) -> tuple[float, Floats]:
    sizes, policy = _sizes(queries, seed), case.policy
    here = sizes < policy.threshold
    cores = np.sum(CPU_S[policy.batch] / policy.batch * sizes[here]) / CORES
    work = max(cores, np.sum(ACCELERATOR_S[sizes[~here]])) / queries
    node = Node(cores=CORES, cpu_s=CPU_S[None], accelerators=1, accelerator_s=ACCELERATOR_S[None])
    load = case.busy / float(work)
    arrivals = _unit_s(queries, seed) / load
    return load, run_policy(node, [policy], arrivals, sizes).finish_s - arrivals


def evaluate(case: PipelineCase | NodeCase, queries: int, seed: int) -> tuple[Tails, float]:
    """Return the latencies of one case, and the seconds of a core that it took."""
    start = time.thread_time()
    run = (
        _pipeline(case, queries, seed)
        if isinstance(case, PipelineCase)
        else _node(case, queries, seed)
    )
    load, latencies = run
    tails = quantiles_of(latencies[int(queries * WARM_UP) :] * 1e3, [0.5, 0.95, 0.99])
    found = Tails(load_qps=load, p50_ms=tails[0], p95_ms=tails[1], p99_ms=tails[2])
    return found, time.thread_time() - start


def run_scale(
    configurations: int,
    queries: int,
    seed: int = 0,
    executor: Executor | None = None,
    progress: Callable[[int], object] = lambda _done: None,
) -> ScaleReport:
    """Evaluate random cases and return what it took."""
    if configurations < 1 or queries < 200:
        raise ValueError(
            f"configurations must be at least 1 and queries at least 200, not {configurations} "
            f"and {queries}"
        )
    cases = random_cases(configurations, seed)
    start = time.perf_counter()
    found = run_many(
        partial(evaluate, queries=queries, seed=seed), cases, executor, chunk=CHUNK,
        progress=progress,
    )  # fmt: skip
    wall = time.perf_counter() - start
    p99 = np.asarray([tails.p99_ms for tails, _ in found])
    return ScaleReport(
        cases=configurations,
        queries=queries,
        wall_s=wall,
        cpu_s=sum(seconds for _, seconds in found),
        p99_ms=(float(p99.min()), float(np.median(p99)), float(p99.max())),
    )
