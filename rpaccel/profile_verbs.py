"""Verbs that measure a platform for the scheduler."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from rpaccel.console import Data, Json, Seed, integers, only_json, print_json

__all__ = ["profile_app"]

# Imports inside the verbs: they are slow.
profile_app = typer.Typer(help="Measure a platform for the scheduler.", no_args_is_help=True)

Batches = Annotated[str, typer.Option(help="Items of a request, ascending.")]
Repeats = Annotated[int, typer.Option(help="Requests of each size in a round.", min=1)]
Rounds = Annotated[int, typer.Option(help="Rounds; the quietest counts.", min=1)]
ScaleRows = Annotated[float, typer.Option(help="Rows of a table over the model's, up to 1.")]
Tables = Annotated[Path, typer.Option(help="Folder of one model's tables at a time.")]
TABLES = Path("build/deeprec")
BATCHES, REPEATS, ROUNDS = "1,4,16,64,256,1024", 9, 5


@profile_app.command("cpu")
def profile_cpu(
    data: Data = "ml-100k",
    model: Annotated[
        str | None,
        typer.Option(help="Models of DeepRecInfra, or `all`; default: the rankers of --data."),
    ] = None,
    batch: Batches = BATCHES,
    repeats: Repeats = REPEATS,
    rounds: Rounds = ROUNDS,
    scale_rows: ScaleRows = 1.0,
    threads: Annotated[int, typer.Option(help="Threads inside one operator.", min=1)] = 1,
    tables: Tables = TABLES,
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "build/profile_cpu.json"
    ),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure what a CPU thread of this machine needs for each ranker, or for --model."""
    if model is not None:
        _measure("cpu", model, batch, repeats, rounds, scale_rows, threads, tables, out, seed, json)
        return
    of_models = (batch, repeats, rounds, scale_rows, threads, tables)
    if of_models != (BATCHES, REPEATS, ROUNDS, 1.0, 1, TABLES):
        raise ValueError(
            "model must be given with batch, repeats, rounds, scale_rows, threads or tables"
        )
    from rpaccel.main_job.schedule import measure_cpu  # noqa: PLC0415

    with only_json(json):
        profile = measure_cpu(data, out, seed=seed)
    if json:
        print(profile.to_text())
    else:
        for name, ranker in profile.models.items():
            print(
                f"{name}: {1e3 * ranker.fixed_s:.3f} ms + {1e6 * ranker.per_item_s:.2f} us per item"
            )


@profile_app.command("gpu")
def profile_gpu(
    model: Annotated[str, typer.Option(help="Models of DeepRecInfra, or `all`.")] = "all",
    batch: Batches = BATCHES,
    repeats: Repeats = REPEATS,
    rounds: Rounds = ROUNDS,
    scale_rows: ScaleRows = 1.0,
    tables: Tables = TABLES,
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "build/profile_gpu.json"
    ),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure models of DeepRecInfra on this machine's GPU (needs PyTorch, the extra `train`)."""
    _measure("gpu", model, batch, repeats, rounds, scale_rows, 1, tables, out, seed, json)


@profile_app.command("scan")
def profile_scan(
    device: Annotated[
        Literal["cpu", "gpu"], typer.Option(help="cpu: Faiss (extra `faiss`); gpu: PyTorch.")
    ] = "cpu",
    rows: Annotated[int, typer.Option(help="Of 128 bytes.", min=4096)] = 1_000_000,
    k: Annotated[int, typer.Option(help="Rows found.", min=1)] = 1024,
    batch: Annotated[str, typer.Option(help="Queries of a call, ascending.")] = "1,4,16,64,256",
    repeats: Annotated[int, typer.Option(help="Calls of each; the least counts.", min=1)] = 3,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; default: build/scan_cpu.json or build/scan_gpu.json."),
    ] = None,
    seed: Seed = 1,
    json: Json = False,
) -> None:
    """Measure exact search of a random corpus on this machine: Faiss, or product and top-k."""
    from rpaccel.host.scan_profile import measure_scans, save_profile  # noqa: PLC0415

    batches = tuple(integers("batch", batch))
    say = functools.partial(print, file=sys.stderr if json else sys.stdout, flush=True)
    profile = measure_scans(
        device, rows=rows, k=k, batches=batches, repeats=repeats, seed=seed, progress=say
    )
    save_profile(out or Path(f"build/scan_{device}.json"), profile)
    if json:
        print_json(profile)


@profile_app.command("operators")
def profile_operators(
    model: Annotated[str, typer.Option(help="Models of DeepRecInfra, or `all`.")] = "all",
    items: Annotated[int, typer.Option(help="Items of a request.", min=1)] = 64,
    repeats: Annotated[int, typer.Option(help="Requests.", min=1)] = 50,
    scale_rows: ScaleRows = 1.0,
    tables: Tables = TABLES,
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "build/operators.json"
    ),
    json: Json = False,
) -> None:
    """Measure what a model's time on this CPU goes to: layers, lookups, recurrent layers."""
    from rpaccel.scheduler.operator_mix import measure_mixes, save_mixes  # noqa: PLC0415

    say = functools.partial(print, file=sys.stderr if json else sys.stdout, flush=True)
    mixes = measure_mixes(
        _models(model), tables, say, items=items, repeats=repeats, scale_rows=scale_rows
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    save_mixes(out, mixes)
    if json:
        print_json(mixes)


def _models(text: str) -> list[str]:
    from rpaccel.spec.deeprec import deeprec_names  # noqa: PLC0415

    return deeprec_names() if text == "all" else text.split(",")


def _measure(
    device: Literal["cpu", "gpu"],
    model: str,
    batch: str,
    repeats: int,
    rounds: int,
    scale_rows: float,
    threads: int,
    tables: Path,
    out: Path,
    seed: int,
    json: bool,
) -> None:
    from rpaccel.scheduler.deeprec_profile import ProfileAsk, measure_models  # noqa: PLC0415
    from rpaccel.scheduler.service_profile import save_profiles  # noqa: PLC0415

    asks = [
        ProfileAsk(
            model=name,
            device=device,
            batches=tuple(integers("batch", batch)),
            repeats=repeats,
            rounds=rounds,
            scale_rows=scale_rows,
            threads=threads,
            seed=seed,
        )
        for name in _models(model)
    ]
    say = functools.partial(print, file=sys.stderr if json else sys.stdout, flush=True)
    found = measure_models(asks, tables, say)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_profiles(out, [measurement.profile for measurement in found])
    if json:
        print_json(found)
