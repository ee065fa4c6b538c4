"""Verbs that draw: the page of designs within limits, a load's timeline, a run's own page again."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Annotated

import typer

from rpaccel.console import Json, Seed, integers, print_json

__all__ = ["VERBS"]


def report(
    spec: Annotated[
        str, typer.Option(help="Sweep in spec/presets/sweeps/, or a YAML file; of Criteo.")
    ] = "criteo",
    candidates: Annotated[
        str, typer.Option(help="Of stage 0, each a sweep of its own; as published.")
    ] = "1024,2048,3200,4096",
    step: Annotated[
        float,
        typer.Option(help="Points closer in every figure are one [share]; 0: all.", min=0, max=0.5),
    ] = 0.01,
    out: Annotated[Path, typer.Option(help="Folder of report.html.")] = Path("build/report"),
    jobs: Annotated[int, typer.Option(help="Processes; 0: one per core.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Write one HTML page, data and script inside: limits, front, a design's parts and timeline.

    Nothing in it is random.
    """
    from rpaccel.main_job.explorer import report_text, write_explorer  # noqa: PLC0415  (slow)
    from rpaccel.main_job.sweep import executor_of  # noqa: PLC0415
    from rpaccel.spec.sweep import load_sweep  # noqa: PLC0415

    items = integers("candidates", candidates)
    say = functools.partial(print, file=sys.stderr, flush=True)
    with executor_of(jobs, None) as (executor, _):
        summary = write_explorer(
            load_sweep(spec), out, candidates=items, step=step, executor=executor, progress=say
        )
    print_json(summary) if json else print(report_text(summary))


def event(
    spec: Annotated[
        str, typer.Option(help="Sweep in spec/presets/sweeps/, or a YAML file.")
    ] = "criteo",
    axis: Annotated[
        list[str] | None,
        typer.Option(help="AXIS=VALUE, as often as you like; else the sweep's first value."),
    ] = None,
    queries: Annotated[int, typer.Option(help="Of the sweep's workload, all alike.")] = 8,
    gap_cycles: Annotated[float, typer.Option(help="Between arrivals [cycles].")] = 0.0,
    poisson: Annotated[bool, typer.Option(help="Gaps are exponential, of that mean.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results/event"),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Simulate a load on a machine, event by event: latencies, what is busy, a Perfetto trace."""
    from rpaccel.main_job import event_run as job  # noqa: PLC0415  (slow)
    from rpaccel.spec.sweep import load_sweep  # noqa: PLC0415

    load = job.EventLoad(queries=queries, gap_cycles=gap_cycles, random=poisson, seed=seed)
    summary = job.event_run(load_sweep(spec), job.axes_of(axis or []), load, out)
    print_json(summary) if json else print(job.event_text(summary, out))


def redraw(
    folder: Annotated[Path, typer.Option(help="Folder of a run.")] = Path("results/run"),
    json: Json = False,
) -> None:
    """Draw a run's plots and index.html again from its JSON files."""
    from rpaccel.main_job.report import write_report  # noqa: PLC0415

    page = write_report(folder)
    print_json({"page": page.as_posix()}) if json else print(page)


VERBS = (report, event, redraw)
