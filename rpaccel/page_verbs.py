"""Verbs that measure or compare and write a page of docs/generated/."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Annotated

import typer

from rpaccel.console import (
    Data,
    Json,
    Preset,
    Seed,
    TraceFolder,
    integers,
    only_json,
    print_json,
    show_page,
)

__all__ = ["VERBS"]

# Imports inside the verbs: they are slow, and one verb needs few of them.


def efficiency(
    sizes: Annotated[str, typer.Option(help="Array sides: of 8, 16, 32, 64, 128.")] = "8,16,32,64",
    models: Annotated[str, typer.Option(help="Of rmsmall, rmlarge.")] = "rmsmall,rmlarge",
    sub_batch: Annotated[int, typer.Option(help="Items per sub-batch.", min=1)] = 1024,
    sub_batches: Annotated[int, typer.Option(help="Sub-batches of a run.", min=6)] = 8,
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/efficiency.md"
    ),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure the MAC efficiency of the compute core in RTL on Criteo's rankers."""
    from rpaccel.main_job.efficiency import efficiency_report  # noqa: PLC0415
    from rpaccel.main_job.efficiency_page import efficiency_text  # noqa: PLC0415

    results = efficiency_report(
        integers("sizes", sizes),
        models.split(","),
        sub_batch=sub_batch,
        sub_batches=sub_batches,
        seed=seed,
        progress=functools.partial(print, file=sys.stderr, flush=True),
    )
    values = [result.values for result in results] if json else None
    show_page(out, efficiency_text(results), values)


def layers(
    sizes: Annotated[str, typer.Option(help="Array sides: of 8, 16, 32, 64.")] = "8,16,32",
    per_lane: Annotated[
        int, typer.Option("--layers", help="Layers on each lane of each split.", min=1, max=32)
    ] = 12,
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/layers.md"
    ),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compare random layers on split arrays in RTL with the performance model, cycle for cycle."""
    from rpaccel.main_job.layer_page import layer_text, layer_values  # noqa: PLC0415
    from rpaccel.main_job.layer_sweep import layer_sweep  # noqa: PLC0415

    say = functools.partial(print, file=sys.stderr, flush=True)
    wanted = integers("sizes", sizes)
    points = list(layer_sweep(wanted, layers=per_lane, seed=seed, progress=say))
    show_page(out, layer_text(points), layer_values(points) if json else None)


def array_bench(
    sizes: Annotated[str, typer.Option(help="Array sides.")] = "8,16,32,64,128",
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/array_bench.md"
    ),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure how fast netlist and simulator of the array alone are made, and how fast they run."""
    from dataclasses import asdict  # noqa: PLC0415

    from rpaccel.main_job import array_bench as bench  # noqa: PLC0415

    say = functools.partial(print, file=sys.stderr, flush=True)
    timings = bench.array_bench(integers("sizes", sizes), seed=seed, progress=say)
    values = [asdict(timing) for timing in timings] if json else None
    show_page(out, bench.array_bench_text(timings), values)


