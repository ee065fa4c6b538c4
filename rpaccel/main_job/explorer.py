"""`rpaccel report`: one HTML page in which a reader bounds a design and sees what is left.

The page holds its data, style and script; it asks nothing of a server or a network.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from rpaccel.main_job.area_page import GATES_EACH, area_of
from rpaccel.main_job.explorer_points import TERMS, PointDetail, point_detail
from rpaccel.main_job.explorer_space import CANDIDATES, FIGURES, ItemLink, Offer, find_offer, front
from rpaccel.perfmodel.design_space import DesignSpace
from rpaccel.perfmodel.machine_report import BatchRecord, TaskRecord
from rpaccel.spec.sweep import SweepSpec
from rpaccel.workloads.criteo_published import published_ndcg

__all__ = ["STEP", "page_data", "page_html", "report_text", "thinned", "write_explorer"]

STEP = 0.01  # of a figure
SVG_NAMESPACE = "http://www.w3.org/2000/svg"  # a name, nothing is read from there
PAGE = Path(__file__).parent / "explorer_page"
SCRIPTS = ("choice.js", "plot.js", "detail.js", "page.js")
# Columns of a point on the page, in this order; FIGURES and lists of its own follow.
AXES = (
    "number", "candidates", "k", "array_size", "split", "static_cache_kib", "static_front_percent",
    "look_ahead_kib", "front_sub_batch", "back_sub_batch", "front_task_items", "back_task_items",
    "memory_ports", "beat_bytes", "latency_cycles",
)  # fmt: skip
LISTS = ("published", "area", "terms_us", "energy_uj", "event_cycles", "ends", "tasks")


def thinned(points: pl.DataFrame, step: float = STEP) -> pl.DataFrame:
    """Return fewer points: for each of `points` there is one that is worse by `step` in no figure.

    Nor in NDCG at all. Figures are counted in steps of a factor 1 + step, and the front of the
    counts is kept. step : 0 keeps all. Raises ValueError outside 0..0.5.
    """
    if not 0 <= step <= 0.5:
        raise ValueError(f"step must be in 0..0.5, not {step}")
    if not step:
        return points
    counts = {
        name: (pl.col(name).log() / math.log1p(step)).floor() for name in FIGURES if name != "ndcg"
    }
    kept = front(points.with_row_index("row").with_columns(**counts))["row"]
    return points[kept.sort().to_list()]


def _figure(value: float) -> float:
    """Round to six digits: the page's figures are these."""
    return float(f"{value:.6g}")


def _task(task: TaskRecord, batches: Sequence[BatchRecord], zero: int) -> list[Any]:
    """Return a task for the page: its cycles, and those in which its sub-batches end."""
    times = (task.start, task.gathered, task.computing, task.end, task.scored)
    return [
        task.stage, task.lane, task.items, *(time - zero for time in times),
        [batch.gathered - task.start for batch in batches],
        [batch.logit - task.start for batch in batches],
    ]  # fmt: skip


def _point(row: dict[str, Any], detail: PointDetail, area: int) -> list[Any]:
    parts = detail.energy_uj.values()
    return [
        *(row[name] for name in AXES),
        *(_figure(row[name]) for name in FIGURES),
        published_ndcg(row["candidates"], row["k"])[1],
        area,
        [_figure(value) for value in detail.terms_us],
        [_figure(value) for value in parts],
        detail.event_cycles,
        [end - detail.accepted for end in detail.ends],
        [
            _task(task, batches, detail.accepted)
            for task, batches in zip(detail.tasks, detail.sub_batches, strict=True)
        ],
    ]


def _areas(space: DesignSpace, number: int) -> list[tuple[str, float]]:
    rows = area_of(space.config(space.point(number)), GATES_EACH).rows
    return [(row.name.split(":")[0], _figure(row.mm2)) for row in rows]


def page_data(
    offer: Offer, step: float = STEP, progress: Callable[[str], Any] = print
) -> dict[str, Any]:
    """Return what the page is made of; docs/explorer.md says what is in it."""
    shipped = thinned(offer.points, step)
    clock_hz = offer.platform.accelerator.clock_hz
    progress(f"{len(shipped)} of {len(offer.points)} points of the front: a query of each")
    areas: list[list[float]] = []
    points, names, parts, errors = [], [], [], []
    for row in shipped.iter_rows(named=True):
        space = offer.spaces[row["candidates"]]
        link = ItemLink.of(offer.platform, row["candidates"], space.workload.top_n)
        detail = point_detail(space, row["number"], link, clock_hz)
        errors.append(row["latency_cycles"] / detail.event_cycles - 1)
        found = _areas(space, row["number"])
        names, parts = [name for name, _ in found], list(detail.energy_uj)
        mm2 = [value for _, value in found]
        if mm2 not in areas:
            areas.append(mm2)
        points.append(_point(row, detail, areas.index(mm2)))
    stages = [network.name for network, _ in space.workload.stages]
    return {
        "spec": offer.spec.name, "stages": stages, "served": space.workload.top_n,
        "clock_hz": clock_hz, "evaluated": offer.evaluated, "front": len(offer.points),
        "step": step, "candidates": sorted(offer.spaces),
        "closed_form_error": {
            "mean": _figure(sum(map(abs, errors)) / len(errors)),
            "lowest": _figure(min(errors)), "highest": _figure(max(errors)),
        },
        "fields": [*AXES, *FIGURES, *LISTS], "points": points,
        "terms": list(TERMS), "energy_parts": parts, "area_parts": names, "areas": areas,
    }  # fmt: skip


def page_html(data: dict[str, Any]) -> str:
    """Return the page: template, style, scripts and data in one."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    text = text.replace("<", "\\u003c")
    read = partial(Path.read_text, encoding="utf-8")
    script = "\n".join(read(PAGE / name) for name in SCRIPTS)
    html = read(PAGE / "page.html").replace("@STYLE@", read(PAGE / "page.css"))
    return html.replace("@SCRIPT@", script).replace("@DATA@", text)


def write_explorer(
    spec: SweepSpec,
    out: Path,
    *,
    candidates: Sequence[int] = CANDIDATES,
    step: float = STEP,
    executor: Executor | None = None,
    progress: Callable[[str], Any] = print,
) -> dict[str, Any]:
    """Write report.html into the folder `out`; return what was evaluated, kept and written.

    executor : of the sweeps; None: here.
    """
    offer = find_offer(spec, candidates, executor, progress)
    data = page_data(offer, step, progress)
    path = out / "report.html"
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(page_html(data), encoding="utf-8")
    return {
        "page": path.as_posix(), "bytes": path.stat().st_size, "evaluated": offer.evaluated,
        "front": len(offer.points), "shipped": len(data["points"]), "step": step,
    }  # fmt: skip


def report_text(summary: dict[str, Any]) -> str:
    """Return what `write_explorer` returned, in a sentence."""
    return (
        f"{summary['evaluated']:,} points, {summary['front']:,} in the front, "
        f"{summary['shipped']:,} on the page: {summary['page']}, {summary['bytes'] / 1e6:.1f} MB"
    )
