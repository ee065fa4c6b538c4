"""Plots and index.html of a run, from its JSON files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rpaccel.main_job.page import paragraph, picture, section, table, titles, write_page
from rpaccel.main_job.plots import (
    plot_cycles_by_unit,
    plot_quality_against_latency,
    plot_timeline,
)
from rpaccel.main_job.quality import METRICS, quality_rows


def write_report(folder: Path) -> Path:
    """Draw the plots of the run in `folder` and write its index.html; return the page's path.

    Raises FileNotFoundError that says to run first.
    """
    if not (folder / "queries.json").exists():
        raise FileNotFoundError(f"{folder} holds no run: `make run` makes one")
    read = _reader(folder)
    timeline, schedule = read("timeline"), read("schedule")
    plot_cycles_by_unit(timeline["stages"], folder / "cycles_by_unit.png")
    plot_timeline(
        timeline["spans"],
        folder / "timeline.png",
        f"One query: {timeline['measured_cycles']} cycles on the netlist, "
        f"{timeline['predicted_cycles']} predicted",
    )
    plot_quality_against_latency(schedule, folder / "quality_latency.png")
    sections = [
        _recommendation(read("recommendation")),
        _quality(read("quality")),
        _netlist(read("queries"), read("cocotb")),
        _cycles(read("prediction")),
        _schedule(schedule),
    ]
    page = folder / "index.html"
    write_page(page, "RPAccel: from a click log to ranked items", sections)
    return page


def _reader(folder: Path) -> Any:
    return lambda name: json.loads((folder / f"{name}.json").read_text())


def _recommendation(data: dict[str, Any]) -> str:
    served = [
        {
            "title": row["title"],
            "note": f"CTR {row['ctr']:.3f}" + (" - a hit" if row["hit"] else ""),
        }
        for row in data["served"]
    ]
    later = [{"title": title, "note": ""} for title in data["later"]]
    text = (
        f"User {data['user']}: {data['chosen']}. Mean hits among ten over all simulated users: "
        f"{sum(data['hits_per_user']) / len(data['hits_per_user']):.2f}."
    )
    columns = titles("Served by the netlist", served) + titles("Rated 4 or 5 later", later)
    return section("Ten titles for one user", paragraph(text), f'<div class="two">{columns}</div>')


def _quality(data: dict[str, Any]) -> str:
    differences = [
        [
            name,
            f"{100 * gap['estimate']:+.1f}",
            f"{100 * gap['low']:+.1f} .. {100 * gap['high']:+.1f}",
        ]
        for name, gap in data["differences"].items()
    ]
    note = (
        f"{data['users']} users ({data['excluded_users']} without a relevant held-out item are "
        "excluded). Hold-out per user: the last 20 % of ratings by time; relevant: 4 or 5; "
        "candidates: every item without an interaction in the user's training part. "
        "Brackets: bootstrap 95 % over users."
    )
    return section(
        "Quality",
        paragraph(note, "small"),
        table(["ranking", *METRICS], quality_rows(data)),
        table(["NDCG@10", "difference [%]", "paired 95 % interval [%]"], differences),
    )


def _netlist(queries: list[dict[str, Any]], cocotb: dict[str, Any]) -> str:
    rows = [
        [
            q["user"],
            q["stages"][0]["items"],
            q["stages"][1]["items"],
            q["total_cycles"],
            q["status"],
        ]
        for q in queries
    ]
    text = (
        f"{len(queries)} queries ran on the generated Verilog: every id, logit, CTR and count is "
        f"that of the integer golden model; {len(cocotb['users'])} of them also under cocotb."
    )
    return section(
        "On the netlist",
        paragraph(text, "good"),
        picture("timeline.png", "timeline of one query"),
        table(["user", "candidates", "survivors", "cycles", "status"], rows),
    )


def _cycles(data: dict[str, Any]) -> str:
    rows = [
        [
            row["field"],
            f"{row['predicted']:.0f}",
            f"{row['measured']:.0f}",
            f"{100 * row['mean']:+.2f}",
            f"{100 * row['worst']:+.2f}",
        ]
        for row in data["rows"]
    ]
    return section(
        "Predicted against measured cycles",
        picture("cycles_by_unit.png", "cycles by unit"),
        table(["counter", "predicted (mean)", "measured (mean)", "mean [%]", "worst [%]"], rows),
    )


def _schedule(data: dict[str, Any]) -> str:
    return section(
        "The scheduler's choice",
        paragraph(data["explanation"]),
        picture("quality_latency.png", "quality against latency"),
    )
