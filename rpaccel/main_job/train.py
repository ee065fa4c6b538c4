"""`rpaccel train`: train, then state what int8 and the filter cost, for every seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rpaccel.golden.dlrm import load_parameters
from rpaccel.main_job.inputs import MOVIELENS, JobInputs
from rpaccel.main_job.quality import make_scorers
from rpaccel.main_job.rankers import KEEP, compile_job
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.workloads.features import build_features
from rpaccel.workloads.log import ClickLog, read_log
from rpaccel.workloads.movielens import load_movielens
from rpaccel.workloads.quality import evaluate, one_stage
from rpaccel.workloads.rankers import STAGES, parameters_path, seed_path
from rpaccel.workloads.split import split_log
from rpaccel.workloads.train_job import run_training

METRIC = "ndcg@10"


def train(data: str, *, seed: int, seeds: int, out: Path | None) -> dict[str, Any]:
    """Train `seeds` pairs and measure each in float and in int8; return all figures."""
    report = run_training(data, seed=seed, seeds=seeds, out=out)
    log = load_movielens() if data == MOVIELENS else read_log(data)
    shares = [
        int8_share(log, *_paths(log, number, first=number == seed, out=out))
        for number in range(seed, seed + seeds)
    ]
    for number, share in zip(range(seed, seed + seeds), shares, strict=True):
        print(f"seed {number}: int8 two-stage keeps {100 * share:.1f} % of float large's NDCG@10")
    print(f"mean of {seeds} seeds: {100 * float(np.mean(shares)):.1f} %")
    return {"training": report, "int8_share": shares, "int8_share_mean": float(np.mean(shares))}


def _paths(log: ClickLog, seed: int, *, first: bool, out: Path | None) -> tuple[Path, Path]:
    paths = [parameters_path(log, s) if first else seed_path(log, s, seed) for s in STAGES]
    small, large = paths if out is None else [out / path.name for path in paths]
    return small, large


def int8_share(log: ClickLog, small: Path, large: Path, preset: str = "edge") -> float:
    """Return NDCG@10 of the int8 funnel, filter included, over that of float one-stage large."""
    split = split_log(log)
    inputs = JobInputs(
        log=log,
        split=split,
        features=build_features(log, split.train),
        small=load_parameters(small),
        large=load_parameters(large),
    )
    scorers = make_scorers(compile_job(inputs, load_accelerator(preset)))
    devices = ("accelerator", "accelerator")
    int8 = evaluate("int8 two-stage", scorers.funnel(devices, KEEP), split, progress=True)
    base = evaluate("float large", one_stage(scorers.floats["large"]), split, progress=True)
    return int8.mean(METRIC) / base.mean(METRIC)
