"""The front door: a workload, a platform, measured profiles and quality in, a choice out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rpaccel.scheduler.arrivals import Floats
from rpaccel.scheduler.choice import Choice, choose
from rpaccel.scheduler.cpu_profile import CpuProfile
from rpaccel.scheduler.devices import AcceleratorDevice, CpuDevice, Device, Transfers
from rpaccel.scheduler.pipeline import route
from rpaccel.scheduler.queueing import qps_under_sla
from rpaccel.scheduler.search import (
    Evaluation,
    Judge,
    QualityPoint,
    QualityTable,
    enumerate_pipelines,
)
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.platform import PlatformConfig
from rpaccel.spec.workload import WorkloadConfig

PLAN_VERSION = 1
LIMIT_QUERIES = 40_000
Cycles = Callable[[Sequence[str], Sequence[int], int], float]


@dataclass(frozen=True, kw_only=True)
class PlanInputs:
    """Everything that a choice depends on.

    cycles : (models, items, top_n) -> predicted cycles of the query on `accelerator`.
    user_bytes, record_bytes : what crosses the link per query and per candidate, see `Transfers`.
    arrivals_s : a trace of arrivals, or None for Poisson arrivals.
    """

    workload: WorkloadConfig
    platform: PlatformConfig
    accelerator: AcceleratorConfig
    profile: CpuProfile
    quality: tuple[QualityPoint, ...]
    cycles: Cycles
    user_bytes: int
    record_bytes: int = 0
    queries: int = 20_000
    seed: int = 0
    arrivals_s: Floats | None = None

    def devices(self) -> Mapping[str, Device]:
        """Return the devices by name."""
        return {
            "cpu": CpuDevice(profile=self.profile, servers=self.platform.cpu.workers),
            "accelerator": AcceleratorDevice(
                cycles=self.cycles,
                clock_hz=self.platform.accelerator.clock_hz,
                servers=self.accelerator.lanes,
                max_items=self.accelerator.max_items,
                max_results=self.accelerator.max_top_n,
            ),
        }

    def judge(self) -> Judge:
        """Return the judge of this workload's requirement."""
        return Judge(
            devices=self.devices(),
            transfers=Transfers(
                platform=self.platform,
                user_bytes=self.user_bytes,
                record_bytes=self.record_bytes,
            ),
            quality=QualityTable(self.quality),
            requirement=self.workload.requirement,
            top_n=self.workload.top_n,
            queries=self.queries,
            seed=self.seed,
            arrivals_s=self.arrivals_s,
        )


def load_limit_qps(evaluation: Evaluation, judge: Judge) -> float:
    """Return the largest Poisson load at which the pipeline meets the SLA [queries/s]."""
    # Near saturation queues take thousands of queries to build up: few would flatter the limit.
    queries = max(LIMIT_QUERIES, judge.queries)
    path = route(
        evaluation.pipeline, judge.devices, judge.transfers, judge.top_n, queries, judge.seed
    )
    return qps_under_sla(
        path.stations,
        judge.requirement.sla_ms * 1e-3,
        queries=queries,
        seed=judge.seed,
        last_delay_s=path.last_delay_s,
        percentile=judge.requirement.percentile,
    )


def plan(inputs: PlanInputs) -> Choice:
    """Return the best pipeline of the workload's search space, or what stands in the way."""
    judge = inputs.judge()
    evaluations = judge.evaluate_all(enumerate_pipelines(inputs.workload.search))
    limits = []
    if not evaluations[0].feasible:
        able = [e for e in evaluations if not {"device", "quality"} & set(e.misses)]
        limits = [(e, load_limit_qps(e, judge)) for e in able]
    choice = choose(evaluations, inputs.workload.requirement, limits)
    if choice.chosen is None or inputs.arrivals_s is not None:
        return choice
    limit = load_limit_qps(choice.chosen, judge)
    text = f"{choice.explanation} It meets the SLA up to {limit:.4g} queries/s."
    return replace(choice, qps_under_sla=limit, explanation=text)


def plan_document(inputs: PlanInputs, choice: Choice) -> dict[str, Any]:
    """Return inputs and answer as JSON: same inputs, same bytes."""
    arrivals = "Poisson"
    if inputs.arrivals_s is not None:
        arrivals = "trace " + hashlib.sha256(inputs.arrivals_s.tobytes()).hexdigest()[:16]
    return {
        "version": PLAN_VERSION,
        "inputs": {
            "workload": inputs.workload.model_dump(mode="json"),
            "platform": inputs.platform.model_dump(mode="json"),
            "accelerator": {
                "name": inputs.accelerator.name,
                "digest": inputs.accelerator.digest,
            },
            "cpu_profile": {
                "digest": inputs.profile.digest,
                "machine": inputs.profile.machine,
                "command": inputs.profile.command,
            },
            "user_bytes": inputs.user_bytes,
            "record_bytes": inputs.record_bytes,
            "queries": inputs.queries,
            "seed": inputs.seed,
            "arrivals": arrivals,
        },
        "choice": choice.to_json(),
    }


def plan_text(inputs: PlanInputs, choice: Choice) -> str:
    """Return `plan_document` as text with sorted keys."""
    return json.dumps(plan_document(inputs, choice), indent=1, sort_keys=True) + "\n"
