"""`make train`: train both rankers, keep them where the main job looks, and state their quality."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from rpaccel.golden.dlrm import RankerParameters
from rpaccel.workloads.features import build_features
from rpaccel.workloads.log import ClickLog, read_log
from rpaccel.workloads.movielens import load_movielens
from rpaccel.workloads.quality import (
    FLOAT_LARGE,
    FLOAT_SMALL,
    FLOAT_TWO_STAGE,
    float_report,
    quality_table,
)
from rpaccel.workloads.rankers import STAGES, parameters_path, seed_path
from rpaccel.workloads.split import split_log

MOVIELENS = "ml-100k"


def run_training(
    data: str = MOVIELENS, *, seed: int = 0, seeds: int = 1, out: Path | None = None
) -> dict[str, Any]:
    """Train small and large with `seed`, `seed` + 1, ...; the first is the pair that is used.

    data : "ml-100k" or a folder of .inter, .item and .user files (see workloads.log).
    out : folder to write instead of the place the main job reads.
    Returns the quality of each seed, JSON-able. Raises ValueError or FileNotFoundError for the
    data, ModuleNotFoundError that names the extra where PyTorch is missing.
    """
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, not {seeds}")
    try:
        from rpaccel.workloads.recipes import train_pair  # noqa: PLC0415  (imports torch)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"training needs {error.name}: install the extra `rpaccel[train]`"
        ) from error
    log = load_movielens() if data == MOVIELENS else read_log(data)
    console = Console()
    report: dict[str, Any] = {}
    for number in range(seed, seed + seeds):
        console.print(f"seed {number}: {log.name}, {log.user_count} users, {log.item_count} items")
        name = MOVIELENS if data == MOVIELENS else Path(data).name
        command = f"rpaccel train --data {name} --seed {number}"
        small, large = train_pair(log, number, command=command)
        paths = [_target(log, stage, number, first=number == seed, out=out) for stage in STAGES]
        report[str(number)] = write_pair(log, small, large, paths, console)
    if seeds > 1:
        console.print(json.dumps(mean_over_seeds(report), indent=1))
    return report


def write_pair(
    log: ClickLog,
    small: RankerParameters,
    large: RankerParameters,
    paths: list[Path],
    console: Console,
) -> dict[str, Any]:
    """Save both rankers, measure them, write the figures beside them, and return the figures."""
    for path, parameters in zip(paths, (small, large), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        parameters.save(path)
    split = split_log(log)
    data = build_features(log, split.train)
    report = float_report(small, large, data, split, progress=True)
    console.print(quality_table(report))
    quality = report.to_json()
    quality["large_against_small"] = asdict(report.difference(FLOAT_LARGE, FLOAT_SMALL))
    record = {
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths},
        "provenance": {"small": small.provenance, "large": large.provenance},
        "quality": quality,
    }
    target = paths[0].with_name(paths[0].stem.replace("_small", "") + ".json")
    target.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    console.print(f"wrote {', '.join(path.name for path in paths)} and {target}")
    return quality


def mean_over_seeds(report: dict[str, Any]) -> dict[str, float]:
    """Return the mean NDCG@10 of each float pipeline over the seeds of `run_training`."""
    return {
        name: float(np.mean([q["rows"][name]["ndcg@10"]["estimate"] for q in report.values()]))
        for name in (FLOAT_SMALL, FLOAT_LARGE, FLOAT_TWO_STAGE)
    }


def _target(log: ClickLog, stage: str, seed: int, *, first: bool, out: Path | None) -> Path:
    path = parameters_path(log, stage) if first else seed_path(log, stage, seed)
    return path if out is None else out / path.name
