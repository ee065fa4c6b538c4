"""What a retrieval engine needs of an FPGA: sums over its units, the largest batch that fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from math import ceil

from rpaccel.perfmodel.retrieval_board import ScanDesign
from rpaccel.perfmodel.retrieval_latency import MemoryPath

__all__ = [
    "CROSSING_BEATS",
    "CROSSING_LUT",
    "Area",
    "Budget",
    "Growth",
    "UnitArea",
    "UnitCosts",
    "budget_of",
    "largest_batch",
]

CROSSING_LUT = 300  # assumed, per port: clock crossing to the memory's clock
CROSSING_BEATS = 512  # assumed: that wait there, the words of a block RAM
FIFO_BITS = 72  # of such a word


@dataclass(frozen=True, kw_only=True)
class Area:
    """What a unit needs, or a part has. lut : with those that hold memory."""

    lut: int = 0
    ff: int = 0
    dsp: int = 0
    bram36: int = 0

    def __add__(self, other: Area) -> Area:
        return Area(**{name: own + getattr(other, name) for name, own in self.items()})

    def times(self, factor: float) -> Area:
        """Return as much of all, rounded up."""
        return Area(**{name: ceil(own * factor) for name, own in self.items()})

    def shares(self, part: Area) -> dict[str, float]:
        """Return the shares of `part`."""
        names = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram36": "BRAM36"}
        return {names[name]: own / getattr(part, name) for name, own in self.items()}

    def items(self) -> list[tuple[str, int]]:
        """Return names and values."""
        return [(field.name, getattr(self, field.name)) for field in fields(self)]


class Growth(Enum):
    """How a unit's area goes with the ports of an engine: a power of their number."""

    NONE = "one, whatever the ports"
    PER_PORT = "one per port"
    PORTS = "one, in proportion to the ports"
    SQUARE = "one, ports to ports"

    @property
    def power(self) -> int:
        """The power."""
        return {Growth.NONE: 0, Growth.SQUARE: 2}.get(self, 1)


@dataclass(frozen=True, kw_only=True)
class UnitArea:
    """All copies of a unit in an engine of `ports` memory ports, by the queries of a scan.

    areas : of 1, 2 and so on queries. As many queries more as steps lie between the first and the
    last need what those have beyond the first: one, or two that share multipliers.
    """

    areas: tuple[Area, ...]
    ports: int
    growth: Growth

    def at(self, queries: int, ports: int) -> Area:
        """Return the area for so many. Raises ValueError below 1 query."""
        if queries < 1:
            raise ValueError(f"queries must be at least 1, not {queries}")
        steps = len(self.areas) - 1
        more, first = divmod(queries - 1, steps)
        step = {name: own - getattr(self.areas[0], name) for name, own in self.areas[-1].items()}
        found = self.areas[first] + Area(**{name: more * own for name, own in step.items()})
        return found.times((ports / self.ports) ** self.growth.power)


@dataclass(frozen=True, kw_only=True)
class UnitCosts:
    """What the units cost, by synthesis. units : by name. filter : of a query."""

    units: Mapping[str, UnitArea]
    filter: Area


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a design needs, by unit: copies and each of them."""

    parts: Mapping[str, tuple[int, Area]]

    @property
    def total(self) -> Area:
        """The sum of all parts."""
        return sum((each.times(copies) for copies, each in self.parts.values()), Area())

    def shares(self, part: Area) -> dict[str, float]:
        """Return the shares of a part."""
        return self.total.shares(part)


def budget_of(design: ScanDesign, costs: UnitCosts) -> Budget:
    """Return the sums: units by synthesis, and clock crossings (assumed)."""
    ports, queries = design.path.ports, design.queries
    parts = {}
    for name, unit in costs.units.items():
        area = unit.at(queries, ports)
        copies = ports if unit.growth is Growth.PER_PORT else 1
        parts[name] = (copies, area.times(1 / copies))
    crossing = Area(lut=CROSSING_LUT, bram36=ceil(8 * design.path.beat_bytes / FIFO_BITS))
    return Budget(
        parts=parts | {"ScoreFilter": (queries, costs.filter), "clock crossing": (ports, crossing)}
    )


def largest_batch(
    path: MemoryPath, costs: UnitCosts, part: Area, *, share: float, limit: int
) -> int:
    """Return the most queries of a scan, at most `limit`, that fit `share` of a part."""
    fit = [
        queries
        for queries in range(1, limit + 1)
        if max(budget_of(ScanDesign(path=path, queries=queries), costs).shares(part).values())
        <= share
    ]
    return max(fit, default=0)
