"""The machines on which points of a sweep are compared with the netlist, and how they are split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rpaccel.host.partition import Partition, Rectangle
from rpaccel.perfmodel.design_space import CACHE_WAYS, cache_sizes, machine_config
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.sweep import LaneSplit

__all__ = ["BASE", "SWEEP_MACHINES", "SweepMachine", "sweep_machine"]

BASE = "edge"  # preset that gives every size that is no axis


@dataclass(frozen=True, kw_only=True)
class SweepMachine:
    """A machine of a sweep: a netlist, and the axes that are the same in all points on it.

    places : first block, (row, column), of each lane.
    """

    name: str
    blocks: int
    array_size: int
    split: LaneSplit
    memory_ports: int
    beat_bytes: int
    static_cache_kib: int
    look_ahead_kib: int
    places: tuple[tuple[int, int], ...]
    static_front_percent: int = 50

    @property
    def config(self) -> AcceleratorConfig:
        """The machine, as perfmodel.design_space.DesignSpace.config makes it."""
        made = machine_config(
            BASE, self.blocks, self.array_size, self.split, self.memory_ports, self.beat_bytes
        )
        static, sets = cache_sizes(made, self.static_cache_kib, self.look_ahead_kib)
        return AcceleratorConfig.model_validate(
            made.model_dump()
            | {
                "name": self.name,
                "static_cache_lines": static,
                "row_cache_sets": max(1, sets),
                "row_cache_ways": CACHE_WAYS if sets else 1,
            }
        )

    @property
    def partition(self) -> Partition:
        """Which blocks each lane owns."""
        return {
            number: Rectangle(row=row, col=col, rows=rows, cols=cols)
            for number, ((row, col), (rows, cols)) in enumerate(
                zip(self.places, self.split.lanes, strict=True)
            )
        }

    @property
    def back_lane(self) -> int:
        """First lane of the second stage."""
        return self.split.front[0] if self.split.back else 0

    @property
    def axes(self) -> dict[str, list[int | str]]:
        """The axes of spec.sweep.SweepAxes that the netlist fixes."""
        names = (
            "array_size", "memory_ports", "beat_bytes", "static_cache_kib", "look_ahead_kib",
            "static_front_percent",
        )  # fmt: skip
        return {"split": [str(self.split)], **{name: [getattr(self, name)] for name in names}}


def _machine(name: str, blocks: int, array: int, split: str, **others: Any) -> SweepMachine:
    return SweepMachine(
        name=name, blocks=blocks, array_size=array, split=LaneSplit.model_validate(split), **others
    )


SWEEP_MACHINES = {
    machine.name: machine
    for machine in (
        _machine(
            "whole", 2, 32, "1*2x2", memory_ports=1, beat_bytes=32, static_cache_kib=8,
            look_ahead_kib=4, places=((0, 0),),
        ),
        _machine(
            "front_and_back", 2, 16, "2*1x1+1*1x2", memory_ports=2, beat_bytes=16,
            static_cache_kib=0, look_ahead_kib=8, places=((0, 0), (0, 1), (1, 0)),
        ),
        _machine(
            "quarters", 2, 16, "4*1x1", memory_ports=2, beat_bytes=8, static_cache_kib=0,
            look_ahead_kib=4, places=((0, 0), (0, 1), (1, 0), (1, 1)),
        ),
    )
}  # fmt: skip


def sweep_machine(name: str) -> SweepMachine:
    """Return one of SWEEP_MACHINES. Raises ValueError for another name."""
    if name not in SWEEP_MACHINES:
        raise ValueError(f"machine must be one of {', '.join(SWEEP_MACHINES)}, not {name!r}")
    return SWEEP_MACHINES[name]
