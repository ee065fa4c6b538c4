"""The largest load under a latency target, by a search whose every step is a sequential test.

A load passes if it is sure that enough queries are in time, fails if it is sure that too few are;
until then the run is made twice as long. Few queries decide a load that is far from the peak.
Ref: MLPerf LoadGen's early stopping (find the in-time queries that t late ones ask for) and its
FindPeakPerformance (double, then bisect). Late queries come in clusters, which LoadGen's test
ignores; here the counts are divided by the design effect of the run's sections first (L. Kish,
"Survey Sampling", 1965, section 5.4).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from rpaccel.scheduler.arrivals import Floats
from rpaccel.scheduler.intervals import SECTIONS, beta_share

__all__ = ["Peak", "Probe", "Sla", "Verdict", "find_peak", "least_in_time", "probe",
           "search_peak"]  # fmt: skip

WARM_UP = 0.1  # share of a run that is not judged
LEAST_QUERIES = 10 * SECTIONS  # of a look
ALIKE = 0.2  # correlation of neighbouring sections: above, they are not independent
ROUNDING = 1e-18  # variance over the squared mean: below, all are the same but for rounding
Latencies = Callable[[float, int], Floats]  # (load_qps, queries) -> latencies in order [s]


class Verdict(Enum):
    """What a run says about a load."""

    PASSES = "passes"
    FAILS = "fails"
    OPEN = "open"


@dataclass(frozen=True, kw_only=True)
class Sla:
    """A latency target, and how sure a verdict must be.

    limit_s : of the `percentile` of latencies [s]
    confidence : that no verdict of a run's looks is wrong, if it is not open
    first, most : queries of the first and of the longest look
    span : time of the first look, in limits; a queue that grows needs time to show it
    """

    limit_s: float
    percentile: float = 95.0
    confidence: float = 0.99
    first: int = 2048
    most: int = 65536
    span: float = 20.0

    def __post_init__(self) -> None:
        if not (self.limit_s > 0 and 0 < self.percentile < 100 and 0.5 < self.confidence < 1):
            raise ValueError(
                "limit_s must be positive, percentile in 0..100 and confidence in 0.5..1, not "
                f"{self.limit_s}, {self.percentile}, {self.confidence}"
            )
        if not LEAST_QUERIES <= self.first <= self.most:
            raise ValueError(
                f"first must be in {LEAST_QUERIES}..most, not {self.first} of {self.most}"
            )

    @property
    def in_time(self) -> float:
        """Share of the queries that must be in time."""
        return self.percentile / 100

    @property
    def doubt(self) -> float:
        """Allowed chance of an error in one look: an equal part of the whole."""
        looks = 1 + math.ceil(math.log2(self.most / self.first))
        return (1 - self.confidence) / looks

    def judge(self, latencies_s: Floats) -> Verdict:
        """Return what latencies after warm-up, in order, say."""
        if _remembers(latencies_s):
            return Verdict.OPEN
        late = (latencies_s > self.limit_s).astype(np.float64)
        count, missed = late.size, float(late.sum())
        effect = max(_design_effect(late), _design_effect(latencies_s))
        kept, lost = (count - missed) / effect, missed / effect
        if kept > 0 and beta_share(self.in_time, kept, lost + 1) <= self.doubt:
            return Verdict.PASSES
        if lost > 0 and beta_share(1 - self.in_time, lost, kept + 1) <= self.doubt:
            return Verdict.FAILS
        return Verdict.OPEN


def _sections(values: Floats) -> Floats:
    length = values.size // SECTIONS
    return values[values.size - length * SECTIONS :].reshape(SECTIONS, length).mean(axis=1)


def _remembers(latencies_s: Floats) -> bool:
    """Whether neighbouring sections are alike: shorter than what a queue remembers."""
    moved = _sections(latencies_s)
    mean = float(moved.mean())
    moved = moved - mean
    spread = float(moved @ moved)
    if spread <= ROUNDING * mean * mean:
        return False
    return float(moved[1:] @ moved[:-1]) > ALIKE * spread


def _design_effect(values: Floats) -> float:
    """Variance of sections' means over what independent values would have; at least 1."""
    means, length, spread = _sections(values), values.size // SECTIONS, float(values.var())
    effect, mean = 1.0, float(values.mean())
    if spread > ROUNDING * mean * mean:
        for group in (1, 2, 4):  # longer sections hold what is left of the memory
            grouped = means.reshape(-1, group).mean(axis=1)
            effect = max(effect, float(grouped.var(ddof=1)) * length * group / spread)
    return effect


