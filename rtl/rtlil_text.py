"""The RTLIL that Amaranth writes, as far as `rtlil_merge` needs to understand it.

Ref: Yosys manual, chapter "Textual representation of RTLIL".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["NAME", "Cell", "Process", "RtlilModule", "Wire", "emit", "parse", "split"]

NAME = re.compile(r"(?<![^\s{])[\\$]\S+")  # a wire in a signal
_WIRE = re.compile(r"wire width (\d+)(?: (input|output) \d+)?( +signed)? +(\S+)$")


@dataclass
class Wire:
    """One wire; `kind` is "", "input" or "output"."""

    name: str
    width: int
    kind: str
    signed: str
    attributes: list[str]


@dataclass
class Cell:
    """One cell or submodule. `ports` maps a port to the signal connected to it."""

    kind: str
    name: str
    attributes: list[str]
    parameters: list[str] = field(default_factory=list)
    ports: dict[str, str] = field(default_factory=dict)


@dataclass
class Process:
    """One process: its lines between `process` and `end`, with their indentation."""

    name: str
    attributes: list[str]
    lines: list[str] = field(default_factory=list)


@dataclass
class RtlilModule:
    """One module, parsed as far as the merging needs."""

    name: str
    attributes: list[str]
    memories: list[str] = field(default_factory=list)
    wires: dict[str, Wire] = field(default_factory=dict)
    items: list[Cell | Process] = field(default_factory=list)
    connections: list[tuple[str, str]] = field(default_factory=list)


def parse(text: str) -> list[RtlilModule]:
    """Return the modules of `text`, which Amaranth's RTLIL back end wrote, without `src`."""
    modules: list[RtlilModule] = []
    attributes: list[str] = []
    lines = iter(text.splitlines())
    for raw in lines:
        line = raw.strip()
        if line.startswith("attribute "):
            if not line.startswith("attribute \\src "):
                attributes.append(line)
            continue
        if line.startswith("module "):
            modules.append(RtlilModule(line[7:], attributes))
        elif line.startswith("memory "):
            modules[-1].memories += [*attributes, line]
        elif line.startswith("wire "):
            match = _WIRE.match(line)
            if match is None:
                raise ValueError(f"RTLIL wire must be readable, not {line!r}")
            width, kind, signed, name = match.groups()
            modules[-1].wires[name] = Wire(
                name, int(width), kind or "", " signed" if signed else "", attributes
            )
        elif line.startswith("cell "):
            modules[-1].items.append(_parse_cell(line, attributes, lines))
        elif line.startswith("process "):
            modules[-1].items.append(_parse_process(line, attributes, lines))
        elif line.startswith("connect "):
            modules[-1].connections.append(split(line[8:]))
        attributes = []
    return modules


def split(text: str) -> tuple[str, str]:
    """Split `lhs rhs` where a side is `name`, `name [slice]` or `{ ... }`."""
    if text.startswith("{"):
        end = text.index("}") + 1
    else:
        end = text.index(" ")
        if text[end + 1] == "[":
            end = text.index("]") + 1
    return text[:end], text[end + 1 :]


def _parse_cell(line: str, attributes: list[str], lines: Iterable[str]) -> Cell:
    _, kind, name = line.split(" ")
    cell = Cell(kind, name, attributes)
    for raw in lines:
        text = raw.strip()
        if text == "end":
            return cell
        if text.startswith("parameter "):
            cell.parameters.append(text)
        else:
            port, _, value = text[8:].partition(" ")
            cell.ports[port] = value
    raise ValueError(f"RTLIL cell {name} must end")


def _parse_process(line: str, attributes: list[str], lines: Iterable[str]) -> Process:
    process = Process(line[8:], attributes)
    depth = 0
    for raw in lines:
        text = raw.strip()
        if text.startswith("attribute "):
            continue
        if text == "end":
            if depth == 0:
                return process
            depth -= 1
        elif text.startswith("switch "):
            depth += 1
        process.lines.append(raw)
    raise ValueError(f"RTLIL process {process.name} must end")


def emit(modules: list[RtlilModule]) -> str:
    """Return `modules` as RTLIL text."""
    out: list[str] = []
    for module in modules:
        out += [*module.attributes, f"module {module.name}"]
        out += [f"  {line}" for line in module.memories]
        port = 0
        for wire in module.wires.values():
            out += [f"  {line}" for line in wire.attributes]
            kind = ""
            if wire.kind:
                kind = f" {wire.kind} {port}"
                port += 1
            out.append(f"  wire width {wire.width}{kind}{wire.signed} {wire.name}")
        for item in module.items:
            out += [f"  {line}" for line in item.attributes]
            if isinstance(item, Cell):
                out.append(f"  cell {item.kind} {item.name}")
                out += [f"    {line}" for line in item.parameters]
                out += [f"    connect {port_} {value}" for port_, value in item.ports.items()]
            else:
                out += [f"  process {item.name}", *item.lines]
            out.append("  end")
        out += [f"  connect {lhs} {rhs}" for lhs, rhs in module.connections]
        out += ["end", ""]
    return "\n".join(out)
