"""One day of load on a node: on-line, every static choice, and one who knows the rate.

What counts is the mean quality over all queries that came, where one that misses its SLA counts 0.
Every choice gets the same arrivals, and has run through the evening before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rpaccel.scheduler.arrivals import (
    Floats,
    burst_arrivals_s,
    diurnal_arrivals_s,
    diurnal_rate_qps,
)
from rpaccel.scheduler.online import Controller, Hysteresis, known_rate
from rpaccel.scheduler.online_ladder import Ladder
from rpaccel.scheduler.online_node import OnlineRun, serve_online, serve_static

__all__ = [
    "BURST_QUERIES", "BURST_RATIO", "BURST_SHARE", "EVENING", "KNOWN", "ON_LINE",
    "QUARTERS_OF_HOURS", "SWING", "TUNED_SEEDS", "Day", "Score", "Trace", "Verdict",
    "hysteresis_of", "run_day", "run_on_line", "verdict",
]  # fmt: skip

ON_LINE, KNOWN = "on-line", "knows the rate"
QUARTERS_OF_HOURS = 96
SWING = 0.8  # of the day's rate about its mean; assumed
# Rate of a burst over the calm one, share of the time, queries of a burst on average; assumed.
BURST_RATIO, BURST_SHARE, BURST_QUERIES = 4.0, 0.1, 10_000
# Last queries of the day before, in front of a day: five times what the controller looks back on.
EVENING, EVENING_SEED = 50_000, 10_000  # the seed : beyond the day's
TUNED_SEEDS = (0, 1)  # of the days that the controller's constants were chosen on
# Looks of the controller in a time in which the largest load that any option carries brings so many
# queries; its other constants are defaults.
TICK_QUERIES = 200.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """Arrivals of an evening and a day, which begins with query `first`, at `start_s` [s]."""

    arrival_s: Floats
    first: int
    start_s: float

    def day(self, run: OnlineRun) -> OnlineRun:
        """Return what happened to the day's queries."""
        return run.since(self.first, self.start_s)


@dataclass(frozen=True, kw_only=True)
class Day:
    """A day of arrivals. peak : largest rate of its wave over the largest limit of the ladder.

    queries : of the day, whatever the load: the day is as long as they take. bursts : Poisson
    bursts instead of the wave, of the wave's mean; their largest rate is `largest`.
    """

    peak: float
    queries: int = 1_000_000
    seed: int = 0
    bursts: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.peak < float("inf") or self.queries < 1000:
            raise ValueError(
                f"peak must be above 0 and queries at least 1000, not {self.peak}, {self.queries}"
            )

    @property
    def largest(self) -> float:
        """Largest rate behind the arrivals over the largest limit of the ladder."""
        if not self.bursts:
            return self.peak
        calm = 1 / (1 - BURST_SHARE + BURST_SHARE * BURST_RATIO)  # over the mean
        return self.peak / (1 + SWING) * calm * BURST_RATIO

    def load_qps(self, ladder: Ladder) -> float:
        """Return the mean load [queries/s]."""
        return self.peak * ladder.rungs[ladder.largest].limit_qps / (1 + SWING)

    def arrivals_s(self, ladder: Ladder) -> Floats:
        """Return the arrivals [s]."""
        load = self.load_qps(ladder)
        if self.bursts:
            return burst_arrivals_s(
                self.queries, load, self.seed,
                ratio=BURST_RATIO, share=BURST_SHARE, burst_queries=BURST_QUERIES,
            )  # fmt: skip
        return diurnal_arrivals_s(self.queries, load, self.seed, swing=SWING)

    def trace(self, ladder: Ladder) -> Trace:
        """Return the arrivals behind those of the evening before."""
        period_s = self.queries / self.load_qps(ladder)
        before = replace(self, seed=self.seed + EVENING_SEED).arrivals_s(ladder)
        evening = before[before < period_s][-EVENING:] - period_s
        start_s = -float(evening[0]) if evening.size else 0.0
        arrivals = np.concatenate([evening, self.arrivals_s(ladder)]) + start_s
        return Trace(arrival_s=arrivals, first=evening.size, start_s=start_s)

    def rate_qps(self, ladder: Ladder) -> Callable[[float], float]:
        """Return the rate behind the arrivals by time; of bursts the mean."""
        load = self.load_qps(ladder)
        if self.bursts:
            return lambda _time_s: load
        return lambda time_s: diurnal_rate_qps(time_s, self.queries, load, swing=SWING)


