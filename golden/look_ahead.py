"""The look-ahead cache: set-associative, filled by reads that miss and by prefetches.

Its rules are those of a small circuit, and every operation ends at once, whatever the cache holds:

* a row belongs to one set, `set_of`: the exclusive-or of the key's slices of log2(sets) bits;
* a line is *held* while it has references (a read or prefetch until its release) or while its
  fetch is on the way; a held line is never replaced;
* a READ or PREFETCH of a row with a line takes a reference. Without a line, the first way that
  nothing holds is replaced, searched upwards from the set's pointer, which then goes one past it:
  first in, first out, as long as nothing is held;
* if every way is held, or the line's references are at their limit, the operation is REFUSED: a
  read fetches the row for itself and keeps nothing, a prefetch is dropped. So nothing ever waits
  for a line, and the cache cannot deadlock at any size down to one row;
* the first read of a row takes over the reference of a prefetch of it. A prefetch that no read will
  follow is released too; where its line holds another row by then, or no such reference is left,
  that is IGNORED.

Sizing: reads in flight and rows prefetched ahead hold at most as many lines as they are. With that
many ways nothing is ever refused; with fewer, a refusal costs one read of memory and is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from rpaccel.golden import look_ahead_kernels as kernels
from rpaccel.golden.cache_sim import Event

__all__ = ["LookAheadConfig", "LookAheadRun", "Operation", "operate", "read_window", "set_of"]

Ints = npt.NDArray[np.int64]


class Operation(IntEnum):
    """What is asked of the cache. FILL and RELEASE name the read or prefetch by its position."""

    READ = kernels.READ
    PREFETCH = kernels.PREFETCH
    FILL = kernels.FILL  # the row that this read or prefetch fetched has arrived
    RELEASE = kernels.RELEASE  # its row is used; of a prefetch: no read will follow


@dataclass(frozen=True, kw_only=True)
class LookAheadConfig:
    """Size of a look-ahead cache.

    sets : int        a power of two
    ways : int        lines of a set
    references : int  most references of one line
    """

    sets: int
    ways: int
    references: int = 1 << 16

    def __post_init__(self) -> None:
        if self.sets < 1 or self.sets & (self.sets - 1):
            raise ValueError(f"sets must be a power of two, not {self.sets}")
        if self.ways < 1:
            raise ValueError(f"ways must be at least 1, not {self.ways}")
        if self.references < 1:
            raise ValueError(f"references must be at least 1, not {self.references}")

    @property
    def rows(self) -> int:
        """Rows that the cache holds."""
        return self.sets * self.ways


@dataclass(frozen=True, kw_only=True, eq=False)
class LookAheadRun:
    """Counts over reads and prefetches, and what every operation came to if that was recorded.

    hits, merged, misses, refused : reads and prefetches by event; evictions
    dropped : prefetches among the refused
    used, late : rows that a prefetch fetched and a read then found; those not yet arrived by then
    unused : rows that a prefetch fetched and that were replaced unread
    events : uint8[n] of Event; lines : int64[n]  set * ways + way, -1 for none (reads, prefetches)
    victims : int64[n]  the key that left, -1 for none
    """

    hits: int
    merged: int
    misses: int
    refused: int
    evictions: int
    dropped: int
    used: int
    late: int
    unused: int
    events: npt.NDArray[np.uint8] | None
    lines: Ints | None
    victims: Ints | None

    @property
    def reads(self) -> int:
        """Rows read from memory."""
        return self.misses + self.refused - self.dropped


def set_of(key: int, sets: int) -> int:
    """Return the set that holds row `key`: the exclusive-or of its slices of log2(sets) bits."""
    return int(kernels.set_of(key, sets))


def operate(
    config: LookAheadConfig,
    kinds: npt.NDArray[np.integer],
    operands: npt.NDArray[np.integer],
) -> LookAheadRun:
    """Run operations on an empty cache and return what each came to.

    kinds : int[n] of Operation; operands : int[n]  READ, PREFETCH: the key, 0 or more. FILL,
    RELEASE: position of the read or prefetch. Filled once, if it fetched; released once, and a read
    that fetched into a line only after its fill. Raises ValueError for the first that breaks this.
    """
    kinds8 = np.asarray(kinds, dtype=np.uint8)
    values = np.asarray(operands, dtype=np.int64)
    if kinds8.shape != values.shape or kinds8.ndim != 1:
        raise ValueError(f"operands must have shape {kinds8.shape}, not {values.shape}")
    if kinds8.size and kinds8.max() > Operation.RELEASE:
        raise ValueError(f"kinds must be in 0..{int(Operation.RELEASE)}, not {kinds8.max()}")
    events, lines, victims = _records(kinds8.size)
    totals = np.zeros(kernels.COUNTERS, dtype=np.int64)
    state = kernels.new_look_ahead(config.sets, config.ways)
    wrong = kernels.operations_run(
        state, kinds8, values, config.references, totals, events, lines, victims
    )
    if wrong >= 0:
        raise ValueError(
            f"operation {wrong} must be legal: {Operation(int(kinds8[wrong])).name} {values[wrong]}"
        )
    return _run(totals, events, lines, victims)


def read_window(
    config: LookAheadConfig,
    keys: npt.NDArray[np.integer],
    outstanding: int,
    *,
    warm_up: npt.NDArray[np.integer] | None = None,
    record: bool = False,
) -> LookAheadRun:
    """Read `keys` in order, `outstanding` reads at a time.

    Each read is filled (if it fetched) and released just before the read `outstanding` later, and
    at the end. warm_up : int[m]  read first and not counted. record : keep events, lines, victims.
    """
    if outstanding < 1:
        raise ValueError(f"outstanding must be at least 1, not {outstanding}")
    stream = np.ascontiguousarray(keys, dtype=np.int64)
    first = np.ascontiguousarray(stream[:0] if warm_up is None else warm_up, dtype=np.int64)
    if min(stream.min(initial=0), first.min(initial=0)) < 0:
        raise ValueError("keys must be at least 0")
    state = kernels.new_look_ahead(config.sets, config.ways)
    totals = np.zeros(kernels.COUNTERS, dtype=np.int64)
    limit = config.references
    kernels.window_run(state, first, outstanding, limit, totals, *_records(0))
    totals[:] = 0
    records = _records(stream.size if record else 0)
    kernels.window_run(state, stream, outstanding, limit, totals, *records)
    return _run(totals, *(records if record else (None, None, None)))


def _records(size: int) -> tuple[npt.NDArray[np.uint8], Ints, Ints]:
    empty = np.full(size, kernels.EMPTY, dtype=np.int64)
    return np.zeros(size, dtype=np.uint8), empty, empty.copy()


def _run(
    totals: Ints, events: npt.NDArray[np.uint8] | None, lines: Ints | None, victims: Ints | None
) -> LookAheadRun:
    return LookAheadRun(
        hits=int(totals[Event.HIT]),
        merged=int(totals[Event.MERGED]),
        misses=int(totals[Event.MISS]),
        refused=int(totals[Event.REFUSED]),
        evictions=int(totals[kernels.EVICTIONS]),
        dropped=int(totals[kernels.DROPPED]),
        used=int(totals[kernels.USED]),
        late=int(totals[kernels.LATE]),
        unused=int(totals[kernels.UNUSED]),
        events=events,
        lines=lines,
        victims=victims,
    )
