"""Verbs of the scheduler: what runs where, for a load and an SLA."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Annotated

import typer

from rpaccel.console import Data, Json, Preset, Seed, only_json, print_json, show_page

__all__ = ["VERBS"]

# Imports inside the verbs: they are slow, and one verb needs few of them.
Arrivals = Annotated[
    str | None,
    typer.Option(
        help="poisson, bursts, diurnal, or artifact (DeepRecSys' gaps of whole ms); "
        "default: poisson."
    ),
]
Trace = Annotated[
    Path | None, typer.Option(help="Arrivals instead: a file, a time [s] a line; its gaps scaled.")
]


def schedule(
    workload: Annotated[
        str | None,
        typer.Option(
            help="criteo, movielens, or a YAML file like theirs; default: criteo, "
            "movielens if --data or --preset is given."
        ),
    ] = None,
    qps: Annotated[float, typer.Option(help="Load [queries/s].")] = 100.0,
    sla_ms: Annotated[float, typer.Option(help="SLA, p99 [ms].")] = 25.0,
    quality: Annotated[
        float | None,
        typer.Option(
            help="NDCG asked, 0..1; default: criteo's NDCG@64 of 0.9225, "
            "movielens' 97 % of the large ranker's NDCG@10."
        ),
    ] = None,
    devices: Annotated[str, typer.Option(help="Of cpu, gpu, accelerator; default: all.")] = "",
    data: Annotated[
        str | None, typer.Option(help="movielens: ml-100k, synthetic, or a folder.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="movielens: the card's; default: edge.")
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            help="movielens: its CPU (rpaccel profile cpu); default: measured, kept in --out."
        ),
    ] = None,
    arrivals: Arrivals = None,
    trace: Trace = None,
    out: Annotated[Path, typer.Option(help="Folder of choice and plots.")] = Path(
        "results/schedule"
    ),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Choose stages, models, items and devices for a load, an SLA and a quality target.

    Says why the runner-up lost, what half and double the load would change, or what binds.
    """
    from rpaccel.main_job import schedule as job  # noqa: PLC0415
    from rpaccel.main_job.schedule_plots import write_schedule  # noqa: PLC0415
    from rpaccel.scheduler.choice_text import choice_json, choice_text  # noqa: PLC0415

    ask = job.ScheduleAsk(
        workload=workload,
        qps=qps,
        sla_ms=sla_ms,
        quality=quality,
        devices=tuple(name for name in devices.split(",") if name),
        data=data,
        preset=preset,
        profile=profile,
        seed=seed,
        arrivals=arrivals,
        trace=trace,
    )
    with only_json(json):
        choice = job.schedule_command(ask, kept=out / "profile_cpu.json")
    write_schedule(choice, ask, out)
    print_json(choice_json(choice)) if json else print(choice_text(choice))


