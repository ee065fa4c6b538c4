"""Embedding tables on disk, mapped: created once per model, shared by every worker.

The file system's page cache holds one copy of a table for all processes that map it; nothing is
copied per worker. A store keeps the tables of one model at a time.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rpaccel.golden.dlrm import Float
from rpaccel.spec.deeprec import FLOAT_BYTES, DeeprecConfig

SUFFIX = ".tables"
PAGE_BYTES = 4096  # of x86-64 and most others; larger ones are read more than once
PEAK_LIMIT_BYTES = 12_000_000_000  # of all processes together, the tables counted once
# [B] of a process beside its tables: 0.27 to 0.30 GB of dlrm-rmc2 and mt-wnd with 1024 items,
# `rpaccel profile cpu --batch 1024 --scale-rows 0.01`
PROCESS_BYTES = 300_000_000
CHUNK_VALUES = 1 << 22  # 16 MiB: what filling a table needs of memory beside it


@dataclass(frozen=True, kw_only=True)
class MappedTables:
    """The mapped tables of one model.

    Members
    -------
    path : Path  The file.
    groups : group -> float32[tables, rows, dim], read-only views of the file.
    scale_rows : float  Rows of a table over those of its configuration.
    created : bool  Whether this call wrote the file.
    """

    path: Path
    groups: dict[str, Float]
    scale_rows: float
    created: bool

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return sum(group.nbytes for group in self.groups.values())

    def touch(self) -> float:
        """Read a value of every page, as a server does before it takes queries; return their sum.

        Afterwards a lookup meets no page that is yet to be mapped.
        """
        step = PAGE_BYTES // FLOAT_BYTES
        return sum(float(group.reshape(-1)[::step].sum()) for group in self.groups.values())


def check_memory(
    configs: Sequence[DeeprecConfig], *, scale_rows: float, processes: int = 1
) -> None:
    """Refuse models that need more than PEAK_LIMIT_BYTES at once, before anything is written.

    The tables of a model are mapped once, however often it is named; each process needs
    PROCESS_BYTES of its own. Raises ValueError with the limit, the need and the scale that fits.
    """
    models = {config.name: config for config in configs}
    tables = sum(config.scaled_bytes(scale_rows) for config in models.values())
    beside = processes * PROCESS_BYTES
    if tables + beside <= PEAK_LIMIT_BYTES:
        return
    names = ", ".join(models)
    fits = 0.99 * scale_rows * (PEAK_LIMIT_BYTES - beside) / tables
    advice = f"--scale-rows {_rounded_down(fits)} fits" if fits > 0 else "fewer processes fit"
    raise ValueError(
        f"memory must be at most {PEAK_LIMIT_BYTES / 1e9:.0f} GB, not "
        f"{(tables + beside) / 1e9:.2f} GB ({tables / 1e9:.2f} GB of tables of {names}, "
        f"{beside / 1e9:.2f} GB of {processes} processes): {advice}"
    )


def _rounded_down(value: float) -> str:
    """Return a positive value with two digits, never above it."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.floor(value / unit) * unit:.2g}"


def open_tables(
    config: DeeprecConfig, folder: Path, *, scale_rows: float = 1.0, seed: int = 0
) -> MappedTables:
    """Map the tables of a model, written first if `folder` lacks them; remove other models'.

    Rows are uniform in +-1 / sqrt(dim): a sum of few stays of the size of 1. The same
    arguments give the same bytes. Raises ValueError for a scale outside (0, 1], or if the disk has
    no room, with the scale that would fit.
    """
    shapes = {
        group.name: (group.tables, group.scaled_rows(scale_rows), config.dim)
        for group in config.groups
    }
    shape_text = "-".join(f"{t}x{rows}x{dim}" for t, rows, dim in shapes.values())
    path = folder / f"{config.name}-{shape_text}-seed{seed}{SUFFIX}"
    values = sum(int(np.prod(shape)) for shape in shapes.values())
    created = not (path.exists() and path.stat().st_size == values * FLOAT_BYTES)
    if created:
        folder.mkdir(parents=True, exist_ok=True)
        for other in folder.glob(f"*{SUFFIX}"):
            other.unlink(missing_ok=True)  # processes that map it keep their pages
        _check_room(config, folder, values * FLOAT_BYTES, scale_rows)
        _write(path, values, 1 / np.sqrt(config.dim), seed)
    whole = np.memmap(path, np.float32, mode="r", shape=(values,))
    groups: dict[str, Float] = {}
    start = 0
    for name, shape in shapes.items():
        end = start + int(np.prod(shape))
        groups[name] = np.asarray(whole[start:end]).reshape(shape)
        start = end
    return MappedTables(path=path, groups=groups, scale_rows=scale_rows, created=created)


def _check_room(config: DeeprecConfig, folder: Path, wanted: int, scale_rows: float) -> None:
    free = shutil.disk_usage(folder).free
    if wanted > free:
        fits = 0.9 * scale_rows * free / wanted
        raise ValueError(
            f"tables of {config.name} need {wanted / 1e9:.2f} GB, {free / 1e9:.2f} GB are free in "
            f"{folder}: --scale-rows {fits:.2g} fits"
        )


def _write(path: Path, values: int, limit: float, seed: int) -> None:
    rng = np.random.default_rng([seed, 2])
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            for start in range(0, values, CHUNK_VALUES):
                chunk = rng.random(min(CHUNK_VALUES, values - start), dtype=np.float32)
                file.write(((chunk - np.float32(0.5)) * np.float32(2 * limit)).tobytes())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
