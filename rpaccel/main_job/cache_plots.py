"""Plots of `rpaccel figures`. Matplotlib is imported when the first one is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rpaccel.main_job.cache_study import AS_PUBLISHED, PUBLISHED_AMAT_CYCLES, VARIANTS, Curve
from rpaccel.main_job.merge_study import MergeReport

COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756")
FORMATS = ("png", "svg")


def new_axes(
    columns: int = 1, width: float = 8.0, height: float = 4.6, *, share: bool = True
) -> tuple[Any, Any]:
    """Return a new figure and its axes, drawn without a display. share : one y axis."""
    import matplotlib  # noqa: PLC0415  (0.7 s: only when a plot is wanted)

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "rpaccel"  # equal ids in every run: equal bytes
    from matplotlib import pyplot  # noqa: PLC0415

    return pyplot.subplots(1, columns, figsize=(width, height), layout="constrained", sharey=share)


def save_figure(figure: Any, folder: Path, name: str) -> list[Path]:
    """Write `figure` as PNG and SVG without dates, and free it."""
    from matplotlib import pyplot  # noqa: PLC0415

    paths = [folder / f"{name}.{suffix}" for suffix in FORMATS]
    for path, metadata in zip(paths, ({"Software": None}, {"Date": None}), strict=True):
        figure.savefig(path, dpi=110, metadata=metadata)
    pyplot.close(figure)
    return paths


def plot_hit_rates(
    published: Mapping[int, float],
    simulated: Mapping[int, float],
    not_fitted: Sequence[int],
    folder: Path,
) -> list[Path]:
    """Draw published and simulated hit rates [%] against lines of 128 bytes."""
    figure, axes = new_axes()
    lines = sorted(simulated)
    axes.plot(lines, [simulated[n] for n in lines], "-", color=COLOURS[0], label="our trace")
    for marker, label, chosen in (
        ("o", "RecPipe, fitted", [n for n in lines if n not in not_fitted]),
        ("s", "RecPipe, not fitted", [n for n in lines if n in not_fitted]),
    ):
        axes.plot(chosen, [published[n] for n in chosen], marker, color=COLOURS[1], label=label)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("capacity [lines of 128 bytes] (FIFO, 5 largest tables x 4 copies)")
    axes.set_ylabel("hit rate [%]")
    axes.set_title("The popularity law against the published hit rates")
    axes.legend()
    return save_figure(figure, folder, "hit_rates")


def plot_split(curves: Sequence[Curve], folder: Path) -> list[Path]:
    """Draw figure 10(c): AMAT against the front-end share, ours as lines, RecPipe's as circles."""
    figure, axes = new_axes()
    for colour, curve in zip(COLOURS, _of(curves, AS_PUBLISHED.name), strict=False):
        label = f"{curve.total_mb} MB, 1/{curve.ratio}: best at {curve.best_share:.0%}"
        axes.plot(curve.shares, curve.amat_cycles, "-", color=colour, label=label)
        points = PUBLISHED_AMAT_CYCLES[curve.total_mb, curve.ratio]
        axes.plot(list(points), list(points.values()), "o", color=colour, fillstyle="none")
    axes.set_xlabel("front-end share of the memory (circles: RecPipe)")
    axes.set_ylabel("mean access time [cycles] (hit 1, miss 100)")
    axes.set_title("RecPipe figure 10(c): FIFO, one vector per 128-byte line")
    axes.legend(fontsize=9)
    return save_figure(figure, folder, "fig10c")


def plot_variants(curves: Sequence[Curve], total_mb: int, folder: Path) -> list[Path]:
    """Draw what packing, merging and pinning change, one panel a ratio."""
    ratios = sorted({curve.ratio for curve in curves})
    figure, panels = new_axes(len(ratios), width=10.0)
    for axes, ratio in zip(panels, ratios, strict=True):
        for colour, variant in zip(COLOURS, VARIANTS, strict=True):
            for curve in _of(curves, variant.name):
                if (curve.total_mb, curve.ratio) == (total_mb, ratio):
                    best = f"{variant.name}: best at {curve.best_share:.0%}"
                    axes.plot(curve.shares, curve.amat_cycles, "-", color=colour, label=best)
        points = PUBLISHED_AMAT_CYCLES[total_mb, ratio]
        axes.plot(list(points), list(points.values()), "o", color=COLOURS[0], fillstyle="none")
        axes.set_xlabel("front-end share of the memory (circles: RecPipe)")
        axes.set_title(f"{total_mb} MB, 1 candidate in {ratio} goes on")
        axes.legend(fontsize=8)
    panels[0].set_ylabel("mean access time [cycles] (hit 1, miss 100)")
    return save_figure(figure, folder, "variants")


def plot_merging(reports: Sequence[MergeReport], folder: Path) -> list[Path]:
    """Draw the share of row fetches that a window of reads in flight saves."""
    figure, axes = new_axes(width=9.0)
    for number, report in enumerate(reports):
        colour, style = COLOURS[number % len(COLOURS)], "-" if number < len(COLOURS) else "--"
        saved = [100 * share for share in report.windows.values()]
        axes.plot(list(report.windows), saved, style, color=colour, label=report.stream)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("reads of memory in flight")
    axes.set_ylabel("row fetches saved [%]")
    axes.set_title("Fetching an id in flight once")
    axes.legend(fontsize=7)
    return save_figure(figure, folder, "merging")


def _of(curves: Sequence[Curve], variant: str) -> list[Curve]:
    return [curve for curve in curves if curve.variant == variant]
