"""Plots of a choice: quality against tail latency of every pipeline, with the front."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rpaccel.scheduler.choice import Choice
from rpaccel.scheduler.search import Evaluation

COLOURS = {"cpu": "tab:blue", "accelerator": "tab:orange", "both": "tab:green"}


def pareto_front(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Return the pipelines that none beats in both tail latency and quality, by latency."""
    import moocore  # noqa: PLC0415  (slow import, used by plots and sweeps alone)

    usable = [e for e in evaluations if np.isfinite(e.tail_ms) and np.isfinite(e.quality_value)]
    if not usable:
        return []
    points = np.array([[e.tail_ms, -e.quality_value] for e in usable])
    kept = moocore.is_nondominated(points)
    front = [e for e, keep in zip(usable, kept, strict=True) if keep]
    return sorted(front, key=lambda e: (e.tail_ms, e.pipeline))


def _placement(evaluation: Evaluation) -> str:
    devices = set(evaluation.pipeline.devices)
    return devices.pop() if len(devices) == 1 else "both"


def plot_quality_latency(choice: Choice, path: Path, title: str = "") -> None:
    """Write a PNG (or SVG, by suffix) of quality against tail latency to `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (0.7 s)
    from matplotlib.figure import Figure  # noqa: PLC0415

    need = choice.requirement
    usable = [
        e for e in choice.evaluations if np.isfinite(e.tail_ms) and np.isfinite(e.quality_value)
    ]
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for placement, colour in COLOURS.items():
        for stages, marker in ((1, "o"), (2, "s")):
            members = [
                e for e in usable if _placement(e) == placement and len(e.pipeline.models) == stages
            ]
            if members:
                axes.scatter(
                    [e.tail_ms for e in members],
                    [e.quality_value for e in members],
                    color=colour,
                    marker=marker,
                    alpha=0.7,
                    label=f"{stages} stage{'s' * (stages - 1)}, {placement}",
                )
    front = pareto_front(usable)
    axes.step(
        [e.tail_ms for e in front],
        [e.quality_value for e in front],
        where="post",
        color="black",
        linewidth=1,
        label="front",
    )
    axes.axvline(need.sla_ms, color="grey", linestyle="--", linewidth=1, label="SLA")
    axes.axhline(need.quality_target, color="grey", linestyle=":", linewidth=1, label="target")
    if choice.chosen is not None:
        axes.scatter(
            [choice.chosen.tail_ms],
            [choice.chosen.quality_value],
            s=180,
            facecolors="none",
            edgecolors="black",
            label="chosen",
        )
    axes.set_xscale("log")
    axes.set_xlabel(f"p{need.percentile:g} latency at {need.load_qps:g} queries/s [ms]")
    axes.set_ylabel(need.quality_metric)
    axes.set_title(title)
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    # No date and no version in the file: same input, same bytes.
    metadata = {"Software": None} if path.suffix == ".png" else {"Date": None}
    figure.savefig(path, dpi=120, metadata=metadata)
