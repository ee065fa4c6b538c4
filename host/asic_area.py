"""Gate equivalents of the units, from Yosys, and the silicon that they would take at 12 nm.

Not a synthesis for a library: Yosys' own gates, without ABC, at full width: an upper bound.
Memories are left out of the gates and counted as macros by their bytes.

Ref: gates as multiples of a NAND2, as in common standard-cell libraries (assumed). GlobalFoundries
12LP: 36.71 million transistors per mm2 (WikiChip, "12 nm lithography process"); a NAND2 has four.
Macros: RecPipe's artifact, Synthesis_Report, memories of 4, 32 and 256 KB in the same process.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from rpaccel.host.synthesis import cached, place, run_yosys
from rpaccel.host.unit_costs import UNITS, unit_netlist
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.rtl.netlist import Netlist
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = [
    "FILL", "GATES", "SRAM_MACROS_UM2", "gate_equivalents", "gates_of", "logic_um2", "macro_um2",
    "unit_gates",
]  # fmt: skip

# Cell type of Yosys -> NAND2 equivalents; the first pattern that fits. Assumed.
GATES: tuple[tuple[str, float], ...] = (
    (r"\$_NOT_", 0.5),
    (r"\$_(NAND|NOR)_", 1.0),
    (r"\$_(AND|OR|ANDNOT|ORNOT)_", 1.5),
    (r"\$_(XOR|XNOR|N?MUX)_", 2.5),
    (r"\$_DFF_[PN]_", 6.0),
    (r"\$_SDFF_..._?", 7.5),  # an AND or OR in front
    (r"\$_DFFE_..._?", 8.5),  # a multiplexer in front
    (r"\$_SDFF(C?)E_...._?", 10.0),
    (r"\$_A?DFF.*", 10.0),
    (r"\$(mem_v2|scopeinfo|assert|check|print)", 0.0),
)
NAND2_UM2 = 4 / 36.71  # four transistors at 36.71 a um2
FILL = 0.7  # of a placed block's area that cells take; assumed
SRAM_MACROS_UM2 = {4 << 10: 4_684.0, 32 << 10: 29_142.0, 256 << 10: 183_290.0}

_SCRIPT = (
    "read_verilog {source}; synth -top {top} -flatten -run begin:fine; opt_clean; techmap; "
    "opt -fast; tee -q -o stat.json stat -json"
)


def gate_equivalents(cells: Mapping[str, int]) -> float:
    """Return NAND2 equivalents of a number of cells by type. Raises ValueError for others."""
    total = 0.0
    for cell, count in cells.items():
        weight = next((w for pattern, w in GATES if re.fullmatch(pattern, cell)), None)
        if weight is None:
            raise ValueError(f"cells must be Yosys' gates and flip-flops, not {cell!r}")
        total += weight * count
    return total


def gates_of(
    netlist: Netlist, *, build_dir: Path = BUILD_DIR, progress: Callable[[str], None] = print
) -> dict[str, Any]:
    """Return `cells` by type and `gates`, NAND2 equivalents, of a netlist; cached by content."""

    def make(folder: Path) -> dict[str, Any]:
        progress(f"gates of {netlist.name}")
        script = _SCRIPT.format(source=place(netlist, folder).name, top=netlist.name)
        run_yosys(script, folder / "yosys.log", progress)
        design = json.loads((folder / "stat.json").read_text())["design"]
        return {"cells": design["num_cells_by_type"]}

    report = cached("gates", [netlist.verilog.read_bytes(), _SCRIPT], build_dir, make)
    return report | {"gates": gate_equivalents(report["cells"])}


def unit_gates(
    config: AcceleratorConfig,
    units: tuple[str, ...] = tuple(UNITS),
    *,
    build_dir: Path = BUILD_DIR,
    progress: Callable[[str], None] = print,
) -> dict[str, float]:
    """Return NAND2 equivalents of units of `config`, each alone. Raises ValueError for others."""
    found = {}
    for name in units:
        netlist = unit_netlist(config, name, build_dir=build_dir, progress=progress)
        found[name] = float(gates_of(netlist, build_dir=build_dir, progress=progress)["gates"])
    return found


def logic_um2(gates: float) -> float:
    """Return the placed area of logic [um2]."""
    return gates * NAND2_UM2 / FILL


def macro_um2(memory_bytes: float, macro_bytes: int) -> float:
    """Return the area of memory made of macros of one size [um2]; from log to log between sizes.

    Raises ValueError for macros outside 4 KB to 256 KB.
    """
    sizes = sorted(SRAM_MACROS_UM2)
    if not sizes[0] <= macro_bytes <= sizes[-1]:
        raise ValueError(f"macro_bytes must be in {sizes[0]}..{sizes[-1]}, not {macro_bytes}")
    low, high = next((a, b) for a, b in pairwise(sizes) if macro_bytes <= b)
    share = math.log(macro_bytes / low) / math.log(high / low)
    first, last = SRAM_MACROS_UM2[low], SRAM_MACROS_UM2[high]
    return memory_bytes / macro_bytes * first * (last / first) ** share
