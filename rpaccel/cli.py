"""The `rpaccel` command: one verb for every make target, and a few more."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Annotated

import typer

from rpaccel import (
    deeprec_verbs,
    fpga_verbs,
    page_verbs,
    paper_verbs,
    report_verbs,
    schedule_verbs,
)
from rpaccel.console import Data, Json, Preset, Seed, TraceFolder, explain, only_json, print_json
from rpaccel.profile_verbs import profile_app

app = typer.Typer(
    help="RPAccel: a multi-stage recommendation accelerator, from a click log to the netlist.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",  # [ms] in a help is a unit, not markup
    pretty_exceptions_enable=False,
)
app.add_typer(profile_app, name="profile")
for verb in (
    *page_verbs.VERBS, *paper_verbs.VERBS, *deeprec_verbs.VERBS, *fpga_verbs.VERBS,
    *report_verbs.VERBS, *schedule_verbs.VERBS,
):  # fmt: skip
    app.command(name=verb.__name__.replace("_", "-"))(verb)


@app.command()
def run(
    data: Data = "ml-100k",
    preset: Preset = "edge",
    queries: Annotated[int, typer.Option(help="Users to run through the netlist.", min=1)] = 20,
    cocotb_queries: Annotated[
        int, typer.Option(help="How many of them also under cocotb.", min=0)
    ] = 2,
    load_qps: Annotated[float, typer.Option(help="Load for the scheduler [queries/s].")] = 100.0,
    sla_ms: Annotated[float, typer.Option(help="SLA for the scheduler, p99 [ms].")] = 25.0,
    stages: Annotated[
        int, typer.Option(help="3: exact retrieval in front of both rankers.", min=2, max=3)
    ] = 2,
    netlist: Annotated[
        bool, typer.Option(help="With 3 stages: run them in the netlist too.")
    ] = True,
    trace: Annotated[
        bool,
        typer.Option(
            "--trace", help="With 3 stages: write trace.json for Perfetto; with 2 always."
        ),
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results/run"),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Run the main job: click log -> trained rankers -> netlist -> ranked items."""
    from rpaccel.main_job.job import JobConfig, run_job  # noqa: PLC0415  (imports are slow)
    from rpaccel.main_job.three_stage_job import run_three_stages  # noqa: PLC0415

    if stages == 3:
        with only_json(json):
            summary = run_three_stages(
                data, preset, queries, seed, out, netlist=netlist, trace=trace
            )
        if json:
            print_json(summary)
        return
    if not netlist:
        raise ValueError("netlist must be on with 2 stages")
    ask = JobConfig(
        data=data,
        preset=preset,
        queries=queries,
        cocotb_queries=cocotb_queries,
        load_qps=load_qps,
        sla_ms=sla_ms,
        seed=seed,
    )
    with only_json(json):
        summary = run_job(ask, out)
    if json:
        print_json(summary)


@app.command()
def verilog(
    preset: Preset = "edge",
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("build/verilog"),
    checks: Annotated[bool, typer.Option(help="Keep assertions (simulation only).")] = False,
    json: Json = False,
) -> None:
    """Write Verilog, a JSON manifest, a C header and a Vivado packaging script of a preset."""
    from rpaccel.host.design_files import write_design  # noqa: PLC0415
    from rpaccel.spec.accelerator import load_accelerator  # noqa: PLC0415

    say = functools.partial(print, file=sys.stderr)
    paths = write_design(load_accelerator(preset), out, checks=checks, progress=say)
    if json:
        print_json({name: path.as_posix() for name, path in paths.items()})
    else:
        for name, path in paths.items():
            print(f"{name:11s} {path}")


