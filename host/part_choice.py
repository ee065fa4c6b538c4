"""What a design costs on UltraScale+, and the smallest part that takes it.

Yosys packs neither registers nor adders into DSP48E2, and modules are synthesised apart: LUTs and
flip-flops are upper bounds, multipliers and block RAMs are what the RTL asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rpaccel.host.composition import Piece, instances_of, piece_costs, pieces_of, total
from rpaccel.host.fpga_parts import Resources, smallest_part
from rpaccel.host.synthesis import FAMILIES
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.perfmodel.report import format_table
from rpaccel.rtl.netlist import Netlist, system_netlist
from rpaccel.rtl.rtlil_text import parse
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["estimate", "estimate_netlist", "estimate_text"]

Progress = Callable[[str], None]

_FAMILY = FAMILIES["xcup"]
_ULTRA_RAM = f"{_FAMILY.apart} -uram"
_URAM_BRAMS = 4  # a module with fewer block RAMs has no memory that fills half a URAM


def _resources(cells: Mapping[str, int]) -> Resources:
    counts = _FAMILY.count(cells)
    return Resources(
        lut=counts["lut"] + counts["lutram"],
        ff=counts["ff"],
        dsp=counts["dsp"],
        bram36=counts["bram"],
        uram=counts["uram"],
    )


def _synthesised(
    pieces: Mapping[str, Piece], build_dir: Path, progress: Progress
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]], float]:
    """Return the cells of each module with block RAMs, with URAMs, and the CPU time of both [s].

    Only modules with block RAMs for a URAM are made again with URAMs.
    """

    def made(command: str, chosen: Mapping[str, Piece]) -> tuple[dict[str, dict[str, int]], float]:
        found = piece_costs(chosen.values(), command, build_dir=build_dir, progress=progress)
        cpu = sum(cost.cpu_seconds for cost in found.values())
        return {name: found[piece.digest].cells for name, piece in chosen.items()}, cpu

    block, block_cpu = made(_FAMILY.apart, pieces)
    large = {n: p for n, p in pieces.items() if _FAMILY.count(block[n])["bram"] >= _URAM_BRAMS}
    ultra, ultra_cpu = made(_ULTRA_RAM, large)
    return block, block | ultra, block_cpu + ultra_cpu


def estimate_netlist(
    netlist: Netlist,
    *,
    build_dir: Path = BUILD_DIR,
    progress: Progress = print,
) -> dict[str, Any]:
    """Return what `netlist` needs on UltraScale+, each distinct module synthesised once.

    Returns
    -------
    uram and block_ram: the resources (lut, ff, dsp, bram36, uram) with large memories in URAM and
    without URAM; lut counts memory LUTs, lutram of them; part, memories: the smallest part and
    which of the two it takes; verdict: one line; modules: the rows, one per distinct module;
    cpu_seconds: of Yosys for all of the modules, whenever they were made.
    """
    pieces = pieces_of(parse(netlist.rtlil.read_text()))
    instances = instances_of(pieces)
    block, ultra, cpu_seconds = _synthesised(pieces, build_dir, progress)
    choices = [_resources(total(instances, cells)) for cells in (ultra, block)]
    part, choice, verdict = smallest_part(choices)
    rows = [
        {"module": name.removeprefix("\\"), "instances": instances[name]}
        | asdict(_resources(ultra[name]))
        for name in pieces
    ]
    return {
        "uram": asdict(choices[0]),
        "block_ram": asdict(choices[1]),
        "lutram": _FAMILY.count(total(instances, ultra))["lutram"],
        "distinct_modules": len(pieces),
        "instances": instances.total(),
        "part": part,
        "memories": "uram" if choices[choice].uram else "block_ram",
        "verdict": verdict,
        "modules": rows,
        "cpu_seconds": round(cpu_seconds, 1),
    }


def estimate(
    config: AcceleratorConfig,
    family: str = "xcup",
    *,
    build_dir: Path = BUILD_DIR,
    progress: Progress = print,
) -> dict[str, Any]:
    """Return what the whole design of `config` needs, see `estimate_netlist`.

    Raises ValueError for a family without a list of parts.
    """
    if family != "xcup":
        raise ValueError(f"family must be xcup, the one with a list of parts, not {family!r}")
    netlist = system_netlist(config, build_dir=build_dir, checks=False, progress=progress)
    report = estimate_netlist(netlist, build_dir=build_dir, progress=progress)
    named = {"preset": config.name, "family": family, "macs_per_dsp": config.macs_per_dsp}
    return named | report


def estimate_text(report: Mapping[str, Any], rows: int = 12) -> str:
    """Return an `estimate` as tables: the design, then the `rows` modules with the most LUTs."""
    names = list(report["uram"])
    design = [
        ["large memories in URAM", *(f"{report['uram'][name]:,}" for name in names)],
        ["block RAM only", *(f"{report['block_ram'][name]:,}" for name in names)],
    ]
    modules = sorted(
        report["modules"], key=lambda row: (-row["instances"] * row["lut"], row["module"])
    )
    table = [
        [row["module"], row["instances"], *(row["instances"] * row[name] for name in names)]
        for row in modules[:rows]
    ]
    lines = [
        f"{report['preset']} on UltraScale+: {report['distinct_modules']} distinct modules, "
        f"{report['instances']:,} instances, {report['macs_per_dsp']} of the array's MACs per DSP",
        format_table(["design", *names], design),
        f"of the LUTs {report['lutram']:,} are memory; LUT and FF are upper bounds (modules apart, "
        "nothing packed into DSP48E2 but the product)",
        format_table(["module", "instances", *names], table),
        f"{report['verdict']} ({'URAM' if report['memories'] == 'uram' else 'block RAM only'})",
    ]
    return "\n".join(lines)
