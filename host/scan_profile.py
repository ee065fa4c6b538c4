"""Exact search on other devices, measured: what `rpaccel profile scan` writes, as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rpaccel.host.faiss_timing import FaissTiming, merge_seconds_per_row, time_faiss
from rpaccel.host.gpu_timing import GpuTiming, gpu_name, time_gpu

__all__ = ["BATCHES", "ScanProfile", "load_profile", "measure_scans", "save_profile"]

VERSION = 1  # of the file
BATCHES = (1, 4, 16, 64, 256)
MERGE_SHARDS = 16  # whose answers the host merges, for its time per row
_TIMINGS: dict[str, type[FaissTiming] | type[GpuTiming]] = {"cpu": FaissTiming, "gpu": GpuTiming}


@dataclass(frozen=True, kw_only=True)
class ScanProfile:
    """Times of exact search by a device over int8[rows, row_bytes], the best k of it.

    name : of the processor or GPU. timings : FaissTiming of a CPU, GpuTiming of a GPU.
    merge_s_per_row : of a CPU: golden.top_k over the answers of several shards [s]; else 0.
    """

    device: Literal["cpu", "gpu"]
    name: str
    rows: int
    row_bytes: int
    k: int
    merge_s_per_row: float
    timings: tuple[Any, ...]

    def check(self, device: str, rows: int, row_bytes: int, k: int) -> None:
        """Raise ValueError if it is not of this device, corpus and K."""
        for name, value in {"device": device, "rows": rows, "row_bytes": row_bytes, "k": k}.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"{name} of the scan profile of {self.name!r} must be {value}, "
                    f"not {getattr(self, name)}"
                )


def measure_scans(
    device: Literal["cpu", "gpu"],
    *,
    rows: int = 1_000_000,
    row_bytes: int = 128,
    k: int = 1024,
    batches: tuple[int, ...] = BATCHES,
    repeats: int = 3,
    seed: int = 1,
    progress: Callable[[str], None] = print,
) -> ScanProfile:
    """Return the times of a random corpus; the least of `repeats` calls counts.

    Raises ModuleNotFoundError without faiss-cpu or PyTorch, RuntimeError without a GPU.
    """
    name = gpu_name() if device == "gpu" else _cpu_name()
    rng = np.random.default_rng(seed)
    corpus, queries = (_random(rng, n, row_bytes) for n in (rows, max(batches)))
    time_device: Callable[..., Sequence[FaissTiming | GpuTiming]] = (
        time_gpu if device == "gpu" else time_faiss
    )
    timings = time_device(corpus, queries, k, batches, repeats, progress)
    return ScanProfile(
        device=device,
        name=name,
        rows=rows,
        row_bytes=row_bytes,
        k=k,
        merge_s_per_row=merge_seconds_per_row(k, MERGE_SHARDS) if device == "cpu" else 0.0,
        timings=tuple(timings),
    )


def _random(rng: np.random.Generator, count: int, row_bytes: int) -> npt.NDArray[np.int8]:
    return rng.integers(-128, 128, (count, row_bytes), dtype=np.int8)


def save_profile(path: Path, profile: ScanProfile) -> None:
    """Write a profile, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"version": VERSION} | asdict(profile), indent=1) + "\n")
    partial.rename(path)


def load_profile(path: Path) -> ScanProfile:
    """Return a profile. Raises ValueError for a file of another kind or version."""
    try:
        values = json.loads(path.read_text())
        version = values.pop("version")
        if version != VERSION:
            raise ValueError(f"version of {path} must be {VERSION}, not {version}")
        kind = _TIMINGS[values["device"]]
        timings = tuple(kind(**timing) for timing in values.pop("timings"))
        return ScanProfile(timings=timings, **values)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} must be a file of `rpaccel profile scan`: {error}") from error


def _cpu_name() -> str:
    """Return the processor's name, or the architecture where there is none."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()
