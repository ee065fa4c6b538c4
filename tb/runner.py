"""Building netlists for cocotb and running benches on them, cached by content.

`build_bench` compiles once; `run_bench` starts one simulator process for one bench module and
raises `BenchError` with the names of the tests that failed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

from cocotb_tools.runner import Icarus, Runner, Verilator

from rpaccel.host.verilator import (
    BUILD_DIR,
    MODEL_FLAGS,
    check_tools,
    digest_of,
    locked,
    model_sources,
    tool_environment,
    tool_versions,
    waiver_flags,
)
from rpaccel.rtl.netlist import Netlist, cached_netlist, system_netlist
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from tb.bench_top import UNITS, BenchTop

__all__ = [
    "ROOT",
    "Bench",
    "BenchError",
    "build_bench",
    "run_bench",
    "system_bench",
    "unit_bench",
    "why_no_icarus",
]

ROOT = Path(__file__).resolve().parent.parent
TIMESCALE = ("1ns", "1ps")
# cocotb's own main loop and VPI code dominate the model at this size, so compile quickly.
COCOTB_CPP_FLAGS = ("-O1",)


class BenchError(AssertionError):
    """A bench failed; the message names the failing tests and the log."""


class PortsOnlyVerilator(Verilator):
    """cocotb's Verilator runner with only the ports of the top module visible.

    Its own --public-flat-rw makes every signal visible, which halves the speed.
    """

    def _build_command(self) -> list[list[str]]:
        commands = super()._build_command()
        return [
            [argument for argument in command if argument != "--public-flat-rw"]
            for command in commands
        ]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A netlist compiled for one simulator."""

    netlist: Netlist
    simulator: str
    folder: Path


def why_no_icarus() -> str | None:
    """Return why the second simulator cannot run here, or None."""
    if shutil.which("iverilog") is None:
        return "iverilog is not installed (Debian and Ubuntu: apt-get install iverilog)"
    return None


@contextmanager
def _environment() -> Iterator[None]:
    """Give cocotb's runner, which looks into os.environ, the environment of the wheels."""
    saved = dict(os.environ)
    os.environ.update(tool_environment())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def _runner(simulator: str) -> Runner:
    return PortsOnlyVerilator() if simulator == "verilator" else Icarus()


def _build_arguments(simulator: str) -> list[str]:
    if simulator == "icarus":
        return ["-g2005"]  # the default, -g2012, leaves constants' logic at X
    flags = [*MODEL_FLAGS, *waiver_flags(), "-Wno-fatal", "--output-split-cfuncs", "2000"]
    return flags + [part for flag in COCOTB_CPP_FLAGS for part in ("-CFLAGS", flag)]


def build_bench(
    netlist: Netlist,
    *,
    simulator: str = "verilator",
    build_dir: Path = BUILD_DIR,
    progress: Callable[[str], None] = print,
) -> Bench:
    """Compile `netlist` for `simulator` ("verilator" or "icarus"), or find it compiled."""
    check_tools()
    if simulator not in {"verilator", "icarus"}:
        raise ValueError(f"simulator must be verilator or icarus, not {simulator!r}")
    arguments = _build_arguments(simulator)
    control = f'`verilator_config\npublic_flat_rw -module "{netlist.name}" -var "*"\n'
    sources = model_sources(netlist.verilog) if simulator == "verilator" else [netlist.verilog]
    parts = [simulator, *arguments, control, tool_versions()]
    parts += [path.read_text() for path in sources]
    folder = build_dir / "cocotb" / digest_of([*parts, version("cocotb")])
    with locked(folder):
        done = folder / "done"
        if not done.exists():
            progress(f"building {netlist.name} for {simulator} (log: {folder}/build.log)")
            (folder / "ports.vlt").write_text(control)
            if simulator == "verilator":
                sources = [folder / "ports.vlt", *sources]
            with _environment():
                _runner(simulator).build(
                    sources=sources,
                    hdl_toplevel=netlist.name,
                    build_args=arguments,
                    build_dir=folder,
                    timescale=TIMESCALE,
                    log_file=folder / "build.log",
                )
            for path in folder.glob("*"):  # objects and precompiled headers: 100 MB
                if path.suffix in {".o", ".a", ".gch", ".fast", ".slow", ".cpp", ".h", ".d"}:
                    path.unlink()
            done.touch()
    return Bench(netlist=netlist, simulator=simulator, folder=folder)


def _failures(results: Path) -> tuple[int, list[str]]:
    """Return the number of tests in a results file and the names of those that failed."""
    if not results.exists():
        return 0, ["(the simulation ended before its tests)"]
    cases = list(ElementTree.parse(results).iter("testcase"))
    failed = [
        str(case.get("name"))
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    return len(cases), failed


def run_bench(
    bench: Bench,
    module: str,
    test_dir: Path,
    *,
    tests: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run the cocotb tests of `module` on `bench`; return how many passed.

    tests : names of the tests to run; by default all. The log is
    `<test_dir>/<module>.<simulator>.log`. Raises BenchError if a test failed or none ran.
    """
    test_dir.mkdir(parents=True, exist_ok=True)
    log = test_dir / f"{module}.{bench.simulator}.log"
    results = test_dir / f"{module}.{bench.simulator}.xml"
    runner = _runner(bench.simulator)
    saved_path = list(sys.path)
    current = os.environ.pop("PYTEST_CURRENT_TEST", None)  # the runner would exit, not raise
    try:
        sys.path.insert(0, str(ROOT))
        with _environment():
            runner.test(
                test_module=module,
                hdl_toplevel=bench.netlist.name,
                hdl_toplevel_lang="verilog",
                build_dir=bench.folder,
                test_dir=test_dir,
                results_xml=str(results.resolve()),
                test_filter="|".join(rf"\.{re.escape(name)}$" for name in tests) or None,
                seed=1,
                extra_env=dict(environment or {}),
                log_file=log,
                timescale=TIMESCALE,
            )
    except (RuntimeError, SystemExit, subprocess.CalledProcessError):
        pass  # the results say what failed
    finally:
        sys.path[:] = saved_path
        if current is not None:
            os.environ["PYTEST_CURRENT_TEST"] = current
    count, failed = _failures(results)
    if failed or count == 0:
        tail = "\n".join(log.read_text().splitlines()[-60:]) if log.exists() else "(no log)"
        names = ", ".join(failed) or "no test ran"
        raise BenchError(f"{module} on {bench.simulator}: {names}; log {log}\n{tail}")
    return count


def unit_bench(
    *,
    simulator: str = "verilator",
    units: tuple[str, ...] = tuple(UNITS),
    build_dir: Path = BUILD_DIR,
) -> Bench:
    """Return the bench top with `units` of the `tiny` preset; by default all."""
    config = load_accelerator("tiny")
    name = "bench_top" if units == tuple(UNITS) else "bench_" + "_".join(units)
    netlist = cached_netlist(
        lambda: BenchTop(config, units), config, name=name, build_dir=build_dir
    )
    return build_bench(netlist, simulator=simulator, build_dir=build_dir)


def system_bench(
    config: AcceleratorConfig,
    *,
    simulator: str = "verilator",
    build_dir: Path = BUILD_DIR,
    progress: Callable[[str], None] = print,
) -> Bench:
    """Return the whole accelerator built from `config`."""
    netlist = system_netlist(config, build_dir=build_dir, progress=progress)
    return build_bench(netlist, simulator=simulator, build_dir=build_dir, progress=progress)
