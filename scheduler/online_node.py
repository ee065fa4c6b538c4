"""A node under a trace of arrivals, whose pipeline and split change while it serves.

A query is bound to a pipeline when it starts: those in flight end on their old split, those that
wait begin on the new one. A split changes when its devices are idle, as
`host.driver.Driver.partition` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rpaccel.scheduler.arrivals import Floats
from rpaccel.scheduler.fcfs_kernels import NOBODY, serve_until
from rpaccel.scheduler.online_ladder import Ladder

__all__ = ["Decide", "OnlineRun", "serve_online", "serve_static"]

Decide = Callable[[float, int, int], int]  # (now [s], arrived, waiting) -> rung


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

    def since(self, first: int, start_s: float) -> OnlineRun:
        """Return what happened from query `first` on, times from `start_s` on [s]."""
        before = max(change for change in self.changes if change[0] <= start_s)
        later = [(time_s - start_s, rung) for time_s, rung in self.changes if time_s > start_s]
        return OnlineRun(
            ladder=self.ladder,
            arrival_s=self.arrival_s[first:] - start_s,
            start_s=self.start_s[first:] - start_s,
            finish_s=self.finish_s[first:] - start_s,
            rung=self.rung[first:],
            changes=((0.0, before[1]), *later),
        )

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

    def __init__(self, arrival_s: Floats, ladder: Ladder, rung: int) -> None:
        self._arrival_s, self._ladder = arrival_s, ladder
        self._most_s = ladder.sla_s if ladder.shed else np.inf
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
) -> OnlineRun:
    """Serve a trace; `decide` is asked every `tick_s` and says which rung is in force.

    decide : (now [s], arrived by then, of these not started) -> rung; `Controller`, `known_rate`
    first : rung at the start. If the ladder is of a node that refuses, a query that would be late
    is refused when it would start; else all are served. Latency counts from the scheduled arrival.
    Raises ValueError for arrivals that go back, no arrival, or a tick_s that is not above 0.
    """
    arrival_s = np.ascontiguousarray(arrival_s, np.float64)
    if not arrival_s.size or arrival_s[0] < 0 or np.any(arrival_s[1:] < arrival_s[:-1]):
        raise ValueError("arrival_s must hold a time or more, from 0 on, and must not go back")
    if not tick_s > 0:
        raise ValueError(f"tick_s must be above 0, not {tick_s}")
    if not 0 <= first < len(ladder.rungs):
        raise ValueError(f"first must be in 0..{len(ladder.rungs) - 1}, not {first}")
    node = _Node(arrival_s, ladder, first)
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


def serve_static(ladder: Ladder, rung: int, arrival_s: Floats) -> OnlineRun:
    """Serve a trace with one option all the time."""
    return serve_online(
        ladder, lambda _now, _arrived, _waiting: rung, arrival_s, np.inf, first=rung
    )
