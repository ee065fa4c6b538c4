"""Readers of a row network, a cycle at a time: rows to the banks, beats back in order.

Names are those of rtl.read_order and rtl.read_crossbar.
"""

from __future__ import annotations

import numpy as np

from rpaccel.perfmodel.compiled import distance, fast, wrap
from rpaccel.perfmodel.row_bank_state import NONE, TOLD, RowSizes, RowState, RowTrace

__all__ = ["collect_answers", "fetch_beats", "offer_rows", "show_epochs", "unanswered"]


@fast
def show_epochs(sizes: RowSizes, trace: RowTrace, state: RowState) -> None:
    """Set the prefetchers' epochs of this cycle."""
    for i in range(sizes.answering, sizes.readers):
        reader = state.readers[i]
        if reader.rows:
            row = min(reader.asked, reader.rows - 1)
            state.epochs[i - sizes.answering] = trace.epoch[reader.first + row]


@fast
def offer_rows(sizes: RowSizes, trace: RowTrace, state: RowState, now: int) -> bool:
    """Readers to banks: one row per bank; return whether any went."""
    moved = False
    count = sizes.readers
    for stage in range(2):  # the banks choose, then the chosen ones go
        for i in range(count):
            reader = state.readers[i]
            if reader.asked == reader.rows or now < reader.next or reader.used == sizes.slots:
                continue
            row = reader.first + reader.asked
            b = trace.bank[row]
            bank = state.banks[b]
            if stage == 0:
                if bank.rows_inner == sizes.row_places:
                    continue
                if bank.chosen == NONE or distance(i, bank.last, count) < distance(
                    bank.chosen, bank.last, count
                ):
                    bank.chosen = i
            elif bank.chosen == i:
                bank.chosen = NONE
                bank.last = i
                size = state.waiting.shape[1]
                place = bank.rows_head + bank.rows_inner + bank.rows_out
                waits = state.waiting[b, wrap(place, size)]
                waits.row = row
                waits.reader = i
                waits.place = reader.newest * sizes.row_beats
                reader.newest = wrap(reader.newest + 1, sizes.slots)
                bank.pushed = bank.active = 1
                reader.used += i < sizes.answering  # nothing comes back to a prefetcher
                reader.asked += 1
                if reader.asked < reader.rows:
                    reader.next = now + 1 + trace.after[row + 1]
                moved = True
    return moved


@fast
def _mixed(number: int) -> np.uint64:
    """Return what looks random.

    Ref: Steele, Lea, Flood, OOPSLA 2014 (SplitMix64), as in host/cpp/memory_timing.hpp.
    """
    value = np.uint64(number) + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@fast
def _takes(sizes: RowSizes, i: int, now: int) -> bool:
    """Return whether reader `i` takes a beat in this cycle, as in host/cpp/rows.cpp."""
    if sizes.wait_per_mille == 0:
        return True
    draw = _mixed(sizes.wait_seed + 64 * (now + sizes.first_edge) + i)
    return bool(draw % np.uint64(1000) >= np.uint64(sizes.wait_per_mille))


@fast
def fetch_beats(sizes: RowSizes, trace: RowTrace, state: RowState, now: int) -> bool:
    """Give each reader its next beat, if it is there; return whether any has or gets one."""
    moved = False
    for i in range(sizes.answering):
        reader = state.readers[i]
        if reader.full:  # the register in front of the reader
            moved = True
            if not (reader.takes if sizes.wait_per_mille == TOLD else _takes(sizes, i, now)):
                continue
            reader.full, reader.end = 0, now
        place = reader.oldest * sizes.row_beats + reader.index
        if not state.there[i, place]:
            continue
        state.there[i, place] = 0
        reader.index += 1
        reader.full = 1
        if reader.index == trace.beats[reader.first + reader.answered]:
            reader.index = 0
            reader.answered += 1
            reader.oldest = wrap(reader.oldest + 1, sizes.slots)
            reader.used -= 1
        moved = True
    return moved


@fast
def collect_answers(sizes: RowSizes, state: RowState) -> bool:
    """Banks' answers to readers: one per reader; return whether any went."""
    moved = False
    for b in range(sizes.banks):
        bank = state.banks[b]
        if bank.answers:
            reader = state.readers[state.answers[b, bank.answers_head].reader]
            if reader.chosen == NONE or distance(b, reader.last, sizes.banks) < distance(
                reader.chosen, reader.last, sizes.banks
            ):
                reader.chosen = b
            moved = True
    if moved:
        for i in range(sizes.answering):
            reader = state.readers[i]
            if reader.chosen != NONE:
                bank = state.banks[reader.chosen]
                bank.answer_leaves = bank.active = 1
                state.there[i, state.answers[reader.chosen, bank.answers_head].place] = 1
                reader.last = reader.chosen
                reader.chosen = NONE
    return moved


@fast
def unanswered(sizes: RowSizes, state: RowState) -> int:
    """Return the readers that still get beats."""
    count = 0
    for i in range(sizes.answering):
        reader = state.readers[i]
        count += reader.answered < reader.rows or reader.full > 0
    return count