@dataclass(frozen=True, kw_only=True)
class Score:
    """One choice over a day.

    quality : mean over all queries, late ones 0. late : share of queries beyond the SLA
    late_windows : share of quarter hours whose p99 missed it. p99_ms : of the day, inf if refused
    mean_ms : mean latency of the day. changes : of the option
    """

    choice: str
    quality: float
    late: float
    late_windows: float
    p99_ms: float
    mean_ms: float
    changes: int


def score(choice: str, run: OnlineRun) -> Score:
    """Return what a run comes to."""
    return Score(
        choice=choice,
        quality=run.quality,
        late=run.late,
        late_windows=run.late_windows(QUARTERS_OF_HOURS),
        p99_ms=run.tail_ms(),
        mean_ms=float(np.mean(run.finish_s - run.arrival_s)) * 1e3,
        changes=len(run.changes) - 1,
    )


def hysteresis_of(ladder: Ladder) -> Hysteresis:
    """Return the controller's constants for a ladder."""
    return Hysteresis(tick_s=TICK_QUERIES / ladder.rungs[ladder.largest].limit_qps)


def run_day(
    ladder: Ladder,
    day: Day,
    *,
    hysteresis: Hysteresis | None = None,
    rungs: Sequence[int] | None = None,
) -> list[Score]:
    """Return the scores of the day: on-line, then who knows the rate, then every static choice.

    Queries that would be late are refused by all alike if the ladder is of such a node. rungs :
    static choices; None: all.
    """
    guard = hysteresis or hysteresis_of(ladder)
    trace, rate_qps = day.trace(ladder), day.rate_qps(ladder)
    knows = known_rate(ladder, lambda time_s: rate_qps(time_s - trace.start_s), guard.tick_s)
    first = knows(0.0, 0, 0)
    known = serve_online(ladder, knows, trace.arrival_s, guard.tick_s, first=first)
    found = [score(ON_LINE, run_on_line(ladder, trace, guard)), score(KNOWN, trace.day(known))]
    for number in range(len(ladder.rungs)) if rungs is None else rungs:
        name = ladder.rungs[number].option.name
        found.append(score(name, trace.day(serve_static(ladder, number, trace.arrival_s))))
    return found


def run_on_line(ladder: Ladder, trace: Trace, guard: Hysteresis) -> OnlineRun:
    """Return on-line's day. It starts the evening with what carries most: it knows nothing yet."""
    start = ladder.largest
    controller = Controller(ladder=ladder, hysteresis=guard, rung=start)
    run = serve_online(ladder, controller, trace.arrival_s, guard.tick_s, first=start)
    return trace.day(run)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """On-line against the static choice that is best on each seed's own day, hindsight included.

    gains : quality of on-line less that of the best static choice, a seed each
    changes, known_changes : of on-line and of who knows the rate, mean of the seeds
    """

    online: float
    known: float
    best_static: str
    static: float
    gains: tuple[float, ...]
    late: float
    static_late: float
    changes: float
    known_changes: float

    @property
    def wins(self) -> bool:
        """Whether on-line beats every static choice on every seed."""
        return min(self.gains) > 0

    @property
    def equals(self) -> bool:
        """Whether no static choice is better on any seed, but one is as good."""
        return min(self.gains) == 0

    @property
    def constant(self) -> bool:
        """Whether the load never asks for another option: who knows the rate makes no change."""
        return self.known_changes == 0


def verdict(days: Sequence[Sequence[Score]]) -> Verdict:
    """Return how on-line does over days that differ by the seed. Raises ValueError for none."""
    if not days:
        raise ValueError("days must be at least one")
    statics = [max(scores[2:], key=lambda each: each.quality) for scores in days]
    means = {
        each.choice: float(np.mean([scores[place].quality for scores in days]))
        for place, each in enumerate(days[0])
    }
    best = max(list(means)[2:], key=lambda name: means[name])
    return Verdict(
        online=means[ON_LINE],
        known=means[KNOWN],
        best_static=best,
        static=means[best],
        gains=tuple(
            scores[0].quality - static.quality
            for scores, static in zip(days, statics, strict=True)
        ),
        late=float(np.mean([scores[0].late for scores in days])),
        static_late=float(np.mean(
            [each.late for scores in days for each in scores if each.choice == best]
        )),
        changes=float(np.mean([scores[0].changes for scores in days])),
        known_changes=float(np.mean([scores[1].changes for scores in days])),
    )  # fmt: skip
