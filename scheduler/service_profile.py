"""Service time of a model on a device by batch size: an input of the scheduler, kept as JSON.

A file holds {"version": 2, "profiles": [{"model", "device", "batch", "latency_ms", "cores",
"scale_rows", "source"}, ...]}; another key is an error, and so is a missing one. A source says
where the times come from, "assumed" if from nowhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from rpaccel.scheduler.arrivals import Floats

__all__ = ["ServiceProfile", "find_profile", "load_profiles", "save_profiles"]

VERSION = 2


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ServiceProfile:
    """Latency of one request by its items, input loading included.

    batch : int[points], ascending   items of a request
    latency_ms : float[points]       time of such a request on an idle device [ms]
    cores : cores (or devices) that a request holds while it runs
    scale_rows : rows of a table over those of the model's configuration, up to 1; None: the times
        are not of such tables, e.g. published ones
    """

    model: str
    device: str
    batch: tuple[int, ...]
    latency_ms: tuple[float, ...]
    cores: int
    scale_rows: float | None
    source: str

    def __post_init__(self) -> None:
        if len(self.batch) != len(self.latency_ms) or not self.batch:
            raise ValueError(
                f"latency_ms must hold a time for each batch, not {len(self.latency_ms)} "
                f"for {len(self.batch)}"
            )
        if self.batch[0] < 1 or any(low >= high for low, high in pairwise(self.batch)):
            raise ValueError(f"batch must ascend from at least 1, not {self.batch}")
        if not all(0 < time < float("inf") for time in self.latency_ms):
            raise ValueError(f"latency_ms must be positive, not {self.latency_ms}")
        if self.cores < 1 or not self.source:
            raise ValueError(f"cores must be at least 1 and source given, not {self.cores}")
        if self.scale_rows is not None and not 0 < self.scale_rows <= 1:
            raise ValueError(f"scale_rows must be above 0 and at most 1, not {self.scale_rows}")

    def ms(self, items: int) -> float:
        """Return the latency of a request of `items` [ms]."""
        if items < 1:
            raise ValueError(f"items must be at least 1, not {items}")
        return float(self.table_s(items)[items]) * 1e3

    def table_s(self, most: int) -> Floats:
        """Return float64[most + 1] latencies by items, 0 for none [s].

        Linear between the points. Below the first it is the first's: what a request costs
        whatever it holds. Beyond the last the last two points' line goes on.
        """
        items = np.arange(most + 1, dtype=np.float64)
        batch, latency = np.asarray(self.batch, np.float64), np.asarray(self.latency_ms)
        table = np.interp(items, batch, latency)
        if len(batch) > 1:
            slope = max((latency[-1] - latency[-2]) / (batch[-1] - batch[-2]), 0.0)
            table += np.maximum(items - batch[-1], 0) * slope
        table[0] = 0.0
        return table * 1e-3


_PROFILES = TypeAdapter(list[ServiceProfile])


def load_profiles(path: Path) -> list[ServiceProfile]:
    """Read a file of profiles. Raises ValueError at a wrong key, value or version."""
    data: Any = json.loads(path.read_text())
    if not isinstance(data, dict) or sorted(data) != ["profiles", "version"]:
        raise ValueError(f"{path.name} must hold version and profiles")
    if data["version"] != VERSION:
        raise ValueError(f"{path.name}: version must be {VERSION}, not {data['version']!r}")
    profiles = _PROFILES.validate_python(data["profiles"])
    keys = [(profile.model, profile.device) for profile in profiles]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"{path.name}: {twice[0][0]} on {twice[0][1]} must be there once")
    return profiles


def save_profiles(path: Path, profiles: Iterable[ServiceProfile]) -> None:
    """Write profiles, sorted by model and device: the same profiles give the same bytes."""
    ordered = sorted(profiles, key=lambda profile: (profile.model, profile.device))
    data = {"version": VERSION, "profiles": _PROFILES.dump_python(ordered, mode="json")}
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")


def find_profile(profiles: Iterable[ServiceProfile], model: str, device: str) -> ServiceProfile:
    """Return the profile of a model on a device. Raises ValueError that lists those there are."""
    known = {(profile.model, profile.device): profile for profile in profiles}
    if (model, device) not in known:
        names = ", ".join(f"{a} on {b}" for a, b in sorted(known))
        raise ValueError(f"profile must be one of {names}; not {model} on {device}")
    return known[model, device]
