"""The page of `rpaccel fpga-page`: units placed and routed, each alone, beside the goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rpaccel.main_job.markdown import markdown_table

__all__ = ["GOALS", "routed_text"]

# Goals of the project for the 8 x 8 array: figure -> (limit, whether it is the least that will do).
GOALS = {
    "Fmax [MHz]": (120.0, True),
    "LUT/MAC": (46.0, False),
    "DSP/MAC": (1.0, True),
    "CPU [s]": (900.0, False),
}


def _figures(report: Mapping[str, Any]) -> dict[str, float | None]:
    """Return what the goals are about; None for a unit without an array or without a clock."""
    macs = report["macs"]
    return {
        "Fmax [MHz]": report["fmax_mhz"],
        "LUT/MAC": report["lut_per_mac"],
        "DSP/MAC": report["dsp"] / macs if macs else None,
        "CPU [s]": report["synthesis_cpu_seconds"] + report["route_cpu_seconds"],
    }


def _verdict(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    limit, least = GOALS[name]
    kept = value >= limit if least else value <= limit
    digits = 2 if name == "DSP/MAC" else 1  # LUT/MAC has one in the report
    return f"{value:,.{digits}f}: {'kept' if kept else 'missed'}"


def _cells(report: Mapping[str, Any]) -> list[str]:
    figures = _figures(report)
    shown = [
        "-" if figures[name] is None else f"{figures[name]:,.{digits}f}"
        for name, digits in (("Fmax [MHz]", 1), ("LUT/MAC", 1), ("CPU [s]", 0))
    ]
    used = [f"{report[name]:,}" for name in ("comb", "ff", "dsp", "bram")]
    return [report["unit"], report["preset"], shown[0], *used, *shown[1:]]


def routed_text(reports: Sequence[Mapping[str, Any]]) -> str:
    """Return the Markdown of `fpga_report`s of one aim and seed; the same give the same bytes."""
    head = ["unit", "preset", "Fmax [MHz]", "LUT", "FF", "DSP", "block RAM", "LUT/MAC", "CPU [s]"]
    with_goals = [report for report in reports if report["unit"] != "top"]
    goals = [
        [f"{name}, {'at least' if least else 'at most'} {limit:g}"]
        + [_verdict(name, _figures(report)[name]) for report in with_goals]
        for name, (limit, least) in GOALS.items()
    ]
    first = reports[0]
    return _TEXT.format(
        device=first["device"],
        target=first["target_mhz"],
        seed=first["seed"],
        table=markdown_table(head, [_cells(report) for report in reports]),
        goals=markdown_table(["goal", *(report["unit"] for report in with_goals)], goals),
    )


_TEXT = """\
# Placed and routed

Written by `rpaccel fpga-page` (`make fpga-page`): units on an ECP5 {device}, each alone and
without pads: synthesis by Yosys, place and route by nextpnr (seed {seed}), aim {target:g} MHz.
LUT: cells of the LUT4 class (TRELLIS_COMB), those of carries and memories among them; DSP:
MULT18X18D; block RAM: DP16KD. CPU seconds: of the run that filled the cache; other work may have
shared the machine. *cells*: the array's multiply-accumulate cells. *systolic_array*: with banks,
accumulators and requantisation. *core*: with layers, interaction and memories of weights and
activations. *top*: the whole machine, with its AXI ports.

{table}
## Goals

Goals of the 8 x 8 array; CPU seconds, of the core too, which is beside the others; the top has
none. LUTs of a unit are divided by the MACs of the array, whatever they are for.

{goals}"""
