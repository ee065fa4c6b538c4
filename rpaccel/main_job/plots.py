"""The main job's plots. Matplotlib is imported when the first one is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

UNIT_COLOURS = {
    "gather": "#4c78a8",
    "array": "#f58518",
    "interaction": "#54a24b",
    "filter": "#b279a2",
}


def _figure(width: float = 8.0, height: float = 4.2) -> tuple[Any, Any]:
    """Return a new figure and its axes, drawn without a display."""
    import matplotlib  # noqa: PLC0415  (0.7 s: only when a plot is wanted)

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    return pyplot.subplots(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    """Write `figure` as a PNG without dates, and free it."""
    from matplotlib import pyplot  # noqa: PLC0415

    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def plot_cycles_by_unit(stages: Sequence[Mapping[str, Mapping[str, int]]], path: Path) -> None:
    """Draw measured beside predicted busy cycles of every unit, one group a stage.

    stages : for each stage {"measured": {unit: cycles}, "predicted": {unit: cycles}}.
    """
    figure, axes = _figure()
    labels: list[str] = []
    for number, stage in enumerate(stages):
        for unit, colour in UNIT_COLOURS.items():
            position = len(labels)
            for offset, kind, alpha in ((-0.2, "measured", 1.0), (0.2, "predicted", 0.45)):
                axes.bar(position + offset, stage[kind][unit], 0.38, color=colour, alpha=alpha)
            labels.append(f"{unit}\nstage {number + 1}")
    axes.set_xticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylabel("busy cycles per query (mean)")
    axes.set_xlabel("unit and stage (solid: netlist, pale: performance model)")
    axes.set_title("Where the cycles go")
    _save(figure, path)


def plot_timeline(spans: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw units on a time axis.

    spans : {"unit": str, "stage": int, "start": cycle, "end": cycle}, as `QueryReport.timeline`.
    """
    figure, axes = _figure(9.0, 3.2)
    units = list(UNIT_COLOURS)
    for span in spans:
        if span["unit"] not in units:
            continue
        row = units.index(span["unit"])
        axes.barh(
            row,
            span["end"] - span["start"],
            left=span["start"],
            height=0.7,
            color=UNIT_COLOURS[span["unit"]],
            alpha=1.0 if span["stage"] == 0 else 0.55,
            edgecolor="white",
            linewidth=0.4,
        )
    axes.set_yticks(range(len(units)), units)
    axes.invert_yaxis()
    axes.set_xlabel("cycle of the query (solid: stage 1, pale: stage 2)")
    axes.set_ylabel("unit")
    axes.set_title(title)
    _save(figure, path)


def plot_quality_against_latency(points: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw NDCG@10 against p99 of every pipeline of the scheduler, the chosen one ringed.

    points : {"name": str, "p99_ms": float, "quality": float, "feasible": bool, "chosen": bool}.
    """
    figure, axes = _figure()
    for point in points:
        on_accelerator = "accelerator" in point["name"]
        colour = "#f58518" if on_accelerator else "#4c78a8"
        axes.plot(point["p99_ms"], point["quality"], "o", color=colour,
                  alpha=1.0 if point["feasible"] else 0.25)  # fmt: skip
        if point["chosen"]:
            axes.plot(point["p99_ms"], point["quality"], "o", ms=14, mfc="none", color="black")
            axes.annotate(point["name"], (point["p99_ms"], point["quality"]), fontsize=8,
                          xytext=(8, 8), textcoords="offset points")  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("p99 latency [ms] (blue: CPU only, orange: with the accelerator, pale: misses)")
    axes.set_ylabel("NDCG@10")
    axes.set_title("Quality against latency at the given load")
    _save(figure, path)
