"""A joint search as it is asked for: what may vary in a pipeline, its loads, and three slices.

Ref: U. Gupta et al., "RecPipe", MICRO 2021, section 5: models, items and stages, then devices, then
the split of the array and sub-batches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rpaccel.spec.preset_file import names_in, read_preset
from rpaccel.spec.sweep import LaneSplit

__all__ = [
    "DEVICES", "RECPIPE_DIR", "RecPipeSpec", "RetrievalAxes", "SliceSpec", "load_recpipe",
    "recpipe_names",
]  # fmt: skip

RECPIPE_DIR = Path(__file__).parent / "presets" / "recpipe"
DEVICES = ("cpu", "gpu", "accelerator")
MOST_ITEMS = 16384

Positive = Annotated[int, Field(ge=1, le=MOST_ITEMS, strict=True)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RetrievalAxes(_Frozen):
    """The optional retrieval stage in front: rows it finds, shards of the corpus, device.

    k : rows found; empty: never there. shards : cards, or threads of the CPU, with a part each.
    """

    k: tuple[Positive, ...] = ()
    shards: tuple[Annotated[int, Field(ge=1, le=64, strict=True)], ...] = (1,)
    devices: tuple[str, ...] = ("accelerator",)


class SliceSpec(_Frozen):
    """What is held fixed: quality of iso-quality, p99 of iso-latency, load of iso-throughput."""

    quality: Share
    sla_ms: float = Field(gt=0)
    load_qps: float = Field(gt=0)


class RecPipeSpec(_Frozen):
    """The space of a joint search.

    workload : whose rankers, items and quality: criteo (published) or movielens (measured).
    platform : preset of the accelerator's card and the link.
    stages : ranking stages that a pipeline may have.
    profiles : device -> name of a shipped service profile, of each CPU or GPU that is cited.
    servers : device -> equal servers; of the CPU threads, of the others devices.
    slowdown : CPU or GPU -> by how much of itself a request takes longer for each other server of
        the device that is busy when it begins; 0 where the device is missing.
    launches : gpu -> items of a launch at most that may hold several queries, those that wait when
        it begins; a query of more goes alone. {}: one query a launch.
    batch_items : items of one request to the CPU, or to one of several GPUs; 0: a stage is one.
    splits : lanes of the array, front+back or shared; see `spec.sweep.LaneSplit`.
    sub_batches : tasks that the card cuts a query into (O.5); later stages into at most four.
    loads_qps : Poisson loads that every pipeline is asked for.
    queries : of each simulation. exhaustive_most : candidates up to which all are looked at.
    """

    name: str = Field(min_length=1)
    workload: str
    platform: str
    metric: str = Field(min_length=1)
    top_n: Positive
    percentile: float = Field(default=99.0, gt=0, lt=100)
    stages: tuple[Annotated[int, Field(ge=1, le=3, strict=True)], ...] = (1, 2, 3)
    models: tuple[str, ...] = Field(min_length=1)
    devices: tuple[str, ...] = DEVICES
    profiles: dict[str, str] = Field(default_factory=dict)
    servers: dict[str, Annotated[int, Field(ge=1, le=4096, strict=True)]]
    slowdown: dict[str, Annotated[float, Field(ge=0, lt=1)]] = Field(default_factory=dict)
    launches: dict[str, Positive] = Field(default_factory=dict)
    batch_items: tuple[Annotated[int, Field(ge=0, le=MOST_ITEMS, strict=True)], ...] = (0,)
    splits: tuple[LaneSplit, ...] = (LaneSplit(front=(1, 4, 4)),)
    sub_batches: tuple[Annotated[int, Field(ge=1, le=64, strict=True)], ...] = (1,)
    retrieval: RetrievalAxes = RetrievalAxes()
    loads_qps: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)
    slices: SliceSpec
    queries: int = Field(default=4000, ge=200, le=1_000_000)
    exhaustive_most: int = Field(default=200_000, ge=1)

    @field_validator(
        "stages", "models", "devices", "batch_items", "splits", "sub_batches", "loads_qps"
    )
    @classmethod
    def _once(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if not values or len(set(values)) < len(values):
            raise ValueError(f"must hold at least one value and each once, not {list(values)}")
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.workload not in ("criteo", "movielens"):
            raise ValueError(f"workload must be criteo or movielens, not {self.workload!r}")
        for name in (
            *self.devices,
            *self.retrieval.devices,
            *self.profiles,
            *self.servers,
            *self.slowdown,
        ):
            if name not in DEVICES:
                raise ValueError(f"devices must be of {', '.join(DEVICES)}, not {name!r}")
        if "accelerator" in self.slowdown or not set(self.slowdown) <= set(self.servers):
            raise ValueError(f"slowdown must be of a cpu or gpu, not {sorted(self.slowdown)}")
        if not set(self.launches) <= {"gpu"} & set(self.servers):
            raise ValueError(f"launches must be of a gpu with servers, not {sorted(self.launches)}")
        missing = [name for name in self.devices if name not in self.servers]
        if missing:
            raise ValueError(f"servers must hold every device, {missing[0]} is missing")
        if list(self.loads_qps) != sorted(self.loads_qps):
            raise ValueError(f"loads_qps must ascend, not {list(self.loads_qps)}")
        if self.slices.load_qps not in self.loads_qps:
            raise ValueError(f"slices.load_qps must be of loads_qps, not {self.slices.load_qps:g}")
        return self


def recpipe_names() -> list[str]:
    """Names of the searches that are shipped, sorted."""
    return names_in(RECPIPE_DIR)


def load_recpipe(source: str | Path) -> RecPipeSpec:
    """Read a shipped search by name, or a YAML file by path.

    Raises ValueError that names the search, or every wrong key with its path.
    """
    return RecPipeSpec.model_validate(read_preset(source, RECPIPE_DIR, "search"))
