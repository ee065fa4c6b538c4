"""Step 5 of the main job: which pipeline, on which device, for a load and an SLA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rpaccel.host.records import padded_record_bytes
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job.inputs import JobInputs, load_inputs
from rpaccel.main_job.quality import LATER_ITEMS, cached_quality, quality_points
from rpaccel.main_job.rankers import CompiledJob, compile_job
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.scheduler.choice import Choice
from rpaccel.scheduler.cpu_profile import CpuProfile
from rpaccel.scheduler.float_runner import profile_rankers
from rpaccel.scheduler.plan import PlanInputs, plan
from rpaccel.scheduler.shapes import compiled_shape, query_cycles
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.platform import load_platform
from rpaccel.spec.workload import Requirement, SearchSpace, StageSpec, WorkloadConfig
from rpaccel.workloads.quality import FLOAT_LARGE

CACHE = BUILD_DIR / "cache"
DEFAULT_QUALITY_SHARE = 0.97  # of the float large ranker's NDCG@10
PLATFORM = "edge"


def measure_cpu(data: str, out: Path | None = None, seed: int = 0) -> CpuProfile:
    """Measure both float rankers of `data` on this machine's CPU; write the profile to `out`."""
    return profile_inputs(load_inputs(data, seed), data, out)


def profile_inputs(inputs: JobInputs, data: str, out: Path | None = None) -> CpuProfile:
    """Measure both float rankers of `inputs`."""
    profile = profile_rankers(inputs.rankers, inputs.features, f"rpaccel profile cpu --data {data}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(profile.to_text())
    return profile


def typical_items(job: CompiledJob) -> int:
    """Return the mean number of candidates of a query, a multiple of 10."""
    users = job.inputs.split.test_users
    mean = sum(len(job.inputs.split.candidates(int(user))) for user in users) / len(users)
    return round(mean / 10) * 10


def plan_inputs(
    job: CompiledJob,
    quality: dict[str, Any],
    profile: CpuProfile,
    *,
    qps: float,
    sla_ms: float,
    target: float | None,
    seed: int,
    top_n: int = 10,
) -> PlanInputs:
    """Return everything the scheduler decides on; target None: 97 % of the large float ranker."""
    items = typical_items(job)
    large = quality["rows"][FLOAT_LARGE]["ndcg@10"]["estimate"]
    wanted = DEFAULT_QUALITY_SHARE * large if target is None else target
    workload = WorkloadConfig(
        name=job.inputs.log.name,
        stages=(StageSpec(model="small", items=items), StageSpec(model="large", items=256)),
        top_n=top_n,
        requirement=Requirement(load_qps=qps, sla_ms=sla_ms, quality_target=wanted),
        search=SearchSpace(
            models=("small", "large"), first_items=(items,), later_items=LATER_ITEMS
        ),
    )
    platform = load_platform(PLATFORM)
    shapes = {
        name: compiled_shape(job.compiled, name, job.user_records, job.feature_table)
        for name in job.compiled.names
    }
    schema = job.inputs.features.schema
    sizes = RecordSizes(
        user_bytes=padded_record_bytes(schema, "user", job.config),
        item_bytes=padded_record_bytes(schema, "item", job.config),
    )
    return PlanInputs(
        workload=workload,
        platform=platform,
        accelerator=job.config,
        profile=profile,
        quality=quality_points(quality, items),
        cycles=query_cycles(job.config, shapes, platform.accelerator.memory, sizes),
        user_bytes=sizes.user_bytes,
        seed=seed,
    )


def schedule_command(
    data: str, preset: str, qps: float, sla_ms: float, target: float | None, seed: int
) -> Choice:
    """Return the choice for `data` on this machine's CPU and the accelerator `preset`."""
    job = compile_job(load_inputs(data, seed), load_accelerator(preset), seed)
    quality, _ = cached_quality(job, CACHE, print)
    profile = profile_inputs(job.inputs, data)
    return plan(
        plan_inputs(job, quality, profile, qps=qps, sla_ms=sla_ms, target=target, seed=seed)
    )
