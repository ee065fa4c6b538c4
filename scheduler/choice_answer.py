"""What is asked of the scheduler and what it answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rpaccel.scheduler.funnel_quality import QualityPoint
from rpaccel.scheduler.queueing import MOST_LOAD
from rpaccel.scheduler.recpipe_node import Design
from rpaccel.scheduler.second_look import SecondLook

__all__ = ["Asked", "Candidate", "Choice", "Need", "WhatIf"]


@dataclass(frozen=True, kw_only=True)
class Need:
    """What is asked of a pipeline: load [queries/s], tail latency [ms] and quality, 0..1."""

    load_qps: float
    sla_ms: float
    quality: float
    metric: str
    percentile: float = 99.0

    def __post_init__(self) -> None:
        if not 0 <= self.quality <= 1:
            meant = f": did you mean {self.quality / 100:g}?" if 10 <= self.quality <= 100 else ""
            raise ValueError(f"quality must be in 0..1, not {self.quality:g}{meant}")
        for name in ("load_qps", "sla_ms"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive, not {value:g}")
        if not 0 < self.percentile < 100:
            raise ValueError(f"percentile must be in 0..100, not {self.percentile:g}")

    @property
    def tail(self) -> str:
        """Name of the percentile, e.g. p99."""
        return f"p{self.percentile:g}"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A pipeline under a load; times in ms, infinite where it does not settle.

    idle_ms : latency of a query alone; transfer_ms : of that, transfers. misses : of "quality",
    "load", "latency".
    """

    design: Design
    quality: QualityPoint
    load_qps: float
    tail_ms: float
    p50_ms: float
    p95_ms: float
    mean_ms: float
    idle_ms: float
    transfer_ms: float
    capacity_qps: float
    misses: tuple[str, ...]

    @property
    def settled_qps(self) -> float:
        """Largest load at which its queues settle [queries/s]."""
        return MOST_LOAD * self.capacity_qps

    @property
    def wait_ms(self) -> float:
        """Mean time in queues."""
        return max(self.mean_ms - self.idle_ms, 0.0)

    @property
    def feasible(self) -> bool:
        """Whether every requirement is met."""
        return not self.misses


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """Another load: the best pipeline then, None if there is none, and the chosen one then."""

    load_qps: float
    best: Candidate | None
    kept: Candidate
    binding: str | None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A point that is feasible, and which requirements moved.

    distance : sum of the logarithms of the factors by which they moved; infinite where the quality
    is 0 and some is asked: no factor leads there, so any other point is nearer.
    """

    load_qps: float
    tail_ms: float
    quality: float
    design: Design
    moved: tuple[str, ...]
    distance: float


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen, and what next to it. options : the best of every placement, best first.

    chosen : not feasible if longer runs refuse all that are; its tail is then of the longer run,
    and the latency binds.
    reach : the best "quality" known, the largest "load" that settles with the quality asked, the
    least "latency" with quality and load.
    relaxations : by constraint, the nearest value of it alone, the others kept, that lets a
    pipeline through. nearest : the feasible point of the least distance. Longer runs refuse none.
    """

    need: Need
    looked_at: int
    settled: int
    reach: dict[str, float]
    options: tuple[Candidate, ...]
    chosen: Candidate | None
    runner_up: Candidate | None
    binding: str | None
    what_ifs: tuple[WhatIf, ...]
    relaxations: dict[str, Asked]
    nearest: Asked | None
    limit_qps: float | None  # of the chosen one within the SLA; below the load asked if refused
    sure_qps: tuple[float, float] | None  # it surely meets it up to, surely does not from; 0: never
    again: dict[str, SecondLook]  # "chosen" and "runner_up", of those that settle
    arrivals: str  # name of the process
    poisson: SecondLook | None  # of the chosen one if arrivals were Poisson; None if they are
