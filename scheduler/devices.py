"""What a stage can run on: a measured CPU or a modelled accelerator, and the link between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rpaccel.scheduler.arrivals import Floats
from rpaccel.scheduler.cpu_profile import CpuProfile
from rpaccel.spec.isa import RESULT
from rpaccel.spec.platform import PlatformConfig

CANDIDATE_BYTES = 4  # one uint32 id


class Device(Protocol):
    """Equal servers, each of which runs consecutive stages of one query from start to end."""

    @property
    def name(self) -> str:
        """Name in reports."""
        ...

    @property
    def servers(self) -> int:
        """Queries served at a time."""
        ...

    @property
    def on_host(self) -> bool:
        """Whether the device shares the host's memory; else queries and answers cross the link."""
        ...

    def service_s(self, models: Sequence[str], items: Sequence[int], top_n: int) -> float:
        """Return the time of stages `models` over `items` candidates each [s]."""
        ...

    def ratios(self, models: Sequence[str]) -> Floats:
        """Return equally likely factors on `service_s`: the spread of a measured device."""
        ...

    def refusal(self, models: Sequence[str], items: Sequence[int], results: int) -> str | None:
        """Return why the device cannot run these stages and hand back `results`, or None."""
        ...


@dataclass(frozen=True, kw_only=True)
class CpuDevice:
    """A measured CPU: every worker is one thread that runs a query's stages one after another."""

    profile: CpuProfile
    servers: int
    name: str = "cpu"
    on_host: bool = True

    def service_s(self, models: Sequence[str], items: Sequence[int], top_n: int) -> float:
        """Return the sum of the fitted stage times [s]."""
        return sum(
            self.profile.model(model).seconds(count)
            for model, count in zip(models, items, strict=True)
        )

    def ratios(self, models: Sequence[str]) -> Floats:
        """Return the measured spread around the fit of the model with the widest one."""
        spreads = [np.asarray(self.profile.model(model).ratios) for model in models]
        return max(spreads, key=lambda ratios: float(ratios.max() / ratios.min()))

    def refusal(self, models: Sequence[str], items: Sequence[int], results: int) -> str | None:
        """Return the first model that was not measured, or None."""
        missing = [model for model in models if model not in self.profile.models]
        return f"the CPU profile does not hold model {missing[0]}" if missing else None


@dataclass(frozen=True, kw_only=True)
class AcceleratorDevice:
    """A modelled accelerator: one query per lane, all its stages in one descriptor.

    cycles : (models, items, top_n) -> total_cycles of the query, from perfmodel.
    max_items, max_results : what the hardware takes and can return ordered.
    """

    cycles: Callable[[Sequence[str], Sequence[int], int], float]
    clock_hz: float
    max_items: int
    max_results: int
    servers: int
    name: str = "accelerator"
    on_host: bool = False

    def service_s(self, models: Sequence[str], items: Sequence[int], top_n: int) -> float:
        """Return the predicted cycles over the clock [s]."""
        return self.cycles(models, items, top_n) / self.clock_hz

    def ratios(self, models: Sequence[str]) -> Floats:
        """Return 1: the model has no spread for a given query size."""
        return np.ones(1)

    def refusal(self, models: Sequence[str], items: Sequence[int], results: int) -> str | None:
        """Return the size that the hardware does not hold, or None."""
        if items[0] > self.max_items:
            return f"the accelerator takes at most {self.max_items} items, not {items[0]}"
        if results > self.max_results:
            return f"the accelerator returns at most {self.max_results} results, not {results}"
        return None


@dataclass(frozen=True, kw_only=True)
class Transfers:
    """Delays of moving a query to the accelerator and its survivors back. No contention.

    user_bytes : int  user record [B]
    record_bytes : int  item record that travels with each candidate; 0 if the feature table stays
        in device memory [B]
    """

    platform: PlatformConfig
    user_bytes: int = 0
    record_bytes: int = 0

    def to_device_s(self, items: int) -> float:
        """Return the delay of sending the user record and `items` candidates [s]."""
        payload = self.user_bytes + items * (CANDIDATE_BYTES + self.record_bytes)
        return self.platform.link.seconds(payload)

    def to_host_s(self, results: int) -> float:
        """Return the delay of fetching `results` results [s]."""
        return self.platform.link.seconds(results * RESULT.bytes)
