"""The page of `rpaccel synth-page`: presets on UltraScale+, and the smallest part of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rpaccel.main_job.markdown import markdown_table

__all__ = ["estimates_text"]


def _cells(report: Mapping[str, Any]) -> list[str]:
    used = report[report["memories"]]
    return [
        report["preset"],
        str(report["macs_per_dsp"]),
        *(f"{used[name]:,}" for name in ("lut", "ff", "dsp", "bram36", "uram")),
        f"{report['distinct_modules']:,}",
        f"{report['instances']:,}",
        f"{report['cpu_seconds']:,.0f}",
        report["verdict"],
    ]


def estimates_text(reports: Sequence[Mapping[str, Any]]) -> str:
    """Return the Markdown of `estimate`s; the same estimates give the same bytes."""
    head = ["preset", "MACs per DSP", "LUT", "FF", "DSP48E2", "BRAM36", "URAM", "distinct modules",
            "instances", "CPU [s]", "smallest part"]  # fmt: skip
    presets = dict.fromkeys(report["preset"] for report in reports)
    return _TEXT.format(
        presets=",".join(presets),
        table=markdown_table(head, [_cells(report) for report in reports]),
    )


_TEXT = """\
# Presets on UltraScale+

Written by `rpaccel synth-page --presets {presets}` (`make synth-page`): whole machines, every
distinct module synthesised once by Yosys, counts composed over the instances; nothing is placed.
LUTs, with those that hold memory, and flip-flops are upper bounds: modules are apart, and nothing
but the product goes into a DSP48E2; lone inverters are left to the LUTs around them. DSP48E2 and
block RAMs are what the RTL asks for. Two MACs per DSP: `--dsp-packing`. Large memories are in
URAM, or in block RAM where only that fits the smallest part. A module for which Yosys takes a LUT
RAM that UltraScale+ does not have is made without any (`host/composition.py`). CPU seconds are
Yosys', for all distinct modules of the row; those that are equal in several rows were made once.
The parts: `host/fpga_parts.py`.

{table}"""
