"""A figure of the paper with our points on its axes: data, table, plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rpaccel.main_job.cache_plots import new_axes, save_figure
from rpaccel.main_job.markdown import markdown_table

__all__ = ["OURS", "PAPER", "Panel", "PaperFigure", "Series", "figure_text", "plot_paper_figure"]

OURS, PAPER, ARTIFACT = "ours", "paper", "artifact"
STYLES = {OURS: ("o-", None), PAPER: ("s--", "none"), ARTIFACT: ("^:", "none")}
COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#9d755d", "#72b7b2")


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points of one origin. x : numbers of an axis, or names of bars."""

    label: str
    source: str
    points: tuple[tuple[float | str, float], ...]

    def __post_init__(self) -> None:
        if self.source not in STYLES:
            raise ValueError(f"source must be one of {', '.join(STYLES)}, not {self.source!r}")

    @property
    def title(self) -> str:
        """Label with its source."""
        return f"{self.source}: {self.label}"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes. log : of x, y, both (xy) or none."""

    x: str
    y: str
    series: tuple[Series, ...]
    log: str = ""

    @property
    def bars(self) -> bool:
        """Whether x are names."""
        return any(isinstance(x, str) for each in self.series for x, _ in each.points)


@dataclass(frozen=True, kw_only=True)
class PaperFigure:
    """A figure. stem : of its files. notes : what is ours, what differs, what is out of reach."""

    stem: str
    title: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...] = field(default=())


def figure_text(figure: PaperFigure) -> str:
    """Return a section of docs/generated/figures.md: notes and a table a panel."""
    parts = [f"## {figure.title}", *(f"* {note}" for note in figure.notes)]
    tables = [_panel_table(panel) for panel in figure.panels]
    return "\n".join(parts) + "\n\n" + "\n".join(tables)


def _panel_table(panel: Panel) -> str:
    values: dict[float | str, dict[str, float]] = {}
    for each in panel.series:
        for x, y in each.points:
            values.setdefault(x, {})[each.title] = y
    xs = list(values) if panel.bars else sorted(values, key=float)
    titles = [each.title for each in panel.series]
    head = [f"{panel.x} / {panel.y}", *titles]
    rows = [
        [_number(x), *(_number(values[x][t]) if t in values[x] else "-" for t in titles)]
        for x in xs
    ]
    return markdown_table(head, rows)


def _number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    if value == int(value) and abs(value) < 1e12:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def plot_paper_figure(figure: PaperFigure, folder: Path) -> list[Path]:
    """Draw the panels side by side as PNG and SVG."""
    count = len(figure.panels)
    drawn, axes = new_axes(count, width=6.5 * count, height=4.8, share=False)
    for panel, each in zip(figure.panels, [axes] if count == 1 else axes, strict=True):
        (_draw_bars if panel.bars else _draw_lines)(each, panel)
        each.set_xlabel(panel.x)
        each.set_ylabel(panel.y)
        each.grid(alpha=0.3, which="both", axis="y")
        each.legend(fontsize="x-small")
        if "x" in panel.log and not panel.bars:
            each.set_xscale("log")
        if "y" in panel.log:
            each.set_yscale("log")
    drawn.suptitle(figure.title)
    return save_figure(drawn, folder, figure.stem)


def _colours(series: Sequence[Series]) -> dict[str, str]:
    labels = list(dict.fromkeys(each.label for each in series))
    return {label: COLOURS[n % len(COLOURS)] for n, label in enumerate(labels)}


def _draw_lines(axes: Any, panel: Panel) -> None:
    colours = _colours(panel.series)
    for each in panel.series:
        style, fill = STYLES[each.source]
        axes.plot(
            [x for x, _ in each.points],
            [y for _, y in each.points],
            style,
            color=colours[each.label],
            markerfacecolor=fill,
            markersize=5,
            label=each.title,
        )


def _draw_bars(axes: Any, panel: Panel) -> None:
    colours, hatches = _colours(panel.series), {OURS: "", PAPER: "//", ARTIFACT: ".."}
    names = list(dict.fromkeys(str(x) for each in panel.series for x, _ in each.points))
    width = 0.8 / len(panel.series)
    for number, each in enumerate(panel.series):
        places = [names.index(str(x)) + (number + 0.5) * width - 0.4 for x, _ in each.points]
        axes.bar(
            places,
            [y for _, y in each.points],
            width,
            color=colours[each.label],
            hatch=hatches[each.source],
            alpha=1.0 if each.source == OURS else 0.5,
            label=each.title,
        )
    axes.set_xticks(range(len(names)), names, rotation=15, fontsize="small")
