"""The core of one lane, compiled: sequencer, array and interaction, chain after chain.

The rules are those of `perfmodel.lane_core`, whose placing is compiled here. A chain is placed when
its choice is due, so that what came meanwhile can go first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rpaccel.perfmodel import lane_core, sequencer
from rpaccel.perfmodel.compiled import ENTRY, fast, sources
from rpaccel.perfmodel.lane_core import SubBatchWork
from rpaccel.perfmodel.layer_engine import dependency_cycles, skew_cycles
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = [
    "BOTTOM_LAST", "CHAIN_TIMES", "TOP_LAST", "WORK_FIELDS", "WORK_ITEMS", "bank_free",
    "bottom_cycle", "bottom_times", "chain_room", "new_cores", "next_chain", "next_choice",
    "note_gathered", "place_bottom", "place_top", "set_gathered", "take_chain",
    "top_times", "work_row",
]  # fmt: skip

Ints = NDArray[np.int64]
Records = NDArray[np.void]
Record = Any

# A row of works: a sub-batch of some size, see `work_row`.
WORK_FIELDS = 17
(WORK_ITEMS, _CROSSING, _BOTTOM_ROW, _BOTTOM_TAKEN, _BOTTOM_FIRST, BOTTOM_LAST, _BOTTOM_OUT,
 _TOP_ROW, _TOP_TAKEN, _TOP_FIRST, TOP_LAST, _TOP_OUT, _TOP_OFFER, _TOP_BEFORE, _TOP_STACK,
 _TOP_TILES, _TOP_READS) = range(WORK_FIELDS)  # fmt: skip

# block, skew, depth, dependency : of the lane: block_size, skew_cycles, places for scores,
# dependency_cycles. row, items, stack : of the array's last tile. choose : the sequencer is free to
# choose. crossed : the interaction before is done. Sub-batches so far: gathered, of which the time
# is known, taken by the array, scored. banks : of items that take turns now. gathered_at,
# crossed_at : when the last ones are, and when their interactions are done; by number modulo
# QUARTERS. items, logit : of the sub-batches scored last, the newest first.
CORE = np.dtype(
    [(name, np.int64) for name in (
        "block", "skew", "depth", "dependency", "row", "items", "stack", "choose", "crossed",
        "gathered", "taken", "scored", "banks", "items0", "items1", "items2", "items3", "logit0",
        "logit1", "logit2", "logit3",
    )] + [(name, np.int64, (sequencer.QUARTERS,)) for name in ("gathered_at", "crossed_at")]
)  # fmt: skip

# Of a sub-batch: taken by the array, out of the interaction, last logit.
CHAIN_TIMES = np.dtype([(name, np.int64) for name in ("taken", "crossed", "logit")])

_SOURCES = sources(sys.modules[__name__])
_START, _SINGLE = lane_core.START_CYCLES, lane_core.SINGLE
_INTERACT, _CHOOSE = sequencer.INTERACT_CYCLES, sequencer.CHOOSE_CYCLES
_FETCH, _BANKS, _NEVER = sequencer.FETCH_CYCLES, sequencer.BANKS, sequencer.NEVER
_QUARTERS = sequencer.QUARTERS
_place: Any = fast(lane_core.place_chain)
_late: Any = fast(lane_core.place_late)
chain_room: Any = fast(lane_core.chain_room)


def work_row(work: SubBatchWork) -> list[int]:
    """Return a row of works."""
    row = [work.items, work.crossing]
    for chain in (work.bottom, work.top):
        taken = lane_core.SINGLE if chain.last_taken is None else chain.last_taken
        row += [chain.last_row, taken, chain.first_stack, chain.last_stack, chain.out]
    top = work.top
    offer = lane_core.SINGLE if top.last_offer is None else top.last_offer
    return [*row, offer, top.before_row, top.before_stack, top.last_tiles, int(top.last_reads)]


def new_cores(configs: Iterable[AcceleratorConfig]) -> Records:
    """Return CORE[lanes] at rest. configs : of the lanes."""
    lanes = list(configs)
    cores = np.zeros(len(lanes), CORE)
    cores["block"] = [config.block_size for config in lanes]
    cores["skew"] = [skew_cycles(config) for config in lanes]
    cores["depth"] = [config.sub_batch_max for config in lanes]
    cores["dependency"] = [dependency_cycles(config) for config in lanes]
    cores["row"] = lane_core.LONG_AGO
    cores["banks"] = sequencer.BANKS
    for number in range(sequencer.SCORED):
        cores[f"logit{number}"] = lane_core.LONG_AGO
    return cores


@fast
def bank_free(core: Record, banks: int) -> int:
    """Return from when on the bank of the next sub-batch to be gathered is free.

    NEVER if that is not known yet. banks : of items, that its stage takes turns at.
    """
    if banks != core.banks:
        if core.taken != core.gathered:
            return _NEVER
        core.banks = banks
        return core.crossed
    if core.taken <= core.gathered - banks:
        return _NEVER
    return core.crossed_at[(core.gathered - banks) & (_QUARTERS - 1)]


@fast
def note_gathered(core: Record, end: int) -> None:
    """Note when the next sub-batch is gathered."""
    core.gathered_at[core.gathered & (_QUARTERS - 1)] = end
    core.gathered += 1


@fast
def bottom_cycle(core: Record, handover: int) -> int:
    """Return from when on the next sub-batch may be taken. handover : after its gather."""
    if core.taken == core.gathered or core.taken - core.scored == _BANKS:
        return _NEVER
    return core.gathered_at[core.taken & (_QUARTERS - 1)] + handover


@fast
def _top_cycle(core: Record) -> int:
    """Return from when on the oldest sub-batch that is crossed may go on."""
    if core.scored == core.taken:
        return _NEVER
    return core.crossed_at[core.scored & (_QUARTERS - 1)]


@fast
def next_choice(core: Record, handover: int) -> int:
    """Return the cycle of the next choice; NEVER if nothing is known to come."""
    return max(core.choose, min(bottom_cycle(core, handover), _top_cycle(core)))


@fast
def bottom_times(
    works: Ints, w: int, now: int, row: int, items: int, stack: int, crossed: int, block: int,
    skew: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Return (first row of the last tile, next choice, interaction done) of a sub-batch's bottom.

    works : int64[works, WORK_FIELDS], w : the sub-batch's row. now : of its choice. row, items,
    stack : of the array's last tile. crossed : the interaction before is done.
    """
    first, taken = _place(
        now, row, items, stack, works[w, _BOTTOM_FIRST], works[w, _BOTTOM_TAKEN], block, skew
    )
    row = first + works[w, _BOTTOM_ROW]
    # The top chain that read this bank went before: its logits are no later than the bottom's.
    begin = max(row + works[w, _BOTTOM_OUT], crossed)
    return row, taken + _INTERACT, begin + _START + works[w, _CROSSING]


