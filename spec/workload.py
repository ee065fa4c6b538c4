"""What is asked of a pipeline: candidates, served items, load, SLA, quality; and what may vary."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rpaccel.spec.isa import MAX_STAGES
from rpaccel.spec.preset_file import names_in, read_preset

WORKLOADS_DIR = Path(__file__).parent / "presets" / "workloads"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StageSpec(_Frozen):
    """One ranking stage: `model` scores `items` candidates."""

    model: str = Field(min_length=1)
    items: int = Field(ge=1, le=16384)


class Requirement(_Frozen):
    """What a pipeline must meet: its load, its tail latency and its quality."""

    load_qps: float = Field(gt=0)  # [queries/s], Poisson arrivals unless a trace is given
    sla_ms: float = Field(gt=0)  # [ms] at `percentile`
    quality_target: float = Field(ge=0)
    quality_metric: str = "NDCG@10"
    percentile: float = Field(default=99.0, gt=0, lt=100)


class SearchSpace(_Frozen):
    """What the scheduler may choose from, beside the stages' devices."""

    models: tuple[str, ...] = Field(min_length=1)  # cheap to expensive
    first_items: tuple[int, ...] = Field(min_length=1)  # candidates that enter stage 0
    later_items: tuple[int, ...] = ()  # candidates that enter stage 1
    devices: tuple[str, ...] = ("cpu", "accelerator")
    max_stages: int = Field(default=2, ge=1, le=2)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("first_items", "later_items"):
            for value in getattr(self, name):
                if not 1 <= value <= 16384:
                    raise ValueError(f"{name} must be in 1..16384, not {value}")
        unknown = sorted(set(self.devices) - {"cpu", "accelerator"})
        if unknown or not self.devices:
            raise ValueError(f"devices must be of cpu, accelerator, not {list(self.devices)}")
        return self


class WorkloadConfig(_Frozen):
    """A pipeline as it is asked for, its requirement, and the space around it."""

    name: str
    stages: tuple[StageSpec, ...] = Field(min_length=1, max_length=MAX_STAGES)
    top_n: int = Field(ge=1, le=256)  # served items
    requirement: Requirement
    search: SearchSpace

    @model_validator(mode="after")
    def _check(self) -> Self:
        items = [stage.items for stage in self.stages]
        for before, after in pairwise(items):
            if after > before:
                raise ValueError(
                    f"items must not grow from stage to stage, not {before} -> {after}"
                )
        if self.top_n > items[-1]:
            raise ValueError(f"top_n must be at most {items[-1]} (last stage), not {self.top_n}")
        return self


def workload_names() -> list[str]:
    """Names of the workload presets, sorted."""
    return names_in(WORKLOADS_DIR)


def load_workload(source: str | Path) -> WorkloadConfig:
    """Read a workload preset by name, or a YAML file by path.

    Raises ValueError that names the preset, or every wrong key with its path.
    """
    return WorkloadConfig.model_validate(read_preset(source, WORKLOADS_DIR, "workload"))
