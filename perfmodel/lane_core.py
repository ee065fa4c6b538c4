"""What the core of a lane does for a sub-batch, chain by chain. Exact.

The rules are those of `perfmodel.sequencer`, for a lane that is given further sub-batches while it
computes; `perfmodel.core_kernels` goes from chain to chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

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
    tile_cycles,
)
from rpaccel.perfmodel.sequencer import (
    FETCH_CYCLES,
    SCORE_CYCLES,
    ProgramShape,
)
from rpaccel.spec.accelerator import AcceleratorConfig

START_CYCLES = 2  # Sequencer: an interaction's start
SINGLE = LONG_AGO  # in place of a time that a chain of one layer has not


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """A chain of layers over so many items; times from its first layer's first row [cycles].

    last_row : until the first row of its last tile. last_taken : until its last layer is taken;
    None if it has one layer only, which is taken before its first row.
    first_stack, last_stack : of its first and last layer. out : from the last row to the result.
    last_offer : until its last layer is offered; before_row, before_stack : of the array then; None
    and 0 as above. last_tiles, last_reads : of the last layer; it reads what the one before wrote.
    """

    items: int
    last_row: int
    last_taken: int | None
    first_stack: int
    last_stack: int
    out: int
    last_offer: int | None
    before_row: int
    before_stack: int
    last_tiles: int
    last_reads: bool


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

    row, items, stack : of the array's last tile. last_taken : of the Chain; SINGLE for None.
    block, skew : block_size, and skew_cycles. See layer_engine.place_layer; also compiled by
    perfmodel.core_kernels.
    """
    taken = max(now + FETCH_CYCLES, row - 1)
    lag = 0 if first_stack == stack else skew
    load = max(taken + 1, row + block - 2 + lag)
    first = max(load + block + SETTLE_CYCLES, row + items + lag)
    return first, taken if last_taken == SINGLE else first + last_taken


def place_late(
    room: int,
    row: int,
    items: int,
    stack: int,
    last_stack: int,
    tiles: int,
    reads: bool,
    block: int,
    skew: int,
    dependency: int,
) -> tuple[int, int]:
    """Return (first row of its last tile, cycle in which it is taken) of a chain's last layer.

    room : from then on it may be offered. row, items, stack : of the array's last tile before it.
    tiles, reads, last_stack : of the layer. dependency : dependency_cycles. As `place_chain`.
    """
    taken = max(room, row - 1)
    lag = 0 if last_stack == stack else skew
    load = max(taken + 1, row + block - 2 + lag)
    first = max(load + block + SETTLE_CYCLES, row + items + lag)
    if reads:
        first = max(first, row + dependency)
    return first + (tiles - 1) * max(items, 2 * block), taken


def chain_room(depth: int, items: int, scores: tuple[tuple[int, int], ...]) -> int:
    """Return the cycle from which on `items` more scores fit beside those that are not read.

    depth : of the queue. scores : (items, last logit) of the SCORED sub-batches before, the newest
    first. As sequencer.score_room; also compiled by perfmodel.core_kernels.
    """
    may_stay = depth - items
    for count, logit in scores:
        if may_stay < count:
            return logit + SCORE_CYCLES + 1 - may_stay
        may_stay -= count
    return LONG_AGO


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
    offer = before = stack = np.zeros_like(items)
    for layer in rest:
        offer = times.taken + FETCH_CYCLES - begin
        before, stack = times.after.row - begin, times.after.stack
        times = place_layer(config, layer, items, times.taken + FETCH_CYCLES, times.after)
    return [
        Chain(
            items=int(size),
            last_row=int(row),
            last_taken=int(taken) if rest else None,
            first_stack=first.stack,
            last_stack=layers[-1].stack,
            out=int(size) - 1 + out,
            last_offer=int(offer[n]) if rest else None,
            before_row=int(before[n]),
            before_stack=int(stack[n]),
            last_tiles=layers[-1].tiles,
            last_reads=layers[-1].reads_act,
        )
        for n, (size, row, taken) in enumerate(
            zip(items, times.after.row - begin, times.taken - begin, strict=True)
        )
    ]
