"""Compiled loops of `golden.look_ahead`: one step of the cache, and two drivers of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from rpaccel.golden.cache_kernels import DONE, EMPTY, HIT, IGNORED, MERGED, MISS, REFUSED

Ints = npt.NDArray[np.int64]

LOOK, PREFETCH, FILL, ABORT, UPDATE, ADVANCE = range(6)  # golden.look_ahead.Operation
# Counters behind those of a LOOK's four events.
EVICTIONS, PREFETCHES, DROPPED, USED, LATE, UNUSED = range(4, 10)
COUNTERS = 10
EPOCHS = 4


class LookAheadState(NamedTuple):
    """Arrays of a set-associative cache: per line, per set, and per owner.

    keys : int64[sets, ways]  row in each line; flying : missed and not filled; owner : who marked
    it ahead, EMPTY if none since it was read; epoch : of the mark; unread : missed by a prefetch
    and not read; next_way : int64[sets]  where the search for a victim begins; epochs :
    int64[owners]  the present ones; free_ways : lines of a set that marks leave to LOOKs.
    """

    keys: Ints
    flying: npt.NDArray[np.uint8]
    owner: Ints
    epoch: Ints
    unread: npt.NDArray[np.uint8]
    next_way: Ints
    epochs: Ints
    free_ways: int


def new_look_ahead(sets: int, ways: int, owners: int, free_ways: int) -> LookAheadState:
    """Return an empty cache, every owner in epoch 0."""
    shape = (sets, ways)
    return LookAheadState(
        keys=np.full(shape, EMPTY, dtype=np.int64),
        flying=np.zeros(shape, dtype=np.uint8),
        owner=np.full(shape, EMPTY, dtype=np.int64),
        epoch=np.zeros(shape, dtype=np.int64),
        unread=np.zeros(shape, dtype=np.uint8),
        next_way=np.zeros(sets, dtype=np.int64),
        epochs=np.zeros(owners, dtype=np.int64),
        free_ways=free_ways,
    )


@njit(cache=True)
def set_of(key: int, sets: int) -> int:
    """Return the set of `key`: its slices of log2(sets) bits, exclusive-or. sets : power of two."""
    bits = 0
    while 1 << bits < sets:
        bits += 1
    found = 0
    while key > 0 and bits > 0:
        found ^= key
        key >>= bits
    return found & (sets - 1)


@njit(cache=True)
def _find(state: LookAheadState, at: int, key: int) -> int:
    """Return the way of set `at` that holds `key`, or EMPTY."""
    for way in range(state.keys.shape[1]):
        if state.keys[at, way] == key:
            return way
    return EMPTY


@njit(cache=True)
def _marked(state: LookAheadState, at: int, way: int) -> bool:
    owner = state.owner[at, way]
    return owner != EMPTY and state.epoch[at, way] == state.epochs[owner]


@njit(cache=True)
def _held(state: LookAheadState, at: int, way: int) -> bool:
    return _marked(state, at, way) or state.flying[at, way] != 0


@njit(cache=True)
def _may_mark(state: LookAheadState, at: int, way: int) -> bool:
    """Return whether a mark of the line leaves enough lines of the set without one."""
    left = 0
    for other in range(state.keys.shape[1]):
        left += other != way and not _marked(state, at, other)
    return left >= state.free_ways


@njit(cache=True)
def _victim(state: LookAheadState, at: int) -> int:
    """Return the first way from `next_way` on that is not held, or EMPTY."""
    ways = state.keys.shape[1]
    for step in range(ways):
        way = (state.next_way[at] + step) % ways
        if not _held(state, at, way):
            return way
    return EMPTY


@njit(cache=True)
def _mark(state: LookAheadState, at: int, way: int, owner: int) -> None:
    """Mark a line ahead, or clear its mark (owner EMPTY)."""
    state.owner[at, way] = owner
    if owner != EMPTY:
        state.epoch[at, way] = state.epochs[owner]


@njit(cache=True)
def access(state: LookAheadState, key: int, owner: int, totals: Ints) -> tuple[int, int, int]:
    """Return (event, line or EMPTY, key that leaves or EMPTY) of a LOOK, or a PREFETCH of `owner`.

    owner : EMPTY of a LOOK.
    """
    sets, ways = state.keys.shape
    at, ahead, victim = set_of(key, sets), owner != EMPTY, EMPTY
    way = _find(state, at, key)
    if way != EMPTY:
        event = MERGED if state.flying[at, way] else HIT
        if not ahead and state.unread[at, way]:
            state.unread[at, way] = 0
            totals[USED] += 1
            totals[LATE] += event == MERGED
    else:
        event, way = MISS, _victim(state, at)
        if way == EMPTY or (ahead and not _may_mark(state, at, way)):
            totals[DROPPED if ahead else REFUSED] += 1
            return REFUSED, EMPTY, EMPTY
        victim = state.keys[at, way]
        totals[EVICTIONS] += victim != EMPTY
        totals[UNUSED] += state.unread[at, way]
        totals[PREFETCHES] += ahead
        state.keys[at, way] = key
        state.flying[at, way] = 1
        state.unread[at, way] = ahead
        state.next_way[at] = (way + 1) % ways
    _mark(state, at, way, owner if _may_mark(state, at, way) else EMPTY)
    if not ahead:
        totals[event] += 1
    return event, at * ways + way, victim


@njit(cache=True)
def fill(state: LookAheadState, line: int) -> None:
    """Mark the row of `line` as arrived."""
    state.flying.ravel()[line] = 0


@njit(cache=True)
def abort(state: LookAheadState, line: int) -> None:
    """Empty `line`, whose row could not be read."""
    state.keys.ravel()[line] = EMPTY
    state.flying.ravel()[line] = 0
    state.owner.ravel()[line] = EMPTY
    state.unread.ravel()[line] = 0


@njit(cache=True)
def _legal(
    state: LookAheadState,
    kinds: npt.NDArray[np.uint8],
    operands: Ints,
    owners: Ints,
    spent: npt.NDArray[np.uint8],
    events: npt.NDArray[np.uint8],
    i: int,
) -> bool:
    """Return whether operation `i` may follow those before it."""
    kind, operand = kinds[i], operands[i]
    if operand < 0:
        return False
    if kind == PREFETCH:
        return 0 <= owners[i] < state.epochs.size
    if kind == ADVANCE:
        return operand < state.epochs.size
    if kind == UPDATE:
        at = set_of(operand, state.keys.shape[0])
        way = _find(state, at, operand)
        return way == EMPTY or state.flying[at, way] == 0
    if kind == LOOK:
        return True
    unspent = operand < i and kinds[operand] <= PREFETCH and spent[operand] == 0
    return unspent and (events[operand] == MISS or events[operand] == REFUSED)


@njit(cache=True)
def operations_run(
    state: LookAheadState,
    kinds: npt.NDArray[np.uint8],
    operands: Ints,
    owners: Ints,
    totals: Ints,
    events: npt.NDArray[np.uint8],
    lines: Ints,
    victims: Ints,
) -> int:
    """Run the operations in order; return the first that is wrong, or EMPTY.

    lines : int64[n]  must come EMPTY: the line of each LOOK and PREFETCH.
    """
    spent = np.zeros(kinds.size, dtype=np.uint8)  # filled or aborted
    for i in range(kinds.size):
        kind, operand = kinds[i], operands[i]
        if not _legal(state, kinds, operands, owners, spent, events, i):
            return i
        event = DONE
        if kind <= PREFETCH:
            owner = owners[i] if kind == PREFETCH else EMPTY
            event, lines[i], victims[i] = access(state, operand, owner, totals)
        elif kind == UPDATE:
            if _find(state, set_of(operand, state.keys.shape[0]), operand) == EMPTY:
                event = IGNORED
        elif kind == ADVANCE:
            state.epochs[operand] = (state.epochs[operand] + 1) % EPOCHS
        else:
            spent[operand] = 1
            line = lines[operand]
            if line == EMPTY:
                event = IGNORED
            elif kind == FILL:
                fill(state, line)
            else:
                abort(state, line)
        events[i] = event
    return EMPTY


@njit(cache=True)
def window_run(
    state: LookAheadState,
    keys: Ints,
    outstanding: int,
    totals: Ints,
    events: npt.NDArray[np.uint8],
    lines: Ints,
    victims: Ints,
) -> None:
    """LOOK for `keys` in order; a read that misses is filled just before that `outstanding` on.

    events, lines, victims : one entry per LOOK, or empty arrays for totals alone.
    """
    flying = np.full(outstanding, EMPTY, dtype=np.int64)
    for i in range(keys.size):
        slot = i % outstanding
        if flying[slot] != EMPTY:
            fill(state, flying[slot])
        event, line, victim = access(state, keys[i], EMPTY, totals)
        flying[slot] = line if event == MISS else EMPTY
        if events.size:
            events[i], lines[i], victims[i] = event, line, victim
    for slot in range(outstanding):  # leaves nothing on its way
        if flying[slot] != EMPTY:
            fill(state, flying[slot])
