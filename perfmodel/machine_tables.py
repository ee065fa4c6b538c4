"""What `perfmodel.analytic` looks up: the machines of some bandwidth families and tasks on them.

Formulas are those of costs, task_profile and lane_core, over arrays of machines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rpaccel.perfmodel import point_kernels as kernels
from rpaccel.perfmodel.core_kernels import work_row
from rpaccel.perfmodel.costs import GatherMachine, gather_cost
from rpaccel.perfmodel.design_space import (
    BANDWIDTH_AXES,
    MACHINE_AXES,
    DesignSpace,
    HitKey,
    machine_config,
)
from rpaccel.perfmodel.lane import TAKE_CYCLES
from rpaccel.perfmodel.lane_core import sub_batch_works
from rpaccel.perfmodel.layer_engine import dependency_cycles, skew_cycles
from rpaccel.perfmodel.memory_fabric import lookup_cycles
from rpaccel.perfmodel.sequencer import ProgramShape, item_banks
from rpaccel.perfmodel.shapes import ModelShape, NetworkShape, compile_shape
from rpaccel.perfmodel.sram import sram_bytes
from rpaccel.perfmodel.task_kernels import TASK_FIELDS, lane_tasks
from rpaccel.perfmodel.task_profile import memory_cycles
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["GATHER_WAIT", "MachineTables", "machine_tables"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
STATIC_LINES_MOST = 65536  # of a bank: spec.accelerator
GATHER_FIELDS = 7
GATHER_WAIT = GATHER_FIELDS - 1  # no cycles by itself: of the station that is the busiest


@dataclass(frozen=True, kw_only=True, eq=False)
class MachineTables:
    """The machines of consecutive families, and rows for point_kernels.query_points: see there.

    array_macs, sram_bytes : int64[machines]. item_macs : int64[2, machines], MACs of an item of
    each stage, padding of folds included. hits : float64[2, machines], share of rows' beats.
    gathers : of each stage, float64[machines, sizes of tasks, GATHER_FIELDS], NaN for a machine
    that cannot be.
    """

    machines: Ints
    tasks: Ints
    front_rows: Ints
    back_rows: Ints
    array_macs: Ints
    sram_bytes: Ints
    item_macs: Ints
    hits: Floats
    gathers: tuple[Floats, Floats]


@dataclass(frozen=True, kw_only=True)
class _Lane:
    """A lane and a ranker on it."""

    config: AcceleratorConfig
    shape: ModelShape
    program: ProgramShape


@lru_cache(maxsize=4096)
def _lane(config: AcceleratorConfig, number: int, network: NetworkShape) -> _Lane:
    lane = config.lane(number)
    shape = compile_shape(network, lane, lane.sub_batch_max)
    program = ProgramShape.of(shape.program, shape.slot["row_bytes"])
    return _Lane(config=lane, shape=shape, program=program)


@lru_cache(maxsize=4096)
def _works(
    config: AcceleratorConfig, program: ProgramShape, sizes: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    made = sub_batch_works(config, program, np.array(sizes, np.int64))
    return tuple(tuple(work_row(work)) for work in made)


@lru_cache(maxsize=4096)
def _buffer_bytes(config: AcceleratorConfig) -> int:
    """Return the bytes of a machine without its caches: design_space leaves a line per bank."""
    return sram_bytes(config) - config.banks * config.beat_bytes


class _Builder:
    """Machines and tasks of the families first..stop - 1."""

    def __init__(self, space: DesignSpace, families: range) -> None:
        self.space, axes = space, space.axes
        shape = space.shape[: len(MACHINE_AXES)]
        outer = np.unravel_index(np.arange(families.start, families.stop), shape)
        inner = np.unravel_index(np.arange(space.family), space.shape[-len(BANDWIDTH_AXES) :])
        names = (*MACHINE_AXES, *BANDWIDTH_AXES)
        places = [np.repeat(at, space.family) for at in outer]
        places += [np.tile(at, len(families)) for at in inner]
        self.places = dict(zip(names, places, strict=True))
        self.count = len(families) * space.family
        self.networks = [network for network, _ in space.workload.stages]
        self.batches = (np.array(axes.front_sub_batch), np.array(axes.back_sub_batch))
        self.sizes = space.task_sizes
        self.rows = [
            np.full((self.count, len(batches), len(sizes)), -1, np.int64)
            for batches, sizes in zip(self.batches, self.sizes, strict=True)
        ]
        self.gathers = [
            np.full((self.count, len(sizes), GATHER_FIELDS), np.nan) for sizes in self.sizes
        ]
        self.tasks: list[Ints] = [np.zeros((0, TASK_FIELDS), np.int64)]
        self.made = 0
        self.machines = np.zeros((self.count, kernels.MACHINE_FIELDS), np.int64)
        self.macs, self.sram = (np.zeros(self.count, np.int64) for _ in range(2))
        self.item_macs = np.zeros((2, self.count), np.int64)
        self.hits, self.skews = np.zeros((2, self.count)), np.ones((2, self.count))

    def values(self, name: str, where: Ints) -> Ints:
        """Return the values of an axis of integers at some machines."""
        return np.array(self.space.values[name], np.int64)[self.places[name][where]]

    def build(self) -> MachineTables:
        """Build a group of machines after another: of one array, one split and one beat."""
        keys = np.stack([self.places[n] for n in ("array_size", "split", "beat_bytes")])
        for key in np.unique(keys, axis=1).T:
            self._group(np.flatnonzero((keys == key[:, None]).all(axis=0)), *map(int, key))
        return MachineTables(
            machines=self.machines,
            tasks=np.concatenate(self.tasks),
            front_rows=self.rows[0],
            back_rows=self.rows[1],
            array_macs=self.macs,
            sram_bytes=self.sram,
            item_macs=self.item_macs,
            hits=self.hits,
            gathers=(self.gathers[0], self.gathers[1]),
        )

    def _group(self, where: Ints, array: int, split: int, beat: int) -> None:
        """Fill in the machines `where`; those that cannot be stay without tasks."""
        space, axes = self.space, self.space.axes
        lanes, size, beat_bytes = axes.split[split], axes.array_size[array], axes.beat_bytes[beat]
        spec = space.spec
        try:
            configs = [
                machine_config(spec.base, spec.blocks, size, lanes, ports, beat_bytes)
                for ports in axes.memory_ports
            ]
        except ValueError:
            return  # DesignSpace.config says why
        config = configs[0]
        banks = np.array([config.banks for config in configs])[self.places["memory_ports"][where]]
        static, sets = (
            (self.values(name, where) << 10) // (banks * beat_bytes)
            for name in ("static_cache_kib", "look_ahead_kib")
        )
        fits = static <= STATIC_LINES_MOST
        where, banks, static, ahead = where[fits], banks[fits], static[fits], sets[fits]
        back_first = lanes.front[0] if lanes.back else 0
        self.machines[where] = (
            lanes.front[0], (lanes.back or lanes.front)[0], back_first, config.funnels,
            space.workload.top_n,
        )  # fmt: skip
        self.macs[where] = config.array_macs
        lines = (static + np.maximum(ahead, 1)) * banks
        self.sram[where] = _buffer_bytes(config) + lines * beat_bytes
        self.hits[:, where], self.skews[:, where] = self._hits(where, banks, beat_bytes)
        lookup = np.where(static > 0, lookup_cycles(1), 0)
        for stage, number in enumerate((0, back_first)):
            lane = _lane(config, number, self.networks[stage])
            self.item_macs[stage, where] = lane.program.tiles * lane.config.array_macs
            latency = self.values("memory_latency_cycles", where)
            machine = replace(
                GatherMachine.of(
                    lane.config,
                    latency,
                    row_hits=self.hits[stage, where],
                    bank_skew=self.skews[stage, where],
                ),
                memory_ports=self.values("memory_ports", where),
                banks=banks,
                lookup_cycles=lookup,
            )
            self._stage(stage, where, lane, machine)

    def _hits(self, where: Ints, banks: Ints, beat_bytes: int) -> tuple[Floats, Floats]:
        """Return both stages' hit rates and skews of the banks, float64[2, machines] each."""
        names = ("static_cache_kib", "static_front_percent", "look_ahead_kib")
        keys = np.stack([*(self.values(name, where) for name in names), banks])
        distinct, places = np.unique(keys, axis=1, return_inverse=True)
        asked: list[HitKey] = [
            (beat_bytes, int(static), int(percent), int(ahead), int(bank))
            for static, percent, ahead, bank in distinct.T
        ]
        rates, skews = (
            np.array([of(key) for key in asked]).reshape(-1, 2)[places.ravel()].T
            for of in (self.space.hits.rates, self.space.hits.skews)
        )
        return rates, skews

    def _stage(self, stage: int, where: Ints, lane: _Lane, machine: GatherMachine) -> None:
        """Time all tasks of a stage on a lane: sizes of tasks x sub-batches x machines."""
        sizes, batches = self.sizes[stage], self.batches[stage]
        shape = len(sizes), len(batches), len(where)
        own, before = (np.divmod(each[:, None], batches) for each in np.array(sizes).T)
        most = np.broadcast_to(batches, own[0].shape)
        parts = [each for full, rest in (own, before) for each in (most[full > 0], rest[rest > 0])]
        used = np.unique(np.concatenate(parts))
        works = np.array(_works(lane.config, lane.program, tuple(map(int, used))), np.int64)
        slot = lane.shape.slot
        asked = np.zeros((*shape, 7), np.int64)
        for first, (full, rest) in ((0, own), (4, before)):
            asked[..., first] = full[..., None]
            asked[..., first + 1] = np.minimum(np.searchsorted(used, most), len(used) - 1)[
                ..., None
            ]
            asked[..., first + 2] = np.where(rest > 0, np.searchsorted(used, rest), -1)[..., None]
        asked[..., 3] = np.array([item_banks(slot, int(size)) for size in batches])[:, None]
        gathers = np.empty((*shape, GATHER_FIELDS))
        for at, (items, _) in enumerate(sizes):
            gathers[at] = self._gather(lane, machine, items, first=stage == 0)
            self.gathers[stage][where, at] = gathers[at, 0]
        rules = np.array(
            [
                lane.config.block_size,
                skew_cycles(lane.config),
                lane.config.sub_batch_max,
                dependency_cycles(lane.config),
            ]
        )
        tasks = np.empty((math.prod(shape), TASK_FIELDS), np.int64)
        lane_tasks(works, asked.reshape(-1, 7), gathers.reshape(-1, GATHER_FIELDS), rules, tasks)
        rows = (self.made + np.arange(len(tasks))).reshape(shape).transpose(2, 1, 0)
        fits = batches <= slot["sub_batch"]
        self.rows[stage][where] = np.where(fits[:, None], rows, -1)
        self.tasks.append(tasks)
        self.made += len(tasks)

    def _gather(self, lane: _Lane, machine: GatherMachine, items: int, *, first: bool) -> Floats:
        """Return float64[machines, GATHER_FIELDS] of tasks of `items`: task_kernels.lane_tasks."""
        records = self.space.records(machine.beat_bytes)
        cost = gather_cost(machine, lane.shape, records, items, first)
        memory = memory_cycles(machine, lane.shape, items, records, first=first)
        start = TAKE_CYCLES + np.rint(cost.record + cost.user)
        fields = (
            start,
            np.rint(cost.drain),
            cost.share,
            cost.item,
            memory,
            cost.ports,
            items * cost.wait,
        )
        out = np.empty((len(machine.latency_cycles), GATHER_FIELDS))
        for column, field in enumerate(fields):
            out[:, column] = field
        return out


def machine_tables(space: DesignSpace, families: range) -> MachineTables:
    """Return the tables of some bandwidth families, by their numbers."""
    return _Builder(space, families).build()
