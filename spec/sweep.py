"""A sweep as it is asked for: a workload, the axes of its design space, and what makes a front.

Axes are values, or ranges: `{from: 16, to: 1024, factor: 2}`, `{from: 0, to: 12, step: 4}`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rpaccel.spec.gemm_topology import GemmLayer, read_gemm_topology
from rpaccel.spec.preset_file import names_in, read_preset

__all__ = [
    "COLUMNS", "SWEEPS_DIR", "FrontSpec", "LaneSplit", "SweepAxes", "SweepSpec", "load_sweep",
    "sweep_names",
]  # fmt: skip

SWEEPS_DIR = Path(__file__).parent / "presets" / "sweeps"
MOST_VALUES = 4096  # of an axis
COLUMNS = (
    "latency_cycles", "front_cycles", "back_cycles", "interval_cycles", "memory_cycles",
    "query_macs", "array_macs", "sram_bytes",
)  # fmt: skip
"""What is known of a point, beside its axes."""


LIMITS = {
    "array_size": (16, 128),
    "memory_latency_cycles": (1, 10_000),
    "static_cache_kib": (0, 1 << 16),
    "static_front_percent": (0, 100),
    "look_ahead_kib": (0, 1 << 16),
    "front_sub_batch": (1, 4096),
    "back_sub_batch": (1, 4096),
    "front_task_items": (0, 16384),
    "back_task_items": (0, 16384),
    "k": (1, 16384),
    "memory_ports": (1, 16),
    "beat_bytes": (8, 128),
}
"""Least and largest value of every axis of integers."""


class _Range(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    first: int = Field(alias="from")
    last: int = Field(alias="to")
    step: int = Field(default=0, ge=0)
    factor: int = Field(default=0, ge=0)

    @property
    def values(self) -> list[int]:
        """The values, both ends included if they are met."""
        if (self.step > 0) == (self.factor > 1):
            raise ValueError("a range must have a step of at least 1 or a factor of at least 2")
        if self.last < self.first or (self.factor and self.first < 1):
            least = "1.." if self.factor else ""
            raise ValueError(f"a range must go up from {least}, not {self.first} to {self.last}")
        values, value = [], self.first
        while value <= self.last:
            values.append(value)
            if len(values) > MOST_VALUES:
                raise ValueError(f"a range must have at most {MOST_VALUES} values")
            value = value * self.factor if self.factor else value + self.step
        return values


def _expand(value: Any) -> Any:
    if isinstance(value, dict):
        return _Range.model_validate(value).values
    return value if isinstance(value, (list, tuple)) else [value]


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values or len(values) > MOST_VALUES:
        raise ValueError(f"values must be 1 to {MOST_VALUES}, not {len(values)}")
    if len(set(values)) < len(values):
        raise ValueError("every value must be given once")
    return values


class LaneSplit(BaseModel):
    """Lanes of both stages, each a rectangle of blocks; `8*1x1+2*2x2` in files.

    One term (`1*4x4`): both stages share the lanes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    front: tuple[int, int, int]  # lanes, rows and columns of blocks of each
    back: tuple[int, int, int] | None = None

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        term = r"(\d{1,2})\*(\d{1,2})x(\d{1,2})"
        found = re.fullmatch(rf"{term}(?:\+{term})?", value.replace(" ", ""))
        if found is None:
            raise ValueError(f"a split must be like 8*1x1+2*2x2 or 1*4x4, not {value!r}")
        numbers = [int(group) for group in found.groups() if group]
        return {"front": numbers[:3], "back": numbers[3:] or None}

    @property
    def lanes(self) -> tuple[tuple[int, int], ...]:
        """Blocks of every lane, (rows, columns): first those of stage 0."""
        return tuple(
            (rows, cols)
            for count, rows, cols in filter(None, (self.front, self.back))
            for _ in range(count)
        )

    def __str__(self) -> str:
        terms = filter(None, (self.front, self.back))
        return "+".join(f"{count}*{rows}x{cols}" for count, rows, cols in terms)


