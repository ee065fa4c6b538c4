"""The points that `rpaccel report` offers: a sweep for each number of candidates, and their front.

Beside the sweep's figures a point has its latency with the link, NDCG as published, area, energy
of a query. The front is exact in all figures that a reader can bound or ask for, so that the best
of all evaluated points under any such bounds is on it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rpaccel.main_job.area_page import GATES_EACH, area_of
from rpaccel.perfmodel.design_space import DesignPoint, DesignSpace
from rpaccel.perfmodel.energy import QueryActivity, clock_watts, energy_uj, stage_activity
from rpaccel.perfmodel.point_events import lanes_of_point
from rpaccel.perfmodel.shapes import compile_shape
from rpaccel.perfmodel.sweep import Sweep
from rpaccel.perfmodel.sweep_front import front_mask
from rpaccel.scheduler.ablation import FEATURES
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import RESULT
from rpaccel.spec.platform import PlatformConfig, load_platform
from rpaccel.spec.sweep import FrontSpec, SweepSpec
from rpaccel.workloads.criteo_published import published_ndcg

__all__ = [
    "CANDIDATES", "FIGURES", "ItemLink", "Offer", "find_offer", "front", "spaces_of",
    "stage_uj",
]  # fmt: skip

CANDIDATES = (1024, 2048, 3200, 4096)  # published as first stages of two: criteo_published
ITEM_BYTES = 4 * FEATURES  # of a Criteo record over the link
PLATFORM = "paper"
BLOCK = 1 << 14  # points whose front is found at a time

# Figure -> whether more of it is better.
FIGURES = {
    "latency_ms": False, "ndcg": True, "area_mm2": False, "query_uj": False, "clock_w": False,
    "qps": True,
}  # fmt: skip
_MACHINE = ["array_size", "split", "static_cache_kib", "static_front_percent", "look_ahead_kib"]
_AREA = ["array_size", "split", "static_cache_kib", "look_ahead_kib"]
_MEMORY = [*_MACHINE, "memory_ports", "beat_bytes"]


@dataclass(frozen=True, kw_only=True)
class ItemLink:
    """The link's part of a query's latency [s], and queries/s that it carries."""

    in_s: float
    out_s: float
    qps: float

    @classmethod
    def of(cls, platform: PlatformConfig, candidates: int, served: int) -> ItemLink:
        """Return the link's part for queries of so many candidates."""
        link, size = platform.link, candidates * ITEM_BYTES
        return cls(
            in_s=link.seconds(size),
            out_s=link.seconds(served * RESULT.bytes),
            qps=link.bytes_per_s / size,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Offer:
    """What the page offers. spaces : by candidates. points : the front, and `evaluated` of what.

    Columns of points: those of a sweep, `candidates`, and FIGURES.
    """

    spec: SweepSpec
    spaces: dict[int, DesignSpace]
    points: pl.DataFrame
    evaluated: int
    platform: PlatformConfig


def spaces_of(spec: SweepSpec, candidates: Sequence[int] = CANDIDATES) -> dict[int, DesignSpace]:
    """Return the space of `spec` with each number of candidates; k stays below it.

    Raises ValueError for a workload that is not `criteo`: there is no published NDCG.
    """
    if spec.workload != "criteo":
        raise ValueError(f"workload must be criteo, whose NDCG is published, not {spec.workload!r}")
    if len(spec.axes.memory_latency_cycles) > 1:
        raise ValueError("axes.memory_latency_cycles must be one value: it is no designer's choice")
    if not candidates or len(set(candidates)) < len(candidates):
        raise ValueError("candidates must be given, each once")
    most = load_accelerator(spec.base).max_items
    spaces = {}
    for items in sorted(candidates):
        if items > most:
            raise ValueError(f"candidates must be at most {most} on {spec.base}, not {items}")
        kept = [k for k in spec.axes.k if k < items]
        if not kept:
            raise ValueError(f"axes.k must have a value below {items} candidates")
        for k in kept:
            published_ndcg(items, k)
        axes = spec.axes.model_dump() | {"k": kept}
        spaces[items] = DesignSpace(
            SweepSpec.model_validate(
                spec.model_dump(by_alias=True) | {"axes": axes, "candidates": items}
            )
        )
    return spaces


def _points(space: DesignSpace, executor: Executor | None) -> pl.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        sweep = Sweep(space.spec, Path(folder))
        sweep.run(executor)
        space.hits.learn(sweep.hits)
        table: pl.DataFrame = sweep.table().collect()
    return table.with_columns(candidates=pl.lit(space.candidates, pl.Int32))


def stage_uj(space: DesignSpace, point: DesignPoint, stage: int) -> dict[str, float]:
    """Return the energy of a stage of a point's query by part [uJ]; of stage 0 with the link's."""
    network = space.workload.stages[stage][0]
    lane_number = lanes_of_point(point)[stage][0]
    lane = space.config(point).lane(lane_number)
    sent = space.candidates * ITEM_BYTES
    served = space.workload.top_n * RESULT.bytes
    activity = stage_activity(
        lane,
        network,
        compile_shape(network, lane, (point.front_sub_batch, point.back_sub_batch)[stage]),
        (space.candidates, point.k)[stage],
        space.records(point.beat_bytes),
        first=stage == 0,
        row_hits=space.row_hits(point)[stage],
        extra_dram_bytes=(sent, served)[stage],
    )
    link = sent + served if stage == 0 else 0
    return energy_uj(QueryActivity(stages=(activity,), link_bytes=link))


def _looked_up(
    table: pl.DataFrame, keys: list[str], name: str, value: Callable[[int], float]
) -> pl.DataFrame:
    """Add a column that depends on `keys` only. value : from a point's number."""
    rows = table.unique(keys, keep="first", maintain_order=True).select(*keys, "number")
    found = [value(number) for number in rows["number"]]
    known = rows.drop("number").with_columns(pl.Series(name, found, pl.Float64))
    return table.join(known, on=keys, how="left", maintain_order="left")


def _figures(space: DesignSpace, table: pl.DataFrame, platform: PlatformConfig) -> pl.DataFrame:
    """Add FIGURES."""
    clock_hz = platform.accelerator.clock_hz
    link = ItemLink.of(platform, space.candidates, space.workload.top_n)
    ndcg = {k: published_ndcg(space.candidates, k)[0] for k in space.axes.k}

    def area(number: int) -> float:
        rows = area_of(space.config(space.point(number)), GATES_EACH).rows
        return sum(row.mm2 for row in rows)

    def clock(number: int) -> float:
        return clock_watts(space.config(space.point(number)), clock_hz)

    def energy(stage: int) -> Callable[[int], float]:
        return lambda number: sum(stage_uj(space, space.point(number), stage).values())

    table = _looked_up(table, _AREA, "area_mm2", area)
    table = _looked_up(table, ["array_size"], "clock_w", clock)
    table = _looked_up(table, [*_MEMORY, "front_sub_batch"], "front_uj", energy(0))
    table = _looked_up(table, [*_MEMORY, "back_sub_batch", "k"], "back_uj", energy(1))
    return table.with_columns(
        latency_ms=1e3 * (pl.col("latency_cycles") / clock_hz + link.in_s + link.out_s),
        ndcg=pl.col("k").replace_strict(ndcg, return_dtype=pl.Float64),
        query_uj=pl.col("front_uj") + pl.col("back_uj"),
        qps=pl.min_horizontal(clock_hz / pl.col("interval_cycles").cast(pl.Float64), link.qps),
    ).drop("front_uj", "back_uj")


def front(table: pl.DataFrame) -> pl.DataFrame:
    """Return the exact front in FIGURES; of equal points the one with the lowest number."""
    spec = FrontSpec.model_construct(
        minimise=tuple(name for name, more in FIGURES.items() if not more),
        maximise=tuple(name for name, more in FIGURES.items() if more),
        within=(),
    )
    table = table.unique([*FIGURES], keep="first", maintain_order=True)
    while True:
        parts = [table[at : at + BLOCK] for at in range(0, len(table), BLOCK)]
        kept = [
            part.filter(front_mask({name: part[name].to_numpy() for name in FIGURES}, spec))
            for part in parts
        ]
        smaller = pl.concat(kept)
        if len(parts) == 1:
            return smaller
        if len(smaller) > 0.9 * len(table):
            names = {name: smaller[name].to_numpy() for name in FIGURES}
            return smaller.filter(np.asarray(front_mask(names, spec)))
        table = smaller


def find_offer(
    spec: SweepSpec,
    candidates: Sequence[int] = CANDIDATES,
    executor: Executor | None = None,
    progress: Callable[[str], Any] = print,
) -> Offer:
    """Evaluate every point and return the front. executor : of the sweeps; None: here.

    Raises ValueError for a space of another machine than the platform's, whose clock, link and
    memory count, or for one that names its candidates.
    """
    platform = load_platform(PLATFORM)
    if spec.base != platform.accelerator.preset:
        raise ValueError(f"base must be {platform.accelerator.preset}, not {spec.base}")
    if spec.candidates:
        raise ValueError("candidates must be left to --candidates, not be in the spec")
    spaces = spaces_of(spec, candidates)
    fronts, evaluated = [], 0
    for items, space in spaces.items():
        progress(f"{items} candidates: {space.points} points")
        table = _points(space, executor)
        evaluated += len(table)
        fronts.append(front(_figures(space, table, platform)))
    points = front(pl.concat(fronts, how="vertical_relaxed"))
    order = ["candidates", "k", "latency_ms", "area_mm2", "query_uj", "number"]
    return Offer(
        spec=spec,
        spaces=spaces,
        points=points.sort(order),
        evaluated=evaluated,
        platform=platform,
    )