@fast
def top_times(
    works: Ints, w: int, now: int, row: int, items: int, stack: int, room: int, block: int,
    skew: int, dependency: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Return (first row of the last tile, next choice, last logit) of a sub-batch's top chain.

    room : from then on its last layer may be offered. dependency : dependency_cycles. As
    `bottom_times`.
    """
    chosen = max(now, room - _FETCH) if works[w, _TOP_OFFER] == _SINGLE else now
    first, taken = _place(
        chosen, row, items, stack, works[w, _TOP_FIRST], works[w, _TOP_TAKEN], block, skew
    )
    row = first + works[w, _TOP_ROW]
    if works[w, _TOP_OFFER] != _SINGLE and first + works[w, _TOP_OFFER] < room:
        row, taken = _late(
            room, first + works[w, _TOP_BEFORE], works[w, WORK_ITEMS], works[w, _TOP_STACK],
            works[w, TOP_LAST], works[w, _TOP_TILES], works[w, _TOP_READS] > 0, block, skew,
            dependency,
        )  # fmt: skip
    return row, taken + _CHOOSE, row + works[w, _TOP_OUT]


@fast
def place_bottom(core: Record, works: Ints, w: int, now: int) -> int:
    """Place the bottom chain and the interaction of a sub-batch; return when it is crossed."""
    core.row, core.choose, core.crossed = bottom_times(
        works, w, now, core.row, core.items, core.stack, core.crossed, core.block, core.skew
    )
    core.items, core.stack = works[w, WORK_ITEMS], works[w, BOTTOM_LAST]
    core.crossed_at[core.taken & (_QUARTERS - 1)] = core.crossed
    core.taken += 1
    return core.crossed


@fast
def place_top(core: Record, works: Ints, w: int, now: int, room: int) -> int:
    """Place the top chain of a sub-batch; return its last logit.

    room : its scores find no place before, whatever becomes of those of the sub-batches before.
    """
    size = works[w, WORK_ITEMS]
    scores = (
        (core.items0, core.logit0), (core.items1, core.logit1),
        (core.items2, core.logit2), (core.items3, core.logit3),
    )  # fmt: skip
    core.items3, core.items2, core.items1, core.items0 = (
        core.items2, core.items1, core.items0, size,
    )  # fmt: skip
    core.logit3, core.logit2, core.logit1 = core.logit2, core.logit1, core.logit0
    room = max(room, chain_room(core.depth, size, scores))
    core.row, core.choose, core.logit0 = top_times(
        works, w, now, core.row, core.items, core.stack, room, core.block, core.skew,
        core.dependency,
    )  # fmt: skip
    core.items, core.stack = size, works[w, TOP_LAST]
    core.scored += 1
    return core.logit0


@njit(**ENTRY)
def set_gathered(cores: Records, end: int, _sources: int = _SOURCES) -> None:
    """Note when the next sub-batch of `cores`, which is one, is gathered.

    _sources : never given, see perfmodel.compiled.
    """
    note_gathered(cores[0], end)


@njit(**ENTRY)
def next_chain(cores: Records, handover: int, _sources: int = _SOURCES) -> int:
    """Return the cycle of the next choice, as `next_choice`."""
    return next_choice(cores[0], handover)


@njit(**ENTRY)
def take_chain(
    cores: Records, works: Ints, rows: Ints, handover: int, now: int, times: Records,
    _sources: int = _SOURCES,
) -> bool:  # fmt: skip
    """Place the chain that is due in cycle `now`; return whether it was a bottom chain.

    rows : int64[sub-batches], of works. times : CHAIN_TIMES[sub-batches], written.
    """
    core = cores[0]
    if bottom_cycle(core, handover) <= now:
        batch = times[core.taken]
        batch.taken = now
        batch.crossed = place_bottom(core, works, rows[core.taken], now)
        return True
    batch = times[core.scored]
    batch.logit = place_top(core, works, rows[core.scored], now, lane_core.LONG_AGO)
    return False