def validate(
    machines: Annotated[
        str, typer.Option(help="Of rpaccel.main_job.validation; default: all.")
    ] = "",
    queries: Annotated[int, typer.Option(help="Random queries on each machine.", min=1)] = 42,
    sessions: Annotated[
        int, typer.Option(help="Sets of rankers on each machine of a sweep; 0: none.", min=0)
    ] = 12,
    page: Annotated[
        Path | None, typer.Option(help="Page to write; the figure is put beside it.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of points and figure.")] = Path(
        "results/validate"
    ),
    check: Annotated[
        bool, typer.Option("--check", help="Fail if an error exceeds its ceiling; defaults only.")
    ] = False,
    trace: TraceFolder = None,
    seed: Seed = 1,
    json: Json = False,
) -> None:
    """Compare the performance model with the counters of random queries on several netlists."""
    from rpaccel.main_job import (  # noqa: PLC0415
        sweep_validation,
        validation,
        validation_ceilings,
        validation_page,
    )
    from rpaccel.results import RunFolder  # noqa: PLC0415

    asked = {"machines": machines, "queries": queries, "sessions": sessions, "seed": seed}
    if check:
        validation_ceilings.require_defaults(asked)
    say = functools.partial(print, file=sys.stderr, flush=True)
    names = validation_page.machine_names(machines)
    points = [
        point
        for name in names
        for point in validation.validate_machine(name, queries, seed, say=say, trace=trace)
    ]
    sweep = sweep_validation.validate_sweeps(sessions, seed, say=say, trace=trace)
    rates = validation.rates(points) | sweep_validation.sweep_rates(sweep)
    folder = RunFolder(out)
    values = validation_page.validation_values(points, sweep, rates)
    folder.write_json("points", values)
    folder.finish(asked | {"machines": names})
    figure = page.with_name("validation_speed.png") if page else out / "speed_error.png"
    validation_page.draw_speeds(figure, points, sweep, rates)
    text = validation_page.validation_text(points, sweep, rates, figure.name)
    show_page(page, text, values if json else None)
    lines = validation_ceilings.exceeded(validation_ceilings.error_sizes(points, sweep))
    if check and lines:
        raise RuntimeError("; ".join(lines))


def calibrate(
    data: Data = "ml-100k",
    users: Annotated[
        int | None, typer.Option(help="Test users, drawn; default: all.", min=1)
    ] = None,
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/calibration.md"
    ),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compare ways of choosing int8 scales: held-out logit errors and NDCG, nothing trained."""
    from rpaccel.main_job import calibration  # noqa: PLC0415

    say = functools.partial(print, file=sys.stderr, flush=True)
    results = calibration.calibration_losses(data, users, seed, say)
    text = calibration.calibration_text(results, data, seed)
    show_page(out, text, calibration.calibration_values(results) if json else None)


def filter_study(
    data: Data = "ml-100k",
    users: Annotated[
        int | None, typer.Option(help="Test users, the first; default: all.", min=1)
    ] = None,
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/filter.md"
    ),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compare the bucket filter's bins, edges and modes with exact top-k: recall and NDCG."""
    from rpaccel.main_job import filter_study as study  # noqa: PLC0415

    say = functools.partial(print, file=sys.stderr, flush=True)
    tables = study.run_filter_study(data, seed, users, say)
    text = study.filter_text(tables, data=data, seed=seed, users=users)
    show_page(out, text, study.filter_values(tables) if json else None)


def row_study(
    banks: Annotated[int, typer.Option(help="Row banks of a port, a power of two.")] = 4,
    beats: Annotated[
        int, typer.Option(help="Beats read per memory, size and port.", min=1)
    ] = 20_000,
    ports: Annotated[str, typer.Option(help="Several memory ports: of 2, 4, 8, 16.")] = "4,8,16",
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/row_banks.md"
    ),
    seed: Seed = 1,
    json: Json = False,
) -> None:
    """Compare what row banks get of a memory with an ideal requester, in the netlist."""
    from rpaccel.host import row_study as bench  # noqa: PLC0415
    from rpaccel.host.row_bounds import bound_study  # noqa: PLC0415
    from rpaccel.main_job.paper_gather import gather_rates  # noqa: PLC0415
    from rpaccel.main_job.row_study_page import row_study_text, row_study_values  # noqa: PLC0415

    say = functools.partial(print, file=sys.stderr, flush=True)
    counts = integers("ports", ports) if ports else []
    for count in counts:
        bench.study_machine(banks, count)  # refuses it before anything is built
    shares = functools.partial(bench.study, beats=beats, banks=banks, seed=seed, progress=say)
    rows = list(shares())
    updates = list(bench.update_study(banks=banks, seed=seed, progress=say))
    several = [
        row for count in counts for row in shares(row_bytes=bench.SEVERAL_ROW_BYTES, ports=count)
    ]
    bounds = list(bound_study(counts, banks=banks, beats=beats, seed=seed))
    hits = list(gather_rates(seed=seed))
    values = row_study_values(rows, updates, several, hits, bounds) if json else None
    show_page(out, row_study_text(rows, updates, several, hits, bounds), values)


