"""The performance sweep: array, sub-batch, bandwidth and latency of memory, two workloads.

Every design point is one lane with one memory port. Memories keep their size in bytes, so that
array sizes compare; results are cycles of one query on an idle lane.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, fields
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np

from rpaccel.perfmodel.analytic import predict_points
from rpaccel.perfmodel.memory import padded_records, stage_read_beats
from rpaccel.perfmodel.networks import WORKLOADS, SweepWorkload
from rpaccel.perfmodel.report import format_table
from rpaccel.perfmodel.shapes import compile_shape
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.platform import load_platform

ARRAY_SIZES = (8, 16, 32, 64, 128)
SUB_BATCHES = (16, 32, 64, 128, 256, 512, 1024)
BEAT_BYTES = (8, 16, 32, 64, 128)
LATENCIES = (25, 50, 100, 200)  # [cycles]
BASE_PRESET = "paper"


@dataclass(frozen=True, kw_only=True)
class DesignPoint:
    """One machine and one workload."""

    workload: str
    array_size: int
    sub_batch: int
    beat_bytes: int
    latency_cycles: int


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """One line of the CSV."""

    workload: str
    array_size: int
    sub_batch: int
    beat_bytes: int
    latency_cycles: int
    macs: int  # multipliers of the array
    total_cycles: int
    stage0_cycles: int
    stage1_cycles: int
    gather_cycles: int
    array_cycles: int
    interaction_cycles: int
    latency_ms: float  # at the clock of the `paper` platform
    queries_per_s: float  # one lane, queries one after another
    mac_utilisation: float  # MACs on real rows over array_size**2 * total_cycles
    read_bytes: int  # beats read from memory, whole beats counted
    pareto: int  # 1: no point of this workload is better in latency, MACs and beat bytes


def design_points(workloads: Sequence[SweepWorkload] = WORKLOADS) -> list[DesignPoint]:
    """Return every point whose beat is not wider than a word, in a fixed order."""
    grid = product((w.name for w in workloads), ARRAY_SIZES, SUB_BATCHES, BEAT_BYTES, LATENCIES)
    return [
        DesignPoint(workload=name, array_size=a, sub_batch=b, beat_bytes=w, latency_cycles=latency)
        for name, a, b, w, latency in grid
        if w <= a
    ]


MEMORIES = ("weight_words", "dense_words", "feature_words", "act_words", "cross_words")


def machine(array_size: int) -> AcceleratorConfig:
    """Return the base preset with another array, its memories kept in bytes."""
    base = load_accelerator(BASE_PRESET)
    scale = base.array_size / array_size
    return AcceleratorConfig.model_validate(
        base.model_dump()
        | {
            "name": f"sweep{array_size}",
            "retrieval_queries": 0,  # ranking alone: narrow buses have no engine
            "array_size": array_size,
            "block_size": min(base.block_size, array_size),
            "lanes": 1,
            "lane_blocks": (),
            "axi_data_bits": min(base.axi_data_bits, 8 * array_size),
            **{name: int(getattr(base, name) * scale) for name in MEMORIES},
        }
    )


def evaluate_points(points: Sequence[DesignPoint], clock_hz: float) -> list[SweepRow]:
    """Return the lines of points of one workload and one array size; `pareto` is still 0."""
    first = points[0]
    if any((p.workload, p.array_size) != (first.workload, first.array_size) for p in points):
        raise ValueError("points must be of one workload and one array size")
    workload = next(w for w in WORKLOADS if w.name == first.workload)
    config = machine(first.array_size)
    stages = [
        (compile_shape(network, config, config.sub_batch_max), items)
        for network, items in workload.stages
    ]
    beat_bytes = np.array([p.beat_bytes for p in points])
    records = padded_records(
        max(network.record_bytes("user") for network, _ in workload.stages),
        max(network.record_bytes("item") for network, _ in workload.stages),
        beat_bytes,
    )
    report = predict_points(
        config,
        stages,
        sub_batch=np.array([p.sub_batch for p in points]),
        beat_bytes=beat_bytes,
        latency_cycles=np.array([p.latency_cycles for p in points]),
        records=records,
    )
    beats = sum(
        stage_read_beats(beat_bytes, shape, records, items, index == 0)
        for index, (shape, items) in enumerate(stages)
    )
    multipliers = config.array_size**2
    totals = report.total_cycles.tolist()
    return [
        SweepRow(
            **asdict(point),
            macs=multipliers,
            total_cycles=total,
            stage0_cycles=int(report.stage_cycles[0, i]),
            stage1_cycles=int(report.stage_cycles[1, i]),
            gather_cycles=int(report.gather_cycles[:, i].sum()),
            array_cycles=int(report.array_cycles[:, i].sum()),
            interaction_cycles=int(report.interaction_cycles[:, i].sum()),
            latency_ms=round(1e3 * total / clock_hz, 6),
            queries_per_s=round(clock_hz / total, 3),
            mac_utilisation=round(int(report.macs[i]) / (multipliers * total), 6),
            read_bytes=round(float(beats[i]) * point.beat_bytes),
            pareto=0,
        )
        for i, (point, total) in enumerate(zip(points, totals, strict=True))
    ]


def mark_pareto(rows: Sequence[SweepRow]) -> list[SweepRow]:
    """Return the rows with `pareto` set, per workload, over latency, multipliers and beat bytes."""
    import moocore  # noqa: PLC0415  (slow import)

    marked: list[SweepRow] = []
    for name in dict.fromkeys(row.workload for row in rows):
        members = [row for row in rows if row.workload == name]
        points = np.array([[r.total_cycles, r.macs, r.beat_bytes] for r in members], float)
        # Latency of memory is no choice: compare within each.
        keep = np.zeros(len(members), bool)
        for latency in dict.fromkeys(row.latency_cycles for row in members):
            chosen = np.array([row.latency_cycles == latency for row in members])
            keep[chosen] = moocore.is_nondominated(points[chosen], keep_weakly=True)
        marked += [
            SweepRow(**(asdict(row) | {"pareto": int(flag)}))
            for row, flag in zip(members, keep, strict=True)
        ]
    return marked


def sweep_rows(
    points: Sequence[DesignPoint], clock_hz: float, executor: Executor | None = None
) -> list[SweepRow]:
    """Evaluate `points`, a task per workload and array size, on `executor` (None: here)."""
    groups = [list(group) for _, group in groupby(points, key=lambda p: (p.workload, p.array_size))]
    run = map if executor is None else executor.map
    results = run(evaluate_points, groups, [clock_hz] * len(groups))
    return mark_pareto([row for rows in results for row in rows])


def to_csv(rows: Sequence[SweepRow]) -> str:
    """Return the rows as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(SweepRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def front_table(rows: Sequence[SweepRow], latency_cycles: int = 100) -> str:
    """Return the fronts at one memory latency as text."""
    header = ["workload", "array", "sub-batch", "beat [B]", "latency [ms]", "queries/s",
              "MAC util. %", "read [kB]"]  # fmt: skip
    front = [row for row in rows if row.pareto and row.latency_cycles == latency_cycles]
    front.sort(key=lambda row: (row.workload, row.macs, row.beat_bytes, row.total_cycles))
    lines = [
        [
            row.workload, f"{row.array_size}x{row.array_size}", row.sub_batch, row.beat_bytes,
            f"{row.latency_ms:.3f}", f"{row.queries_per_s:.0f}",
            f"{100 * row.mac_utilisation:.1f}", f"{row.read_bytes / 1e3:.0f}",
        ]
        for row in front
    ]  # fmt: skip
    return format_table(header, lines)


def run_sweep(
    out: Path, *, seed: int = 0, executor: Executor | None = None, plots: bool = True
) -> dict[str, Any]:
    """Write sweep.csv, summary.json and plots to `out`; return the summary with its `text`.

    seed : recorded with the results; the model draws nothing, so results do not depend on it.
    """
    from rpaccel.perfmodel.sweep_plots import write_plots  # noqa: PLC0415  (slow import)

    platform = load_platform("paper").accelerator
    rows = sweep_rows(design_points(), platform.clock_hz, executor)
    out.mkdir(parents=True, exist_ok=True)
    (out / "sweep.csv").write_text(to_csv(rows))
    names = write_plots(rows, out) if plots else []
    best = {
        name: asdict(min((r for r in rows if r.workload == name), key=lambda r: r.total_cycles))
        for name in dict.fromkeys(row.workload for row in rows)
    }
    summary = {
        "points": len(rows),
        "clock_hz": platform.clock_hz,
        "base_preset": BASE_PRESET,
        "seed": seed,
        "fastest": best,
        "front": sum(row.pareto for row in rows),
        "files": ["sweep.csv", *names],
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")
    text = f"{front_table(rows)}\n{len(rows)} points in {(out / 'sweep.csv').as_posix()}"
    return summary | {"text": text}
