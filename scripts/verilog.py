"""Write a preset's Verilog, manifest and C header: python -m scripts.verilog --preset edge."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from rpaccel.host.header import c_header
from rpaccel.host.manifest import manifest_json
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.rtl.netlist import system_netlist
from rpaccel.spec.accelerator import load_accelerator, preset_names


def write_all(preset: str, out_dir: Path, *, checks: bool = False) -> list[Path]:
    """Write rpaccel.v, rpaccel.json and rpaccel.h of `preset`; return the paths."""
    config = load_accelerator(preset)
    netlist = system_netlist(config, build_dir=BUILD_DIR, checks=checks)
    out_dir.mkdir(parents=True, exist_ok=True)
    verilog = out_dir / f"{netlist.name}.v"
    shutil.copyfile(netlist.verilog, verilog)
    header = out_dir / f"{netlist.name}.h"
    header.write_text(c_header(config))
    manifest = out_dir / f"{netlist.name}.json"
    manifest.write_text(manifest_json(config, netlist, [verilog, header]))
    return [verilog, manifest, header]


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--preset", default="edge", help=f"{', '.join(preset_names())}, or a YAML file"
    )
    parser.add_argument("--out", type=Path, default=BUILD_DIR / "verilog", help="folder")
    parser.add_argument("--checks", action="store_true", help="keep assertions (simulation only)")
    arguments = parser.parse_args(argv)
    try:
        paths = write_all(arguments.preset, arguments.out, checks=arguments.checks)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    for path in paths:
        print(f"{path}  {path.stat().st_size:,} B")
    return 0


if __name__ == "__main__":
    sys.exit(main())
