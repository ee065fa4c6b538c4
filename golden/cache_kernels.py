"""Compiled loops of `golden.cache_sim`: a hash index, and first-in-first-out, LRU, pinned caches.

State lives in arrays that the caller makes (`new_state`), so that a warm cache is a warm array.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Ints = npt.NDArray[np.int64]

HIT, MERGED, MISS, REFUSED, DONE, IGNORED = range(6)  # golden.cache_sim.Event
EVENTS = 6
EMPTY = -1  # no key: keys are not negative
GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: Fibonacci hashing
_SHIFT = np.uint64(32)


class CacheState(NamedTuple):
    """Arrays of one fully associative cache.

    hashed : int64[2**n]  keys by open addressing, at least half of it EMPTY; place : the line of
    each; lines : int64[capacity]  key in every line; fetched : number of the fetch that filled it;
    before, after : neighbours in order of use (LRU only); numbers : int64[4]  lines in use, fetches
    so far, least and most recently used line.
    """

    hashed: Ints
    place: Ints
    lines: Ints
    fetched: Ints
    before: Ints
    after: Ints
    numbers: Ints


def new_state(capacity: int) -> CacheState:
    """Return an empty cache of `capacity` lines."""
    size = 1 << max(3, (2 * capacity + 1).bit_length())

    def filled(length: int) -> Ints:
        return np.full(length, EMPTY, dtype=np.int64)

    return CacheState(
        hashed=filled(size),
        place=filled(size),
        lines=filled(capacity),
        fetched=filled(capacity),
        before=filled(capacity),
        after=filled(capacity),
        numbers=np.array([0, 0, EMPTY, EMPTY], dtype=np.int64),
    )


@njit(cache=True)
def _home(key: int, mask: int) -> np.int64:
    """Return the place where the search for `key` begins."""
    return np.int64((np.uint64(key) * GOLDEN_RATIO) >> _SHIFT) & np.int64(mask)


@njit(cache=True)
def _find(index: Ints, key: int) -> np.int64:
    """Return the place of `key` in the index, or the empty place where it belongs."""
    mask = index.size - 1
    at = _home(key, mask)
    while index[at] != key and index[at] != EMPTY:
        at = (at + 1) & mask
    return at


@njit(cache=True)
def _remove(index: Ints, place: Ints, key: int) -> None:
    """Take `key` out of the index and close the gap behind it."""
    mask = index.size - 1
    gap = _find(index, key)
    at = (gap + 1) & mask
    while index[at] != EMPTY:
        if (at - _home(index[at], mask)) & mask >= (at - gap) & mask:
            index[gap], place[gap] = index[at], place[at]
            gap = at
        at = (at + 1) & mask
    index[gap] = EMPTY


@njit(cache=True)
def _fill(state: CacheState, line: int, key: int) -> int:
    """Put `key` into `line`; return the key that leaves, or EMPTY."""
    victim = state.lines[line]
    if victim != EMPTY:
        _remove(state.hashed, state.place, victim)
    at = _find(state.hashed, key)
    state.hashed[at], state.place[at] = key, line
    state.lines[line] = key
    state.fetched[line] = state.numbers[1]
    state.numbers[1] += 1
    return victim


@njit(cache=True)
def _fifo_step(state: CacheState, key: int, outstanding: int) -> tuple[int, int]:
    """Return (event, key that leaves) of one access."""
    capacity = state.lines.size
    if capacity == 0:
        return REFUSED, EMPTY
    at = _find(state.hashed, key)
    if state.hashed[at] == key:
        recent = state.fetched[state.place[at]] >= state.numbers[1] - outstanding
        return MERGED if recent else HIT, EMPTY
    return MISS, _fill(state, state.numbers[1] % capacity, key)


@njit(cache=True)
def _unlink(state: CacheState, line: int) -> None:
    before, after = state.before[line], state.after[line]
    if before == EMPTY:
        state.numbers[2] = after
    else:
        state.after[before] = after
    if after == EMPTY:
        state.numbers[3] = before
    else:
        state.before[after] = before


@njit(cache=True)
def _append(state: CacheState, line: int) -> None:
    last = state.numbers[3]
    state.before[line], state.after[line] = last, EMPTY
    if last == EMPTY:
        state.numbers[2] = line
    else:
        state.after[last] = line
    state.numbers[3] = line


@njit(cache=True)
def _lru_step(state: CacheState, key: int, outstanding: int) -> tuple[int, int]:
    """Return (event, key that leaves) of one access."""
    if state.lines.size == 0:
        return REFUSED, EMPTY
    at = _find(state.hashed, key)
    if state.hashed[at] == key:
        line = state.place[at]
        _unlink(state, line)
        _append(state, line)
        recent = state.fetched[line] >= state.numbers[1] - outstanding
        return MERGED if recent else HIT, EMPTY
    if state.numbers[0] < state.lines.size:
        line = state.numbers[0]
        state.numbers[0] += 1
    else:
        line = state.numbers[2]
        _unlink(state, line)
    _append(state, line)
    return MISS, _fill(state, line, key)


@njit(cache=True)
def cache_run(
    state: CacheState,
    keys: Ints,
    outstanding: int,
    lru: bool,
    totals: Ints,
    events: npt.NDArray[np.uint8],
    victims: Ints,
) -> None:
    """Access `keys` in order; add to totals int64[EVENTS + 1], evictions last.

    lru : the least recently used line leaves; else the one that came first.
    events, victims : one entry per access, or empty arrays for totals alone.
    """
    for i in range(keys.size):
        if lru:
            event, victim = _lru_step(state, keys[i], outstanding)
        else:
            event, victim = _fifo_step(state, keys[i], outstanding)
        totals[event] += 1
        totals[EVENTS] += victim != EMPTY
        if events.size:
            events[i], victims[i] = event, victim


@njit(cache=True)
def pin(index: Ints, keys: Ints) -> None:
    """Enter `keys`, which differ, into an index that has room."""
    for key in keys:
        index[_find(index, key)] = key


@njit(cache=True)
def pinned_run(
    pinned: Ints,
    in_flight: CacheState,
    keys: Ints,
    totals: Ints,
    events: npt.NDArray[np.uint8],
) -> None:
    """Access `keys`: those of the index `pinned` hit, the others are fetched and not kept.

    in_flight : a cache of the last rows fetched, as many as are outstanding at once.
    """
    for i in range(keys.size):
        key = keys[i]
        if pinned[_find(pinned, key)] == key:
            event = HIT
        elif _fifo_step(in_flight, key, 0)[0] == HIT:
            event = MERGED
        else:
            event = REFUSED
        totals[event] += 1
        if events.size:
            events[i] = event
