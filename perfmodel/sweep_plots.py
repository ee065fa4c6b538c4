"""Plots of a sweep. Same rows, same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rpaccel.perfmodel.sweep import SweepRow

LATENCY_CYCLES = 100  # RecPipe table 3; the plots other than the one over latency are cut here


def _best(rows: Sequence[SweepRow], key: Callable[[SweepRow], Any]) -> dict[Any, SweepRow]:
    """Return the fastest row of each key, keys ascending."""
    best: dict[Any, SweepRow] = {}
    for row in rows:
        name = key(row)
        if name not in best or row.total_cycles < best[name].total_cycles:
            best[name] = row
    return dict(sorted(best.items()))


def _curves(axes: Any, rows: Sequence[SweepRow], line: str, x: str, label: str) -> None:
    """Draw latency over column `x`, one curve per value of column `line`, the rest at its best."""
    for value in sorted({getattr(row, line) for row in rows}):
        members = [row for row in rows if getattr(row, line) == value]
        best = _best(members, lambda row: getattr(row, x))
        axes.plot(list(best), [row.latency_ms for row in best.values()], "o-", markersize=4,
                  label=label.format(value))  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.legend(fontsize="small")


def _front(axes: Any, rows: Sequence[SweepRow]) -> None:
    axes.scatter([r.macs for r in rows], [r.latency_ms for r in rows], s=8, color="lightgrey",
                 label="design points")  # fmt: skip
    for beat in sorted({row.beat_bytes for row in rows}):
        members = [row for row in rows if row.pareto and row.beat_bytes == beat]
        best = _best(members, lambda row: row.macs)
        if best:
            axes.plot(list(best), [row.latency_ms for row in best.values()], "o-", markersize=5,
                      label=f"front, {beat} B/beat")  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.legend(fontsize="small")


def write_plots(rows: Sequence[SweepRow], out: Path) -> list[str]:
    """Write one PNG per question to `out`, a panel per workload; return the file names."""
    at = [row for row in rows if row.latency_cycles == LATENCY_CYCLES]
    title = f"memory latency {LATENCY_CYCLES} cycles, other sizes at their best"
    plots: list[tuple[str, str, str, Sequence[SweepRow], Callable[[Any, Sequence[SweepRow]], None]]]
    plots = [
        ("array_size", title, "array rows = columns", at,
         lambda axes, members: _curves(axes, members, "beat_bytes", "array_size", "{} B/beat")),
        ("sub_batch", title, "largest sub-batch [items]", at,
         lambda axes, members: _curves(axes, members, "array_size", "sub_batch", "array {0}x{0}")),
        ("memory_latency", "other sizes at their best", "memory latency [cycles]", rows,
         lambda axes, members: _curves(axes, members, "beat_bytes", "latency_cycles", "{} B/beat")),
        ("pareto", title, "multipliers of the array", at, _front),
    ]  # fmt: skip
    return [_write(out, *plot) for plot in plots]


def _write(
    out: Path,
    name: str,
    title: str,
    x_label: str,
    rows: Sequence[SweepRow],
    draw: Callable[[Any, Sequence[SweepRow]], None],
) -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (0.7 s)
    from matplotlib.figure import Figure  # noqa: PLC0415

    workloads = list(dict.fromkeys(row.workload for row in rows))
    figure = Figure(figsize=(5.5 * len(workloads), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(workloads), squeeze=False)[0]
    for axes, workload in zip(panels, workloads, strict=True):
        draw(axes, [row for row in rows if row.workload == workload])
        axes.set_title(workload)
        axes.set_xlabel(x_label)
        axes.set_ylabel("latency of one query at 250 MHz [ms]")
        axes.grid(alpha=0.3, which="both")
    figure.suptitle(title, fontsize="medium")
    path = out / f"{name}.png"
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return path.name
