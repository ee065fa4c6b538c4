"""The core of one lane, chain after chain and task after task. Exact.

The rules are those of `perfmodel.sequencer`, for a lane that is given further sub-batches while it
computes: a chain is placed when its choice is due, so that what came meanwhile can go first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    ProgramShape,
)
from rpaccel.spec.accelerator import AcceleratorConfig

START_CYCLES = 2  # Sequencer: an interaction's start


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """A chain of layers over so many items; times from its first layer's first row [cycles].

    last_row : until the first row of its last tile. last_taken : until its last layer is taken;
    None if it has one layer only, which is taken before its first row.
    first_stack, last_stack : of its first and last layer. out : from the last row to the result.
    """

    items: int
    last_row: int
    last_taken: int | None
    first_stack: int
    last_stack: int
    out: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SubBatchWork:
    """What the core does for a sub-batch. crossing : cycles of its interaction."""

    items: int
    bottom: Chain
    top: Chain
    crossing: int


def place_chain(
    now: int,
    row: int,
    items: int,
    stack: int,
    first_stack: int,
    last_taken: int,
    block: int,
    skew: int,
) -> tuple[int, int]:
    """Return (first row, cycle in which the last layer is taken) of a chain chosen in cycle `now`.

    row, items, stack : of the array's last tile. last_taken : of the Chain; -1 for None.
    block, skew : block_size, and skew_cycles. See layer_engine.place_layer; also compiled by
    perfmodel.point_kernels.
    """
    taken = max(now + FETCH_CYCLES, row - 1)
    lag = 0 if first_stack == stack else skew
    load = max(taken + 1, row + block - 2 + lag)
    first = max(load + block + SETTLE_CYCLES, row + items + lag)
    return first, taken if last_taken < 0 else first + last_taken


def sub_batch_works(
    config: AcceleratorConfig, program: ProgramShape, items: NDArray[np.int64]
) -> list[SubBatchWork]:
    """Return the work of sub-batches of so many items. items : int64[sizes], at least 1 each."""
    if not len(items):
        return []
    bottoms = _chains(config, program.bottom, items, row_cycles(config) + 1)
    tops = _chains(config, program.top, items, score_cycles(config))
    return [
        SubBatchWork(
            items=int(size),
            bottom=bottom,
            top=top,
            crossing=program.interaction_cycles(config, int(size)),
        )
        for size, bottom, top in zip(items, bottoms, tops, strict=True)
    ]


@lru_cache(maxsize=4096)
def sub_batch_work(config: AcceleratorConfig, program: ProgramShape, items: int) -> SubBatchWork:
    """Return the work of a sub-batch of `items`."""
    return sub_batch_works(config, program, np.array([items]))[0]


def _chains(
    config: AcceleratorConfig, layers: tuple[LayerShape, ...], items: NDArray[np.int64], out: int
) -> list[Chain]:
    if layers[0].reads_act:
        raise ValueError("a chain must not begin with a layer that reads activations")
    first, *rest = layers
    times = place_layer(config, first, items, np.zeros_like(items), ArrayState.idle(len(items)))
    begin = times.after.row - (first.tiles - 1) * tile_cycles(config, items)
    for layer in rest:
        times = place_layer(config, layer, items, times.taken + FETCH_CYCLES, times.after)
    return [
        Chain(
            items=int(size),
            last_row=int(row),
            last_taken=int(taken) if rest else None,
            first_stack=first.stack,
            last_stack=layers[-1].stack,
            out=int(size) - 1 + out,
        )
        for size, row, taken in zip(
            items, times.after.row - begin, times.taken - begin, strict=True
        )
    ]


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
        self._block = config.block_size
        self._skew = skew_cycles(config)
        self._row, self._items, self._stack = LONG_AGO, 0, 0  # of the array's last tile
        self._choose = 0  # the sequencer is free to choose
        self._crossed = 0  # the interaction before is done
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
        batch.logit = self._place(batch.work.top, now, CHOOSE_CYCLES)
        return batch, True

    def _place(self, chain: Chain, now: int, pause: int) -> int:
        """Stream a chain; return when its result is there. See layer_engine.place_layer."""
        last_taken = -1 if chain.last_taken is None else chain.last_taken
        first, taken = place_chain(
            now, self._row, self._items, self._stack, chain.first_stack, last_taken,
            self._block, self._skew,
        )  # fmt: skip
        self._row, self._items, self._stack = first + chain.last_row, chain.items, chain.last_stack
        self._choose = taken + pause
        return self._row + chain.out
