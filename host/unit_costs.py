"""What each unit costs on an FPGA: one synthesis a unit, cached by content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from amaranth.lib.wiring import Component

from rpaccel.host.composition import instances_of, piece_costs, pieces_of
from rpaccel.host.synthesis import family_named, synthesise
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.rtl.block import Block
from rpaccel.rtl.bucket_filter import BucketFilter
from rpaccel.rtl.compute_core import ComputeCore
from rpaccel.rtl.dispatcher import Dispatcher
from rpaccel.rtl.funnel import Funnel
from rpaccel.rtl.gather import Gather
from rpaccel.rtl.interaction import Interaction
from rpaccel.rtl.loader import Loader
from rpaccel.rtl.memory_fabric import MemoryFabric
from rpaccel.rtl.netlist import Netlist, cached_netlist
from rpaccel.rtl.ordered_top_n import OrderedTopN
from rpaccel.rtl.prefetcher import Prefetcher
from rpaccel.rtl.registers import Registers
from rpaccel.rtl.row_network import RowNetwork
from rpaccel.rtl.row_updater import RowUpdater
from rpaccel.rtl.rtlil_text import parse
from rpaccel.rtl.systolic_array import SystolicArray
from rpaccel.rtl.task_grant import TaskGrant
from rpaccel.rtl.task_log import TaskLog
from rpaccel.rtl.vector_unit import VectorUnit
from rpaccel.spec.accelerator import AcceleratorConfig

RESOURCES = ("lut", "ff", "dsp", "bram", "lutram")


def cells(config: AcceleratorConfig) -> Component:
    """Return the A x A cells alone, as one block: no banks, accumulators or requantise lanes."""
    return Block(config.model_copy(update={"block_size": config.array_size}))


UNITS: dict[str, Callable[[AcceleratorConfig], Component]] = {
    "cells": cells,
    "systolic_array": lambda config: SystolicArray(config, config.lanes),
    "core": ComputeCore,
    "vector_unit": VectorUnit,
    "interaction": Interaction,
    "gather": Gather,
    "bucket_filter": BucketFilter,
    "ordered_top_n": OrderedTopN,
    "dispatcher": Dispatcher,
    "funnel": Funnel,
    "task_grant": TaskGrant,
    "task_log": TaskLog,
    "loader": Loader,
    "memory_fabric": MemoryFabric,
    "row_network": lambda config: RowNetwork(config, sum(config.lane_gather_ports), config.lanes),
    "row_updater": RowUpdater,
    "prefetcher": Prefetcher,
    "registers": Registers,
}


def unit_netlist(
    config: AcceleratorConfig,
    name: str,
    *,
    build_dir: Path = BUILD_DIR,
    progress: Callable[[str], None] = print,
) -> Netlist:
    """Return the netlist of one of UNITS alone. Raises ValueError for another name."""
    if name not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}, not {name!r}")
    return cached_netlist(
        lambda: UNITS[name](config),
        config,
        name=name,
        build_dir=build_dir,
        checks=False,
        progress=progress,
    )


def unit_costs(
    config: AcceleratorConfig,
    family: str = "ecp5",
    *,
    units: tuple[str, ...] = tuple(UNITS),
    build_dir: Path = BUILD_DIR,
    progress: Callable[[str], None] = print,
) -> dict[str, dict[str, Any]]:
    """Return lut, ff, dsp, bram and lutram of each unit of `config` on `family`.

    Each unit is synthesised alone, so that nothing of it is shared or optimised away by others.
    Raises ValueError for an unknown family or unit.
    """
    family_named(family)
    costs = {}
    for name in units:
        netlist = unit_netlist(config, name, build_dir=build_dir, progress=progress)
        report = synthesise(netlist, family, build_dir=build_dir, progress=progress)
        costs[name] = {resource: report[resource] for resource in RESOURCES}
    return costs


def module_costs(
    config: AcceleratorConfig,
    unit: str,
    family: str = "ecp5",
    *,
    build_dir: Path = BUILD_DIR,
    progress: Callable[[str], None] = print,
) -> dict[str, dict[str, int]]:
    """Return what each distinct module of a unit costs, all its instances together.

    By module: instances, lut, ff, dsp, bram, lutram; what its children cost is theirs. Modules are
    synthesised apart: the sum is above the cost of the unit. Raises ValueError as `unit_costs`.
    """
    target = family_named(family)
    netlist = unit_netlist(config, unit, build_dir=build_dir, progress=progress)
    pieces = pieces_of(parse(netlist.rtlil.read_text()))
    costs = piece_costs(pieces.values(), target.apart, build_dir=build_dir, progress=progress)
    found = {}
    for name, number in instances_of(pieces).items():
        cells = {kind: number * n for kind, n in costs[pieces[name].digest].cells.items()}
        counts = target.count(cells)
        own = {resource: counts.get(resource, 0) for resource in RESOURCES}
        if any(own.values()):
            found[name.removeprefix("\\")] = {"instances": number} | own
    return dict(sorted(found.items(), key=lambda item: (-item[1]["lut"], item[0])))
