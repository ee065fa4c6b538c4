"""RecPipe's figure 10(c) on the Criteo-like trace, and what a better cache makes of it.

A memory of some megabytes is split between two stages. The front end reads a row of 16 bytes of
each table for every candidate, the back end a row of 128 bytes for one candidate in 8 or 16. AMAT
is the mean over bytes read: 1 cycle on chip, 100 cycles from memory.

Ref: U. Gupta et al., "RecPipe", MICRO'21, O.4 and figure 10(c); AMATs of its artifact's files
RPAccel_characterization/embedding/results/{ratio}_{MB}_{share}.json (the figure's legend swaps the
two 12 MB curves).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rpaccel.golden.cache_sim import LINE_BYTES, CacheConfig, by_frequency, rows_of, simulate
from rpaccel.workloads.criteo_trace import LARGE_TABLES, TABLE_COPIES, criteo_trace

Ints = npt.NDArray[np.int64]

MEBIBYTE = 1 << 20
HIT_CYCLES, MISS_CYCLES = 1, 100  # RecPipe figure 10(c)
CANDIDATES = 4096  # of a query of RecPipe on Criteo
RATIOS = (8, 16)  # candidates of the front end per candidate of the back end
TOTALS_MB = (4, 12)
SHARES = tuple(round(0.1 * step, 1) for step in range(11))
FP32_ROW_BYTES = (16, 128)  # front end: RMsmall, 4 floats; back end: RMlarge, 32 floats
INT8_ROW_BYTES = (4, 32)  # the same rows in int8

# (total [MiB], ratio) -> front-end share -> AMAT [cycles]
PUBLISHED_AMAT_CYCLES: dict[tuple[int, int], dict[float, float]] = {
    (4, 8): {0.0: 79.8, 0.1: 70.3, 0.3: 66.5, 0.5: 65.6, 0.7: 66.5, 1.0: 79.7},
    (12, 8): {0.0: 75.2, 0.1: 60.8, 0.3: 56.8, 0.5: 56.0, 0.7: 56.8, 1.0: 75.2},
    (4, 16): {0.0: 86.5, 0.1: 73.6, 0.3: 67.7, 0.5: 65.6, 0.7: 65.2, 1.0: 73.0},
    (12, 16): {0.0: 83.5, 0.1: 63.9, 0.3: 58.0, 0.5: 56.0, 0.7: 55.6, 1.0: 66.9},
}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How a stage's part of the memory is used.

    name : str      in reports
    pinned : bool   the most frequent rows of a profile, instead of FIFO replacement
    packed : bool   rows of their own size, instead of one per line of 128 bytes
    merged : bool   equal ids of a query read the cache and the memory once
    """

    name: str
    pinned: bool = False
    packed: bool = False
    merged: bool = False


AS_PUBLISHED = Variant(name="FIFO, 128 B lines")
VARIANTS = (
    AS_PUBLISHED,
    Variant(name="rows packed", packed=True),
    Variant(name="equal ids merged", merged=True),
    Variant(name="true pinned set", pinned=True),
    Variant(name="all three", pinned=True, packed=True, merged=True),
)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """AMAT against the front-end share of one memory."""

    variant: str
    total_mb: int
    ratio: int
    shares: tuple[float, ...]
    amat_cycles: tuple[float, ...]
    front_hit_rates: tuple[float, ...]
    back_hit_rates: tuple[float, ...]

    @property
    def best_share(self) -> float:
        """Front-end share of the lowest AMAT among those computed."""
        return self.shares[int(np.argmin(self.amat_cycles))]

    @property
    def worst_difference_cycles(self) -> float | None:
        """Largest distance to a published point, or None where none is published."""
        published = PUBLISHED_AMAT_CYCLES.get((self.total_mb, self.ratio), {})
        ours = dict(zip(self.shares, self.amat_cycles, strict=True))
        common = [abs(ours[s] - p) for s, p in published.items() if s in ours]
        return max(common) if self.variant == AS_PUBLISHED.name and common else None


