"""The row network a cycle at a time, as compiled code: readers, banks, ports, memory.

A cycle's steps read registers as they were when it began: a step that takes from a queue comes
before the step that fills it. Banks in which nothing moves are left out, and so are cycles in which
all wait for memory.
"""

from __future__ import annotations

import sys
from typing import Any

from numba import njit

from rpaccel.perfmodel.compiled import ENTRY, fast, sources
from rpaccel.perfmodel.gather_unit_state import OrderState
from rpaccel.perfmodel.row_bank_kernels import step_bank
from rpaccel.perfmodel.row_bank_state import NONE, Ints, RowSizes, RowState, RowTrace
from rpaccel.perfmodel.row_port_kernels import answer_beats, check_bursts, send_burst
from rpaccel.perfmodel.row_reader_kernels import (
    collect_answers,
    fetch_beats,
    offer_rows,
    show_epochs,
    unanswered,
)

__all__ = ["STUCK", "run"]

STUCK = -2
_SOURCES = sources(sys.modules[__name__])
QUIET_CYCLES = 4  # without a move, then nothing but memory or a later offer can cause one


@fast
def _wake(sizes: RowSizes, state: RowState, now: int) -> int:
    """Return when something moves again, if nothing does: now or later, or NONE for never."""
    wake = sizes.clear_cycles if now <= sizes.clear_cycles else NONE
    for p in range(sizes.ports):
        port = state.ports[p]
        if port.pending:
            due = max(now, state.pending[p, port.pending_head].due)
            wake = due if wake == NONE else min(wake, due)
    for i in range(sizes.readers):
        reader = state.readers[i]
        if reader.asked < reader.rows and reader.next >= now:
            wake = reader.next if wake == NONE else min(wake, reader.next)
    return wake


@fast
def _move_split(trace: RowTrace, state: RowState, now: int) -> None:
    """Count the moves of the static caches' split that have been."""
    while state.split[0] < len(trace.moves) and trace.moves[state.split[0]] <= now:
        state.split[0] += 1


@njit(**ENTRY)
def run(
    sizes: RowSizes,
    trace: RowTrace,
    state: RowState,
    fabric: OrderState,
    book: Any,
    memories: Ints,
    _sources: int = _SOURCES,
) -> int:
    """Run all traces; return the cycles up to the last beat, or STUCK if nothing moves any more.

    book : (memory, edge, id, address, beats) -> edge of the first beat of a burst sent at `edge`.
    _sources : never given, see perfmodel.compiled.
    """
    now, quiet = 0, 0
    left = unanswered(sizes, state)
    while left or sizes.readers > sizes.answering:  # prefetches may be left
        if now == sizes.clear_cycles:
            for b in range(sizes.banks):
                state.banks[b].active = 1
        show_epochs(sizes, trace, state)
        _move_split(trace, state, now)
        moved = offer_rows(sizes, trace, state, now)
        fetched = fetch_beats(sizes, trace, state, now)
        moved = collect_answers(sizes, state) or moved or fetched
        for p in range(sizes.ports):
            moved = answer_beats(sizes, state, fabric, p, now, 0) or moved
            moved = send_burst(sizes, state, p, now, book, memories[p]) or moved
            moved = check_bursts(sizes, state, fabric, p) or moved
        for b in range(sizes.banks):
            if state.banks[b].active:
                moved = step_bank(sizes, trace, state, b, now >= sizes.clear_cycles) or moved
        if fetched:
            left = unanswered(sizes, state)
        now += 1
        quiet = 0 if moved else quiet + 1
        if quiet > QUIET_CYCLES:
            now, quiet = _wake(sizes, state, now), 0
            if now == NONE:
                break
    if left:
        return STUCK
    end = NONE
    for i in range(sizes.answering):
        if state.readers[i].rows:
            end = max(end, state.readers[i].end)
    return end + 1
