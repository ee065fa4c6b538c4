"""What an FPGA flow takes away: Verilog, manifest, C header and a packaging script."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from rpaccel.host.header import c_header
from rpaccel.host.manifest import manifest_json
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.host.vivado import clock_constraints, ip_script
from rpaccel.rtl.netlist import system_netlist
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["write_design"]


def write_design(
    config: AcceleratorConfig,
    out_dir: Path,
    *,
    checks: bool = False,
    build_dir: Path = BUILD_DIR,
    progress: Callable[[str], None] = print,
) -> dict[str, Path]:
    """Write rpaccel.v, .json, .h, rpaccel_ooc.xdc and package_ip.tcl; same input, same bytes.

    checks : keep the assertions of the RTL, for simulation; synthesis wants them out.
    Returns the paths by what they are.
    """
    netlist = system_netlist(config, build_dir=build_dir, checks=checks, progress=progress)
    out_dir.mkdir(parents=True, exist_ok=True)
    verilog = out_dir / f"{netlist.name}.v"
    shutil.copyfile(netlist.verilog, verilog)
    header = out_dir / f"{netlist.name}.h"
    header.write_text(c_header(config))
    manifest = out_dir / f"{netlist.name}.json"
    manifest.write_text(manifest_json(config, netlist, [verilog, header]))
    constraints = out_dir / f"{netlist.name}_ooc.xdc"
    constraints.write_text(clock_constraints())
    script = out_dir / "package_ip.tcl"
    script.write_text(ip_script(config, netlist))
    return {
        "verilog": verilog,
        "manifest": manifest,
        "header": header,
        "constraints": constraints,
        "vivado": script,
    }
