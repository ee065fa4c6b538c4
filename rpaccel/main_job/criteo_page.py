"""The pages of `rpaccel criteo`, from the JSON files of a run alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.page import paragraph, picture, section, table, write_page
from rpaccel.main_job.plots import plot_query_cycles, plot_rankings

__all__ = ["write_criteo_page"]

TITLE = "Criteo-shaped queries on a split machine"


@dataclass(frozen=True, kw_only=True)
class _Section:
    title: str
    text: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    plot: str


def write_criteo_page(folder: Path) -> str:
    """Draw the plots of the run in `folder`, write its index.html; return the page as Markdown."""
    read = {
        name: json.loads((folder / f"{name}.json").read_text())
        for name in ("config", "quality", "parts", "counters", "summary")
    }
    served = read["config"]["inputs"]["workload"]["items"] // 64
    plot_rankings(
        {row["name"]: row["ndcg_clicks"] for row in read["quality"]},
        f"NDCG@{served} against clicks (lines: 95 % intervals)",
        folder / "quality.png",
    )
    plot_query_cycles(
        [(part["split"], q["total_cycles"]) for part in read["parts"] for q in part["queries"]],
        folder / "cycles.png",
    )
    sections = [
        _quality(read["quality"], served),
        _queries(read["parts"]),
        _splits(read["parts"]),
        _traffic(read["counters"], read["config"]["inputs"]),
    ]
    opening = _opening(read)
    html = [paragraph(opening)]
    for each in sections:
        shown = [picture(each.plot, each.title)] if each.plot else []
        parts = [paragraph(each.text, "small"), *shown, table(each.head, each.rows)]
        html.append(section(each.title, *parts))
    write_page(folder / "index.html", TITLE, html)
    blocks = [f"# {TITLE}", opening]
    for each in sections:
        blocks += [f"## {each.title}", each.text, markdown_table(each.head, each.rows).rstrip()]
    return "\n\n".join(blocks) + "\n"


def _opening(read: dict[str, Any]) -> str:
    inputs = read["config"]["inputs"]
    workload, machine = inputs["workload"], inputs["accelerator"]
    figures = {row["name"]: row["value"] for row in read["summary"]}
    options = f" --live {inputs['live']}" if inputs["live"] else ""
    pin_banks = inputs["pin_banks"]
    options += "" if pin_banks is None else f" --pin-banks {pin_banks}"
    options += " --trace" if inputs.get("trace") else ""
    options += f" --seed {workload['seed']}" if workload["seed"] else ""
    items, size = workload["items"], machine["array_size"]
    return (
        f"Written by `rpaccel criteo --preset {inputs['preset']} --queries {inputs['queries']}"
        f"{options}`: {items} -> {items // 8} -> {items // 64} with RMsmall and RMlarge, 26 tables "
        f"of at most {workload['scale_rows']:,} rows, 13 dense values, dot interaction, on the "
        f"Verilated netlist of `{machine['name']}` ({size} x {size}, {machine['funnels']} funnels, "
        f"{machine['lanes']} lanes). {figures['queries bit-exact']} queries, every id, logit, CTR "
        f"and count equal to the golden model's. Netlist written in {figures['netlist written']} s "
        f"({figures['netlist written, CPU']} s of CPU), simulator built in "
        f"{figures['simulator built']} s ({figures['simulator built, CPU']} s of CPU; 0: taken "
        f"from a cache). {figures['simulated']:,} cycles simulated in "
        f"{figures['simulation']} s, {figures['simulation, CPU']} s of CPU "
        f"({figures['simulation speed']:,} cycles in each of them); other work may share the "
        "machine."
    )


def _quality(rows: list[dict[str, Any]], served: int) -> _Section:
    def interval(value: dict[str, float]) -> str:
        return f"{value['estimate']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"

    return _Section(
        title="Quality",
        text=f"{rows[0]['queries']} queries other than those of the netlist, by the golden model. "
        "Clicks are drawn from planted utilities, and so are both rankers: what they know is "
        "chosen, not learnt. "
        f"NDCG@{served} against what was clicked, and against the {served} items of the greatest "
        "utility; bootstrap 95 % intervals. Survivors of the first stage, and the share of its "
        "exact best "
        "among them. WHOLE: one filter over all items; the others: four sub-batches.",
        head=[
            "ranking",
            f"NDCG@{served}, clicks",
            f"NDCG@{served}, utility",
            "survivors",
            "recall",
        ],
        rows=[
            [
                row["name"],
                interval(row["ndcg_clicks"]),
                interval(row["ndcg_utility"]),
                f"{row['survivors']:.1f}",
                f"{row['recall']:.4f}",
            ]
            for row in rows
        ],
        plot="quality.png",
    )


def _queries(parts: list[dict[str, Any]]) -> _Section:
    def cells(split: str, query: dict[str, Any]) -> list[str]:
        front, back = query["stages"]
        return [
            str(query["user"]),
            query["mode"],
            split,
            str(back["items"]),
            str(query["lanes"].bit_count()),
            f"{query['total_cycles']:,}",
            f"{query['queue_cycles']:,}",
            f"{front['stage_cycles']:,}",
            f"{back['stage_cycles']:,}",
        ]

    return _Section(
        title="Queries on the netlist",
        text="Cycles of each query from leaving the queue, in the queue before that, and of its "
        "stages, while others share the lanes. Queries under one split are asked at once.",
        head=["query", "mode", "split", "survivors", "lanes", "cycles", "waited", "front", "back"],
        rows=[cells(part["split"], query) for part in parts for query in part["queries"]],
        plot="cycles.png",
    )


def _splits(parts: list[dict[str, Any]]) -> _Section:
    return _Section(
        title="Splits of the array",
        text="8 + 2: eight lanes of one block run RMsmall, two of 2 x 2 blocks RMlarge. Quarters: "
        "RMsmall has two lanes of 2 x 2 blocks. Change: cycles of the loads behind it; of the "
        "first part, of all loads and pinned rows. A later load forgets what is pinned. Changed "
        "with: queries in flight when the array was told to split as in the next row.",
        head=["split", "queries", "change", "cycles", "cycles per query", "changed with"],
        rows=[
            [
                part["split"],
                str(len(part["queries"])),
                f"{part['change_cycles']:,}",
                f"{part['cycles']:,}",
                f"{part['cycles_per_query']:,.0f}",
                "" if part["crossed"] is None else str(part["crossed"]),
            ]
            for part in parts
        ],
        plot="",
    )


def _traffic(counters: dict[str, Any], inputs: dict[str, Any]) -> _Section:
    rows = [[f"rows, {name}", f"{count:,}"] for name, count in counters["rows"].items()]
    for number, port in enumerate(counters["ports"]):
        rows += [
            [f"port {number}, {name.replace('_', ' ')}", f"{count:,}"]
            for name, count in port.items()
        ]
    return _Section(
        title="Row banks and memory ports",
        text="Beats of embedding rows by how they were found, of all banks; bursts and beats of "
        "the memory ports with loads, records and rings. Ids beyond a table's rows are folded back "
        "into them: more of them hit than in tables of full size." + _pins_told(inputs),
        head=["counter", "count"],
        rows=rows,
        plot="",
    )


def _pins_told(inputs: dict[str, Any]) -> str:
    """Return whose static caches hold rows, if it is not those of all banks."""
    banks, machine = inputs["pin_banks"], inputs["accelerator"]
    all_banks = max(machine["row_banks"], machine["memory_ports"])
    if banks is None:
        return ""
    if banks == 0:
        return " Pinned: nothing, as the static caches are left empty."
    return (
        " Pinned: popular rows of other queries, until the first change of the split, in the "
        f"static caches of {banks} of {all_banks} banks: a bank's cache is loaded as a whole or "
        "holds nothing."
    )
