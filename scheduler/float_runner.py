"""The float rankers as a serving thread runs them: what `cpu_profile` measures."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import numpy as np

from rpaccel.golden.dlrm import RankerParameters, item_vectors, logits
from rpaccel.scheduler.cpu_profile import (
    ITEM_COUNTS,
    MERGE,
    RETRIEVE,
    CpuProfile,
    Runner,
    measure_profile,
)
from rpaccel.spec.records import FeatureData

BLAS_THREAD_NAMES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
KEPT = 256  # rows that a timed retrieval finds
USERS = 16  # users taken in turn, so that no user's rows stay in cache


def float_runners(rankers: Mapping[str, RankerParameters], data: FeatureData) -> dict[str, Runner]:
    """Return model name -> function that ranks that many candidates of the next user.

    A call gathers, scores in float32 and sorts. Item-side vectors are pooled once beforehand, as a
    server would keep them. Counts above the catalogue repeat its items.
    """
    return {name: _runner(parameters, data) for name, parameters in rankers.items()}


def retrieval_runners(parameters: RankerParameters) -> dict[str, Runner]:
    """Return runners of exact retrieval over a ranker's own vectors, and of merging its answers.

    `retrieve` scores that many rows of the catalogue for the next user and finds the best KEPT;
    `merge` sorts that many (score, id).
    """
    items, users = parameters.tables["item"], parameters.tables["user"]
    rng = np.random.default_rng(0)
    calls = iter(range(1 << 62))

    def retrieve(count: int) -> object:
        rows = np.resize(items, (count, items.shape[1]))
        scores = rows @ users[next(calls) % min(USERS, len(users))]
        if count <= KEPT:
            return np.argsort(-scores, kind="stable")
        best = np.argpartition(-scores, KEPT)[:KEPT]
        return best[np.argsort(-scores[best], kind="stable")]

    def merge(count: int) -> object:
        return np.argsort(-rng.random(count), kind="stable")

    return {RETRIEVE: retrieve, MERGE: merge}


def _runner(parameters: RankerParameters, data: FeatureData) -> Runner:
    items = item_vectors(parameters, data)
    catalogue = np.arange(len(data.item_dense))
    users = min(USERS, len(data.user_dense))
    calls = iter(range(1 << 62))

    def run(count: int) -> object:
        ids = np.resize(catalogue, count)
        scores = logits(parameters, data, next(calls) % users, ids, items)
        return ids[np.argsort(-scores, kind="stable")]

    return run


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    # BLAS reads these once, when a process imports NumPy: they are meant for a child process.
    before = {name: os.environ.get(name) for name in BLAS_THREAD_NAMES}
    os.environ.update(dict.fromkeys(BLAS_THREAD_NAMES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _measure(
    rankers: Mapping[str, RankerParameters],
    data: FeatureData,
    command: str,
    item_counts: Sequence[int],
    repeats: int,
) -> CpuProfile:
    runners = float_runners(rankers, data) | retrieval_runners(rankers["small"])
    return measure_profile(runners, command, item_counts, repeats)


def profile_rankers(
    rankers: Mapping[str, RankerParameters],
    data: FeatureData,
    command: str,
    item_counts: Sequence[int] = ITEM_COUNTS,
    repeats: int = 15,
) -> CpuProfile:
    """Measure the float rankers in a fresh process with one BLAS thread, as one worker runs them.

    Beside them exact retrieval by the small ranker's vectors, and merging.

    command : what a reader types to measure again; it is stored with the profile.
    """
    context = multiprocessing.get_context("spawn")
    with _one_blas_thread(), ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, rankers, data, command, item_counts, repeats).result()
