"""DeepRecSched on the eight models of DeepRecInfra at three latency targets.

Static batch, the paper's two climbs, the joint search and the exhaustive optimum, on cores alone
and with an accelerator, each by its largest load under the target; then what they found, on other
queries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Literal

from rpaccel.scheduler.arrivals import POISSON, Process
from rpaccel.scheduler.deeprecsched import (
    Outcome,
    cpu_space,
    exhaustive,
    joint,
    joint_space,
    paper_batch,
    paper_threshold,
    plain_queries,
    static,
)
from rpaccel.scheduler.many import run_many
from rpaccel.scheduler.node_power import NodePower, power_w
from rpaccel.scheduler.peak import Sla
from rpaccel.scheduler.query_plant import CORES, QueryPlant, node_of
from rpaccel.scheduler.service_profile import ServiceProfile
from rpaccel.scheduler.sizes import Sizes
from rpaccel.spec.deeprec import load_deeprec

__all__ = ["LEVELS", "REPEATS", "SCHEMES", "Ask", "Case", "geomean", "geomean_gains", "run_study"]

Level = Literal["low", "medium", "high"]
LEVELS: tuple[Level, ...] = ("low", "medium", "high")
SCHEMES = ("static", "paper", "ours", "optimum", "paper+", "ours+", "optimum+")  # +: accelerator
REPEATS = 8  # seeds on which the settings that were found are judged again
FIRST_LOOK = 2048  # queries
WINDOW = 0.05  # of the target: the longest wait to be merged


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is compared.

    profiles : of each model on a core and on the accelerator. queries : of a longest look.
    process : of the arrivals.
    """

    profiles: tuple[tuple[ServiceProfile, ServiceProfile], ...]
    sizes: Sizes
    cores: int = CORES
    queries: int = 32768
    seed: int = 0
    levels: tuple[Level, ...] = LEVELS
    process: Process = POISSON

    def sla(self, model: str, level: Level) -> Sla:
        """Return a model's target, whose first look is long enough for the arrivals."""
        target = load_deeprec(model).sla
        return Sla(
            limit_s=target.ms(level) * 1e-3,
            percentile=target.percentile,
            most=self.queries,
            first=self.process.look(FIRST_LOOK, self.queries),
        )

    def plant(
        self, cpu: ServiceProfile, accelerator: ServiceProfile | None, level: Level
    ) -> QueryPlant:
        """Return the node of a model at a target; accelerator None: it has none."""
        return QueryPlant(
            node=node_of(cpu, accelerator, cores=self.cores),
            sizes=self.sizes,
            sla=self.sla(cpu.model, level),
            seed=self.seed,
            process=self.process,
        )


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model at one target: the outcome and the power at its load [W] of each scheme.

    peaks : of each outcome's setting on the queries of REPEATS other seeds
    plain : queries of an exhaustive search without bounds, of each node with an optimum.
    """

    model: str
    level: Level
    sla_ms: float
    outcomes: dict[str, Outcome]
    peaks: dict[str, list[float]]
    watts: dict[str, float]
    plain: dict[str, int]

    def gain(self, scheme: str) -> float:
        """Return the load over that of the static batch; infinite if that holds none."""
        base = self.outcomes["static"].qps
        return self.outcomes[scheme].qps / base if base else math.inf

    def gain_per_watt(self, scheme: str) -> float:
        """Return queries per joule over those of the static batch."""
        return self.gain(scheme) * self.watts["static"] / self.watts[scheme]

    def of_optimum(self, scheme: str) -> float:
        """Return the load over that of the exhaustive optimum of the same node."""
        best = self.outcomes["optimum+" if scheme.endswith("+") else "optimum"].qps
        return self.outcomes[scheme].qps / best if best else 1.0


def geomean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive numbers."""
    if not values or min(values) <= 0:
        raise ValueError("values must be one or more positive numbers")
    return math.exp(sum(math.log(value) for value in values) / len(values))


def geomean_gains(cases: Sequence[Case], scheme: str) -> list[float]:
    """Return the geometric mean of the cases' gains on each of the other seeds.

    Loads of one seed are of the same queries, so what these have in common is not in the ratio.
    """
    ratios = [
        [load / base for load, base in zip(case.peaks[scheme], case.peaks["static"], strict=True)]
        for case in cases
    ]
    return [geomean(each) for each in zip(*ratios, strict=True)]


def _case(ask: Ask, place: tuple[int, Level]) -> Case:
    cpu, accelerator = ask.profiles[place[0]]
    alone, both = ask.plant(cpu, None, place[1]), ask.plant(cpu, accelerator, place[1])
    sla = alone.sla
    batch = paper_batch(alone)
    plain, joined = cpu_space(WINDOW * sla.limit_s), joint_space(WINDOW * sla.limit_s)
    outcomes = {
        "static": static(alone),
        "paper": batch,
        "ours": joint(alone, plain),
        "optimum": exhaustive(alone, plain),
        "paper+": paper_threshold(both, batch),
        "ours+": joint(both, joined),
        "optimum+": exhaustive(both, joined),
    }
    plants = {name: both if name.endswith("+") else alone for name in outcomes}
    queries = {"optimum": plain_queries(alone, plain), "optimum+": plain_queries(both, joined)}
    watts = {
        name: power_w(plants[name], found.policy, found.qps, NodePower())
        for name, found in outcomes.items()
    }
    return Case(
        model=cpu.model,
        level=place[1],
        sla_ms=sla.limit_s * 1e3,
        outcomes=outcomes,
        peaks={
            name: plants[name].other_peaks(found.policy, found.qps, REPEATS)
            for name, found in outcomes.items()
        },
        watts=watts,
        plain=queries,
    )


def run_study(
    ask: Ask,
    executor: Executor | None = None,
    progress: Callable[[int], object] = lambda _done: None,
) -> list[Case]:
    """Return every model at every level, models in the order of the profiles."""
    places = [(index, level) for index in range(len(ask.profiles)) for level in ask.levels]
    return run_many(partial(_case, ask), places, executor, progress=progress)
