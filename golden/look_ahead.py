"""The look-ahead cache: set-associative, filled by reads that miss and by prefetches.

Its rules are those of a small circuit, and every operation ends at once, whatever the cache holds:

* a row belongs to one set, `set_of`: the exclusive-or of the key's slices of log2(sets) bits;
* a line is *flying* from the miss to the FILL; a PREFETCH of its row, missed or not, marks it
  *ahead* with its owner and the owner's epoch, and the next LOOK of its row clears the mark;
* a line is *held* while it is flying, or marked in its owner's present epoch. A held line is never
  replaced. An owner's epoch is advanced when what it prefetched for is over, which frees all that
  it marked and nobody read. Epochs count modulo 4: a mark four epochs old holds again, until its
  row is read or the epoch moves on: harmless;
* a line has one mark: the last PREFETCH of its row owns it;
* marks leave `free_ways` lines of every set to LOOKs: a PREFETCH that would leave less is REFUSED
  if its row has no line, and marks nothing if it has one;
* a LOOK or PREFETCH of a row without a line replaces the first way that is not held, searched
  upwards from the set's pointer, which then goes one past it: first in, first out, as long as
  nothing is held;
* if every way is held, it is REFUSED: a LOOK's row is read and not kept, a PREFETCH is dropped. So
  nothing ever waits for a line, and the cache cannot deadlock at any size down to one row.

Sizing: reads in flight and rows marked ahead hold at most as many lines as they are. With that many
ways nothing is ever refused; with fewer, a refusal costs one read of memory and is counted.
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

MAX_OWNERS = 64


class Operation(IntEnum):
    """What is asked of the cache. FILL and ABORT name the LOOK or PREFETCH by its position."""

    LOOK = kernels.LOOK  # a read
    PREFETCH = kernels.PREFETCH  # as LOOK, but for later
    FILL = kernels.FILL  # the row that this LOOK or PREFETCH missed has arrived
    ABORT = kernels.ABORT  # instead of a FILL: the row could not be read, the line is emptied
    UPDATE = kernels.UPDATE  # the row has a new version; counts as no access, clears no mark
    ADVANCE = kernels.ADVANCE  # of an owner's epoch; the RTL's input `epochs`


@dataclass(frozen=True, kw_only=True)
class LookAheadConfig:
    """Size of a look-ahead cache.

    sets : int    a power of two
    ways : int    lines of a set
    owners : int  who prefetches, 1..64
    free_ways : int  lines of a set that marks of prefetches leave to LOOKs, 0..ways
    """

    sets: int
    ways: int
    owners: int = 1
    free_ways: int = 0

    def __post_init__(self) -> None:
        if self.sets < 1 or self.sets & (self.sets - 1):
            raise ValueError(f"sets must be a power of two, not {self.sets}")
        if self.ways < 1:
            raise ValueError(f"ways must be at least 1, not {self.ways}")
        if not 1 <= self.owners <= MAX_OWNERS:
            raise ValueError(f"owners must be in 1..{MAX_OWNERS}, not {self.owners}")
        if not 0 <= self.free_ways <= self.ways:
            raise ValueError(f"free_ways must be in 0..{self.ways}, not {self.free_ways}")

    @property
    def rows(self) -> int:
        """Rows that the cache holds."""
        return self.sets * self.ways


@dataclass(frozen=True, kw_only=True, eq=False)
class LookAheadRun:
    """Counts, and what every operation came to if that was recorded.

    hits, merged, misses, refused : LOOKs by event; evictions : by LOOKs and PREFETCHes
    prefetches, dropped : PREFETCHes that missed, and that were refused
    used, late : rows that a PREFETCH missed and a LOOK then found; those still flying by then
    unused : rows that a PREFETCH missed and that were replaced unread
    events : uint8[n] of Event; lines : int64[n]  set * ways + way, -1 for none (LOOK, PREFETCH)
    victims : int64[n]  the key that left, -1 for none
    """

    hits: int
    merged: int
    misses: int
    refused: int
    evictions: int
    prefetches: int
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
        return self.misses + self.refused + self.prefetches


def set_of(key: int, sets: int) -> int:
    """Return the set that holds row `key`: the exclusive-or of its slices of log2(sets) bits."""
    return int(kernels.set_of(key, sets))


def operate(
    config: LookAheadConfig,
    kinds: npt.NDArray[np.integer],
    operands: npt.NDArray[np.integer],
    owners: npt.NDArray[np.integer] | None = None,
) -> LookAheadRun:
    """Run operations on an empty cache and return what each came to.

    kinds : int[n] of Operation; operands : int[n]  LOOK, PREFETCH, UPDATE: the key, 0 or more.
    FILL, ABORT: position of a LOOK or PREFETCH that came to MISS or REFUSED, one of the two and
    once. ADVANCE: the owner. owners : int[n]  of PREFETCH; left out: 0.
    Raises ValueError for the first that breaks this, and for an UPDATE of a row that is flying.
    """
    kinds8 = np.asarray(kinds, dtype=np.uint8)
    values = np.asarray(operands, dtype=np.int64)
    who = np.zeros(kinds8.shape, dtype=np.int64) if owners is None else np.asarray(owners, np.int64)
    for name, array in (("operands", values), ("owners", who)):
        if kinds8.shape != array.shape or kinds8.ndim != 1:
            raise ValueError(f"{name} must have shape {kinds8.shape}, not {array.shape}")
    if kinds8.size and kinds8.max() > Operation.ADVANCE:
        raise ValueError(f"kinds must be in 0..{int(Operation.ADVANCE)}, not {kinds8.max()}")
    events, lines, victims = _records(kinds8.size)
    totals = np.zeros(kernels.COUNTERS, dtype=np.int64)
    state = kernels.new_look_ahead(config.sets, config.ways, config.owners, config.free_ways)
    wrong = kernels.operations_run(state, kinds8, values, who, totals, events, lines, victims)
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

    Each read is a LOOK; if it missed, its line is filled just before the read `outstanding` later,
    or at the end. warm_up : int[m]  read first and not counted. record : keep events, lines,
    victims.
    """
    if outstanding < 1:
        raise ValueError(f"outstanding must be at least 1, not {outstanding}")
    stream = np.ascontiguousarray(keys, dtype=np.int64)
    first = np.ascontiguousarray(stream[:0] if warm_up is None else warm_up, dtype=np.int64)
    if min(stream.min(initial=0), first.min(initial=0)) < 0:
        raise ValueError("keys must be at least 0")
    state = kernels.new_look_ahead(config.sets, config.ways, config.owners, config.free_ways)
    totals = np.zeros(kernels.COUNTERS, dtype=np.int64)
    kernels.window_run(state, first, outstanding, totals, *_records(0))
    totals[:] = 0
    records = _records(stream.size if record else 0)
    kernels.window_run(state, stream, outstanding, totals, *records)
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
        prefetches=int(totals[kernels.PREFETCHES]),
        dropped=int(totals[kernels.DROPPED]),
        used=int(totals[kernels.USED]),
        late=int(totals[kernels.LATE]),
        unused=int(totals[kernels.UNUSED]),
        events=events,
        lines=lines,
        victims=victims,
    )
