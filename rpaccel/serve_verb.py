"""The verb that serves a pipeline for real."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Annotated

import typer

from rpaccel.console import Json, Seed, print_json
from rpaccel.profile_verbs import TABLES, ScaleRows, Tables

__all__ = ["serve"]


def serve(
    stages: Annotated[
        str, typer.Option(help="MODEL[@cpu|@accelerator]:KEEP, ...; the accelerator comes last.")
    ] = "wnd:256,rmlarge@accelerator:64",
    sizes: Annotated[str, typer.Option(help="Items of a query: heavy, mlperf, fixed:N, ...")] = (
        "heavy"
    ),
    samples: Annotated[int, typer.Option(help="Different queries.", min=1)] = 64,
    workers: Annotated[int, typer.Option(help="Processes; leave LoadGen a core.", min=1)] = 1,
    load: Annotated[float, typer.Option(help="Share of the capacity to offer.")] = 0.5,
    qps: Annotated[float | None, typer.Option(help="Load instead [queries/s].")] = None,
    queries: Annotated[int, typer.Option(help="Queries to serve.", min=20)] = 1000,
    scale_rows: ScaleRows = 1.0,
    platform: Annotated[str, typer.Option(help="Platform of the accelerator.")] = "paper",
    tables: Tables = TABLES,
    out: Annotated[Path, typer.Option(help="Folder of LoadGen's logs.")] = Path("results/serve"),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Serve a pipeline for real under MLPerf LoadGen, and compare p99 with the simulation."""
    from rpaccel.main_job.serve import ServeAsk, run_serve, serve_text  # noqa: PLC0415

    ask = ServeAsk(
        stages=stages,
        platform=platform,
        sizes=sizes,
        samples=samples,
        workers=workers,
        load=load,
        qps=qps,
        queries=queries,
        scale_rows=scale_rows,
        seed=seed,
    )
    say = functools.partial(print, file=sys.stderr, flush=True)
    report = run_serve(ask, out, tables, say)
    print_json(report) if json else print(serve_text(report))
