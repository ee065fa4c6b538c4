"""On-line choice of pipeline and split: the ladder's measures, and the controller.

The controller sees arrivals of the past and how many queries wait, nothing else. It takes the
pipeline under which a query that comes is worth most (`online_ladder`): one that carries more as
soon as the load asks for it, a better one only if the load leaves room to spare and some time has
passed since the last change.
Ref: RecPipe (MICRO 2021) section 6.2 says that splits follow load and SLA at run time and leaves
the policy open; ours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from rpaccel.scheduler.arrivals import Floats, poisson_arrivals_s
from rpaccel.scheduler.online_ladder import LOADS, Ladder, Option, Rung
from rpaccel.scheduler.online_node import Decide, serve_static
from rpaccel.scheduler.queueing import capacity_qps, qps_under_sla

__all__ = ["Controller", "Hysteresis", "build_ladder", "known_rate", "refusing"]


def build_ladder(
    options: Sequence[Option],
    sla_s: float,
    *,
    queries: int = 40_000,
    percentile: float = 99.0,
    seed: int = 0,
) -> Ladder:
    """Return the ladder of `options`, all queries served: by simulation, Poisson arrivals.

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
    ladder = Ladder(rungs=tuple(able), sla_s=sla_s, dropped=dropped)
    return _with_shares(ladder, queries, seed)


def refusing(ladder: Ladder, *, queries: int = 40_000, seed: int = 0) -> Ladder:
    """Return the ladder of a node that refuses the queries which would be late: same limits."""
    return _with_shares(replace(ladder, shed=True), queries, seed)


def _with_shares(ladder: Ladder, queries: int, seed: int) -> Ladder:
    """Return the ladder with shares of queries in time, which fall as the load rises."""
    rungs = []
    for number, rung in enumerate(ladder.rungs):
        most_qps = capacity_qps(rung.option.stations)
        shares = [1.0]
        for load in LOADS[1:]:
            # Above its capacity no queue settles.
            if ladder.shed or load < 1:
                arrivals = poisson_arrivals_s(queries, load * most_qps, seed)
                late = serve_static(ladder, number, arrivals).late
                shares.append(min(shares[-1], 1 - late))
            else:
                shares.append(0.0)
        rungs.append(replace(rung, shares=tuple(shares)))
    return replace(ladder, rungs=tuple(rungs))


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
    up : a pipeline is left at once for one that carries more if that is worth more at a load so far
        above the demand, of the latter
    down : the same for a better pipeline; at least `up`
    dwell : it must be so at the largest demand of so many arrivals, none is tried sooner after a
        change, and within so many any change must win back the quality of the queries that it
        makes late
    The default of `up` is about the standard deviation of the rate of 2,000 Poisson arrivals. As
    long as fewer than a window have come, both margins are wider by `doubt`, against any change.
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

    def doubt(self, arrived: int) -> float:
        """Return what the margins widen by before a window: as the rate's relative error does.

        `down` grows with 1 / sqrt(arrived). 0 from a window on.
        """
        return self.down * (float(np.sqrt(self.window / min(arrived, self.window))) - 1)


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
        """Return the rung to be in force from now on; the same until a query has come."""
        demand = self.demand_qps(now_s, arrived, waiting)
        guard = self.hysteresis
        if not arrived:
            return self.rung
        doubt = guard.doubt(arrived)
        peak = self._peak_qps(arrived, demand) if doubt == 0 else demand
        found = self._larger(demand * max(0.0, 1 + guard.up - doubt))
        if found == self.rung and self._rested(arrived):
            found = self._better(peak * (1 + guard.down + doubt))
        if found != self.rung:
            self.rung, self._changed = found, arrived
        return found

    def _rested(self, arrived: int) -> bool:
        """Return whether a better rung may be tried: a dwell, or as long as before the change."""
        if self._changed is None:
            return True
        return arrived - self._changed >= min(self.hysteresis.dwell, self._changed)

    def _peak_qps(self, arrived: int, demand_qps: float) -> float:
        """Return the largest demand of the last `dwell` arrivals."""
        while self._peaks and self._peaks[-1][1] <= demand_qps:
            self._peaks.pop()
        self._peaks.append((arrived, demand_qps))
        while self._peaks[0][0] < arrived - self.hysteresis.dwell:
            self._peaks.popleft()
        return self._peaks[0][1]

    def _larger(self, load_qps: float) -> int:
        """Return the rung to go to at once: the best at the load, if it carries more and pays.

        It always pays to leave a rung under which nothing is in time.
        """
        worth = self.ladder.expected(load_qps)
        best = self.ladder.best_of(worth)
        if worth[self.rung] <= 0:
            return best
        rungs = self.ladder.rungs
        if rungs[best].limit_qps <= rungs[self.rung].limit_qps:
            return self.rung
        return best if self._net(best, worth, load_qps) > 0 else self.rung

    def _better(self, load_qps: float) -> int:
        """Return the rung above this one that gains most at a load, if any pays for its change."""
        worth = self.ladder.expected(load_qps)
        able = (worth[: self.rung] > 0) & (worth[: self.rung] >= worth[self.rung])
        nets = {int(n): self._net(int(n), worth, load_qps) for n in np.flatnonzero(able)}
        best = max(nets, key=nets.__getitem__, default=self.rung)
        return best if nets.get(best, -1.0) >= 0 else self.rung

    def _net(self, number: int, worth: Floats, load_qps: float) -> float:
        """Return what a change gains within a dwell, less the queries that it makes late."""
        now = self.ladder.rungs[self.rung].option
        gain = float(worth[number] - worth[self.rung]) * self.hysteresis.dwell
        return gain - now.quality * now.pause_s(self.ladder.rungs[number].option) * load_qps


def known_rate(ladder: Ladder, rate_qps: Callable[[float], float], tick_s: float) -> Decide:
    """Return the choice of one who knows the rate: of now and of the next look, no margins."""

    def decide(now_s: float, _arrived: int, _waiting: int) -> int:
        return ladder.best(max(rate_qps(now_s), rate_qps(now_s + tick_s)))

    return decide
