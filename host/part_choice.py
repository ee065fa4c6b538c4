"""What a design costs on UltraScale+, and the smallest part that takes it.

Yosys packs neither registers nor adders into DSP48E2, and modules are synthesised apart: LUTs and
flip-flops are upper bounds, multipliers and block RAMs are what the RTL asks for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rpaccel.host.composition import Piece, instances_of, piece_cells, pieces_of, total
from rpaccel.host.fpga_parts import Resources, smallest_part
from rpaccel.host.synthesis import FAMILIES, NetlistError
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.perfmodel.report import format_table
from rpaccel.rtl.netlist import Netlist, convert, system_netlist
from rpaccel.rtl.packed_multiplier import PackedMultiplier
from rpaccel.rtl.rtlil_text import Cell, RtlilModule, Wire, parse
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["cut_multipliers", "estimate", "estimate_netlist", "estimate_text"]

Progress = Callable[[str], None]

_FAMILY = FAMILIES["xcup"]
_BLOCK_RAM = "synth_xilinx -family xcup -top {top} -noiopad -noclkbuf"
_ULTRA_RAM = f"{_BLOCK_RAM} -uram"
_URAM_BRAMS = 4  # a module with fewer block RAMs has no memory that fills half a URAM
_ARRAY = re.compile(r"\\\w*?(systolic_)?array")  # the array's module in any netlist
_INT8 = 8


def _width(cell: Cell, name: str) -> int:
    """Return an integer parameter of `cell`; Amaranth writes decimals."""
    (line,) = [line for line in cell.parameters if line.split()[-2] == name]
    return int(line.split()[-1])


def _is_int8_product(item: object, module: RtlilModule) -> bool:
    return (
        isinstance(item, Cell)
        and item.kind == "$mul"
        and max(_width(item, "\\A_WIDTH"), _width(item, "\\B_WIDTH")) <= _INT8
        and item.ports["\\Y"] in module.wires
    )


def cut_multipliers(module: RtlilModule) -> tuple[RtlilModule, int]:
    """Return `module` with its int8 products outside, and how many there are.

    Each product becomes an input and its factors become outputs.
    """
    cut = deepcopy(module)
    products = [item for item in cut.items if _is_int8_product(item, cut)]
    for number, cell in enumerate(products):
        assert isinstance(cell, Cell)
        cut.items.remove(cell)
        cut.wires[cell.ports["\\Y"]].kind = "input"
        for port in ("A", "B"):
            name = f"\\cut_{port}{number}"
            cut.wires[name] = Wire(name, _width(cell, f"\\{port}_WIDTH"), "output", "", [])
            cut.connections.append((name, cell.ports[f"\\{port}"]))
    return cut, len(products)


def _below(pieces: Mapping[str, Piece], tops: list[str]) -> set[str]:
    """Return `tops` and every module in them."""
    found: set[str] = set()
    todo = list(tops)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += pieces[name].children
    return found


def _with_packed_multipliers(
    modules: list[RtlilModule],
) -> tuple[list[RtlilModule], dict[str, int]]:
    """Return `modules` without the array's int8 products, and the products by module."""
    pieces = pieces_of(modules)
    array = _below(pieces, [name for name in pieces if _ARRAY.fullmatch(name)])
    products = {}
    result = []
    for module in modules:
        if module.name in array:
            module, products[module.name] = cut_multipliers(module)  # noqa: PLW2901
        result.append(module)
    if not any(products.values()):
        raise NetlistError("dsp_packing must find int8 products in a module `array`, not none")
    return result, products


def _resources(cells: Mapping[str, int]) -> Resources:
    counts = _FAMILY.count(cells)
    return Resources(
        lut=counts["lut"] + counts["lutram"],
        ff=counts["ff"],
        dsp=counts["dsp"],
        bram36=counts["bram"],
        uram=counts["uram"],
    )


def estimate_netlist(
    netlist: Netlist,
    *,
    dsp_packing: bool = False,
    build_dir: Path = BUILD_DIR,
    progress: Progress = print,
) -> dict[str, Any]:
    """Return what `netlist` needs on UltraScale+, each distinct module synthesised once.

    Parameters
    ----------
    dsp_packing : bool  Count the array's int8 products two by two in `rtl.packed_multiplier`.

    Returns
    -------
    uram and block_ram: the resources (lut, ff, dsp, bram36, uram) with large memories in URAM and
    without URAM; lut counts memory LUTs, lutram of them; part, memories: the smallest part and
    which of the two it takes; verdict: one line; modules: the rows, one per distinct module.
    """
    modules = parse(netlist.rtlil.read_text())
    products: dict[str, int] = {}
    if dsp_packing:
        modules, products = _with_packed_multipliers(modules)
    pieces = pieces_of(modules)
    instances = instances_of(pieces)
    pairs = -(-sum(instances[name] * number for name, number in products.items()) // 2)
    if pairs:
        text, _ = convert(PackedMultiplier(), "packed", checks=False)
        packed = pieces_of(parse(text))
        pieces |= packed
        instances += {name: pairs * n for name, n in instances_of(packed).items()}

    def cells_with(command: str, chosen: Mapping[str, Piece]) -> dict[str, dict[str, int]]:
        found = piece_cells(chosen.values(), command, build_dir=build_dir, progress=progress)
        return {name: found[piece.digest] for name, piece in chosen.items()}

    block = cells_with(_BLOCK_RAM, pieces)
    large = {n: p for n, p in pieces.items() if _FAMILY.count(block[n])["bram"] >= _URAM_BRAMS}
    ultra = block | cells_with(_ULTRA_RAM, large)
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
        "dsp_packing": dsp_packing,
        "packed_pairs": pairs,
        "distinct_modules": len(pieces),
        "instances": instances.total(),
        "part": part,
        "memories": "uram" if choices[choice].uram else "block_ram",
        "verdict": verdict,
        "modules": rows,
    }


def estimate(
    config: AcceleratorConfig,
    family: str = "xcup",
    *,
    dsp_packing: bool = False,
    build_dir: Path = BUILD_DIR,
    progress: Progress = print,
) -> dict[str, Any]:
    """Return what the whole design of `config` needs, see `estimate_netlist`.

    Raises ValueError for a family without a list of parts.
    """
    if family != "xcup":
        raise ValueError(f"family must be xcup, the one with a list of parts, not {family!r}")
    netlist = system_netlist(config, build_dir=build_dir, checks=False, progress=progress)
    report = estimate_netlist(
        netlist, dsp_packing=dsp_packing, build_dir=build_dir, progress=progress
    )
    return {"preset": config.name, "family": family} | report


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
        f"{report['instances']:,} instances",
        format_table(["design", *names], design),
        f"of the LUTs {report['lutram']:,} are memory; LUT and FF are upper bounds (modules apart, "
        "nothing packed into DSP48E2 but the product)",
        format_table(["module", "instances", *names], table),
        f"{report['verdict']} ({'URAM' if report['memories'] == 'uram' else 'block RAM only'})",
    ]
    if report["dsp_packing"]:
        lines.insert(
            3,
            f"{report['packed_pairs']:,} pairs of the array's int8 products in one DSP48E2 each "
            "(rtl.packed_multiplier, a what-if: the netlist has one product per DSP48E2)",
        )
    return "\n".join(lines)
