"""The core of one lane, chain after chain and task after task. Exact.

The rules are those of `perfmodel.sequencer`, for a lane that is given further sub-batches while it
computes: a chain is placed when its choice is due, so that what came meanwhile can go first.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from rpaccel.perfmodel.layer_engine import (
    LONG_AGO,
    SETTLE_CYCLES,
    ArrayState,
    LayerShape,
    place_layer,
    row_cycles,
    score_cycles,
    skew_cycles,
    tile_cycles,
)
from rpaccel.perfmodel.sequencer import (
    BANKS,
    CHOOSE_CYCLES,
    FETCH_CYCLES,
    INTERACT_CYCLES,
    NEVER,
    SCORED,
    ProgramShape,
    score_room,
)
from rpaccel.spec.accelerator import AcceleratorConfig

START_CYCLES = 2  # Sequencer: an interaction's start


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """A chain of layers over so many items; times from its first layer's first row [cycles].

    last_row : until the first row of its last tile. last_taken : until its last layer is taken;
    None if it has one layer only, which is taken before its first row.
    first_stack, last_stack : of its first and last layer. out : from the last row to the result.
    last_offer : until its last layer is offered; before : the array then; None as above.
    last_layer : for a layer that is offered later than that.
    """

    items: int
    last_row: int
    last_taken: int | None
    first_stack: int
    last_stack: int
    out: int
    last_offer: int | None
    before: ArrayState | None
    last_layer: LayerShape


@dataclass(frozen=True, kw_only=True, slots=True)
class SubBatchWork:
    """What the core does for a sub-batch. crossing : cycles of its interaction."""

    items: int
    bottom: Chain
    top: Chain
    crossing: int


@lru_cache(maxsize=4096)
def sub_batch_work(config: AcceleratorConfig, program: ProgramShape, items: int) -> SubBatchWork:
    """Return the work of a sub-batch of `items`."""
    return SubBatchWork(
        items=items,
        bottom=_chain(config, program.bottom, items, row_cycles(config) + 1),
        top=_chain(config, program.top, items, score_cycles(config)),
        crossing=program.interaction_cycles(config, items),
    )


def _chain(
    config: AcceleratorConfig, layers: tuple[LayerShape, ...], items: int, out: int
) -> Chain:
    if layers[0].reads_act:
        raise ValueError("a chain must not begin with a layer that reads activations")
    first, *rest = layers
    rows, zero = np.full(1, items, np.int64), np.zeros(1, np.int64)
    times = place_layer(config, first, rows, zero, ArrayState.idle())
    row = int(times.after.row[0])
    begin = row - (first.tiles - 1) * int(tile_cycles(config, items))
    offer, before = None, None
    for layer in rest:
        offer, before = int(times.taken[0]) + FETCH_CYCLES - begin, times.after
        times = place_layer(config, layer, rows, times.taken + FETCH_CYCLES, times.after)
    if before is not None:
        before = ArrayState(row=before.row - begin, items=before.items, stack=before.stack)
    return Chain(
        items=items,
        last_row=int(times.after.row[0]) - begin,
        last_taken=int(times.taken[0]) - begin if rest else None,
        first_stack=first.stack,
        last_stack=layers[-1].stack,
        out=items - 1 + out,
        last_offer=offer,
        before=before,
        last_layer=layers[-1],
    )


class SubBatch:
    """A sub-batch on its way through a lane; NEVER: not yet known.

    task : the caller's. walk, memory : cycles of its gather, and those
    of the shared memory. handover : from the end of the gather to the first possible transfer.
    start : from then on it may be gathered; None: after the one before it.
    """

    __slots__ = ("crossed", "gathered", "handover", "last", "logit", "memory", "start", "task",
                 "transfer", "walk", "work")  # fmt: skip

    def __init__(
        self, task: Any, work: SubBatchWork, *, walk: int, handover: int, memory: float,
        start: int | None, last: bool,
    ) -> None:  # fmt: skip
        self.task, self.work, self.last = task, work, last
        self.walk, self.handover, self.memory, self.start = walk, handover, memory, start
        self.gathered = self.transfer = self.crossed = self.logit = NEVER


class LaneCore:
    """Sequencer, array and interaction of a lane.

    Parameters
    ----------
    config : AcceleratorConfig  Of the lane.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config, self._block = config, config.block_size
        self._skew = skew_cycles(config)
        self._row, self._items, self._stack = LONG_AGO, 0, 0  # of the array's last tile
        self._choose = 0  # the sequencer is free to choose
        self._crossed = 0  # the interaction before is done
        self._scores: deque[tuple[int, int]] = deque(
            maxlen=SCORED
        )  # items, last logit; newest first
        self.batches: list[SubBatch] = []  # not yet scored, the oldest first
        self.bottoms = 0  # of them that have been taken
        self.taken = 0  # sub-batches so far

    def next_choice(self) -> int:
        """Return the cycle of the next choice; NEVER if nothing is known to come."""
        return max(self._choose, min(self._may_bottom(), self._may_top()))

    def next_is_top(self) -> bool:
        """Return whether the next choice is a top chain."""
        return self._may_bottom() > self.next_choice()

    def _may_bottom(self) -> int:
        if self.bottoms >= BANKS or self.bottoms == len(self.batches):
            return NEVER
        batch = self.batches[self.bottoms]
        return batch.gathered + batch.handover

    def _may_top(self) -> int:
        return self.batches[0].crossed if self.bottoms else NEVER

    def choose(self, now: int) -> tuple[SubBatch, bool]:
        """Place the chain that is due in cycle `now` = next_choice(); whether it is a top chain."""
        if self._may_bottom() <= now:
            batch = self.batches[self.bottoms]
            done = self._place(batch.work.bottom, now, INTERACT_CYCLES)
            # The top chain that read this bank went before: its logits are no later than `done`.
            begin = max(done, self._crossed)
            batch.transfer = now
            batch.crossed = self._crossed = begin + START_CYCLES + batch.work.crossing
            self.bottoms += 1
            self.taken += 1
            return batch, False
        batch = self.batches.pop(0)
        self.bottoms -= 1
        room = int(score_room(self._config.sub_batch_max, batch.work.items, tuple(self._scores)))
        batch.logit = self._place(batch.work.top, now, CHOOSE_CYCLES, room)
        self._scores.appendleft((batch.work.items, batch.logit))
        return batch, True

    def _place(self, chain: Chain, now: int, pause: int, room: int = LONG_AGO) -> int:
        """Stream a chain; return when its result is there. See layer_engine.place_layer.

        room : from then on its last layer may be offered.
        """
        row, size = self._row, self._block
        offered = now + FETCH_CYCLES
        if chain.last_offer is None:
            offered = max(offered, room)
        taken = max(offered, row - 1)
        skew = 0 if chain.first_stack == self._stack else self._skew
        load = max(taken + 1, row + size - 2 + skew)
        first = max(load + size + SETTLE_CYCLES, row + self._items + skew)
        self._row, self._items, self._stack = first + chain.last_row, chain.items, chain.last_stack
        if chain.last_taken is not None:
            taken = first + chain.last_taken
        if chain.before is not None and first + (chain.last_offer or 0) < room:
            before = ArrayState(
                row=chain.before.row + first, items=chain.before.items, stack=chain.before.stack
            )
            items, offer = np.full(1, chain.items), np.full(1, room)
            late = place_layer(self._config, chain.last_layer, items, offer, before)
            taken, self._row = int(late.taken[0]), int(late.after.row[0])
        self._choose = taken + pause
        return self._row + chain.out
