"""Measured CPU service times: what a worker thread of this machine needs for a ranker.

A profile is an input of the scheduler, stored as JSON with the machine that it was measured on,
the command that measured it, and a hash. It names no host and no path.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

PROFILE_VERSION = 1
RATIO_QUANTILES = np.linspace(0.5 / 16, 1 - 0.5 / 16, 16)  # midpoints of 16 equal shares
ITEM_COUNTS = (32, 128, 512, 1024, 1600)
RETRIEVE, MERGE = "retrieve", "merge"  # what a profile may hold beside rankers
Runner = Callable[[int], object]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProfilePoint(_Frozen):
    """Times of one item count."""

    items: int = Field(ge=1)
    repeats: int = Field(ge=1)
    median_s: float = Field(gt=0)
    low_s: float = Field(gt=0)  # fastest repeat
    high_s: float = Field(gt=0)  # slowest repeat


class ModelProfile(_Frozen):
    """Service time of one ranker: fixed_s + per_item_s * items, and its measured spread."""

    fixed_s: float = Field(ge=0)
    per_item_s: float = Field(ge=0)
    worst_fit_error: float = Field(ge=0)  # largest |fit / median - 1| over the points
    ratios: tuple[float, ...] = Field(min_length=1)  # quantiles of measured / median
    points: tuple[ProfilePoint, ...] = Field(min_length=1)

    def seconds(self, items: int) -> float:
        """Return the fitted service time of `items` candidates [s]."""
        return self.fixed_s + self.per_item_s * items


class CpuProfile(_Frozen):
    """Everything that one measuring run found."""

    version: int = PROFILE_VERSION
    command: str
    machine: dict[str, str]
    models: dict[str, ModelProfile]

    def model(self, name: str) -> ModelProfile:
        """Return the profile of one ranker. Raises ValueError that lists the measured ones."""
        if name not in self.models:
            raise ValueError(f"model must be one of {', '.join(sorted(self.models))}, not {name!r}")
        return self.models[name]

    def to_text(self) -> str:
        """Return the profile as JSON with sorted keys."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of the profile, hexadecimal."""
        return hashlib.sha256(self.to_text().encode()).hexdigest()


def load_profile(path: Path) -> CpuProfile:
    """Read a profile; ValueError if a key is wrong or the version is another one."""
    profile = CpuProfile.model_validate_json(path.read_text())
    if profile.version != PROFILE_VERSION:
        raise ValueError(f"{path.name}: version must be {PROFILE_VERSION}, not {profile.version}")
    return profile


def machine_description() -> dict[str, str]:
    """Return the CPU model, its cores, and the versions of what runs on it."""
    cpu = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    build: Any = np.show_config(mode="dicts")  # a TypedDict with optional parts
    blas = build["Build Dependencies"]["blas"]
    return {
        "cpu": cpu,
        "cores": str(os.cpu_count()),
        "blas": f"{blas['name']} {blas['version']}",
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "library default"),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }


def time_runner(run: Runner, items: int, repeats: int) -> list[float]:
    """Return `repeats` times of run(items) after one warm-up call: CPU time of this thread [s].

    What other processes take of the core is not in it; a runner must not start threads.
    """
    run(items)
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        run(items)
        times.append(time.thread_time() - start)
    return times


def fit_profile(times: Mapping[int, Sequence[float]]) -> ModelProfile:
    """Return the least-squares line through the medians, relative errors weighted equally.

    times : item count -> measured seconds. A negative constant or slope is taken as 0.
    """
    counts = np.asarray(sorted(times), np.float64)
    medians = np.asarray([np.median(times[int(count)]) for count in counts])
    if len(counts) == 1:
        fixed, slope = 0.0, float(medians[0] / counts[0])
    else:
        # Rows divided by their median: minimises the relative error.
        rows = np.stack([1 / medians, counts / medians], axis=1)
        fixed, slope = np.linalg.lstsq(rows, np.ones(len(counts)), rcond=None)[0]
        if fixed < 0:
            fixed, slope = 0.0, float(np.mean(medians / counts))
        elif slope < 0:
            fixed, slope = float(np.mean(medians)), 0.0
    pairs = zip(counts, medians, strict=True)
    ratios = np.concatenate([np.asarray(times[int(c)]) / m for c, m in pairs])
    return ModelProfile(
        fixed_s=float(fixed),
        per_item_s=float(slope),
        worst_fit_error=float(np.max(np.abs((fixed + slope * counts) / medians - 1))),
        ratios=tuple(float(q) for q in np.quantile(ratios, RATIO_QUANTILES)),
        points=tuple(
            ProfilePoint(
                items=int(count),
                repeats=len(times[int(count)]),
                median_s=float(median),
                low_s=min(times[int(count)]),
                high_s=max(times[int(count)]),
            )
            for count, median in zip(counts, medians, strict=True)
        ),
    )


def measure_profile(
    runners: Mapping[str, Runner],
    command: str,
    item_counts: Sequence[int] = ITEM_COUNTS,
    repeats: int = 15,
) -> CpuProfile:
    """Time every runner at every item count and return the fitted profile.

    runners : model name -> function that scores that many candidates of one query, gather and
        sort included, as a serving thread would.
    """
    if repeats < 1 or not item_counts:
        raise ValueError(f"repeats must be at least 1, not {repeats}")
    models = {
        name: fit_profile({count: time_runner(run, count, repeats) for count in item_counts})
        for name, run in runners.items()
    }
    return CpuProfile(command=command, machine=machine_description(), models=models)