@app.command()
def sim(
    preset: Preset = "tiny",
    queries: Annotated[int, typer.Option(help="Random queries.", min=1)] = 100,
    trace: TraceFolder = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Run random queries through the netlist in Verilator and compare with the golden model."""
    from rpaccel.main_job.random_queries import simulate_random  # noqa: PLC0415

    report = simulate_random(preset, queries, seed, trace=trace)
    if json:
        print_json(report)
    else:
        print(
            f"{report['queries']} queries bit-exact, {report['cycles']} cycles, "
            f"{report['cycles_per_second']:.0f} cycles/s"
        )


@app.command()
def soak(
    queries: Annotated[int, typer.Option(help="Random queries.", min=1)] = 10_000,
    page: Annotated[
        Path | None, typer.Option(help="Markdown page to write, too.", dir_okay=False)
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(help="File of a timeline, device and model, for Perfetto.", dir_okay=False),
    ] = None,
    traced: Annotated[
        int, typer.Option(help="With --trace: the last queries, those of the last device.", min=1)
    ] = 100,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Run random queries with faults, resets, deadlines and new splits on a small netlist."""
    from rpaccel.main_job.random_queries import say_aside  # noqa: PLC0415
    from rpaccel.main_job.soak import soak as run_soak  # noqa: PLC0415
    from rpaccel.main_job.soak_page import soak_text  # noqa: PLC0415

    report = run_soak(queries, seed, say=say_aside, trace=trace, traced=traced)
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(soak_text(report))
    if json:
        print_json(report)
    else:
        for name in ("outcomes", "events"):
            print(f"{name}: " + ", ".join(f"{key} {n}" for key, n in report[name].items()))
        print(
            f"{report['queries']} queries, no wrong answer, {report['cycles']} cycles, "
            f"{report['seconds']} s"
        )


@app.command()
def sweep(
    spec: Annotated[
        str, typer.Option(help="Sweep in spec/presets/sweeps/, or a YAML file.")
    ] = "criteo",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results; default results/sweep/NAME.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes; 0: one per core.", min=0)] = 0,
    cluster: Annotated[
        str | None, typer.Option(help="Dask scheduler to run on instead (tcp://host:port).")
    ] = None,
    check: Annotated[
        int, typer.Option(help="Instead: so many random points beside the event model.", min=0)
    ] = 0,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Evaluate a design space with the performance model: Parquet, exact front, plots.

    Goes on where it was interrupted. Only --check draws something.
    """
    from rpaccel.main_job import sweep as job  # noqa: PLC0415

    if check:
        rows = job.check(spec, check, seed)
        print_json(rows) if json else print(job.check_text(rows))
        return
    with only_json(json):
        summary = job.run(spec, out, jobs=jobs, cluster=cluster)
    print_json(summary) if json else print(job.sweep_text(summary))


@app.command()
def bench(
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results/bench"),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Print rates and ratios: simulation speed, model speed, build times."""
    from rpaccel.main_job.bench import run_bench  # noqa: PLC0415

    with only_json(json):
        report = run_bench(out, seed)
    if json:
        print_json(report)


@app.command()
def figures(
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results/figures"),
    data: Data = "ml-100k",
    samples: Annotated[
        int, typer.Option(help="Candidates of the Criteo-like traces.", min=1 << 19)
    ] = 1 << 20,
    queries: Annotated[int, typer.Option(help="Queries of each merging stream.", min=1)] = 50,
    arrivals: Annotated[int, typer.Option(help="Queries of each load.", min=50)] = 1500,
    page: Annotated[Path, typer.Option(help="Markdown page to write, too.", dir_okay=False)] = Path(
        "docs/generated/figures.md"
    ),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Draw RecPipe's figures 1(c), 5, 10, 12 to 14 with our points, and what better caches do."""
    from rpaccel.main_job.figures import figures_text, run_figures  # noqa: PLC0415
    from rpaccel.main_job.inputs import check_data  # noqa: PLC0415
    from rpaccel.main_job.paper_figures import run_paper_figures  # noqa: PLC0415

    check_data(data)
    say = functools.partial(print, file=sys.stderr, flush=True)
    found = run_figures(out, data=data, samples=samples, queries=queries, seed=seed, progress=say)
    drawn = run_paper_figures(
        out, page, curves=found.curves, arrivals=arrivals, seed=seed, progress=say
    )
    if json:
        print_json({"caches": found.to_json(), "paper": drawn})
    else:
        print(f"{figures_text(found)}\n\n{page.read_text()}")


@app.command()
def lint(
    preset: Preset = "edge",
    family: Annotated[
        list[str] | None, typer.Option(help="Also synthesise for ecp5 or xcup (minutes).")
    ] = None,
    json: Json = False,
) -> None:
    """Check the netlist of a preset with Verilator's and Yosys' checks."""
    from rpaccel.host.netlist_checks import check_netlist  # noqa: PLC0415
    from rpaccel.spec.accelerator import load_accelerator  # noqa: PLC0415

    with only_json(json):
        report = check_netlist(load_accelerator(preset), families=tuple(family or ()))
    if json:
        print_json(report)


@app.command()
def train(
    data: Data = "ml-100k",
    seed: Seed = 0,
    seeds: Annotated[int, typer.Option(help="Trainings with seeds seed, seed+1, ...", min=1)] = 1,
    out: Annotated[Path | None, typer.Option(help="Where the parameters go.")] = None,
    json: Json = False,
) -> None:
    """Train the small and the large ranker from a click log (needs the extra `train`)."""
    from rpaccel.workloads.train_job import run_training  # noqa: PLC0415

    with only_json(json):
        report = run_training(data, seed=seed, seeds=seeds, out=out)
    if json:
        print_json(report)


@app.command(name="compile")
def compile_command(
    data: Data = "ml-100k",
    model: Annotated[
        list[str] | None,
        typer.Option(help="Instead: a YAML file, or one of workloads/models/; once per slot."),
    ] = None,
    preset: Preset = "edge",
    out: Annotated[Path, typer.Option(help="Folder for image and manifest.")] = Path("build/image"),
    listing: Annotated[bool, typer.Option(help="Print the stage programs.")] = False,
    seed: Annotated[int, typer.Option(help="Of the parameters of `--model`.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Quantise both rankers and compile them to one memory image and a stage program.

    With --model: rankers of your own shape (`spec/model_file.py`), parameters drawn.
    """
    from rpaccel.main_job.model_files import compile_files  # noqa: PLC0415
    from rpaccel.main_job.rankers import compile_rankers  # noqa: PLC0415

    with only_json(json):
        if model:
            report = compile_files(model, preset, out, seed)
        else:
            report = compile_rankers(data, preset, out)
    if json:
        print_json(report.manifest)
    else:
        print(report.listing if listing else report.text)


@app.command()
def retrieve(
    corpus: Annotated[Path, typer.Argument(help=".npy, int8[n, d] or float32[n, d].")],
    query: Annotated[Path, typer.Argument(help=".npy, [d] or [queries, d], of the same type.")],
    k: Annotated[int, typer.Option("--k", help="Rows to find, 1..4096.")] = 10,
    metric: Annotated[
        str, typer.Option(help="ip, l2 (minus the squared distance), cosine.")
    ] = "ip",
    floor: Annotated[
        int | None, typer.Option(help="Lowest score that is found, of the int8 values.")
    ] = None,
    json: Json = False,
) -> None:
    """Find the best rows of a corpus, exactly, by (score, id), on the software device.

    float32 is rounded to int8 in equal steps; the output says of which size.
    """
    from rpaccel.main_job import retrieve as job  # noqa: PLC0415

    if metric not in job.METRICS:
        raise ValueError(f"metric must be one of {', '.join(job.METRICS)}, not {metric!r}")
    tables = [job.read_vectors(corpus, "corpus"), job.read_vectors(query, "query")]
    asked = job.symmetric(tables[0], tables[1], job.METRICS[metric])
    found = job.retrieve_rows(asked, job.METRICS[metric], k, floor)
    answers = job.answers_json(asked, metric, k, floor, found)
    print_json(answers) if json else print(job.asked_text(answers))


def main() -> int:
    """Run the command; an error of input is a line on standard error and exit status 2.

    Options out of range are Typer's: its usage in a box, the same status.
    """
    try:
        app(standalone_mode=True)
    except (ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