def retrieval_scan(
    ports: Annotated[str, typer.Option(help="Memory ports: of 1, 2, 4, 8, 16.")] = "4,8,16",
    rows: Annotated[int, typer.Option(help="Of 64 bytes; a power of two.", min=1 << 13)] = 1 << 20,
    k: Annotated[int, typer.Option(help="Rows found, 1..4096.", min=1, max=4096)] = 1024,
    queries: Annotated[int, typer.Option(help="That share a scan, 1..4.", min=1, max=4)] = 2,
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/retrieval_scan.md"
    ),
    trace: TraceFolder = None,
    seed: Seed = 1,
    json: Json = False,
) -> None:
    """Compare netlist scans of a corpus with an ideal requester and with L = M / B + C."""
    from rpaccel.main_job import retrieval_scan as study  # noqa: PLC0415

    if rows & (rows - 1):
        raise ValueError(f"rows must be a power of two, not {rows}")
    say = functools.partial(print, file=sys.stderr, flush=True)
    counts = integers("ports", ports)
    if not set(counts) <= {1, 2, 4, 8, 16}:
        raise ValueError(f"ports must be of 1, 2, 4, 8, 16, not {ports!r}")
    sizes = {"rows": rows, "k": k, "queries": queries, "seed": seed}
    memories = ("hbm2", "ddr4")
    found = list(study.scan_study(counts, memories, study.ORDERS, progress=say, **sizes))
    laws = list(study.law_study(counts, memories, progress=say, trace=trace, **sizes))
    masks = list(study.mask_study(counts[0], memories[0], progress=say, **sizes))
    text = study.scan_text(found, laws, masks)
    show_page(out, text, study.scan_values(found, laws, masks) if json else None)


def row_caches(
    data: Data = "ml-100k",
    preset: Preset = "edge",
    users: Annotated[int, typer.Option(help="Users, drawn.", min=1)] = 8,
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/row_caches.md"
    ),
    trace: TraceFolder = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compare pinned rows and prefetches in the netlist on the main job's queries."""
    from rpaccel.main_job import row_cache_study as study  # noqa: PLC0415

    say = functools.partial(print, file=sys.stderr, flush=True)
    cases = list(study.row_cache_study(data, preset, users, seed, progress=say, trace=trace))
    text = study.row_cache_text(cases, data, preset)
    show_page(out, text, study.row_cache_values(cases) if json else None)


def row_model(
    points: Annotated[int, typer.Option(help="Points of each netlist.", min=1)] = 17,
    data: Data = "ml-100k",
    queries: Annotated[int, typer.Option(help="Queries of the click log.", min=1)] = 4,
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/row_model.md"
    ),
    seed: Seed = 1,
    json: Json = False,
) -> None:
    """Compare the model of the row banks with the netlist, on random points and real traces."""
    from rpaccel.host.row_model import model_points, model_rate  # noqa: PLC0415
    from rpaccel.main_job.inputs import check_data  # noqa: PLC0415
    from rpaccel.main_job.row_model_page import row_model_text, row_model_values  # noqa: PLC0415
    from rpaccel.main_job.row_traffic import row_traffic  # noqa: PLC0415

    say = functools.partial(print, file=sys.stderr, flush=True)
    check_data(data)
    found = list(model_points(points=points, seed=seed, progress=say))
    traffic = list(row_traffic(data, queries=queries, seed=seed, progress=say))
    rate = model_rate()
    values = row_model_values(found, traffic, rate) if json else None
    show_page(out, row_model_text(found, traffic, rate), values)


