"""Exhaustive search: every pipeline of a small space, judged by quality, load and tail latency."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from rpaccel.scheduler.arrivals import Floats, poisson_arrivals_s
from rpaccel.scheduler.devices import Device, Transfers
from rpaccel.scheduler.pipeline import Pipeline, Route, refusal, route
from rpaccel.scheduler.queueing import LatencyReport, capacity_qps, simulate
from rpaccel.spec.workload import Requirement, SearchSpace


@dataclass(frozen=True, kw_only=True)
class QualityPoint:
    """Measured quality of one pipeline, and the ends of its interval if it has one.

    devices : () where the figure holds on any device; else the devices it was measured for
        (int8 on the accelerator and float on the CPU may differ).
    """

    models: tuple[str, ...]
    items: tuple[int, ...]
    quality: float
    low: float | None = None
    high: float | None = None
    devices: tuple[str, ...] = ()


class QualityTable:
    """Quality figures by pipeline; a figure for exact devices goes before a general one."""

    def __init__(self, points: Iterable[QualityPoint]) -> None:
        self._points = {(p.models, p.items, p.devices): p for p in points}

    def find(self, pipeline: Pipeline) -> QualityPoint | None:
        """Return the figure of `pipeline`, or None if it was not measured."""
        key = (pipeline.models, pipeline.items)
        return self._points.get((*key, pipeline.devices)) or self._points.get((*key, ()))


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One pipeline: what it reaches, and which requirements it misses."""

    pipeline: Pipeline
    quality: QualityPoint | None
    route: Route | None  # None: the devices refuse it
    latency: LatencyReport | None  # None: refused, or the load never settles
    capacity_qps: float
    misses: tuple[str, ...]  # of "device", "quality", "load", "latency", in this order
    reason: str  # the first miss in words with its figures; "" if there is none

    @property
    def feasible(self) -> bool:
        """Whether every requirement is met."""
        return not self.misses

    @property
    def tail_ms(self) -> float:
        """Tail latency [ms]; infinite where there is none."""
        return self.latency.tail_ms if self.latency else float("inf")

    @property
    def quality_value(self) -> float:
        """Quality; minus infinity where it was not measured."""
        return self.quality.quality if self.quality else float("-inf")


def enumerate_pipelines(space: SearchSpace) -> list[Pipeline]:
    """Return every pipeline of one stage, or of two with a later, larger model, sorted."""
    found = {
        Pipeline(models=(model,), items=(items,), devices=(device,))
        for model, items, device in product(space.models, space.first_items, space.devices)
    }
    if space.max_stages == 2:
        pairs = [
            (small, large)
            for index, small in enumerate(space.models)
            for large in space.models[index + 1 :]
        ]
        placements = product(space.devices, repeat=2)
        choices = product(pairs, space.first_items, space.later_items, list(placements))
        for models, first, later, devices in choices:
            if later < first:
                found.add(Pipeline(models=models, items=(first, later), devices=devices))
    return sorted(found)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Evaluates pipelines against one requirement on the same arrivals.

    arrivals_s : a trace; None for Poisson arrivals of the requirement's load.
    """

    devices: Mapping[str, Device]
    transfers: Transfers
    quality: QualityTable
    requirement: Requirement
    top_n: int
    queries: int = 20_000
    seed: int = 0
    arrivals_s: Floats | None = None

    def evaluate(self, pipeline: Pipeline) -> Evaluation:
        """Return what `pipeline` reaches and misses."""
        quality = self.quality.find(pipeline)
        reason = refusal(pipeline, self.devices, self.top_n)
        if reason is None and self.top_n > pipeline.items[-1]:
            reason = f"top_n must be at most {pipeline.items[-1]}, not {self.top_n}"
        if reason is not None:
            return Evaluation(
                pipeline=pipeline,
                quality=quality,
                route=None,
                latency=None,
                capacity_qps=0.0,
                misses=("device",),
                reason=reason,
            )
        arrivals = self.arrivals_s
        if arrivals is None:
            arrivals = poisson_arrivals_s(self.queries, self.requirement.load_qps, self.seed)
        path = route(pipeline, self.devices, self.transfers, self.top_n, len(arrivals), self.seed)
        capacity = capacity_qps(path.stations)
        latency = None
        if capacity > self.requirement.load_qps:
            latency = simulate(
                arrivals, path.stations, path.last_delay_s, self.requirement.percentile
            )
        reasons = self._reasons(quality, capacity, latency)
        return Evaluation(
            pipeline=pipeline,
            quality=quality,
            route=path,
            latency=latency,
            capacity_qps=capacity,
            misses=tuple(reasons),
            reason=next(iter(reasons.values()), ""),
        )

    def _reasons(
        self, quality: QualityPoint | None, capacity: float, latency: LatencyReport | None
    ) -> dict[str, str]:
        need = self.requirement
        reasons = {}
        if quality is None:
            reasons["quality"] = f"its {need.quality_metric} was not measured"
        elif quality.quality < need.quality_target:
            reasons["quality"] = (
                f"{need.quality_metric} {quality.quality:.4g} is below {need.quality_target:.4g}"
            )
        if latency is None:
            reasons["load"] = f"it saturates at {capacity:.4g} of {need.load_qps:.4g} queries/s"
        elif latency.tail_ms > need.sla_ms:
            reasons["latency"] = (
                f"p{need.percentile:g} {latency.tail_ms:.4g} ms is above {need.sla_ms:.4g} ms"
            )
        return reasons

    def evaluate_all(self, pipelines: Sequence[Pipeline]) -> list[Evaluation]:
        """Return the evaluations in the order of `rank`."""
        return sorted((self.evaluate(pipeline) for pipeline in pipelines), key=rank)


def rank(evaluation: Evaluation) -> tuple[bool, int, float, float, Pipeline]:
    """Return the sort key: feasible first, fewer misses, lower tail, higher quality, name."""
    return (
        not evaluation.feasible,
        len(evaluation.misses),
        evaluation.tail_ms,
        -evaluation.quality_value,
        evaluation.pipeline,
    )
