"""LUTs of selector, score filter and a register queue: `rpaccel retrieval-area`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amaranth.lib.wiring import Component

from rpaccel.host.synthesis import synthesise
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job.markdown import markdown_table
from rpaccel.perfmodel.retrieval_board import SNARY
from rpaccel.rtl.netlist import write_netlist
from rpaccel.rtl.register_queue import RegisterQueue
from rpaccel.rtl.retrieval_filter import ScoreFilter
from rpaccel.rtl.retrieval_selector import Selector
from rpaccel.spec.retrieval import RetrievalConfig

__all__ = ["AreaRow", "area_rows", "area_text", "area_values", "least_per_entry"]

FANNS_LUTS = 215.5  # per entry: FANNS (SC 2023), systolic queue of 32-bit score and id, Vivado
U50_LUTS = 871_680  # of SNARY's board
LANES = 16


@dataclass(frozen=True, kw_only=True)
class AreaRow:
    """What a unit for `k` rows needs; LUTs with those that hold memory.

    extrapolated : not synthesised.
    """

    unit: str
    k: int
    lut: int
    ff: int
    bram36: int
    extrapolated: bool = False


def area_rows(
    k_values: Sequence[int],
    queue_k: Sequence[int],
    folder: Path = BUILD_DIR / "retrieval_area",
    progress: Callable[[str], None] = print,
) -> list[AreaRow]:
    """Return the units for every k; the register queue for `queue_k`.

    Beyond those it has as much per entry as the one of `queue_k` with the least.
    """

    def row(component: Component, name: str, k: int) -> AreaRow:
        progress(f"{name}, K = {k}")
        unit = type(component).__name__.lower()
        report = synthesise(
            write_netlist(component, unit, folder / f"{unit}_{k}"), "xcup", build_dir=BUILD_DIR,
            progress=progress,
        )  # fmt: skip
        return AreaRow(
            unit=name,
            k=k,
            lut=report["lut"] + report["lutram"],
            ff=report["ff"],
            bram36=report["bram"],
        )

    found = []
    for k in k_values:
        found.append(row(Selector(RetrievalConfig(lanes=1, k_max=k)), "Selector", k))
    for k in k_values:
        found.append(row(ScoreFilter(RetrievalConfig(lanes=LANES, k_max=k)), "ScoreFilter", k))
    queues = [
        row(RegisterQueue(RetrievalConfig(lanes=1, k_max=k)), "RegisterQueue", k) for k in queue_k
    ]
    each = {name: least_per_entry(queues, name) for name in ("lut", "ff")}
    beyond = [
        AreaRow(
            unit="RegisterQueue",
            k=k,
            lut=round(k * each["lut"]),
            ff=round(k * each["ff"]),
            bram36=0,
            extrapolated=True,
        )
        for k in k_values
        if k > queues[-1].k
    ]
    return [*found, *queues, *beyond]


def least_per_entry(queues: Sequence[AreaRow], name: str) -> float:
    """Return the least that an entry needs in one of the queues."""
    return min(float(getattr(queue, name)) / queue.k for queue in queues)


def snary_luts() -> float:
    """Return SNARY's LUTs per entry and query: between two builds with as many queries."""
    first, second = SNARY[:2]
    more = (second.lut_share - first.lut_share) * U50_LUTS
    return more / first.queries / (second.k - first.k)


def area_values(rows: Sequence[AreaRow]) -> list[dict[str, Any]]:
    """Return the figures for JSON."""
    return [asdict(row) for row in rows]


def area_text(rows: Sequence[AreaRow]) -> str:
    """Return the page; the same rows give the same bytes."""
    lut = {(row.unit, row.k): row.lut for row in rows}
    table = []
    for row in rows:
        times = [
            f"{other / row.lut:.1f}" if other else ""
            for other in (
                lut.get(("RegisterQueue", row.k)),
                FANNS_LUTS * row.k,
                snary_luts() * row.k,
            )
        ]
        name = f"{row.unit}, {LANES} lanes" if row.unit == "ScoreFilter" else row.unit
        table.append(
            [name, str(row.k), f"{row.lut:,}", "per entry" if row.extrapolated else "Yosys",
             f"{row.lut / row.k:.1f}", f"{row.ff:,}", str(row.bram36), *times]
        )  # fmt: skip
    head = ["unit", "K", "LUT", "by", "LUT per entry", "FF", "BRAM36", "our queue / this",
            "FANNS / this", "SNARY / this"]  # fmt: skip
    queues = [row for row in rows if row.unit == "RegisterQueue" and not row.extrapolated]
    snary = [
        [str(point.k), f"{100 * point.lut_share:.2f}", str(point.queries),
         f"{point.lut_share * U50_LUTS:,.0f}",
         f"{point.lut_share * U50_LUTS / point.queries / point.k:.0f}"]
        for point in SNARY
    ]  # fmt: skip
    first, second = SNARY[:2]
    return "\n".join(
        [
            _TEXT.format(
                least=least_per_entry(queues, "lut"),
                flops=least_per_entry(queues, "ff"),
                last=queues[-1].k,
                fanns=FANNS_LUTS,
                step=snary_luts(),
            ),
            markdown_table(head, table),
            "## SNARY's swap array\n\nWhole designs on an Alveo U50 (table 1), all that is in "
            f"them; from K = {first.k} to {second.k}, {first.queries} queries in both, "
            f"{snary_luts():.1f} LUT more per entry and query, if the table counts all queries.\n",
            markdown_table(["K", "LUT [%]", "queries", "LUT", "LUT per query and entry"], snary),
        ]
    )


_TEXT = """\
# Area of top-K units

Written by `rpaccel retrieval-area` (`make retrieval-area`). Yosys for UltraScale+, 32-bit scores
and ids, nothing placed: LUTs with those that hold memory. *Selector*: merge sorter in block RAM.
*ScoreFilter*: with its selector, histograms, queues. *RegisterQueue*: all K entries in registers,
sorted, all compare at once, one candidate per cycle (`rtl/register_queue.py`); synthesised up to
K = {last}, beyond by the least per entry of those: {least:.1f} LUT and {flops:.1f} FF. Yosys is
not even: for some K it makes the entries' multiplexers of MUXF7 and MUXF8 with LUTs that only pass
a bit, and counts more than twice as many LUTs per entry; a slope between two sizes means nothing,
so the least stands for all. FANNS: a systolic queue of {fanns} LUT per entry, measured by Vivado,
one candidate in two cycles. SNARY: {step:.1f} LUT per entry, below. Yosys and Vivado map
differently: the ratio to our own queue is the like-for-like one, that to SNARY the most careful.
Clocks are not in it: a key that goes to K comparators at once would limit the register queue's.
"""
