"""On-line choice of pipeline and split: the controller, and a node under a trace of arrivals.

The controller sees arrivals of the past and how many queries wait, nothing else. It goes to a
pipeline that carries more as soon as the load asks for it, and to a better one only if that carries
the load with room to spare and some time has passed since the last change. A query is bound to a
pipeline when it starts: those in flight end on their old split, those that wait begin on the new
one. A split changes when its devices are idle, as `host.driver.Driver.partition` does.
Ref: RecPipe (MICRO 2021) section 6.2 says that splits follow load and SLA at run time and leaves
the policy open; ours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from rpaccel.scheduler.arrivals import Floats
from rpaccel.scheduler.fcfs_kernels import NOBODY, serve_until
from rpaccel.scheduler.queueing import Station, qps_under_sla

__all__ = [
    "Controller", "Hysteresis", "Ladder", "OnlineRun", "Option", "Rung", "build_ladder",
    "known_rate", "serve_online", "serve_static",
]  # fmt: skip

Decide = Callable[[float, int, int], int]  # (now [s], arrived, waiting) -> rung


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
    """An option and the largest Poisson load at which its tail meets the SLA [queries/s]."""

    option: Option
    limit_qps: float


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Options that can meet the SLA, the best first: by quality, then by the latency alone.

    sla_s : limit of a query's latency [s]. dropped : options that miss it even alone.
    """

    rungs: tuple[Rung, ...]
    sla_s: float
    dropped: tuple[Option, ...] = ()

    def best(self, demand_qps: float) -> int:
        """Return the first rung that carries a load; the one that carries most if none does."""
        for number, rung in enumerate(self.rungs):
            if rung.limit_qps >= demand_qps:
                return number
        return self.largest

    @property
    def largest(self) -> int:
        """The rung that carries most."""
        return max(range(len(self.rungs)), key=lambda number: self.rungs[number].limit_qps)


def build_ladder(
    options: Sequence[Option],
    sla_s: float,
    *,
    queries: int = 40_000,
    percentile: float = 99.0,
    seed: int = 0,
) -> Ladder:
    """Return the ladder of `options`: limits by simulation, Poisson arrivals.

    Raises ValueError for no option, names or partitions that clash, or an SLA that none meets.
    """
    names = [option.name for option in options]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"options must be at least one, each name once, not {names}")
    _check_partitions(options)
    limit_qps = partial(
        qps_under_sla, sla_s=sla_s, queries=queries, percentile=percentile, seed=seed
    )
    rungs = [Rung(option=o, limit_qps=limit_qps(o.stations)) for o in options]
    able = [rung for rung in rungs if rung.limit_qps > 0]
    if not able:
        fastest = min(option.idle_s for option in options)
        raise ValueError(
            f"sla_s must leave time for the fastest option, {fastest:.6g} s, not {sla_s:.6g}"
        )
    able.sort(key=lambda rung: (-rung.option.quality, rung.option.idle_s, rung.option.name))
    dropped = tuple(rung.option for rung in rungs if rung.limit_qps == 0)
    return Ladder(rungs=tuple(able), sla_s=sla_s, dropped=dropped)


def _check_partitions(options: Sequence[Option]) -> None:
    known: dict[str, Option] = {}
    for option in options:
        first = known.setdefault(option.partition, option)
        if first.servers != option.servers or first.devices != option.devices:
            raise ValueError(
                f"options of partition {option.partition} must have equal servers and devices: "
                f"{first.name} and {option.name} differ"
            )


@dataclass(frozen=True, kw_only=True)
class Hysteresis:
    """When the controller moves.

    tick_s : between two looks [s]. window : arrivals that the rate is measured over
    up : room that a pipeline must have, of the load, or it is left at once
    down : room that a better pipeline must have before it is taken; at least `up`
    dwell : a better pipeline must have had that room during so many arrivals, none is tried sooner
        after a change, and within so many it must win back the quality of the queries that the
        change makes late
    The default of `up` is about the standard deviation of the rate of 2,000 Poisson arrivals.
    """

    tick_s: float
    window: int = 2000
    up: float = 0.02
    down: float = 0.05
    dwell: int = 10_000

    def __post_init__(self) -> None:
        if not 0 < self.tick_s < float("inf"):
            raise ValueError(f"tick_s must be above 0 and finite, not {self.tick_s}")
        if self.window < 2 or self.dwell < 0:
            raise ValueError(
                f"window must be at least 2 and dwell not negative, not {self.window}, {self.dwell}"
            )
        if not 0 <= self.up <= self.down < float("inf"):
            raise ValueError(
                f"up must not be negative and down at least up, not {self.up} and {self.down}"
            )