def criteo(
    preset: Preset = "default",
    queries: Annotated[int, typer.Option(help="Queries at once under 8 + 2.", min=1)] = 3,
    live: Annotated[
        int, typer.Option(help="Queries after each of two changes of the split; 0: none.", min=0)
    ] = 0,
    scale_rows: Annotated[int, typer.Option(help="Rows of a table at most.", min=1)] = 20_000,
    quality: Annotated[int, typer.Option(help="Queries that quality is measured on.", min=1)] = 32,
    pin_banks: Annotated[
        int | None,
        typer.Option(
            help="Row banks whose static caches hold popular rows; 0: none, default: all. "
            "LOAD fills them, 8 bytes a cycle.",
            min=0,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results/criteo"),
    page: Annotated[
        Path | None, typer.Option(help="Markdown page to write, too.", dir_okay=False)
    ] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Write trace.json, device and model, for Perfetto.")
    ] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Run Criteo-shaped queries (4096 -> 512 -> 64) through the netlist of a split machine."""
    from rpaccel.main_job.criteo import CriteoAsk, run_criteo  # noqa: PLC0415
    from rpaccel.workloads.criteo_queries import CriteoConfig  # noqa: PLC0415

    ask = CriteoAsk(
        preset=preset,
        queries=queries,
        live=live,
        quality=quality,
        pin_banks=pin_banks,
        workload=CriteoConfig(seed=seed, scale_rows=scale_rows),
        trace=trace,
    )
    with only_json(json):
        summary = run_criteo(ask, out, page)
    if json:
        print_json(summary)


def retrieval_study(
    rows: Annotated[int, typer.Option(help="Rows of the corpus.", min=4096)] = 1_000_000,
    seeds: Annotated[int, typer.Option(help="Random orders of a scan.", min=1)] = 8,
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/retrieval.md"
    ),
    plots: Annotated[Path, typer.Option(help="Folder of figures and plots.")] = Path(
        "results/retrieval"
    ),
    cpu: Annotated[
        Path | None,
        typer.Option(help="Faiss's times by `rpaccel profile scan`; default: measured here."),
    ] = None,
    gpu: Annotated[
        Path, typer.Option(help="A GPU's times by `rpaccel profile scan`, if the file is there.")
    ] = Path("build/scan_gpu.json"),
    trace: Annotated[
        Path | None,
        typer.Option(help="Folder of timelines of the simulated devices, for Perfetto."),
    ] = None,
    seed: Seed = 1,
    json: Json = False,
) -> None:
    """Model the retrieval engine on a board, beside published ones, Faiss on this CPU, a GPU."""
    from rpaccel.host.scan_profile import load_profile  # noqa: PLC0415
    from rpaccel.main_job.retrieval_page import retrieval_text, retrieval_values  # noqa: PLC0415
    from rpaccel.main_job.retrieval_plots import write_retrieval  # noqa: PLC0415
    from rpaccel.main_job.retrieval_study import run_retrieval_study  # noqa: PLC0415

    say = functools.partial(print, file=sys.stderr, flush=True)
    study = run_retrieval_study(
        rows=rows,
        seeds=seeds,
        cpu=None if cpu is None else load_profile(cpu),
        gpu=load_profile(gpu) if gpu.exists() else None,
        seed=seed,
        progress=say,
        trace=trace,
    )
    values = retrieval_values(study)
    write_retrieval(study, values, plots)
    show_page(out, retrieval_text(study), values if json else None)


def retrieval_area(
    sizes: Annotated[str, typer.Option(help="K of the units.")] = "128,256,512,1024,2048,4096",
    queues: Annotated[
        str, typer.Option(help="K of the register queue; beyond by the least per entry.")
    ] = "32,64,128",
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/retrieval_area.md"
    ),
    json: Json = False,
) -> None:
    """Synthesise selector, score filter and a register queue: LUTs by K."""
    from rpaccel.main_job.retrieval_area import area_rows, area_text, area_values  # noqa: PLC0415

    wanted, synthesised = integers("sizes", sizes), integers("queues", queues)
    say = functools.partial(print, file=sys.stderr, flush=True)
    rows = area_rows(wanted, synthesised, progress=say)
    show_page(out, area_text(rows), area_values(rows) if json else None)


VERBS = (
    efficiency, layers, array_bench, calibrate, filter_study, row_study, row_caches,
    row_model, retrieval_scan, retrieval_study, retrieval_area, criteo, validate,
)  # fmt: skip