def least_in_time(late: int, percentile: float, confidence: float = 0.99) -> int:
    """Return how many queries must be in time for `late` late ones: LoadGen's early stopping.

    The least h with I(percentile / 100; h, late + 1) <= 1 - confidence.
    """
    if late < 0:
        raise ValueError(f"late must not be negative, not {late}")
    share = percentile / 100
    low, high = 0, 1
    while beta_share(share, high, late + 1) > 1 - confidence:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        sure = beta_share(share, middle, late + 1) <= 1 - confidence
        low, high = (low, middle) if sure else (middle, high)
    return high


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One load: whether it meets the target, and what it took to say so."""

    load_qps: float
    passes: bool
    sure: bool  # False: still open after the longest look, so the sample's percentile decides
    queries: int  # simulated, all looks together


def probe(latencies: Latencies, load_qps: float, sla: Sla) -> Probe:
    """Simulate `load_qps` in ever longer looks until the verdict is sure."""
    least = sla.span * sla.limit_s * load_qps
    queries = min(max(sla.first, math.ceil(least)), sla.most)
    total = 0
    while True:
        values = latencies(load_qps, queries)
        total += queries
        judged = values[int(queries * WARM_UP) :]
        verdict = sla.judge(judged)
        if verdict is Verdict.OPEN and queries < sla.most:
            queries = min(2 * queries, sla.most)
            continue
        sure = verdict is not Verdict.OPEN
        in_time = float(np.mean(judged <= sla.limit_s)) >= sla.in_time
        passes = verdict is Verdict.PASSES if sure else in_time
        return Probe(load_qps=load_qps, passes=passes, sure=sure, queries=total)


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Largest load that meets the target [queries/s].

    qps : 0 if none does. low_qps, high_qps : the largest load that surely passed and the least that
        surely failed; the peak is between them at the target's confidence.
    """

    qps: float
    low_qps: float
    high_qps: float
    probes: tuple[Probe, ...] = field(repr=False)

    @property
    def queries(self) -> int:
        """Simulated queries of the whole search."""
        return sum(probe.queries for probe in self.probes)


def find_peak(
    latencies: Latencies,
    sla: Sla,
    *,
    limit_qps: float,
    start_qps: float | None = None,
    resolution: float = 0.005,
) -> Peak:
    """Return the peak of a system, e.g. a simulation on common random numbers (`search_peak`)."""
    return search_peak(
        lambda load_qps: probe(latencies, load_qps, sla),
        limit_qps=limit_qps,
        start_qps=start_qps,
        resolution=resolution,
    )


def search_peak(
    probe_load: Callable[[float], Probe],
    *,
    limit_qps: float,
    start_qps: float | None = None,
    resolution: float = 0.005,
) -> Peak:
    """Return the largest load that passes: widen from `start_qps` by steps, then bisect.

    limit_qps : a load that no queue survives (saturation); never probed.
    resolution : of the last bracket, relative.
    """
    if not 0 < limit_qps < math.inf or not 0 < resolution < 1:
        raise ValueError(
            f"limit_qps must be positive and resolution in 0..1, not {limit_qps}, {resolution}"
        )
    probes: list[Probe] = []

    def passes(load_qps: float) -> bool:
        probes.append(probe_load(load_qps))
        return probes[-1].passes

    load = min(start_qps or limit_qps / 2, limit_qps * (1 - resolution))
    low, high = 0.0, limit_qps
    step = 1.0 + 4 * resolution if start_qps else 2.0  # near a good start the bracket is narrow
    while load > limit_qps * 1e-4:
        if passes(load):
            low = load
            load = min(load * step, limit_qps * (1 - resolution))
            if low >= load or high < limit_qps:
                break
        else:
            high = load
            load /= step
            if low > 0:
                break
        step = min(step * step, 4.0)
    while low > 0 and high > low * (1 + resolution):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if passes(middle) else (low, middle)
    sure = [probe for probe in probes if probe.sure]
    return Peak(
        qps=low,
        low_qps=max((p.load_qps for p in sure if p.passes), default=0.0),
        high_qps=min((p.load_qps for p in sure if not p.passes), default=limit_qps),
        probes=tuple(probes),
    )