@dataclass(kw_only=True)
class Controller:
    """Chooses a rung at every look. The rate is that of the last `window` arrivals."""

    ladder: Ladder
    hysteresis: Hysteresis
    rung: int = 0
    _seen: deque[tuple[float, int]] = field(default_factory=lambda: deque([(0.0, 0)]))
    _peaks: deque[tuple[int, float]] = field(default_factory=deque)  # (arrived, demand), falling
    _changed: int | None = None  # arrivals before the last change

    def demand_qps(self, now_s: float, arrived: int, waiting: int) -> float:
        """Return the load that must be carried: arrivals of the window and what still waits."""
        self._seen.append((now_s, arrived))
        first = arrived - self.hysteresis.window
        while len(self._seen) > 2 and self._seen[1][1] <= first:
            self._seen.popleft()
        since_s, before = self._seen[0]
        return (arrived - before + waiting) / (now_s - since_s) if now_s > since_s else 0.0

    def __call__(self, now_s: float, arrived: int, waiting: int) -> int:
        """Return the rung to be in force from now on; the same until a window has come."""
        demand = self.demand_qps(now_s, arrived, waiting)
        guard, found = self.hysteresis, self.rung
        if arrived < guard.window:
            return found
        peak = self._peak_qps(arrived, demand)
        if self.ladder.rungs[found].limit_qps < demand * (1 + guard.up):
            found = self.ladder.best(demand * (1 + guard.up))
        elif self._changed is None or arrived - self._changed >= guard.dwell:
            found = self._better(peak)
        if found != self.rung:
            self.rung, self._changed = found, arrived
        return found

    def _peak_qps(self, arrived: int, demand_qps: float) -> float:
        """Return the largest demand of the last `dwell` arrivals."""
        while self._peaks and self._peaks[-1][1] <= demand_qps:
            self._peaks.pop()
        self._peaks.append((arrived, demand_qps))
        while self._peaks[0][0] < arrived - self.hysteresis.dwell:
            self._peaks.popleft()
        return self._peaks[0][1]

    def _better(self, demand_qps: float) -> int:
        """Return the best rung that carries the load and pays for its change within the dwell."""
        guard, now = self.hysteresis, self.ladder.rungs[self.rung].option
        for number, rung in enumerate(self.ladder.rungs[: self.rung]):
            if rung.limit_qps < demand_qps * (1 + guard.down):
                continue
            gain = (rung.option.quality - now.quality) * guard.dwell
            loss = now.quality * now.pause_s(rung.option) * demand_qps
            if gain >= loss:
                return number
        return self.rung


def known_rate(ladder: Ladder, rate_qps: Callable[[float], float], tick_s: float) -> Decide:
    """Return the choice of one who knows the rate: of now and of the next look, no margins."""

    def decide(now_s: float, _arrived: int, _waiting: int) -> int:
        return ladder.best(max(rate_qps(now_s), rate_qps(now_s + tick_s)))

    return decide


@dataclass(frozen=True, kw_only=True)
class OnlineRun:
    """What happened to every query, and the changes.

    arrival_s, start_s, finish_s : float64[n]; a query that was not served has finish inf
    rung : int32[n]  under which each started. changes : (time [s], rung), the first at 0
    """

    ladder: Ladder
    arrival_s: Floats
    start_s: Floats
    finish_s: Floats
    rung: NDArray[np.int32]
    changes: tuple[tuple[float, int], ...]

    @property
    def in_time(self) -> NDArray[np.bool_]:
        """Which queries met the SLA."""
        return self.finish_s - self.arrival_s <= self.ladder.sla_s

    @property
    def late(self) -> float:
        """Share of queries that did not."""
        return 1.0 - float(np.mean(self.in_time))

    @property
    def quality(self) -> float:
        """Mean quality over all queries that came; one that is late or not served counts 0."""
        of = np.asarray([rung.option.quality for rung in self.ladder.rungs])
        return float(np.mean(of[self.rung] * self.in_time))

    def late_windows(self, windows: int, in_time: float = 0.99) -> float:
        """Return the share of `windows` equal times of the run in which the tail missed the SLA."""
        if windows < 1:
            raise ValueError(f"windows must be at least 1, not {windows}")
        edges = np.linspace(0.0, self.arrival_s[-1], windows + 1)[1:-1]
        parts = np.split(self.in_time, np.searchsorted(self.arrival_s, edges))
        return float(np.mean([part.size > 0 and part.mean() < in_time for part in parts]))

    def tail_ms(self, percentile: float = 99.0) -> float:
        """Return the latency's percentile over the whole run [ms]."""
        latency = self.finish_s - self.arrival_s
        return float(np.percentile(latency, percentile, method="inverted_cdf")) * 1e3


