"""The scheduler's answer: the best pipeline and why, or what stands in the way of any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rpaccel.perfmodel.report import format_table
from rpaccel.scheduler.search import Evaluation
from rpaccel.spec.workload import Requirement


@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """The smallest change of one requirement, the others kept, that lets a pipeline through."""

    constraint: str  # "quality", "load" or "latency"
    required: float
    nearest: float
    unit: str
    pipeline: str

    @property
    def text(self) -> str:
        """One sentence."""
        return (
            f"{self.constraint} {self.nearest:.4g} {self.unit} instead of {self.required:.4g}: "
            f"{self.pipeline}"
        )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen of `evaluations` (best first), in words and figures."""

    requirement: Requirement
    evaluations: tuple[Evaluation, ...]
    chosen: Evaluation | None
    runner_up: Evaluation | None
    explanation: str
    binding: str | None  # the constraint that leaves nothing; None if something was chosen
    relaxations: tuple[Relaxation, ...]
    qps_under_sla: float | None = None  # of the chosen pipeline, Poisson arrivals

    def to_text(self, rows: int = 12) -> str:
        """Return the best `rows` pipelines as a table, then the explanation."""
        header = ["pipeline", self.requirement.quality_metric, "service [ms]", "p50 [ms]",
                  "p95 [ms]", "p99 [ms]", "saturates [queries/s]", ""]  # fmt: skip
        lines = []
        for evaluation in self.evaluations[:rows]:
            row = describe(evaluation)
            names = ("quality", "service_ms", "p50_ms", "p95_ms", "p99_ms", "capacity_qps")
            cells = ["-" if row[name] is None else f"{row[name]:.4g}" for name in names]
            lines.append([row["pipeline"], *cells, row["reason"] or "feasible"])
        return f"{format_table(header, lines)}\n{self.explanation}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready description; floats rounded to 6 significant digits."""
        return {
            "requirement": self.requirement.model_dump(),
            "chosen": describe(self.chosen) if self.chosen else None,
            "runner_up": describe(self.runner_up) if self.runner_up else None,
            "explanation": self.explanation,
            "qps_under_sla": _number(self.qps_under_sla),
            "binding_constraint": self.binding,
            "relaxations": [
                {
                    "constraint": r.constraint,
                    "required": _number(r.required),
                    "nearest": _number(r.nearest),
                    "unit": r.unit,
                    "pipeline": r.pipeline,
                }
                for r in self.relaxations
            ],
            "pipelines": [describe(evaluation) for evaluation in self.evaluations],
        }