Integers = Annotated[tuple[Annotated[int, Field(strict=True)], ...], BeforeValidator(_expand)]
Splits = Annotated[tuple[LaneSplit, ...], BeforeValidator(_expand)]


class SweepAxes(BaseModel):
    """The values of every axis, the fastest one last.

    `front` is stage 0, which ranks all candidates, `back` is stage 1, which ranks k. Task items: of
    a task; 0: the whole stage is one task on one lane. Static cache: of all row banks;
    `static_front_percent` of its beats are stage 0's rows. Look-ahead cache: of all row banks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    array_size: Integers = (128,)
    split: Splits = (LaneSplit(front=(8, 1, 1), back=(2, 2, 2)),)
    memory_latency_cycles: Integers = (100,)
    static_cache_kib: Integers = (0,)
    static_front_percent: Integers = (50,)
    look_ahead_kib: Integers = (0,)
    front_sub_batch: Integers = (64,)
    back_sub_batch: Integers = (128,)
    front_task_items: Integers = (0,)
    back_task_items: Integers = (0,)
    k: Integers = (512,)
    memory_ports: Integers = (4,)
    beat_bytes: Integers = (64,)

    @field_validator("*")
    @classmethod
    def _check_values(cls, values: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        least, most = LIMITS.get(str(info.field_name), (0, 0))
        for value in values:
            if isinstance(value, int) and not least <= value <= most:
                raise ValueError(f"values must be in {least}..{most}, not {value}")
        return _each_once(values)

    @field_validator("memory_ports", "beat_bytes")
    @classmethod
    def _check_order(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        wrong = [value for value in values if value & (value - 1)]
        if wrong or list(values) != sorted(values):
            raise ValueError(f"values must be powers of two and go up, not {list(values)}")
        return values


class FrontSpec(BaseModel):
    """What a front is made of: columns or axes; points are compared that are alike in `within`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimise: tuple[str, ...] = ("latency_cycles", "interval_cycles", "array_macs", "sram_bytes")
    maximise: tuple[str, ...] = ("k",)
    within: tuple[str, ...] = ("memory_latency_cycles",)

    @model_validator(mode="after")
    def _check(self) -> Self:
        known = (*SweepAxes.model_fields, *COLUMNS)
        names = (*self.minimise, *self.maximise, *self.within)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"names must be of {', '.join(known)}, not {unknown[0]!r}")
        if len(set(names)) < len(names) or not self.minimise + self.maximise:
            raise ValueError("at least one name must be given, and every name once")
        if "split" in self.minimise + self.maximise:
            raise ValueError("split must not be minimised or maximised: it has no order")
        return self


class SweepSpec(BaseModel):
    """A sweep.

    workload : a name of perfmodel.networks, or the path of a SCALE-Sim GEMM topology (.csv).
    layers : of a topology; `load_sweep` reads them.
    candidates : items of stage 0; 0: as many as the workload says.
    base : preset that gives every size that is no axis, its memories kept in bytes.
    blocks : of a side of the array; its granularity of splitting.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    workload: str = Field(default="criteo", min_length=1)
    layers: tuple[GemmLayer, ...] = ()
    candidates: int = Field(default=0, ge=0, le=16384)
    base: str = "paper"
    blocks: int = Field(default=4, ge=1, le=16)
    axes: SweepAxes = SweepAxes()
    front: FrontSpec = FrontSpec()

    @property
    def is_gemm(self) -> bool:
        """Whether the workload is a GEMM topology."""
        return self.workload.endswith(".csv")


def sweep_names() -> list[str]:
    """Names of the sweeps that are shipped, sorted."""
    return names_in(SWEEPS_DIR)


def load_sweep(source: str | Path) -> SweepSpec:
    """Read a shipped sweep by name, or a YAML file by path; a topology's path counts from there.

    Raises ValueError that names the sweep, or every wrong key with its path.
    """
    spec = SweepSpec.model_validate(read_preset(source, SWEEPS_DIR, "sweep"))
    if not spec.is_gemm:
        return spec
    folder = Path(source).parent if Path(source).suffix else SWEEPS_DIR
    return spec.model_copy(update={"layers": read_gemm_topology(folder / spec.workload)})
