"""Options of the on-line choice, and what a query that comes is worth under each of them.

What counts is the mean quality over all queries that come, where one that is late, or refused, is
worth nothing. Of an option at a load that is its quality times the share of queries in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rpaccel.scheduler.arrivals import Floats
from rpaccel.scheduler.queueing import Station, capacity_qps

__all__ = ["LOADS", "Ladder", "Option", "Rung"]

# Loads at which a rung's share of queries in time is known, over its capacity.
LOADS = (
    0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.825, 0.85, 0.875, 0.9,
    0.925, 0.95, 0.975, 1.0, 1.025, 1.05, 1.075, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0, 3.0,
)  # fmt: skip
RESOLUTION = 1e-4  # of a worth: shares are of some ten thousand queries


@dataclass(frozen=True, kw_only=True)
class Option:
    """A pipeline on a split of its devices.

    quality : of a query that is answered in time, e.g. NDCG
    partition : options of one name share servers: a change between them waits for nothing
    devices : that the partition occupies; a change to it waits until they are idle
    change_s : of the change itself, the loads of the new lanes included [s]
    stations : of constant service times, no delays
    """

    name: str
    quality: float
    partition: str
    devices: frozenset[str]
    stations: tuple[Station, ...]
    change_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.stations or not self.devices:
            raise ValueError(f"option {self.name} must have stations and devices")
        if not 0 <= self.quality < float("inf") or not 0 <= self.change_s < float("inf"):
            raise ValueError(
                f"quality and change_s of {self.name} must not be negative, "
                f"not {self.quality} and {self.change_s}"
            )
        if any(np.ndim(s.service_s) or s.delay_s for s in self.stations):
            raise ValueError(f"stations of {self.name} must have one service time and no delay")

    @cached_property
    def idle_s(self) -> float:
        """Latency of a query alone [s]."""
        return sum(float(np.max(station.service_s)) for station in self.stations)

    @property
    def servers(self) -> tuple[int, ...]:
        """Servers of each station."""
        return tuple(station.servers for station in self.stations)

    def pause_s(self, other: Option) -> float:
        """Return about how long a change to another option keeps queries waiting [s]."""
        if other.partition == self.partition:
            return 0.0
        return other.change_s + (self.idle_s if self.devices & other.devices else 0.0)


@dataclass(frozen=True, kw_only=True)
class Rung:
    """An option under load.

    limit_qps : the largest Poisson load at which its tail meets the SLA [queries/s]
    shares : at each of LOADS, of the queries that are in time; none: all, up to the capacity
    """

    option: Option
    limit_qps: float
    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.shares and (
            len(self.shares) != len(LOADS) or not all(0 <= share <= 1 for share in self.shares)
        ):
            raise ValueError(
                f"shares of {self.option.name} must be {len(LOADS)} in 0..1, not {self.shares}"
            )


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Options that can meet the SLA, the best first: by quality, then by the latency alone.

    sla_s : limit of a query's latency [s]. dropped : options that miss it even alone
    shed : a query that would be late is refused, so that an option goes on to serve its capacity;
        else all are served, and an option above its limit is worth nothing: its tail is late, and
        soon all are
    """

    rungs: tuple[Rung, ...]
    sla_s: float
    dropped: tuple[Option, ...] = ()
    shed: bool = False

    @cached_property
    def _curves(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Limits and capacities [queries/s], LOADS, worth and slope of it at each, by rung."""
        loads = np.asarray(LOADS)
        shares = [rung.shares or tuple(1 / np.maximum(1.0, loads)) for rung in self.rungs]
        quality = np.asarray([rung.option.quality for rung in self.rungs])
        worth = quality[:, None] * np.asarray(shares)
        return (
            np.asarray([rung.limit_qps for rung in self.rungs]),
            np.asarray([capacity_qps(rung.option.stations) for rung in self.rungs]),
            loads,
            worth,
            np.diff(worth, axis=1) / np.diff(loads),
        )

    def expected(self, load_qps: float) -> Floats:
        """Return what a query is worth under each rung at a load, float64[rungs].

        Between LOADS the share in time is interpolated; beyond the last as many are served in a
        time as there.
        """
        limit_qps, most_qps, loads, worth, slope = self._curves
        part = load_qps / most_qps
        inside = np.minimum(part, LOADS[-1])
        place = loads[1:-1].searchsorted(inside, side="right")
        every = np.arange(place.size)
        found = worth[every, place] + slope[every, place] * (inside - loads[place])
        if not self.shed:
            return np.where(limit_qps >= load_qps, found, 0.0)
        return found * inside / part if load_qps > 0 else found

    def best(self, load_qps: float) -> int:
        """Return the rung of the largest worth at a load, see `best_of`."""
        return self.best_of(self.expected(load_qps))

    def best_of(self, worth: Floats) -> int:
        """Return the first rung that is worth the most, float64[rungs], but for RESOLUTION.

        What carries most if all are worth nothing.
        """
        most = worth.max()
        return int((worth >= (1 - RESOLUTION) * most).argmax()) if most > 0 else self.largest

    @cached_property
    def largest(self) -> int:
        """The rung that carries most."""
        return max(range(len(self.rungs)), key=lambda number: self.rungs[number].limit_qps)