def _number(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


def describe(evaluation: Evaluation) -> dict[str, Any]:
    """Return one pipeline as JSON; times in ms, None where there is no figure."""
    latency, path, quality = evaluation.latency, evaluation.route, evaluation.quality
    pipeline = evaluation.pipeline
    return {
        "pipeline": pipeline.label,
        "models": list(pipeline.models),
        "items": list(pipeline.items),
        "devices": list(pipeline.devices),
        "quality": _number(quality.quality) if quality else None,
        "quality_low": _number(quality.low) if quality else None,
        "quality_high": _number(quality.high) if quality else None,
        "service_ms": _number(path.service_s * 1e3) if path else None,
        "transfer_ms": _number(path.transfer_s * 1e3) if path else None,
        "capacity_qps": _number(evaluation.capacity_qps),
        "mean_ms": _number(latency.mean_ms) if latency else None,
        "p50_ms": _number(latency.p50_ms) if latency else None,
        "p95_ms": _number(latency.p95_ms) if latency else None,
        "p99_ms": _number(latency.p99_ms) if latency else None,
        "tail_ms": _number(latency.tail_ms) if latency else None,
        "wait_ms": {k: _number(v) for k, v in latency.wait_ms.items()} if latency else None,
        "utilisation": (
            {k: _number(v) for k, v in latency.utilisation.items()} if latency else None
        ),
        "feasible": evaluation.feasible,
        "misses": list(evaluation.misses),
        "reason": evaluation.reason,
    }


def _explain(best: Evaluation, second: Evaluation | None, need: Requirement) -> str:
    tail = f"p{need.percentile:g}"
    text = (
        f"{best.pipeline.label}: {need.quality_metric} {best.quality_value:.4g} "
        f"(needs {need.quality_target:.4g}), {tail} {best.tail_ms:.4g} ms "
        f"(needs {need.sla_ms:.4g}) at {need.load_qps:.4g} queries/s "
        f"(saturates at {best.capacity_qps:.4g})."
    )
    if second is None:
        return text + " Nothing else was evaluated."
    if not second.feasible:
        return f"{text} Nothing else is feasible; next, {second.pipeline.label}: {second.reason}."
    assert best.latency and second.latency and best.route and second.route  # feasible
    waits = [sum(e.latency.wait_ms.values()) for e in (second, best) if e.latency]
    parts = {
        "service": (second.route.service_s * 1e3, best.route.service_s * 1e3),
        "transfers": (second.route.transfer_s * 1e3, best.route.transfer_s * 1e3),
        "queueing": (waits[0], waits[1]),
    }
    name, (theirs, ours) = max(parts.items(), key=lambda part: part[1][0] - part[1][1])
    if second.tail_ms == best.tail_ms:
        return (
            f"{text} {second.pipeline.label} is as fast and lost on quality, "
            f"{second.quality_value:.4g}."
        )
    return (
        f"{text} {second.pipeline.label} lost by {second.tail_ms - best.tail_ms:.3g} ms of {tail} "
        f"({second.tail_ms:.4g} ms), most of it {name}: {theirs:.3g} ms against {ours:.3g} ms."
    )


def _relaxations(evaluations: Sequence[Evaluation], need: Requirement) -> tuple[Relaxation, ...]:
    def only(name: str) -> list[Evaluation]:
        # A pipeline that misses its load has no latency: relaxing the load may leave the SLA.
        return [e for e in evaluations if e.misses == (name,)]

    found = []
    quality = [e for e in only("quality") if e.quality]
    if quality:
        best = max(quality, key=lambda e: e.quality_value)
        found.append(
            Relaxation(
                constraint="quality",
                required=need.quality_target,
                nearest=best.quality_value,
                unit=need.quality_metric,
                pipeline=best.pipeline.label,
            )
        )
    if only("latency"):
        best = min(only("latency"), key=lambda e: e.tail_ms)
        found.append(
            Relaxation(
                constraint="latency",
                required=need.sla_ms,
                nearest=best.tail_ms,
                unit="ms",
                pipeline=best.pipeline.label,
            )
        )
    return tuple(found)


def choose(
    evaluations: Sequence[Evaluation],
    need: Requirement,
    load_limits: Sequence[tuple[Evaluation, float]] = (),
) -> Choice:
    """Return the feasible pipeline of the lowest tail, or the constraint that binds.

    evaluations : as `Judge.evaluate_all` sorts them.
    load_limits : for pipelines that meet the quality, the largest load [queries/s] that meets the
        SLA, from `queueing.qps_under_sla`; used only if nothing is feasible.
    """
    if not evaluations:
        raise ValueError("evaluations must hold at least one pipeline")
    ordered = tuple(evaluations)
    best = ordered[0] if ordered[0].feasible else None
    second = ordered[1] if len(ordered) > 1 else None
    if best is not None:
        return Choice(
            requirement=need,
            evaluations=ordered,
            chosen=best,
            runner_up=second,
            explanation=_explain(best, second, need),
            binding=None,
            relaxations=(),
        )
    relaxations = list(_relaxations(ordered, need))
    reachable = [(limit, e) for e, limit in load_limits if limit > 0]
    if reachable:
        limit, evaluation = max(reachable, key=lambda pair: pair[0])
        relaxations.append(
            Relaxation(
                constraint="load",
                required=need.load_qps,
                nearest=limit,
                unit="queries/s",
                pipeline=evaluation.pipeline.label,
            )
        )
    binding = _binding(ordered)
    lines = "; or ".join(relaxation.text for relaxation in relaxations)
    nearest = f" Nearest feasible point: {lines}." if lines else ""
    return Choice(
        requirement=need,
        evaluations=ordered,
        chosen=None,
        runner_up=None,
        binding=binding,
        explanation=f"No pipeline is feasible: {_why(ordered, binding, need)}.{nearest}",
        relaxations=tuple(relaxations),
    )


def _binding(evaluations: Sequence[Evaluation]) -> str:
    # The first requirement, in this order, that empties what the ones before it left.
    left = list(evaluations)
    for name in ("device", "quality", "load", "latency"):
        left = [evaluation for evaluation in left if name not in evaluation.misses]
        if not left:
            return name
    raise AssertionError("a feasible pipeline is left")


def _why(evaluations: Sequence[Evaluation], binding: str, need: Requirement) -> str:
    if binding == "device":
        return f"the devices refuse all of them, e.g. {evaluations[0].reason}"
    able = [e for e in evaluations if "device" not in e.misses]
    if binding == "quality":
        best = max(e.quality_value for e in able)
        reach = f"the best reaches {best:.4g}" if math.isfinite(best) else "none was measured"
        return (
            f"quality binds, {need.quality_metric} {need.quality_target:.4g} is asked and {reach}"
        )
    good = [e for e in able if "quality" not in e.misses]
    if binding == "load":
        best = max(e.capacity_qps for e in good)
        return (
            f"load binds, {need.load_qps:.4g} queries/s is asked and the best that meets the "
            f"quality saturates at {best:.4g}"
        )
    best = min(e.tail_ms for e in good)
    return (
        f"latency binds, p{need.percentile:g} of {need.sla_ms:.4g} ms is asked and the best that "
        f"meets quality and load reaches {best:.4g} ms"
    )
