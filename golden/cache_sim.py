"""Fast simulator of embedding caches: first-in-first-out, least recently used, and pinned.

Accesses are ordered and have no duration. Of the time that a read takes, one thing is kept: the
last `outstanding` rows fetched are still on their way, and an access to one of them is MERGED into
that fetch instead of fetching again. The set-associative look-ahead cache is `golden.look_ahead`.

Ref: RecPipe (MICRO'21), O.4 and figure 10(c): the cache that the figure calls static was measured
with FIFO replacement, one vector per 128-byte line.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

from rpaccel.golden import cache_kernels as kernels

__all__ = [
    "LINE_BYTES",
    "CacheConfig",
    "CacheRun",
    "Event",
    "by_frequency",
    "pinned_rows",
    "rows_of",
    "simulate",
]

Ints = npt.NDArray[np.int64]
Policy = Literal["fifo", "lru", "pinned"]

LINE_BYTES = 128  # RecPipe O.4: a line holds one vector of RMlarge, or one of RMsmall


class Event(IntEnum):
    """What an access, or another operation on a cache, came to."""

    HIT = kernels.HIT  # the row is on chip
    MERGED = kernels.MERGED  # the row is on its way: no read of memory
    MISS = kernels.MISS  # read from memory and kept
    REFUSED = kernels.REFUSED  # no place: read from memory, not kept; a prefetch is dropped
    DONE = kernels.DONE  # another operation took effect
    IGNORED = kernels.IGNORED  # there was no line that it could act on


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """A fully associative cache.

    policy : "fifo", "lru", or "pinned" (static: rows chosen beforehand, see `pinned_rows`)
    rows : int         capacity in rows; of a pinned set, its largest size
    outstanding : int  reads of memory in flight at once. A FIFO cache of that many rows never loses
        a row in flight; an LRU cache may, and then fetches it again.
    """

    policy: Policy
    rows: int
    outstanding: int = 0

    def __post_init__(self) -> None:
        if self.policy not in ("fifo", "lru", "pinned"):
            raise ValueError(f"policy must be fifo, lru or pinned, not {self.policy!r}")
        if self.rows < 0:
            raise ValueError(f"rows must be at least 0, not {self.rows}")
        if self.outstanding < 0:
            raise ValueError(f"outstanding must be at least 0, not {self.outstanding}")
        if self.policy != "pinned" and self.outstanding > self.rows:
            raise ValueError(
                f"outstanding must be at most rows {self.rows}, not {self.outstanding}: "
                "rows in flight have a line"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class CacheRun:
    """Counts of a run, and what every access came to if that was recorded.

    events : uint8[n] of Event; victims : int64[n]  the key that left, -1 for none.
    """

    accesses: int
    hits: int
    merged: int
    misses: int
    refused: int
    evictions: int
    events: npt.NDArray[np.uint8] | None
    victims: Ints | None

    @property
    def reads(self) -> int:
        """Rows read from memory."""
        return self.misses + self.refused

    @property
    def hit_rate(self) -> float:
        """Share of accesses that read no memory, hits and merged ones."""
        return 1 - self.reads / self.accesses if self.accesses else 0.0


def rows_of(capacity_bytes: int, row_bytes: int, share: float = 1.0) -> int:
    """Return how many rows fit into `share` of a memory.

    row_bytes : the model's own row, or LINE_BYTES for one vector per line.
    Raises ValueError for a share outside 0..1 or a row without bytes.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in 0..1, not {share}")
    if row_bytes < 1:
        raise ValueError(f"row_bytes must be at least 1, not {row_bytes}")
    return int(round(capacity_bytes * share, 6) // row_bytes)


def by_frequency(profile: npt.NDArray[np.integer]) -> Ints:
    """Return the keys of a profile, each once, the most frequent first; ties by the smaller key.

    profile : int[n]  keys of a trace recorded before, in any order.
    """
    keys, counts = np.unique(np.asarray(profile, dtype=np.int64), return_counts=True)
    return keys[np.argsort(-counts, kind="stable")]


def pinned_rows(profile: npt.NDArray[np.integer], rows: int) -> Ints:
    """Return the `rows` most frequent keys of a profile, or all if there are fewer; ascending.

    A key that the profile lacks is never pinned.
    """
    if rows < 0:
        raise ValueError(f"rows must be at least 0, not {rows}")
    return np.sort(by_frequency(profile)[:rows])


def simulate(
    config: CacheConfig,
    keys: npt.NDArray[np.integer],
    *,
    warm_up: npt.NDArray[np.integer] | None = None,
    pinned: npt.NDArray[np.integer] | None = None,
    record: bool = False,
) -> CacheRun:
    """Access `keys` in order and return what happened.

    keys : int[n]     row numbers, 0 or more; unique over all tables
    warm_up : int[m]  accessed first and not counted
    pinned : int[k]   the pinned set of the policy "pinned", k <= rows
    record : keep events and victims (9 bytes per access)
    Raises ValueError if a key is negative, or the pinned set does not fit or was not asked for.
    """
    stream = _checked("keys", keys)
    first = _checked("warm_up", np.zeros(0, np.int64) if warm_up is None else warm_up)
    events = np.zeros(stream.size if record else 0, dtype=np.uint8)
    victims = np.full(events.size, kernels.EMPTY, dtype=np.int64)
    no_events, no_victims = events[:0], victims[:0]
    totals = np.zeros(kernels.EVENTS + 1, dtype=np.int64)
    if config.policy == "pinned":
        index = _index(config, pinned)
        in_flight = kernels.new_state(config.outstanding)
        kernels.pinned_run(index, in_flight, first, totals, no_events)
        totals[:] = 0
        kernels.pinned_run(index, in_flight, stream, totals, events)
    else:
        if pinned is not None:
            raise ValueError(f"pinned must be left out for the policy {config.policy!r}")
        lru = config.policy == "lru"
        state = kernels.new_state(config.rows)
        kernels.cache_run(state, first, config.outstanding, lru, totals, no_events, no_victims)
        totals[:] = 0
        kernels.cache_run(state, stream, config.outstanding, lru, totals, events, victims)
    return CacheRun(
        accesses=stream.size,
        hits=int(totals[Event.HIT]),
        merged=int(totals[Event.MERGED]),
        misses=int(totals[Event.MISS]),
        refused=int(totals[Event.REFUSED]),
        evictions=int(totals[kernels.EVENTS]),
        events=events if record else None,
        victims=victims if record else None,
    )


def _checked(name: str, keys: npt.NDArray[np.integer]) -> Ints:
    stream = np.ascontiguousarray(keys, dtype=np.int64).ravel()
    if stream.size and stream.min() < 0:
        raise ValueError(f"{name} must be at least 0, not {stream.min()}")
    return stream


def _index(config: CacheConfig, pinned: npt.NDArray[np.integer] | None) -> Ints:
    """Return the hash index of the pinned set."""
    if pinned is None:
        raise ValueError("pinned must be given for the policy 'pinned'")
    keys = np.unique(_checked("pinned", pinned))
    if keys.size > config.rows:
        raise ValueError(f"pinned must be at most rows {config.rows}, not {keys.size}")
    index = kernels.new_state(keys.size).hashed
    kernels.pin(index, keys)
    return index