def recpipe(
    spaces: Annotated[
        str, typer.Option(help="Searches of spec/presets/recpipe, or YAML files; all candidates.")
    ] = "criteo,movielens",
    wide: Annotated[
        str, typer.Option(help="A larger space of criteo, for NSGA-II alone; '': none.")
    ] = "criteo_wide",
    population: Annotated[int, typer.Option(help="Of NSGA-II.", min=8)] = 60,
    generations: Annotated[int, typer.Option(help="Of NSGA-II.", min=1)] = 30,
    seeds: Annotated[int, typer.Option(help="NSGA-II with seeds seed, seed+1, ...", min=1)] = 3,
    data: Data = "ml-100k",
    preset: Preset = "edge",
    profile: Annotated[
        Path | None, typer.Option(help="MovieLens' CPU (rpaccel profile cpu); default: shipped.")
    ] = None,
    page: Annotated[Path, typer.Option(help="Page to write.")] = Path("docs/generated/recpipe.md"),
    out: Annotated[Path, typer.Option(help="Folder of fronts and plots.")] = Path(
        "results/recpipe"
    ),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Search pipelines, devices and loads jointly: fronts, slices, NSGA-II beside all (minutes).

    Needs the extra `search`.
    """
    from rpaccel.main_job import recpipe as job  # noqa: PLC0415

    say = functools.partial(print, file=sys.stderr, flush=True)
    asked = job.RecPipeAsk(
        spaces=tuple(name for name in spaces.split(",") if name),
        wide=wide or None,
        population=population,
        generations=generations,
        seeds=seeds,
        data=data,
        preset=preset,
        profile=profile,
        seed=seed,
    )
    text, values = job.run_recpipe(asked, out, say)
    show_page(page, text, values if json else None)


def online(
    queries: Annotated[int, typer.Option(help="Of a day.", min=1000)] = 1_000_000,
    days: Annotated[int, typer.Option(help="Days of each load, by seeds.", min=1)] = 3,
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/online.md"
    ),
    plots: Annotated[Path, typer.Option(help="Folder of plots.")] = Path("results/online"),
    seed: Seed = 200,
    json: Json = False,
) -> None:
    """Let pipeline and split follow a day's load, against every static choice (minutes)."""
    from rpaccel.main_job import online_page as page  # noqa: PLC0415

    say = functools.partial(print, file=sys.stderr, flush=True)
    study = page.run_online(queries=queries, days=days, seed=seed, progress=say)
    page.draw_online(study, plots)
    show_page(out, page.online_text(study), page.online_values(study) if json else None)


def serving_figures(
    arrivals: Annotated[int, typer.Option(help="Queries of each load.", min=1000)] = 20_000,
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/serving_figures.md"
    ),
    plots: Annotated[Path, typer.Option(help="Folder of plots.")] = Path("results/serving_figures"),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Draw RecPipe's figures 7, 8, 12, 14 from its own service times, ours beside its points."""
    from rpaccel.main_job import serving_page as page  # noqa: PLC0415

    say = functools.partial(print, file=sys.stderr, flush=True)
    study = page.run_serving_figures(arrivals, seed, say)
    page.write_serving(study, plots)
    show_page(out, page.serving_text(study), study if json else None)


def deeprecsched(
    profiles: Annotated[
        str, typer.Option(help="Service times: measured, assumed, or JSON files.")
    ] = "measured,assumed",
    models: Annotated[str, typer.Option(help="Of the eight; default: all.")] = "",
    cores: Annotated[int, typer.Option(help="Of the node.", min=2)] = 40,
    sizes: Annotated[
        str, typer.Option(help="heavy, mlperf, fixed:, normal:, lognormal:, or a file.")
    ] = "heavy",
    arrivals: Arrivals = None,
    trace: Trace = None,
    queries: Annotated[int, typer.Option(help="Of the longest look.", min=200)] = 16384,
    jobs: Annotated[int, typer.Option(help="Processes.", min=1)] = 2,
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/deeprecsched.md"
    ),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compare DeepRecSched, a joint search and the exhaustive optimum on eight models, 3 SLAs."""
    from rpaccel.main_job import deeprecsched as job  # noqa: PLC0415
    from rpaccel.main_job.deeprecsched_page import (  # noqa: PLC0415
        deeprecsched_text,
        deeprecsched_values,
    )

    say = functools.partial(print, file=sys.stderr, flush=True)
    results = job.run_deeprecsched(
        profiles.split(","),
        [name for name in models.split(",") if name],
        job.Options(
            cores=cores, sizes=sizes, queries=queries, seed=seed, arrivals=arrivals, trace=trace
        ),
        jobs,
        say,
    )
    values = deeprecsched_values(*results) if json else None
    show_page(out, deeprecsched_text(*results), values)


def queue_scale(
    configurations: Annotated[int, typer.Option(help="Pipelines and nodes.", min=1)] = 10_000,
    queries: Annotated[int, typer.Option(help="Of each.", min=200)] = 100_000,
    jobs: Annotated[int, typer.Option(help="Processes; 0: one per core.", min=0)] = 2,
    cluster: Annotated[
        str | None, typer.Option(help="Dask scheduler to run on instead (tcp://host:port).")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Compare these arrivals, too: a time [s] a line.")
    ] = None,
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/queueing.md"
    ),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure how fast queues are simulated, thousands of them too, and what arrivals change."""
    from rpaccel.main_job import queue_scale as job  # noqa: PLC0415

    say = functools.partial(print, file=sys.stderr, flush=True)
    asked = job.QueueAsk(
        configurations=configurations,
        queries=queries,
        jobs=jobs,
        cluster=cluster,
        trace=trace,
        seed=seed,
    )
    study = job.run_queues(asked, say)
    show_page(out, job.queue_text(study), job.queue_values(study) if json else None)


VERBS = (schedule, recpipe, online, serving_figures, deeprecsched, queue_scale)
