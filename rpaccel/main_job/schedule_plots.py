"""What `rpaccel schedule` leaves in its folder: the choice as JSON, and plots of its fronts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rpaccel.main_job.plots import new_figure, plot_quality_against_latency, save_figure
from rpaccel.main_job.schedule import ScheduleAsk
from rpaccel.results import RunFolder
from rpaccel.scheduler.choice_answer import Choice
from rpaccel.scheduler.choice_text import choice_json

__all__ = ["plot_load_latency", "write_schedule"]


def write_schedule(choice: Choice, ask: ScheduleAsk, out: Path) -> None:
    """Write choice.json, config.json, summary.json and the plots into `out`."""
    folder, values = RunFolder(out), choice_json(choice)
    folder.write_json("choice", values)
    plot_quality_against_latency(values, out / "quality_latency.png")
    if values["chosen"]:
        plot_load_latency(values, out / "load_latency.png")
        folder.figure("tail latency of the choice", values["chosen"]["tail_ms"], "ms")
        folder.figure("its largest load within the SLA", values["qps_under_sla"], "queries/s")
    folder.finish(ask)


def plot_load_latency(values: Mapping[str, Any], path: Path) -> None:
    """Draw the tail of the choice, and of what would be chosen, at half, full and double load."""
    figure, axes = new_figure()
    need, chosen = values["requirement"], values["chosen"]
    points = [chosen, *(what_if["kept"] for what_if in values["what_if"])]
    best = [chosen, *(what_if["chosen"] for what_if in values["what_if"] if what_if["chosen"])]
    for options, style, label in (
        (points, "o-", chosen["pipeline"]),
        (best, "s--", "the best at each load"),
    ):
        known = sorted((o["load_qps"], o["tail_ms"]) for o in options if o["tail_ms"] is not None)
        axes.plot(*zip(*known, strict=True), style, label=label)
    axes.axhline(need["sla_ms"], color="#999", linewidth=0.8, label="SLA")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("load [queries/s]")
    axes.set_ylabel(f"p{need['percentile']:g} latency [ms]")
    axes.set_title("The choice at half, full and double the load")
    axes.legend(fontsize=8)
    save_figure(figure, path)