def first_of_query(keys: Ints, samples: int) -> npt.NDArray[np.bool_]:
    """Return bool[n, tables]: whether a key is new among the last query's so far.

    keys : int64[n, tables], `samples` rows a query.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, not {samples}")
    fresh = np.zeros(keys.size, dtype=bool)
    size = samples * keys.shape[1]
    flat = keys.ravel()
    for start in range(0, keys.size, size):
        fresh[start + np.unique(flat[start : start + size], return_index=True)[1]] = True
    return fresh.reshape(keys.shape)


class StageStream:
    """The accesses of one stage, with hit rates that are computed once.

    Parameters
    ----------
    keys : int64[n, tables]  One row a candidate.
    frequent : int64[m]  Rows of another trace, the most frequent first: the pinned ones.
    query : int  Candidates of a query.
    warm_up : int64[k, tables]  What a FIFO cache reads first; by default `keys`, as the artifact.
    """

    def __init__(self, keys: Ints, frequent: Ints, query: int, warm_up: Ints | None = None) -> None:
        self._keys = keys
        self._frequent = frequent
        self._query = query
        self._warm_up = keys if warm_up is None else warm_up
        self._rates: dict[tuple[bool, bool, int], float] = {}

    @cached_property
    def _merged(self) -> tuple[Ints, Ints]:
        parts = self._warm_up, self._keys
        first, second = (part[first_of_query(part, self._query)] for part in parts)
        return first, second

    def hit_rate(self, rows: int, *, pinned: bool = False, merged: bool = False) -> float:
        """Return the share of accesses that read no memory with a cache of `rows` rows.

        Raises ValueError if the stream is so short that a FIFO cache is not replaced once.
        """
        key = (pinned, merged, rows)
        if key not in self._rates:
            whole = self._warm_up.ravel(), self._keys.ravel()
            warm_up, stream = self._merged if merged else whole
            if pinned:
                config = CacheConfig(policy="pinned", rows=rows)
                run = simulate(config, stream, pinned=self._frequent[:rows])
            else:
                run = simulate(CacheConfig(policy="fifo", rows=rows), stream, warm_up=warm_up)
                if run.misses < rows:
                    raise ValueError(
                        f"samples must be more: a cache of {rows} rows had {run.misses} misses"
                    )
            self._rates[key] = 1 - run.reads / self._keys.size
        return self._rates[key]


class CacheStudy:
    """Curves of figure 10(c) over one seeded trace of the five largest tables.

    The four copies of every table behave alike, so one copy with a quarter of the rows is run
    (`workloads.criteo_trace.copied`). The back end reads the first candidates of the trace, as in
    the artifact.

    Parameters
    ----------
    samples : int  Candidates of the front end; the profile is as long.
    seed : int     Of the trace; the profile has the next one.
    """

    def __init__(self, samples: int, seed: int) -> None:
        least = CANDIDATES * max(RATIOS)
        if samples < least:
            raise ValueError(f"samples must be at least {least}, not {samples}")
        keys = criteo_trace(samples, tables=LARGE_TABLES, seed=seed)
        frequent = by_frequency(criteo_trace(samples, tables=LARGE_TABLES, seed=seed + 1))
        self._front = StageStream(keys, frequent, CANDIDATES)
        self._back = {
            ratio: StageStream(keys[: samples // ratio], frequent, CANDIDATES // ratio)
            for ratio in RATIOS
        }

    def curve(
        self, variant: Variant, total_mb: int, ratio: int, shares: Sequence[float] = SHARES
    ) -> Curve:
        """Return AMAT and hit rates at every front-end share of a memory of `total_mb` MiB."""
        if ratio not in self._back:
            raise ValueError(f"ratio must be one of {RATIOS}, not {ratio}")

        def rate(stream: StageStream, row_bytes: int, share: float) -> float:
            size = row_bytes if variant.packed else LINE_BYTES
            rows = rows_of(total_mb * MEBIBYTE, size, share) // TABLE_COPIES
            return stream.hit_rate(rows, pinned=variant.pinned, merged=variant.merged)

        front_bytes, back_bytes = FP32_ROW_BYTES
        front = [rate(self._front, front_bytes, share) for share in shares]
        back = [rate(self._back[ratio], back_bytes, round(1 - share, 9)) for share in shares]
        weight = front_bytes * ratio / (front_bytes * ratio + back_bytes)
        hits = [weight * f + (1 - weight) * b for f, b in zip(front, back, strict=True)]
        return Curve(
            variant=variant.name,
            total_mb=total_mb,
            ratio=ratio,
            shares=tuple(shares),
            amat_cycles=tuple(MISS_CYCLES - (MISS_CYCLES - HIT_CYCLES) * hit for hit in hits),
            front_hit_rates=tuple(front),
            back_hit_rates=tuple(back),
        )

    def curves(self) -> list[Curve]:
        """Return every variant at every size and ratio of the figure."""
        return [
            self.curve(variant, total_mb, ratio)
            for total_mb in TOTALS_MB
            for ratio in RATIOS
            for variant in VARIANTS
        ]

    def published_hit_rates(self, lines: Iterable[int]) -> dict[int, float]:
        """Return hit rates [%] of the front end's FIFO caches of 128-byte lines, all copies."""
        return {n: 100 * self._front.hit_rate(n // TABLE_COPIES) for n in lines}
