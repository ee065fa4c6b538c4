"""Verbs of DeepRecInfra's models: their page, and a pipeline that really serves."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Annotated

import typer

from rpaccel.console import Json, Seed, print_json, show_page
from rpaccel.profile_verbs import TABLES, ScaleRows, Tables

__all__ = ["VERBS"]

# Imports inside the verbs: they are slow.
PIPELINE = "dlrm-rmc3:256,rmlarge@accelerator:64"


def deeprec(
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/deeprec.md"
    ),
    json: Json = False,
) -> None:
    """Print sizes, measured times and cited devices of DeepRecInfra's models."""
    from rpaccel.main_job import deeprec_page as page  # noqa: PLC0415

    tables = page.deeprec_tables()
    show_page(out, page.deeprec_text(tables), page.deeprec_values(tables) if json else None)


def serve(
    stages: Annotated[
        list[str] | None,
        typer.Option(
            help="MODEL@DEVICE:KEEP,... with cpu or, at an end, accelerator; one per pipeline."
        ),
    ] = None,
    sizes: Annotated[str, typer.Option(help="Items of a query: heavy, mlperf, fixed:N, ...")] = (
        "heavy"
    ),
    samples: Annotated[int, typer.Option(help="Different queries.", min=1)] = 64,
    workers: Annotated[
        int, typer.Option(help="Processes of every CPU stage; leave LoadGen a core.", min=1)
    ] = 1,
    batch: Annotated[
        int | None, typer.Option(help="Items of a request at most; default: whole queries.")
    ] = None,
    load: Annotated[float, typer.Option(help="Share of the capacity to offer.")] = 0.5,
    qps: Annotated[float | None, typer.Option(help="Load instead, in queries/s.")] = None,
    queries: Annotated[int, typer.Option(help="Queries of a run.", min=20)] = 1000,
    seconds: Annotated[
        float, typer.Option(help="Or queries of so long, if these are more.", min=0)
    ] = 0.0,
    runs: Annotated[
        int, typer.Option(help="Runs after each other; their medians count.", min=1)
    ] = 1,
    scale_rows: ScaleRows = 1.0,
    platform: Annotated[str, typer.Option(help="Platform of the accelerator.")] = "paper",
    split: Annotated[
        str, typer.Option(help="Its equal lanes: how many, blocks down and across.")
    ] = "4*2x2",
    tables: Tables = TABLES,
    out: Annotated[Path, typer.Option(help="Folder of LoadGen's logs.")] = Path("results/serve"),
    page: Annotated[
        Path | None, typer.Option(help="Markdown page to write, too.", dir_okay=False)
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Serve a pipeline for real under MLPerf LoadGen, and compare p99 with the simulation."""
    from rpaccel.main_job import serve as job  # noqa: PLC0415
    from rpaccel.main_job.serve_page import serve_page, serve_text  # noqa: PLC0415

    asks = [
        job.ServeAsk(
            stages=text,
            platform=platform,
            split=split,
            sizes=sizes,
            samples=samples,
            workers=workers,
            batch=batch,
            load=load,
            qps=qps,
            queries=queries,
            seconds=seconds,
            runs=runs,
            scale_rows=scale_rows,
            seed=seed,
        )
        for text in stages or [PIPELINE]
    ]
    say = functools.partial(print, file=sys.stderr, flush=True)
    reports = [job.run_serve(ask, out, tables, say) for ask in asks]
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(serve_page(reports, tables))
    print_json(reports) if json else print("\n\n".join(map(serve_text, reports)))


VERBS = (deeprec, serve)
