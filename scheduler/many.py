"""Many independent evaluations through an executor: the one interface for a core and a cluster.

Anything with `submit` of `concurrent.futures` does: a pool of processes or threads here, a Dask
cluster by its client's `get_executor()`. Functions and items must be picklable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from itertools import islice
from typing import TypeVar

__all__ = ["run_many"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def _run(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]


def run_many(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    executor: Executor | None = None,
    *,
    chunk: int = 1,
    progress: Callable[[int], object] = lambda _done: None,
) -> list[Result]:
    """Return function(item) of every item, in order.

    executor : None: here and now. chunk : items of one task. progress : called with how many are
    done. The first error of a task is raised, and what has not begun is not begun.
    """
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, not {chunk}")
    results: list[Result] = []
    if executor is None:
        for item in items:
            results.append(function(item))
            progress(len(results))
        return results
    rest = iter(items)
    tasks = []
    while part := list(islice(rest, chunk)):
        tasks.append(executor.submit(_run, function, part))
    try:
        for task in tasks:
            results += task.result()
            progress(len(results))
    except BaseException:
        for task in tasks:
            task.cancel()
        raise
    return results
