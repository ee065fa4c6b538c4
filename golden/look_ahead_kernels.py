"""Compiled loops of `golden.look_ahead`: one step of the cache, and two drivers of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from rpaccel.golden.cache_kernels import DONE, EMPTY, HIT, IGNORED, MERGED, MISS, REFUSED

Ints = npt.NDArray[np.int64]

READ, PREFETCH, FILL, RELEASE = range(4)  # golden.look_ahead.Operation
# Counters behind those of the events.
EVICTIONS, LATE, USED, UNUSED, DROPPED = range(6, 11)
COUNTERS = 11


class LookAheadState(NamedTuple):
    """Arrays of a set-associative cache: per line, and per set.

    keys : int64[sets, ways]  row in each line; references : of reads and prefetches; ahead : those
    of prefetches that no read has taken over; flying : fetched and not filled; unread : fetched by
    a prefetch and not read; next_way : int64[sets]  where the search for a victim begins.
    """

    keys: Ints
    references: Ints
    ahead: Ints
    flying: npt.NDArray[np.uint8]
    unread: npt.NDArray[np.uint8]
    next_way: Ints


def new_look_ahead(sets: int, ways: int) -> LookAheadState:
    """Return an empty cache."""
    shape = (sets, ways)
    return LookAheadState(
        keys=np.full(shape, EMPTY, dtype=np.int64),
        references=np.zeros(shape, dtype=np.int64),
        ahead=np.zeros(shape, dtype=np.int64),
        flying=np.zeros(shape, dtype=np.uint8),
        unread=np.zeros(shape, dtype=np.uint8),
        next_way=np.zeros(sets, dtype=np.int64),
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
def _victim(state: LookAheadState, at: int) -> int:
    """Return the first way from `next_way` on that nothing holds, or EMPTY."""
    ways = state.keys.shape[1]
    for step in range(ways):
        way = (state.next_way[at] + step) % ways
        if state.references[at, way] == 0 and state.flying[at, way] == 0:
            return way
    return EMPTY


@njit(cache=True)
def _present(
    state: LookAheadState, at: int, way: int, ahead: bool, limit: int, totals: Ints
) -> int:
    """Return the event of a read or prefetch of a row that has a line."""
    takes_over = not ahead and state.ahead[at, way] > 0
    if not takes_over and state.references[at, way] == limit:
        return REFUSED
    if takes_over:
        state.ahead[at, way] -= 1
    else:
        state.references[at, way] += 1
        state.ahead[at, way] += ahead
    flying = state.flying[at, way] != 0
    if not ahead and state.unread[at, way]:
        state.unread[at, way] = 0
        totals[USED] += 1
        totals[LATE] += flying
    return MERGED if flying else HIT


@njit(cache=True)
def access(
    state: LookAheadState, key: int, ahead: bool, limit: int, totals: Ints
) -> tuple[int, int, int]:
    """Return (event, line or EMPTY, key that leaves or EMPTY) of a read, or a prefetch (ahead)."""
    sets, ways = state.keys.shape
    at = set_of(key, sets)
    for way in range(ways):
        if state.keys[at, way] == key:
            event = _present(state, at, way, ahead, limit, totals)
            return event, EMPTY if event == REFUSED else at * ways + way, EMPTY
    way = _victim(state, at)
    if way == EMPTY:
        return REFUSED, EMPTY, EMPTY
    victim = state.keys[at, way]
    totals[EVICTIONS] += victim != EMPTY
    totals[UNUSED] += state.unread[at, way]
    state.keys[at, way] = key
    state.references[at, way] = 1
    state.ahead[at, way] = ahead
    state.flying[at, way] = 1
    state.unread[at, way] = ahead
    state.next_way[at] = (way + 1) % ways
    return MISS, at * ways + way, victim


@njit(cache=True)
def fill(state: LookAheadState, line: int) -> None:
    """Mark the row of `line` as arrived."""
    state.flying.ravel()[line] = 0


@njit(cache=True)
def release(state: LookAheadState, line: int) -> None:
    """Drop the reference of a read."""
    state.references.ravel()[line] -= 1


@njit(cache=True)
def cancel(state: LookAheadState, line: int, key: int) -> bool:
    """Drop the reference of a prefetch, if the line still holds its row for a read to come."""
    at, way = divmod(line, state.keys.shape[1])
    if state.keys[at, way] != key or state.ahead[at, way] == 0:
        return False
    state.ahead[at, way] -= 1
    state.references[at, way] -= 1
    return True


@njit(cache=True)
def operations_run(
    state: LookAheadState,
    kinds: npt.NDArray[np.uint8],
    operands: Ints,
    limit: int,
    totals: Ints,
    events: npt.NDArray[np.uint8],
    lines: Ints,
    victims: Ints,
) -> int:
    """Run the operations in order; return the first that is wrong, or EMPTY.

    lines : int64[n]  must come EMPTY: the line of each read and prefetch.
    """
    spent = np.zeros((2, kinds.size), dtype=np.uint8)  # tickets filled, and released
    for i in range(kinds.size):
        kind, operand = kinds[i], operands[i]
        if kind <= PREFETCH:
            if operand < 0:
                return i
            ahead = kind == PREFETCH
            event, lines[i], victims[i] = access(state, operand, ahead, limit, totals)
            totals[DROPPED] += ahead and event == REFUSED
        else:
            done = kind - FILL
            if not 0 <= operand < i or kinds[operand] > PREFETCH or spent[done, operand]:
                return i
            if kind == FILL and events[operand] != MISS and events[operand] != REFUSED:
                return i
            fetched = kinds[operand] == READ and events[operand] == MISS
            if kind == RELEASE and fetched and not spent[0, operand]:
                return i
            spent[done, operand] = 1
            line = lines[operand]
            event = DONE
            if line == EMPTY:
                event = IGNORED
            elif kind == FILL:
                fill(state, line)
            elif kinds[operand] == READ:
                release(state, line)
            elif not cancel(state, line, operands[operand]):
                event = IGNORED
        events[i] = event
        totals[event] += 1
    return EMPTY


@njit(cache=True)
def window_run(
    state: LookAheadState,
    keys: Ints,
    outstanding: int,
    limit: int,
    totals: Ints,
    events: npt.NDArray[np.uint8],
    lines: Ints,
    victims: Ints,
) -> None:
    """Read `keys` in order; each read is filled and released just before the one `outstanding` on.

    events, lines, victims : one entry per read, or empty arrays for totals alone.
    """
    held = np.full(outstanding, EMPTY, dtype=np.int64)
    fetched = np.zeros(outstanding, dtype=np.uint8)
    for i in range(keys.size):
        slot = i % outstanding
        _retire(state, held[slot], fetched[slot] != 0)
        event, line, victim = access(state, keys[i], False, limit, totals)
        held[slot] = line
        fetched[slot] = event == MISS
        totals[event] += 1
        if events.size:
            events[i], lines[i], victims[i] = event, line, victim
    for i in range(keys.size, keys.size + outstanding):  # leaves nothing held
        _retire(state, held[i % outstanding], fetched[i % outstanding] != 0)


@njit(cache=True)
def _retire(state: LookAheadState, line: int, fetched: bool) -> None:
    if line != EMPTY:
        if fetched:
            fill(state, line)
        release(state, line)
