"""Plots of a sweep: its front, and the best latency over what varies. Same points, same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rpaccel.perfmodel.sweep import Sweep

__all__ = ["write_plots"]

MOST_TICKS = 8  # else powers of two

# file -> (column on the x axis, its label, column of a curve each, label of a curve)
CURVES = {
    "array_size": ("array_size", "array rows = columns", "split", "split {}"),
    "bandwidth": (
        "bandwidth", "memory ports x beat [bytes per cycle]", "array_size", "array {0} x {0}",
    ),
    "sram": ("sram_bytes", "on-chip memory [bytes]", "array_size", "array {0} x {0}"),
    "k": ("k", "candidates that stage 1 ranks, k", "array_size", "array {0} x {0}"),
    "sub_batch": ("front_sub_batch", "items of a sub-batch, stage 0", "array_size",
                  "array {0} x {0}"),
}  # fmt: skip


def write_plots(sweep: Sweep, front: Any, clock_hz: float, out: Path) -> list[str]:
    """Write PNGs to `out`; return their names. front : polars DataFrame.

    A plot over an axis of one value is left out.
    """
    import polars as pl  # noqa: PLC0415  (slow import)

    to_ms = 1e3 / clock_hz
    table = sweep.table().with_columns(bandwidth=pl.col("memory_ports") * pl.col("beat_bytes"))
    names = [_write(out, "pareto", sweep, lambda axes: _front(axes, front, clock_hz))]
    queries = [
        table.group_by(x, line).agg(pl.col("latency_cycles").min()).sort(line, x)
        for x, _, line, _ in CURVES.values()
    ]
    found = zip(CURVES.items(), pl.collect_all(queries), strict=True)
    for (name, (x, label, line, curve)), best in found:
        if best[x].n_unique() < 2:
            continue

        def draw(
            axes: Any, best: Any = best, x: str = x, label: str = label, line: str = line,
            curve: str = curve,
        ) -> None:  # fmt: skip
            for value in best[line].unique(maintain_order=True):
                rows = best.filter(pl.col(line) == value)
                axes.plot(rows[x].to_numpy(), rows["latency_cycles"].to_numpy() * to_ms, "o-",
                          markersize=4, label=curve.format(value))  # fmt: skip
            axes.set_xlabel(label)
            axes.set_ylabel(f"latency of one query at {clock_hz / 1e6:.0f} MHz [ms]")
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            values = best[x].unique().sort().to_list()
            if len(values) <= MOST_TICKS:
                axes.set_xticks(values, [f"{value:,}" for value in values])

        names.append(_write(out, name, sweep, draw))
    return names


def _front(axes: Any, front: Any, clock_hz: float) -> None:
    """Draw the front: latency and rate, a colour per array size."""
    for size in front["array_size"].unique(maintain_order=True).sort():
        rows = front.filter(front["array_size"] == size)
        axes.scatter(
            rows["latency_cycles"].to_numpy() * 1e3 / clock_hz,
            clock_hz / rows["interval_cycles"].to_numpy(),
            s=2 + 8 * rows["sram_bytes"].to_numpy() / (1 << 20) / 8,
            alpha=0.6,
            label=f"array {size} x {size}",
        )
    axes.set_xlabel(f"latency of one query at {clock_hz / 1e6:.0f} MHz [ms]")
    axes.set_ylabel("throughput [queries per second]")
    axes.set_xscale("log")
    axes.set_yscale("log")


def _write(out: Path, name: str, sweep: Sweep, draw: Callable[[Any], None]) -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (0.7 s)
    from matplotlib.figure import Figure  # noqa: PLC0415  (with it)

    figure = Figure(figsize=(7, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw(axes)
    title = "front; marks grow with on-chip memory" if name == "pareto" else "the rest at its best"
    axes.set_title(f"{sweep.spec.name}: {title}", fontsize="medium")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")
    path = out / f"{name}.png"
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return path.name
