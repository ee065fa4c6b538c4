"""Plots and timeline of `rpaccel ablation`. Matplotlib is imported when one is drawn."""

from __future__ import annotations

from pathlib import Path

from rpaccel.main_job.cache_plots import COLOURS, new_axes, save_figure
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.timeline import machine_events
from rpaccel.perfmodel.trace_events import trace_json
from rpaccel.results import RunFolder
from rpaccel.scheduler.ablation import Setup
from rpaccel.scheduler.ablation_study import AblationStudy

__all__ = ["write_ablation"]

TIMELINE_QUERIES = 6
TIMELINE_GAP_S = 60e-6


def write_ablation(study: AblationStudy, values: object, out: Path) -> list[Path]:
    """Write figures, plots and a timeline of all ideas to `out`; return the files."""
    folder = RunFolder(out)
    setup = Setup(study.whole.design)
    gap = setup.cycles(TIMELINE_GAP_S)
    loads = setup.loads([gap * n for n in range(TIMELINE_QUERIES)])
    report = simulate(setup.machine, loads, sub_batches=True)
    trace = out / "trace.json"
    trace.write_text(trace_json(machine_events(report)))
    return [
        folder.write_json("ablation", values),
        trace,
        *_latency_under_load(study, out),
        *_steps(study, out),
    ]


def _latency_under_load(study: AblationStudy, out: Path) -> list[Path]:
    figure, axes = new_axes()
    rows = (study.rows[0], study.fair, *study.rows[-4:])
    for row, colour in zip(rows, (*COLOURS, "#9d755d"), strict=False):
        axes.plot(
            [load.load_qps for load in row.loads],
            [load.p99_ms for load in row.loads],
            "o-",
            color=colour,
            markersize=4,
            label=row.design.name,
        )
    axes.plot(study.point.load_qps, study.point.p99_ms, "k*", label="A, as published")
    axes.set_yscale("log")
    axes.set_xlabel("load [queries/s]")
    axes.set_ylabel("p99 latency [ms]")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")
    return save_figure(figure, out, "latency")


def _steps(study: AblationStudy, out: Path) -> list[Path]:
    figure, panels = new_axes(2, height=4.0, share=False)
    rows = (study.rows[0], *study.rows[-5:])
    names = [row.design.name for row in rows]
    for axes, values, title in (
        (panels[0], [row.unloaded_ms for row in rows], "unloaded latency [ms]"),
        (panels[1], [row.capacity_qps for row in rows], "capacity [queries/s]"),
    ):
        axes.barh(names[::-1], values[::-1], color=COLOURS[0])
        axes.set_title(title)
    return save_figure(figure, out, "steps")
