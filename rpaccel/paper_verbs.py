"""Verbs that put our models beside the paper's and its artifact's, a page each."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Annotated

import typer

from rpaccel.console import Json, Seed, integers, show_page

__all__ = ["VERBS"]

# Imports inside the verbs: they are slow, and one verb needs few of them.


def scale_sim(
    sizes: Annotated[str, typer.Option(help="Array sides.")] = "16,32,64,128",
    items: Annotated[int, typer.Option(help="Items through each layer.", min=1)] = 4096,
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/scale_sim.md"
    ),
    json: Json = False,
) -> None:
    """Compare SCALE-Sim 3 with the closed forms, layer by layer (needs the extra `scalesim`)."""
    from rpaccel.main_job import scale_sim_study as study  # noqa: PLC0415

    say = functools.partial(print, file=sys.stderr, flush=True)
    found = study.run_scale_sim(integers("sizes", sizes), items, say)
    show_page(out, study.scale_sim_text(found), found.to_json() if json else None)


def energy(
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/energy.md"
    ),
    json: Json = False,
) -> None:
    """Add up the energy of a query from published tables: queries per second and watt."""
    from rpaccel.main_job import energy_page as page  # noqa: PLC0415

    rows = page.energy_rows()
    show_page(out, page.energy_text(rows), [row.to_json() for row in rows] if json else None)


def artifact(
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/artifact.md"
    ),
    json: Json = False,
) -> None:
    """Print the latencies of RecPipe's artifact, and the way from them to ours, term by term."""
    from rpaccel.main_job import artifact_page as page  # noqa: PLC0415

    steps, events = page.walk_steps()
    values = page.artifact_values(steps, events) if json else None
    show_page(out, page.artifact_text(steps, events), values)


def area(
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/area.md"
    ),
    json: Json = False,
) -> None:
    """Count gates with Yosys and estimate the silicon of `paper` at 12 nm (minutes at first)."""
    from rpaccel.main_job import area_page as page  # noqa: PLC0415

    say = functools.partial(print, file=sys.stderr, flush=True)
    report = page.area_report(progress=say)
    show_page(out, page.area_text(report), report.to_json() if json else None)


def claims(
    arrivals: Annotated[int, typer.Option(help="Queries of each load.", min=50)] = 1500,
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/claims.md"
    ),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compute RecPipe's claims C1 to C34 from our models: reproduced, differs, out of reach."""
    from rpaccel.main_job.claim_job import all_claims  # noqa: PLC0415
    from rpaccel.main_job.claims import claims_text  # noqa: PLC0415

    say = functools.partial(print, file=sys.stderr, flush=True)
    found = all_claims(arrivals, seed, say)
    values = [{**vars(claim), "status": claim.status.value} for claim in found] if json else None
    show_page(out, claims_text(found, arrivals, seed), values)


def ablation(
    queries: Annotated[int, typer.Option(help="Arrivals of each load.", min=100)] = 1500,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write; default in docs/generated/: ablation.md, ablation_rtl.md, "
            "ablation_rtl_scaled.md."
        ),
    ] = None,
    plots: Annotated[Path, typer.Option(help="Folder of figures, plots and timeline.")] = Path(
        "results/ablation"
    ),
    rtl: Annotated[
        bool, typer.Option("--rtl", help="On the netlist of `default`, beside the model.")
    ] = False,
    items: Annotated[
        int | None,
        typer.Option(
            help="With --rtl, not --scaled: candidates of a query, 128, 256, 384 or 512 (default)."
        ),
    ] = None,
    scaled: Annotated[
        bool,
        typer.Option(
            "--scaled", help="With --rtl: rankers scaled with its array, 4096 candidates."
        ),
    ] = False,
    trace: Annotated[
        Path | None,
        typer.Option(help="With --rtl: folder of timelines, device and model, one per design."),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Switch RPAccel's ideas on, alone and one after another, in the model of the machine."""
    say = functools.partial(print, file=sys.stderr, flush=True)
    if items is not None and (scaled or not rtl):
        raise ValueError("items must come with --rtl, and not with --scaled: those are 4096")
    if rtl:
        from rpaccel.main_job.ablation_rtl import run_rtl_ablation  # noqa: PLC0415
        from rpaccel.main_job.ablation_rtl_page import rtl_text, rtl_values  # noqa: PLC0415
        from rpaccel.main_job.ablation_rtl_rows import RtlAsk  # noqa: PLC0415
        from rpaccel.main_job.ablation_rtl_scaled_page import scaled_text  # noqa: PLC0415
        from rpaccel.scheduler.ablation import CANDIDATES  # noqa: PLC0415

        if scaled:
            ask = RtlAsk(items=CANDIDATES, shape="sixteenth", loads=3, seed=seed)
        else:
            ask = RtlAsk(seed=seed) if items is None else RtlAsk(items=items, seed=seed)
        found = run_rtl_ablation(ask, progress=say, trace=trace)
        page = Path("docs/generated") / f"ablation_rtl{'_scaled' if scaled else ''}.md"
        text = scaled_text(found) if scaled else rtl_text(found)
        show_page(out or page, text, rtl_values(found) if json else None)
        return
    if trace is not None:
        raise ValueError("trace must come with --rtl: the model's timeline is in the plots' folder")
    if scaled:
        raise ValueError("scaled must come with --rtl")
    from rpaccel.main_job.ablation_page import ablation_text, ablation_values  # noqa: PLC0415
    from rpaccel.main_job.ablation_plots import write_ablation  # noqa: PLC0415
    from rpaccel.scheduler.ablation_study import run_ablation  # noqa: PLC0415

    study = run_ablation(queries=queries, seed=seed, progress=say)
    values = ablation_values(study)
    write_ablation(study, values, plots)
    page = out or Path("docs/generated/ablation.md")
    show_page(page, ablation_text(study), values if json else None)


VERBS = (scale_sim, energy, artifact, area, claims, ablation)
