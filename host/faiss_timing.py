"""Exact search by Faiss on this machine's CPU, timed beside the bandwidth of its memory.

Ref: Johnson, Douze, Jegou: Billion-scale similarity search with GPUs; faiss-cpu is an extra of this
package. No GPU is used.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from rpaccel.golden.retrieval import inner_product, top_k

__all__ = [
    "BLAS_THRESHOLDS",
    "INDEXES",
    "FaissTiming",
    "merge_seconds_per_row",
    "read_bytes_per_s",
    "time_faiss",
]

BLAS_THRESHOLDS = {"default": None, "20": 20}  # of faiss.cvar.distance_compute_blas_threshold
INDEXES = {"float32": 4, "int8": 1}  # bytes of a component: IndexFlatIP, QT_8bit_direct_signed


@dataclass(frozen=True, kw_only=True)
class FaissTiming:
    """The least time of a call [s] with `queries` queries.

    threshold : a key of BLAS_THRESHOLDS; threshold_value : what that was. index : of INDEXES.
    threads : of Faiss. cores : CPU seconds over seconds in that call: below `threads` where other
    work took cores away. memory_bytes_per_s : that all cores read right behind the calls.
    """

    index: str
    threshold: str
    threshold_value: int
    queries: int
    k: int
    threads: int
    call_s: float
    cores: float
    memory_bytes_per_s: float
    version: str


def time_faiss(
    rows: npt.NDArray[np.int8],
    queries: npt.NDArray[np.int8],
    k: int,
    batches: tuple[int, ...],
    repeats: int,
    progress: Callable[[str], None] = print,
) -> list[FaissTiming]:
    """Return the times of exact inner-product search over int8[n, d] rows, by index and threshold.

    queries : int8[q, d], q at least the largest of `batches`. With one thread and with one per
    core, whatever OMP_NUM_THREADS says: the package sets it to 1. Raises ValueError if the scores
    of the first query's answer are not those of golden.retrieval; ModuleNotFoundError without
    faiss-cpu.
    """
    try:
        import faiss  # noqa: PLC0415  (an extra)
    except ModuleNotFoundError:
        raise ModuleNotFoundError("faiss must be installed: pip install rpaccel[faiss]") from None

    scores = inner_product(rows, queries[0])
    best = scores[top_k(scores, k)]
    words = np.ones(1 << 26, dtype=np.int64)  # 512 MB, far more than a cache
    found = []
    before = faiss.cvar.distance_compute_blas_threshold, faiss.omp_get_max_threads()
    try:
        for name in INDEXES:
            index = _index(faiss, name, rows)
            for (title, threshold), threads, batch in product(
                BLAS_THRESHOLDS.items(), sorted({1, os.cpu_count() or 1}), batches
            ):
                value = before[0] if threshold is None else threshold
                faiss.cvar.distance_compute_blas_threshold = value
                faiss.omp_set_num_threads(threads)
                search = partial(index.search, queries[:batch].astype(np.float32), k)
                seconds, cores, (values, _) = _least(search, repeats)
                if not (values[0] == best).all():
                    raise ValueError(f"Faiss's {name} index must give the scores of golden")
                found.append(
                    FaissTiming(
                        index=name,
                        threshold=title,
                        threshold_value=value,
                        queries=batch,
                        k=k,
                        threads=faiss.omp_get_max_threads(),
                        call_s=seconds,
                        cores=cores,
                        memory_bytes_per_s=read_bytes_per_s(words),
                        version=faiss.__version__,
                    )
                )
                progress(
                    f"Faiss {name}, threshold {value}, {threads} threads, {batch} queries: "
                    f"{1e3 * seconds:.1f} ms"
                )
    finally:
        faiss.cvar.distance_compute_blas_threshold = before[0]
        faiss.omp_set_num_threads(before[1])
    return found


def _index(faiss: Any, name: str, rows: npt.NDArray[np.int8]) -> Any:
    """Return the index with all rows in it."""
    dims = rows.shape[1]
    if name == "float32":
        index = faiss.IndexFlatIP(dims)
    else:
        kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
        index = faiss.IndexScalarQuantizer(dims, kind, faiss.METRIC_INNER_PRODUCT)
    for first in range(0, len(rows), 1 << 16):
        index.add(rows[first : first + (1 << 16)].astype(np.float32))
    return index


def _least(call: Callable[[], Any], repeats: int) -> tuple[float, float, Any]:
    """Return the least time [s] of `repeats` calls after one more, its cores, and the last result.

    Other work on the machine only adds to a call's time.
    """
    result, times = call(), []
    for _ in range(repeats):
        start, busy = time.perf_counter(), time.process_time()
        result = call()
        seconds = time.perf_counter() - start
        times.append((seconds, (time.process_time() - busy) / seconds))
    return *min(times), result


def read_bytes_per_s(words: npt.NDArray[np.int64], repeats: int = 3) -> float:
    """Return the rate at which all cores read int64[n]: the best of `repeats` sums."""
    parts = np.array_split(words, os.cpu_count() or 1)
    with ThreadPoolExecutor(len(parts)) as pool:
        seconds, _, _ = _least(lambda: sum(pool.map(np.sum, parts)), repeats)
    return words.nbytes / seconds


def merge_seconds_per_row(k: int, shards: int, repeats: int = 20, seed: int = 1) -> float:
    """Return the host's time per row to order the rows of `shards` answers: golden.top_k."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(-(1 << 20), 1 << 20, (shards, k)).ravel()
    seconds, _, _ = _least(lambda: top_k(scores, k), repeats)
    return seconds / len(scores)
