"""Profiles that follow from others: across a link, with an SSD, by published speed-ups."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rpaccel.scheduler.service_profile import ServiceProfile
from rpaccel.spec.platform import LinkPlatform
from rpaccel.spec.ssd import SsdPoint, SsdTier

PROFILES_DIR = Path(__file__).parent / "profiles"
MEASURED = PROFILES_DIR / "cpu.json"
CITED = PROFILES_DIR / "cited.json"
OPERATORS = PROFILES_DIR / "operators.json"
SPEEDUPS = PROFILES_DIR / "gtx-1080-ti.json"


class SpeedUps(BaseModel):
    """How much faster a device answers than one CPU process, loading included, by batch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = Field(min_length=1)
    over: str = Field(min_length=1)  # the CPU
    batch: tuple[int, ...] = Field(min_length=2)
    speedup: dict[str, tuple[float, ...]]  # model -> one per batch
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for model, factors in self.speedup.items():
            if len(factors) != len(self.batch) or min(factors) <= 0:
                raise ValueError(
                    f"speedup of {model} must be {len(self.batch)} positive numbers, "
                    f"not {list(factors)}"
                )
        return self

    def factor(self, model: str, items: int) -> float:
        """Return the speed-up at `items`, linear in log(batch), the last beyond the last batch.

        Raises ValueError that lists the models.
        """
        if model not in self.speedup:
            raise ValueError(f"model must be one of {', '.join(self.speedup)}, not {model!r}")
        if items < 1:
            raise ValueError(f"items must be at least 1, not {items}")
        return float(np.interp(math.log(items), np.log(self.batch), self.speedup[model]))

    def crossover(self, model: str) -> int | None:
        """Return the smallest batch that the device answers faster than the CPU, or None."""
        for items in range(1, self.batch[-1] + 1):
            if self.factor(model, items) > 1:
                return items
        return None


def load_speedups(path: Path = SPEEDUPS) -> SpeedUps:
    """Read speed-ups; ValueError at a wrong key or value."""
    return SpeedUps.model_validate_json(path.read_text())


def sped_up(profile: ServiceProfile, speedups: SpeedUps) -> ServiceProfile:
    """Return the profile of the faster device, from that of a CPU process."""
    return replace(
        profile,
        device=speedups.device,
        latency_ms=tuple(
            ms / speedups.factor(profile.model, items)
            for items, ms in zip(profile.batch, profile.latency_ms, strict=True)
        ),
        cores=1,
        source=f"{profile.source}; divided by the speed-ups of {speedups.source}",
    )


def across_link(
    profile: ServiceProfile, link: LinkPlatform, *, in_bytes: int, out_bytes: int
) -> ServiceProfile:
    """Return a profile of compute alone with the transfers both ways in front and behind.

    in_bytes, out_bytes : of one item, there and back [B]. Both ways pay the link's fixed cost.
    """
    if min(in_bytes, out_bytes) < 0:
        raise ValueError(f"bytes per item must be at least 0, not {in_bytes} and {out_bytes}")
    return replace(
        profile,
        latency_ms=tuple(
            ms + 1e3 * (link.seconds(items * in_bytes) + link.seconds(items * out_bytes))
            for items, ms in zip(profile.batch, profile.latency_ms, strict=True)
        ),
        source=f"{profile.source}; link: {link.source}",
    )


def from_ssd(
    profile: ServiceProfile, tier: SsdTier, point: SsdPoint, *, lookups_per_item: int
) -> ServiceProfile:
    """Return the profile with `point.miss_rate` of the lookups read from an SSD.

    What of their time is not hidden behind the profile's own comes on top.
    """
    if lookups_per_item < 1:
        raise ValueError(f"lookups_per_item must be at least 1, not {lookups_per_item}")

    def with_reads(items: int, ms: float) -> float:
        reads = math.ceil(items * lookups_per_item * point.miss_rate)
        return ms + 1e3 * tier.exposed_s(reads, point.hidden_share, 1e-3 * ms)

    return replace(
        profile,
        latency_ms=tuple(map(with_reads, profile.batch, profile.latency_ms)),
        source=f"{profile.source}; {point.table_share:g} of the tables on an SSD: {tier.source}",
    )
