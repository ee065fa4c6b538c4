"""What a netlist must pass before anyone builds hardware from it, and how large it is.

Verilator's lint with the waivers of `host.verilator`; Yosys' structural checks (no latch, no
combinational loop, no second driver); synthesis, see `host.synthesis`. Reports are cached by
content under `<build_dir>/checks/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rpaccel.host.synthesis import (
    NetlistError,
    Progress,
    cached,
    family_named,
    place,
    run_yosys,
    synthesise,
)
from rpaccel.host.verilator import BUILD_DIR, lint
from rpaccel.rtl.netlist import Netlist, system_netlist
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["NetlistError", "check_netlist", "check_structure", "synthesise"]

_LATCHES = "t:$dlatch t:$dlatchsr t:$adlatch t:$sr t:$_DLATCH_*"
_CHECKS = (
    "hierarchy -check -top {top}; proc; opt_clean; memory_collect; "
    f"check -assert; select -assert-none {_LATCHES}"
)


def check_structure(netlist: Netlist, *, build_dir: Path = BUILD_DIR) -> dict[str, Any]:
    """Return Yosys' cell counts of the netlist's Verilog after its structural checks.

    Raises NetlistError if there is a latch, a combinational loop, several drivers of one net, a
    net that is read and never driven, or a module that does not exist.
    """

    def make(folder: Path) -> dict[str, Any]:
        source = place(netlist, folder)
        checks = _CHECKS.format(top=netlist.name)
        log = folder / "yosys.log"
        run_yosys(f"read_verilog {source.name}; {checks}; stat", log)
        lines = {line for line in log.read_text().splitlines() if line.startswith("Warning")}
        # The cases of Yosys' own Verilog carry a comment that its reader warns about.
        return {"warnings": sorted(line for line in lines if "parallel_case" not in line)}

    return cached("structure", [netlist.verilog.read_bytes(), _CHECKS], build_dir, make)


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
    for family in families:
        family_named(family)
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
