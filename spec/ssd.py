"""An SSD behind the memory that holds embedding tables: when its reads end, what of them shows.

Ref: U. Gupta et al., "RecPipe", MICRO 2021, Table 3 and figure 13.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rpaccel.spec.preset_file import names_in, read_preset

SSD_DIR = Path(__file__).parent / "presets" / "ssd"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SsdPoint(_Frozen):
    """What a share of the tables on the SSD does to lookups."""

    table_share: float = Field(ge=0, le=1)  # of the tables' bytes on the SSD
    miss_rate: float = Field(ge=0, le=1)  # of lookups that the memory in front does not hold
    hidden_share: float = Field(ge=0, le=1)  # of the SSD's time that lies behind other work


class SsdTier(_Frozen):
    """A drive with parallel reads: each takes `latency_s`, pages leave one after another."""

    name: str
    latency_s: float = Field(gt=0)  # [s] of one read alone, its page included
    bytes_per_s: float = Field(gt=0)  # [B/s] of pages that leave the drive
    page_bytes: int = Field(default=4096, ge=1)  # [B] read for one row
    queue_depth: int = Field(ge=1)  # reads at a time
    points: tuple[SsdPoint, ...] = ()  # by table_share, ascending
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        shares = [point.table_share for point in self.points]
        if any(low >= high for low, high in pairwise(shares)):
            raise ValueError(f"points must ascend by table_share, not {shares}")
        if self.page_bytes / self.bytes_per_s > self.latency_s:
            raise ValueError(
                f"latency_s must be at least the {self.page_bytes / self.bytes_per_s:.3g} s of a "
                f"page, not {self.latency_s:.3g}"
            )
        return self

    @property
    def reads_per_s(self) -> float:
        """Rate of many reads: the queue's (Little's law) or the bandwidth's, the lower [1/s]."""
        return min(self.queue_depth / self.latency_s, self.bytes_per_s / self.page_bytes)

    def seconds(self, reads: int) -> float:
        """Return when the last of `reads` that are asked for at once has come [s].

        A read begins when one `queue_depth` before it has come, comes `latency_s` later at the
        earliest, and a page's time after the one before it. Exact for that rule, in closed form.
        """
        if reads < 0:
            raise ValueError(f"reads must be at least 0, not {reads}")
        if reads == 0:
            return 0.0
        page_s = self.page_bytes / self.bytes_per_s
        waves, rest = divmod(reads - 1, self.queue_depth)
        if page_s * self.queue_depth >= self.latency_s:
            return self.latency_s + (reads - 1) * page_s
        return (waves + 1) * self.latency_s + rest * page_s

    def exposed_s(self, reads: int, hidden_share: float, compute_s: float) -> float:
        """Return what `reads` add to a request [s].

        hidden_share : of their time that lies behind compute, which is `compute_s` long: no more
        than that can be hidden.
        """
        if not 0 <= hidden_share <= 1 or compute_s < 0:
            raise ValueError(
                "hidden_share must be in 0..1 and compute_s at least 0, "
                f"not {hidden_share} and {compute_s}"
            )
        total = self.seconds(reads)
        return total - min(hidden_share * total, compute_s)

    def at(self, table_share: float) -> SsdPoint:
        """Return miss rate and hidden share between the points. ValueError outside them."""
        shares = [point.table_share for point in self.points]
        if not shares or not shares[0] <= table_share <= shares[-1]:
            known = f"{shares[0]}..{shares[-1]}" if shares else "points, and there are none"
            raise ValueError(f"table_share must be in {known}, not {table_share}")

        def between(name: str) -> float:
            values = [getattr(point, name) for point in self.points]
            return float(np.interp(table_share, shares, values))

        return SsdPoint(
            table_share=table_share,
            miss_rate=between("miss_rate"),
            hidden_share=between("hidden_share"),
        )


def ssd_names() -> list[str]:
    """Names of the drives, sorted."""
    return names_in(SSD_DIR)


def load_ssd(source: str | Path) -> SsdTier:
    """Read a drive by name, or a YAML file by path. ValueError names every wrong key."""
    return SsdTier.model_validate(read_preset(source, SSD_DIR, "ssd"))
