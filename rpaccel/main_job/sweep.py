"""`rpaccel sweep`: executors, progress on the terminal, and what is printed of a sweep."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rpaccel.perfmodel.analytic import evaluate
from rpaccel.perfmodel.design_space import DesignSpace
from rpaccel.perfmodel.point_events import point_events
from rpaccel.perfmodel.report import format_table
from rpaccel.perfmodel.sweep import Progress, run_sweep
from rpaccel.perfmodel.sweep_chunks import space_of
from rpaccel.spec.sweep import load_sweep

__all__ = ["check", "check_text", "executor_of", "run", "sweep_text"]

SHOWN = 12  # points of the front that are printed, one of those that are as good
SAME = ["latency_cycles", "interval_cycles", "array_macs", "sram_bytes", "k"]
CHUNKS_AHEAD = 2  # per process: one is evaluated while the next one waits


def _one_thread() -> None:
    """Keep a worker's libraries to one thread: every core has a worker of its own."""
    os.environ["POLARS_MAX_THREADS"] = "1"


def check_cluster(cluster: str | None) -> None:
    """Raise ValueError unless `cluster` is an address, or None."""
    if cluster is not None and "://" not in cluster:
        raise ValueError(f"cluster must be like tcp://host:port, not {cluster!r}")


@contextmanager
def executor_of(jobs: int, cluster: str | None) -> Iterator[tuple[Executor | None, int]]:
    """Yield (executor, chunks that are asked for at a time); see `run`."""
    if cluster is not None:
        check_cluster(cluster)
        try:
            from distributed import Client  # noqa: PLC0415  (an extra)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "cluster needs the extra dask: pip install .[dask]"
            ) from error
        with Client(cluster) as client:
            yield client.get_executor(), CHUNKS_AHEAD * max(1, sum(client.nthreads().values()))
    elif jobs == 1:
        yield None, 1
    else:
        # Not forked: the threads of libraries do not survive that.
        context = multiprocessing.get_context("spawn")
        count = jobs or os.cpu_count() or 1
        with ProcessPoolExecutor(count, context, initializer=_one_thread) as executor:
            yield executor, CHUNKS_AHEAD * count


@contextmanager
def _progress() -> Iterator[Progress]:
    """Yield what shows progress on standard error, with rate and time left."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar  # noqa: PLC0415

    columns: list[ProgressColumn] = [
        TextColumn("points"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f}/s"), TimeRemainingColumn(),
    ]  # fmt: skip
    bar = Bar(*columns, console=Console(file=sys.stderr))
    task, start = bar.add_task("points", total=None, rate=0.0), time.monotonic()
    before: list[int] = []

    def show(done: int, total: int) -> None:
        bar.start()  # not before there is something to show
        before.append(done)
        rate = (done - before[0]) / max(1e-9, time.monotonic() - start)
        bar.update(task, completed=done, total=total, rate=rate)

    try:
        yield show
    finally:
        if before:
            bar.stop()


def run(
    source: str, out: Path | None = None, *, jobs: int = 0, cluster: str | None = None
) -> dict[str, Any]:
    """Run a sweep, or the rest of it; return its summary with the folder, the seconds, the front.

    jobs : processes, 0: one per core. cluster : address of a Dask scheduler to run on instead.
    """
    spec = load_sweep(source)
    folder = out or Path("results/sweep") / spec.name
    start = time.monotonic()
    with _progress() as show, executor_of(jobs, cluster) as (executor, in_flight):
        summary = run_sweep(spec, folder, executor, in_flight=in_flight, progress=show)
    front = pl.read_parquet(folder / "front.parquet")
    return summary | {
        "folder": folder.as_posix(),
        "seconds": round(time.monotonic() - start, 1),
        "fastest": front.unique(SAME, keep="first", maintain_order=True)
        .sort("latency_cycles", *SAME)
        .head(SHOWN)
        .to_dicts(),
    }


def check(source: str, points: int, seed: int = 0) -> list[dict[str, Any]]:
    """Compare random points of a sweep with the event model; return a row per kind and figure.

    Relative errors of the analytic level. Kinds: lanes of one model each, or that change models.
    Raises ValueError for a GEMM topology, which has no event level, or if no point can be.
    """
    space = space_of(load_sweep(source).model_dump_json())
    if not isinstance(space, DesignSpace):
        raise ValueError("check must not be asked of a GEMM topology: it has no event level")
    rng = np.random.default_rng(seed)
    errors: dict[tuple[str, str], list[float]] = {}
    found = tried = 0
    while found < points:
        tried += 1
        if tried > 1000 * points:
            raise ValueError("axes must have a point that can be: none of many tried can")
        number = int(rng.integers(space.points))
        columns = evaluate(space, number, number + 1).columns
        if not len(columns["number"]):
            continue
        found += 1
        point = space.point(number)
        events = point_events(space, point)
        kind = "both models" if point.split.back is None else "one model"
        for name in ("latency_cycles", "interval_cycles"):
            error = float(columns[name][0]) / getattr(events, name) - 1
            errors.setdefault((kind, name), []).append(error)
    return [
        {
            "lanes run": kind, "figure": name, "points": len(values),
            "mean": float(np.mean(np.abs(values))), "lowest": min(values), "highest": max(values),
        }
        for (kind, name), values in sorted(errors.items())
    ]  # fmt: skip


def check_text(rows: list[dict[str, Any]]) -> str:
    """Return the errors as a table, in %."""
    lines = [
        [row["lanes run"], row["figure"], row["points"]]
        + [f"{100 * row[name]:+.2f}" for name in ("mean", "lowest", "highest")]
        for row in rows
    ]
    header = ["lanes run", "figure", "points", "mean |error| [%]", "lowest [%]", "highest [%]"]
    return format_table(header, lines)


def sweep_text(summary: dict[str, Any]) -> str:
    """Return the fastest points of the front, and the sweep's figures."""
    clock_hz = summary["clock_hz"]
    header = ["array", "split", "ports x beat", "SRAM [MiB]", "k", "tasks", "latency [ms]",
              "queries/s", "bound by"]  # fmt: skip
    lines = [
        [
            row["array_size"], row["split"], f"{row['memory_ports']} x {row['beat_bytes']}",
            f"{row['sram_bytes'] / (1 << 20):.1f}", row["k"],
            f"{row['front_task_items']}, {row['back_task_items']}",
            f"{1e3 * row['latency_cycles'] / clock_hz:.4f}",
            f"{clock_hz / row['interval_cycles']:.0f}", row["bound"],
        ]
        for row in summary["fastest"]
    ]  # fmt: skip
    slower, pairs = summary["bandwidth_slower"], summary["bandwidth_pairs"]
    return (
        f"{format_table(header, lines)}\n"
        f"{summary['points']} points ({summary['numbers']} asked for), {summary['front']} in the "
        f"front; {slower} of {pairs} neighbours later with more bandwidth, at most "
        f"x {summary['bandwidth_worst']:.3f}; {summary['seconds']} s; {summary['folder']}"
    )
