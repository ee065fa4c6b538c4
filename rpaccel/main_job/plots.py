"""The main job's plots. Matplotlib is imported when the first one is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

UNIT_COLOURS = {
    "gather": "#4c78a8",
    "array": "#f58518",
    "interaction": "#54a24b",
    "filter": "#b279a2",
}


STAGE_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2")


def new_figure(width: float = 8.0, height: float = 4.2) -> tuple[Any, Any]:
    """Return a new figure and its axes, drawn without a display."""
    import matplotlib  # noqa: PLC0415  (0.7 s: only when a plot is wanted)

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    return pyplot.subplots(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: Path) -> None:
    """Write `figure` as a PNG without dates, and free it."""
    from matplotlib import pyplot  # noqa: PLC0415

    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def plot_cycles_by_unit(stages: Sequence[Mapping[str, Mapping[str, int]]], path: Path) -> None:
    """Draw measured beside predicted busy cycles of every unit, one group a stage.

    stages : for each stage {"measured": {unit: cycles}, "predicted": {unit: cycles}}.
    """
    figure, axes = new_figure()
    labels: list[str] = []
    for number, stage in enumerate(stages):
        for unit, colour in UNIT_COLOURS.items():
            position = len(labels)
            for offset, kind, alpha in ((-0.2, "measured", 1.0), (0.2, "predicted", 0.45)):
                axes.bar(position + offset, stage[kind][unit], 0.38, color=colour, alpha=alpha)
            labels.append(f"{unit}\nstage {number + 1}")
    axes.set_xticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylabel("busy cycles of one query")
    axes.set_xlabel(
        "unit and stage (solid: netlist, pale: model; gather counts its waits for a free bank)"
    )
    axes.set_title("Where the cycles go")
    save_figure(figure, path)


def plot_timeline(spans: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw units on a time axis, one colour a stage.

    spans : {"unit": str, "stage": int, "start": cycle, "end": cycle}.
    """
    figure, axes = new_figure(9.0, 3.0)
    units = list(dict.fromkeys(span["unit"] for span in spans))
    for span in spans:
        axes.barh(
            units.index(span["unit"]),
            span["end"] - span["start"],
            left=span["start"],
            height=0.7,
            color=STAGE_COLOURS[span["stage"]],
            edgecolor="white",
            linewidth=0.4,
        )
    axes.set_yticks(range(len(units)), units)
    axes.invert_yaxis()
    axes.set_xlabel("cycle of the query (blue: stage 1, orange: stage 2)")
    axes.set_ylabel("unit")
    axes.set_title(title)
    save_figure(figure, path)


DEVICE_COLOURS = {"accelerator": "#f58518", "gpu": "#54a24b", "cpu": "#4c78a8"}


def front_of_points(points: Iterable[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Return (tail [ms], quality) of the points that no other is better than, by tail."""
    known = [(p["tail_ms"], p["quality"]) for p in points if p["tail_ms"] is not None]
    front: list[tuple[float, float]] = []
    for tail_ms, quality in sorted(known, key=lambda point: (point[0], -point[1])):
        if not front or quality > front[-1][1]:
            front.append((tail_ms, quality))
    return front


def plot_quality_against_latency(schedule: Mapping[str, Any], path: Path) -> None:
    """Draw quality against the tail of a choice's placements (`choice_json`), and their front."""
    figure, axes = new_figure()
    front = front_of_points(schedule["pipelines"])
    if front:
        axes.plot(*zip(*front, strict=True), color="#999", drawstyle="steps-post", zorder=1)
    chosen = schedule["chosen"] and schedule["chosen"]["pipeline"]
    for point in schedule["pipelines"]:
        if point["tail_ms"] is None:
            continue
        colour = next(colour for name, colour in DEVICE_COLOURS.items() if name in point["devices"])
        x, y, alpha = point["tail_ms"], point["quality"], 1.0 if point["feasible"] else 0.25
        axes.plot(x, y, "os^"[len(point["models"]) - 1], color=colour, alpha=alpha)
        if point["pipeline"] == chosen:
            axes.plot(x, y, "o", ms=14, mfc="none", color="black")
            axes.annotate(chosen, (x, y), fontsize=8, xytext=(8, -14), textcoords="offset points")
    need = schedule["requirement"]
    axes.axvline(need["sla_ms"], color="#999", linewidth=0.8)
    axes.axhline(need["quality_target"], color="#999", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel(
        f"p{need['percentile']:g} latency at {need['load_qps']:g} queries/s [ms] "
        "(orange: a stage on the accelerator, green: GPU, blue: CPU alone)"
    )
    axes.set_ylabel(f"{need['quality_metric']} (circle, square, triangle: 1, 2, 3 rankers)")
    axes.set_title("Quality against latency; lines: what is asked; steps: the front; pale: misses")
    save_figure(figure, path)


def plot_rankings(rankings: Mapping[str, Mapping[str, float]], metric: str, path: Path) -> None:
    """Draw a bar for every ranking: {"estimate", "low", "high"} of `metric`."""
    figure, axes = new_figure()
    for place, value in enumerate(rankings.values()):
        axes.barh(place, value["estimate"], 0.7, color=STAGE_COLOURS[0])
        axes.plot([value["low"], value["high"]], [place, place], color="black")
    axes.set_yticks(range(len(rankings)), list(rankings), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(metric)
    axes.set_ylabel("ranking")
    axes.set_title("Quality of what is served")
    save_figure(figure, path)


def plot_query_cycles(queries: Sequence[tuple[str, int]], path: Path) -> None:
    """Draw the cycles of every query, one colour for each split. queries : (split, cycles)."""
    figure, axes = new_figure()
    splits = list(dict.fromkeys(split for split, _ in queries))
    for place, split in enumerate(splits):
        mine = [(n, cycles) for n, (of, cycles) in enumerate(queries) if of == split]
        numbers, heights = zip(*mine, strict=True)
        axes.bar(numbers, heights, 0.7, color=STAGE_COLOURS[place], label=split)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("query, in the order of asking")
    axes.set_ylabel("cycles from leaving the queue to the answer")
    axes.set_title("Queries that share the lanes")
    axes.legend(title="split of the array")
    save_figure(figure, path)
