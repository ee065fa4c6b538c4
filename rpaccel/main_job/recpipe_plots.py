"""Plots of a joint search: its fronts on the three slices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rpaccel.main_job.plots import new_figure, save_figure
from rpaccel.main_job.recpipe import Study
from rpaccel.scheduler.recpipe_search import Searched

__all__ = ["plot_study"]

STYLES = ("o-", "s--", "^:")


def plot_study(study: Study, out: Path) -> list[Path]:
    """Write a PNG of each slice and one of the front into `out`; return their paths."""
    spec, fixed = study.spec, study.spec.slices
    tail = f"p{spec.percentile:g} [ms]"
    load = "load [queries/s]"
    drawn = [
        _front(study, out / f"{spec.name}_front.png", tail),
        _slice(study, out / f"{spec.name}_iso_quality.png", "quality", ("load_qps", load),
               ("tail_ms", tail), f"{spec.metric} of at least {fixed.quality:g}"),
        _slice(study, out / f"{spec.name}_iso_latency.png", "latency", ("load_qps", load),
               ("quality", spec.metric), f"{tail[:-5]} within {fixed.sla_ms:g} ms"),
        _slice(study, out / f"{spec.name}_iso_throughput.png", "throughput", ("tail_ms", tail),
               ("quality", spec.metric), f"{fixed.load_qps:g} queries/s"),
    ]  # fmt: skip
    return drawn


def _slice(
    study: Study, path: Path, name: str, x: tuple[str, str], y: tuple[str, str], title: str
) -> Path:
    figure, axes = new_figure()
    for (devices, (part, cut)), style in zip(study.sets.items(), STYLES, strict=False):
        places: Sequence[int] = getattr(cut, name)
        values = [getattr(part.measures, field)[list(places)] for field, _ in (x, y)]
        axes.plot(*values, style, label=devices)
    axes.set_xscale("log")
    if y[0] == "tail_ms":
        axes.set_yscale("log")
    axes.set_xlabel(x[1])
    axes.set_ylabel(y[1])
    axes.set_title(f"{study.spec.name}: {title}")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    save_figure(figure, path)
    return path


def _front(study: Study, path: Path, tail: str) -> Path:
    """Draw quality against the tail, a colour for the load, of everything and of the front."""
    figure, axes = new_figure()
    searched: Searched = study.searched
    found, front = searched.measures, searched.front
    every = np.flatnonzero(found.stable)
    axes.scatter(found.tail_ms[every], found.quality[every], s=3, color="#ccc", label="candidates")
    dots = axes.scatter(
        found.tail_ms[front], found.quality[front], s=16, c=np.log10(found.load_qps[front]),
        label="front",
    )  # fmt: skip
    figure.colorbar(dots, label="log10 of the load [queries/s]")
    axes.set_xscale("log")
    axes.set_xlabel(tail)
    axes.set_ylabel(study.spec.metric)
    axes.set_title(f"{study.spec.name}: front of quality, tail latency and load")
    axes.legend(fontsize=8)
    save_figure(figure, path)
    return path
