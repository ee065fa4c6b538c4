"""What the units of a retrieval engine cost, by Yosys, from the netlist of a whole engine."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from amaranth.lib.wiring import Component

from rpaccel.host.composition import Piece, instances_of, piece_costs, pieces_of
from rpaccel.host.synthesis import FAMILIES, synthesise
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.perfmodel.retrieval_budget import Area, Growth, UnitArea
from rpaccel.rtl.netlist import write_netlist
from rpaccel.rtl.retrieval_answer import RetrievalAnswer
from rpaccel.rtl.retrieval_fetch import RetrievalFetch
from rpaccel.rtl.retrieval_filter import ScoreFilter
from rpaccel.rtl.retrieval_system import RetrievalSystem
from rpaccel.rtl.rtlil_text import parse
from rpaccel.spec.accelerator import BURST_BEATS, AcceleratorConfig, load_accelerator
from rpaccel.spec.retrieval import RetrievalConfig

__all__ = ["COST_PORTS", "UNITS", "engine_areas", "engine_config", "filter_area", "unit_series"]

Say = Callable[[str], None]

COST_PORTS = 16  # of the netlists: the most that a configuration may have
REST = "engine"  # what is in it beside its units: reports, facts, guard, all connections
# Module of a unit's root -> the unit. All others: REST.
UNITS = {
    "score_unit": "ScoreUnit",
    "row_gate": "RowGate",
    "retrieval_port": "RetrievalPort",
    "read_order": "ReadOrder",
    "read_channel": "ReadChannel",
    "crossbar": "ReadCrossbar",
    "terms": "QueryTerms",
    "bitmaps": "BitmapReader",
    "blocks": "BlockScheduler",
    "score_filter": "ScoreFilter",
}
_GROWTH = {
    **dict.fromkeys(
        ("ScoreUnit", "RowGate", "RetrievalPort", "ReadOrder", "ReadChannel"), Growth.PER_PORT
    ),
    "ReadCrossbar": Growth.SQUARE,
    **dict.fromkeys(("BlockScheduler", REST), Growth.PORTS),
}
_FAMILY = FAMILIES["xcup"]


def engine_config(
    queries: int, products_per_dsp: int, beat_bytes: int, k: int, ports: int = COST_PORTS
) -> AcceleratorConfig:
    """Return a machine whose engine matters alone, for up to `k`; a port scores a row per cycle."""
    return load_accelerator("edge").model_copy(
        update={
            "name": f"scan for {queries}",
            "memory_ports": ports,
            "row_banks": ports,
            "axi_data_bits": 8 * beat_bytes,
            "stripe_bytes": max(128, BURST_BEATS * beat_bytes),
            "retrieval_queries": queries,
            "retrieval_k_max": k,
            "retrieval_port_lanes": 1,
            "retrieval_products_per_dsp": products_per_dsp,
        }
    )


def engine_areas(
    configs: Sequence[AcceleratorConfig], folder: Path, say: Say, build_dir: Path = BUILD_DIR
) -> list[dict[str, Area]]:
    """Return what engines on AXI memory need, by unit; a unit's copies together.

    Each distinct module is synthesised once, apart: LUTs and flip-flops are upper bounds.
    """
    engines = []
    for number, config in enumerate(configs):
        say(f"engine for {config.retrieval_queries} queries, {config.beat_bytes} B")
        engines.append(_units(config, folder / str(number)))
    wanted = [piece for units in engines for unit in units.values() for piece, _ in unit]
    costs = piece_costs(wanted, _FAMILY.apart, build_dir=build_dir, progress=say)
    found = []
    for units in engines:
        areas = {}
        for name, unit in units.items():
            counts: Counter[str] = Counter()
            for piece, copies in unit:
                counts.update({kind: copies * n for kind, n in costs[piece.digest].cells.items()})
            areas[name] = _area(_FAMILY.count(counts))
        found.append(areas)
    return found


def _units(config: AcceleratorConfig, folder: Path) -> dict[str, list[tuple[Piece, int]]]:
    """Return the modules of each unit and how often they are in the design.

    Raises RuntimeError if a unit of UNITS is not found: its modules would count as REST.
    """

    def pieces(component: Component, name: str) -> dict[str, Piece]:
        netlist = write_netlist(component, name, folder)
        return pieces_of(parse(netlist.rtlil.read_text()))

    engine = pieces(RetrievalSystem(config), "engine")
    groups = _groups(engine)
    wanted = set(UNITS.values())
    if config.retrieval_products_per_dsp == 1:
        wanted.remove("QueryTerms")
    if missing := sorted(wanted - groups.keys()):
        raise RuntimeError(f"{config.name}: no module of {', '.join(missing)}: UNITS names others")
    found = {
        unit: [(engine[name], copies) for name, copies in instances.items()]
        for unit, instances in groups.items()
    }
    for component in (RetrievalFetch(config), RetrievalAnswer(config)):
        own = pieces(component, "unit")
        found[type(component).__name__] = [(own[n], c) for n, c in instances_of(own).items()]
    return found


def _area(counts: Mapping[str, int]) -> Area:
    return Area(
        lut=counts["lut"] + counts["lutram"],
        ff=counts["ff"],
        dsp=counts["dsp"],
        bram36=counts["bram"],
    )


def _groups(pieces: Mapping[str, Piece]) -> dict[str, Counter[str]]:
    """Return the modules of each unit and how often they are in the design."""
    top = next(iter(pieces))
    groups: dict[str, Counter[str]] = {}

    def visit(name: str, number: int, unit: str) -> None:
        unit = UNITS.get(_kind(name, top), unit)
        groups.setdefault(unit, Counter())[name] += number
        for child, times in pieces[name].children.items():
            visit(child, number * times, unit)

    visit(top, 1, REST)
    return groups


def _kind(name: str, top: str) -> str:
    """Return a module's name without that of the top and the number of a variant."""
    return re.sub(r"_\d+$", "", name.removeprefix(f"{top}_"))


def filter_area(lanes: int, k: int, folder: Path, say: Say) -> Area:
    """Return what a query's filter of so many lanes needs."""
    unit = ScoreFilter(RetrievalConfig(lanes=lanes, k_max=k))
    netlist = write_netlist(unit, "scorefilter", folder)
    return _area(synthesise(netlist, "xcup", build_dir=BUILD_DIR, progress=say))


def unit_series(
    beat_bytes: int, products_per_dsp: int, k: int, folder: Path, say: Say, ports: int = COST_PORTS
) -> dict[str, UnitArea]:
    """Return the units with ports of `beat_bytes`, but the filters, by the queries of a scan."""
    configs = [
        engine_config(queries, products_per_dsp, beat_bytes, k, ports)
        for queries in range(1, products_per_dsp + 2)
    ]
    counted = engine_areas(configs, folder / f"{products_per_dsp}_{beat_bytes}_{k}_{ports}", say)
    return {
        name: UnitArea(
            areas=tuple(areas[name] for areas in counted),
            ports=ports,
            growth=_GROWTH.get(name, Growth.NONE),
        )
        for name in counted[0]
        if name != "ScoreFilter"
    }
