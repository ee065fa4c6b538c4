"""Simplifications of RTLIL before modules are compared and written as Verilog."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rpaccel.rtl.rtlil_text import NAME, Cell, Process, RtlilModule, Wire, split

__all__ = ["clean"]

_SLICE = re.compile(r"(\S+) \[(\d+)(?::(\d+))?\]$")
_BITS = re.compile(r"\d+'[01]+$")
_PRIORITY = re.compile(r"parameter signed \\PRIORITY 32'[01]+$")
_INIT_LIMIT_BITS = 1 << 16  # larger memories are written before they are read, so zeros are noise


def clean(module: RtlilModule, *, checks: bool) -> None:
    """Simplify `module` in place; without `checks`, assertions and prints are left out."""
    _drop_zero_initialisation(module)
    if not checks:
        _drop_checks(module)
    _connect_concatenations(module)
    _drop_unread_aliases(module)
    _renumber_priorities(module)


def _slice(text: str) -> tuple[str, int, int] | None:
    """Return (wire, low, high) of `name [high:low]` or `name [bit]`."""
    match = _SLICE.match(text)
    if match is None:
        return None
    name, high, low = match.groups()
    return name, int(low if low is not None else high), int(high)


def _merge_ranges(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the union of (low, high) ranges as disjoint ranges, ascending."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return merged


@dataclass
class _Assembly:
    """A process that puts a wire together from slices, some of them decided by a switch."""

    wire: str
    bits: str  # the constant default, highest bit first
    parts: list[tuple[int, int, str]]  # unconditional assignments: low, high, value
    rest: list[str]  # the switch
    decided: list[tuple[int, int]]  # ranges of the wire that the switch touches


def _assembly(module: RtlilModule, process: Process) -> _Assembly | None:
    """Return what `process` does if its default is a constant, else None."""
    count = next(
        (n for n, line in enumerate(process.lines) if not line.strip().startswith("assign ")),
        len(process.lines),
    )
    assigned = [split(line.strip()[7:]) for line in process.lines[:count]]
    rest = process.lines[count:]
    nested = [split(line.strip()[7:])[0] for line in rest if line.strip().startswith("assign ")]
    if not assigned or not _BITS.match(assigned[0][1]):
        return None
    targets = [_slice(lhs) for lhs, _ in assigned]
    inner = [_slice(lhs) for lhs in nested]
    whole = targets[0]
    if whole is None or (whole[1], whole[2]) != (0, module.wires[whole[0]].width - 1):
        return None
    if any(target is None or target[0] != whole[0] for target in targets + inner):
        return None
    parts = [(t[1], t[2], rhs) for t, (_, rhs) in zip(targets, assigned, strict=True) if t][1:]
    decided = _merge_ranges([(t[1], t[2]) for t in inner if t])
    for low, high, _ in parts:  # a slice belongs to one range as a whole
        if any(low <= end and high >= begin for begin, end in decided):
            decided = _merge_ranges([*decided, (low, high)])
    free = [part for part in parts if not _inside(part, decided)]
    if len(_merge_ranges([(low, high) for low, high, _ in free])) != len(free):
        return None
    return _Assembly(whole[0], assigned[0][1].partition("'")[2], parts, rest, decided)


def _inside(part: tuple[int, int, str], ranges: list[tuple[int, int]]) -> bool:
    return any(low <= part[0] and part[1] <= high for low, high in ranges)


def _take_apart(module: RtlilModule, process: Process) -> bool:
    """Leave only the decided ranges of `process` in it, on wires of their own; connect the rest.

    Returns whether the process is still needed.
    """
    work = _assembly(module, process)
    width = len(work.bits) if work else 0
    if work is None or work.decided == [(0, width - 1)]:
        return True
    pieces = {
        low: (high, rhs)
        for low, high, rhs in work.parts
        if not _inside((low, high, rhs), work.decided)
    }
    lines: list[str] = []
    names: dict[int, str] = {}
    for low, high in work.decided:
        names[low] = name = f"{process.name}$from{low}"
        module.wires[name] = Wire(name, high - low + 1, "", "", [])
        pieces[low] = high, name
        lines.append(f"    assign {name} [{high - low}:0] {_constant(work.bits, low, high + 1)}")

    def moved(low: int, high: int) -> str:
        base = max(begin for begin in names if begin <= low)
        return f"{names[base]} [{high - base}:{low - base}]"

    lines += [
        f"    assign {moved(low, high)} {rhs}"
        for low, high, rhs in work.parts
        if _inside((low, high, rhs), work.decided)
    ]
    for line in work.rest:
        if line.strip().startswith("assign "):
            target = _slice(split(line.strip()[7:])[0])
            assert target is not None
            indent, rhs = line[: line.index("assign")], split(line.strip()[7:])[1]
            lines.append(f"{indent}assign {moved(target[1], target[2])} {rhs}")
        else:
            lines.append(line)
    process.lines = lines
    module.connections.append((work.wire, _concatenation(pieces, work.bits)))
    return bool(work.decided)


def _concatenation(pieces: dict[int, tuple[int, str]], bits: str) -> str:
    """Return the RTLIL of `pieces` (low -> high, value) over the constant `bits`."""
    values: list[str] = []
    position = 0
    for low, (high, value) in sorted(pieces.items()):
        if low > position:
            values.append(_constant(bits, position, low))
        values.append(value)
        position = high + 1
    if position < len(bits):
        values.append(_constant(bits, position, len(bits)))
    return "{ " + " ".join(value.strip("{} ") for value in reversed(values)) + " }"


def _constant(bits: str, low: int, end: int) -> str:
    """Return bits low..end-1 of a binary constant (highest bit first) as RTLIL."""
    return f"{end - low}'{bits[len(bits) - end : len(bits) - low]}"


def _connect_concatenations(module: RtlilModule) -> None:
    """Turn the parts of processes that nothing decides into connections.

    As Verilog they would be `always @*` blocks, of which the ones with constants never run, and
    every reader of one slice would wait for all slices.
    """
    module.items = [
        item for item in module.items if isinstance(item, Cell) or _take_apart(module, item)
    ]


def _names(text: str) -> list[str]:
    return NAME.findall(text)


def _item_texts(item: Cell | Process) -> Iterable[str]:
    return item.ports.values() if isinstance(item, Cell) else item.lines


def _drop_unread_aliases(module: RtlilModule) -> None:
    """Remove wires that only repeat another signal's value for debugging."""
    used = {name for item in module.items for text in _item_texts(item) for name in _names(text)}
    used |= {name for _, rhs in module.connections for name in _names(rhs)}
    used |= {wire.name for wire in module.wires.values() if wire.kind}
    module.connections = [
        (lhs, rhs) for lhs, rhs in module.connections if any(name in used for name in _names(lhs))
    ]
    used |= {name for lhs, _ in module.connections for name in _names(lhs)}
    module.wires = {name: wire for name, wire in module.wires.items() if name in used}


def _drop_zero_initialisation(module: RtlilModule) -> None:
    """Leave large memories uninitialised where the initial value is zero everywhere."""
    module.items = [
        item
        for item in module.items
        if not (
            isinstance(item, Cell)
            and item.kind == "$meminit_v2"
            and len(item.ports["\\DATA"]) > _INIT_LIMIT_BITS
            and "1" not in item.ports["\\DATA"].partition("'")[2]
        )
    ]


def _drop_checks(module: RtlilModule) -> None:
    """Remove assertions and prints; what only fed them stays and is optimised away by any tool."""
    module.items = [
        item
        for item in module.items
        if not (isinstance(item, Cell) and item.kind in {"$check", "$print"})
    ]


def _renumber_priorities(module: RtlilModule) -> None:
    """Make the print order of checks a matter of the module alone."""
    cells = [item for item in module.items if isinstance(item, Cell)]
    checks = [cell for cell in cells if cell.kind in {"$check", "$print"}]
    for number, cell in enumerate(checks):
        text = f"parameter signed \\PRIORITY 32'{(1 << 32) - 1 - number:032b}"
        cell.parameters = [_PRIORITY.sub(text.replace("\\", r"\\"), p) for p in cell.parameters]