class _Node:
    """Servers of the partition in force, and until when each device is busy."""

    def __init__(self, arrival_s: Floats, ladder: Ladder, rung: int, shed: bool) -> None:
        self._arrival_s, self._ladder = arrival_s, ladder
        self._most_s = ladder.sla_s if shed else np.inf
        self.start_s, self.finish_s = np.empty_like(arrival_s), np.empty_like(arrival_s)
        self.of = np.empty(arrival_s.size, np.int32)
        self.at, self._open_s = 0, 0.0
        self._noted = 0  # queries whose ends `_busy_s` has
        self._busy_s: dict[str, float] = {}
        self._take(rung)

    def _take(self, rung: int) -> None:
        self.rung = rung
        self.option = self._ladder.rungs[rung].option
        self._service_s = np.asarray([float(np.max(s.service_s)) for s in self.option.stations])
        self._servers = np.asarray(self.option.servers)
        size = (self._servers.size, int(self._servers.max()))
        self._heaps = (np.zeros(size), np.full(size, NOBODY, np.int32))

    def serve(self, until_s: float) -> None:
        """Start queries until a time."""
        first = self.at
        self.at = serve_until(
            self._arrival_s, first, until_s, self._open_s, self._most_s, self._service_s,
            self._servers, *self._heaps, self.start_s, self.finish_s,
        )  # fmt: skip
        self.of[first : self.at] = self.rung

    def change(self, rung: int, now_s: float) -> None:
        """Let another option be in force from now on."""
        old, heaps = self.option, self._heaps
        self._note_busy()
        self._take(rung)
        if self.option.partition == old.partition:
            self._heaps = heaps
            return
        idle_s = max(now_s, *(self._busy_s.get(device, 0.0) for device in self.option.devices))
        if self.option.devices & old.devices:
            idle_s = max(idle_s, self._open_s)
        self._open_s = idle_s + self.option.change_s

    def _note_busy(self) -> None:
        """Note until when the devices work for the queries that have started."""
        ends = self.finish_s[self._noted : self.at]
        last_s = float(np.max(ends, initial=0.0, where=np.isfinite(ends)))
        for device in self.option.devices:
            self._busy_s[device] = max(self._busy_s.get(device, 0.0), last_s)
        self._noted = self.at


def serve_online(
    ladder: Ladder,
    decide: Decide,
    arrival_s: Floats,
    tick_s: float,
    *,
    first: int = 0,
    shed: bool = False,
) -> OnlineRun:
    """Serve a trace; `decide` is asked every `tick_s` and says which rung is in force.

    decide : (now [s], arrived by then, of these not started) -> rung; `Controller`, `known_rate`
    first : rung at the start. shed : a query that would be late is refused when it would start;
        else all are served. Latency counts from the scheduled arrival.
    Raises ValueError for arrivals that go back, no arrival, or a tick_s that is not above 0.
    """
    arrival_s = np.ascontiguousarray(arrival_s, np.float64)
    if not arrival_s.size or arrival_s[0] < 0 or np.any(arrival_s[1:] < arrival_s[:-1]):
        raise ValueError("arrival_s must hold a time or more, from 0 on, and must not go back")
    if not tick_s > 0:
        raise ValueError(f"tick_s must be above 0, not {tick_s}")
    if not 0 <= first < len(ladder.rungs):
        raise ValueError(f"first must be in 0..{len(ladder.rungs) - 1}, not {first}")
    node = _Node(arrival_s, ladder, first, shed)
    changes = [(0.0, first)]
    steps = int(arrival_s[-1] / tick_s)  # of infinitely long ones: none
    ticks = np.arange(1, steps + 1) * (tick_s if steps else 1.0)
    arrived = np.searchsorted(arrival_s, ticks, side="right")
    for now_s, came in zip(ticks, arrived, strict=True):
        node.serve(float(now_s))
        rung = decide(float(now_s), int(came), int(came) - node.at)
        if rung != node.rung:
            node.change(rung, float(now_s))
            changes.append((float(now_s), rung))
    node.serve(np.inf)
    return OnlineRun(
        ladder=ladder,
        arrival_s=arrival_s,
        start_s=node.start_s,
        finish_s=node.finish_s,
        rung=node.of,
        changes=tuple(changes),
    )


def serve_static(ladder: Ladder, rung: int, arrival_s: Floats, *, shed: bool = False) -> OnlineRun:
    """Serve a trace with one option all the time."""
    return serve_online(
        ladder, lambda _now, _arrived, _waiting: rung, arrival_s, np.inf, first=rung, shed=shed
    )
