"""How many row fetches disappear when equal ids are fetched once: per query, or while in flight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rpaccel.golden.cache_sim import CacheConfig, simulate
from rpaccel.main_job.cache_study import CANDIDATES
from rpaccel.main_job.netlist import STAGES, TOP_N
from rpaccel.main_job.rankers import CompiledJob
from rpaccel.workloads.criteo_trace import ALL_TABLES, LARGE_TABLES, criteo_trace
from rpaccel.workloads.log_trace import RowKeys

Ints = npt.NDArray[np.int64]

WINDOWS = (8, 32, 64, 128, 512)  # reads of memory in flight


@dataclass(frozen=True, kw_only=True)
class MergeReport:
    """Savings on one stream of queries, as shares of its row fetches.

    stream : str; queries : int; rows_per_query : float  fetches of a query without any merging
    once_per_query : float  share saved if a query fetches each of its rows once
    windows : reads in flight -> share saved if an id in flight is not fetched again
    """

    stream: str
    queries: int
    rows_per_query: float
    once_per_query: float
    windows: dict[int, float]


def merge_report(
    stream: str, queries: Sequence[Ints], windows: Iterable[int] = WINDOWS
) -> MergeReport:
    """Return what merging saves. queries : int64[n] keys of each query, in order of reading."""
    keys = np.concatenate(list(queries))
    unique = sum(np.unique(query).size for query in queries)
    nothing = np.zeros(0, dtype=np.int64)

    def saved(window: int) -> float:
        config = CacheConfig(policy="pinned", rows=0, outstanding=window)
        return simulate(config, keys, pinned=nothing).merged / keys.size

    return MergeReport(
        stream=stream,
        queries=len(queries),
        rows_per_query=keys.size / len(queries),
        once_per_query=1 - unique / keys.size,
        windows={window: saved(window) for window in windows},
    )


def criteo_merging(queries: int, seed: int) -> list[MergeReport]:
    """Return savings on the Criteo-like trace: both stages of RecPipe's funnel, 4096 and 512."""
    reports = []
    for name, tables in (("26 tables", ALL_TABLES), ("5 largest tables", LARGE_TABLES)):
        keys = criteo_trace(queries * CANDIDATES, tables=tables, seed=seed)
        for items in (CANDIDATES, CANDIDATES // 8):
            parts = [keys[q * CANDIDATES :][:items].ravel() for q in range(queries)]
            reports.append(merge_report(f"Criteo-like, {name}, {items} items", parts))
    return reports


def log_merging(job: CompiledJob, queries: int, seed: int) -> list[MergeReport]:
    """Return savings on the two-stage queries of the main job, in its order of scoring."""
    keys = RowKeys(job.inputs.features, [r.config for r in job.inputs.rankers.values()])
    streams: dict[str, list[Ints]] = {}
    for user in job.inputs.some_users(queries, seed):
        answer = job.golden(int(user), STAGES, TOP_N)
        for (name, _), scored in zip(STAGES, answer.stages, strict=True):
            rows = keys.stage(name, int(user), scored.ids)
            label = f"{job.inputs.log.name}, {name} ranker"
            streams.setdefault(f"{label}, user again per item", []).append(rows.user_each_time)
            streams.setdefault(f"{label}, user once", []).append(rows.user_once)
    return [merge_report(stream, parts) for stream, parts in streams.items()]
