"""Check what must come from the system: python scripts/check_prerequisites.py."""

from __future__ import annotations

import shutil
import sys

# Tool, why it is needed, Debian package.
TOOLS = [
    ("g++", "compiles the simulator of the netlist", "g++"),
    ("make", "builds the simulator of the netlist", "make"),
    ("perl", "starts Verilator", "perl"),
]


def main() -> int:
    """Print every missing prerequisite with the way to get it; return 1 if any is missing."""
    missing = []
    if sys.version_info < (3, 11):  # noqa: UP036  (run before the right Python is known)
        have = ".".join(str(part) for part in sys.version_info[:3])
        missing.append(f"Python 3.11 or newer (this is {have}): set PYTHON=python3.11")
    try:
        import ensurepip  # noqa: F401, PLC0415  (Debian splits it from python3)
        import venv  # noqa: F401, PLC0415
    except ImportError:
        missing.append("the venv module: apt-get install python3-venv")
    for tool, why, package in TOOLS:
        if shutil.which(tool) is None:
            missing.append(f"{tool} ({why}): apt-get install {package}")
    for line in missing:
        print(f"missing: {line}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
