"""Sub-batches through a stage program, array and interaction side by side. Exact.

Exact while scores are read as they come. The order of the chains is decided as the sequencer
does: when the array is free to choose, a bottom chain goes before a top chain.

All times are int64[points]: one machine and program, many sets of sub-batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rpaccel.perfmodel.interaction import interaction_cycles
from rpaccel.perfmodel.layer_engine import (
    LONG_AGO,
    ArrayState,
    LayerShape,
    place_layer,
    row_cycles,
    score_cycles,
)
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Destination, Interaction, Op

Integers = NDArray[np.int64]

FETCH_CYCLES = 2  # from a choice, or a layer that is taken, to the next offer
INTERACT_CYCLES = 3  # from the last bottom layer that is taken to the next choice
CHOOSE_CYCLES = 1  # from the SCORE layer that is taken to the next choice
BANKS = 2  # of what array and interaction write; of gathered items if they do not fit quarters
QUARTERS = 4  # banks of gathered items, if sub-batches have at most SLOT.quarter_items
SCORE_CYCLES = 5  # ScoreQueue: sigmoid 3, queue 2; last logit to last score
SCORED = 4  # sub-batches whose scores may be in the queue
NEVER = 1 << 50


def item_banks(slot: Mapping[str, int], sub_batch: int) -> int:
    """Return the banks of gathered items that take turns. sub_batch : items, of the stage."""
    return QUARTERS if sub_batch <= slot["quarter_items"] else BANKS


def score_room(
    depth: int, items: Integers | int, scores: Sequence[tuple[Integers | int, Integers | int]]
) -> Integers:
    """Return the cycle from which on `items` more scores fit beside those that are not read.

    depth : of the queue. scores : (items, last logit) of the sub-batches before, the newest first.
    Every score is read as soon as it comes.
    """
    may_stay = np.asarray(depth - items, np.int64)
    room = np.full_like(may_stay, LONG_AGO)
    for count, logit in scores:
        waits = (may_stay >= 0) & (may_stay < count)
        room = np.where(waits, logit + SCORE_CYCLES + 1 - may_stay, room)
        may_stay = np.where(waits, -1, may_stay - count)
    return room


@dataclass(frozen=True, kw_only=True)
class ProgramShape:
    """A stage program as timing sees it."""

    bottom: tuple[LayerShape, ...]
    top: tuple[LayerShape, ...]
    kind: Interaction
    user_vectors: int
    item_vectors: int
    row_bytes: int

    @classmethod
    def of(cls, program: Sequence[Mapping[str, int]], row_bytes: int) -> ProgramShape:
        """Return the shape of a program. program : fields of spec.isa.INSTRUCTION, without END."""
        places = [n for n, step in enumerate(program) if step["op"] == Op.INTERACT]
        if len(places) != 1:
            raise ValueError(f"a program must have one INTERACT, not {len(places)}")
        cross = program[places[0]]
        bottom, top = program[: places[0]], program[places[0] + 1 :]
        for part, end in ((bottom, Destination.BOTTOM), (top, Destination.SCORE)):
            if not part or part[-1]["destination"] != end:
                raise ValueError(f"a chain must end with a layer that writes {end.name}")
        return cls(
            bottom=tuple(LayerShape.of(step) for step in bottom),
            top=tuple(LayerShape.of(step) for step in top),
            kind=Interaction(cross.get("kind", 0)),
            user_vectors=cross["user_vectors"],
            item_vectors=cross["item_vectors"],
            row_bytes=row_bytes,
        )

    def interaction_cycles(self, config: AcceleratorConfig, items: int) -> int:
        """Return the busy cycles of the interaction over `items`; 0 for none."""
        if not items:
            return 0
        return interaction_cycles(
            config, self.kind, items, self.user_vectors, self.item_vectors, self.row_bytes
        )

    @property
    def tiles(self) -> int:
        """Weight tiles that every item passes."""
        return sum(layer.tiles for layer in self.bottom + self.top)


@dataclass(frozen=True, kw_only=True)
class CoreTimes:
    """int64[sub-batches, points] of cycles, the first possible transfer being cycle 0.

    gathered : the walker is through; transfer : the batch is taken; released : `release_stb`;
    interaction_start : the cycle after the start pulse; logit : the last logit leaves.
    array_busy : int64[points], cycles in which a row enters. interaction_busy : int64[points].
    """

    gather_start: Integers
    gathered: Integers
    transfer: Integers
    interaction_start: Integers
    released: Integers
    logit: Integers
    array_busy: Integers
    interaction_busy: Integers


class _Core:
    """The state of the sequencer at every point while sub-batches are placed."""

    def __init__(
        self, config: AcceleratorConfig, program: ProgramShape, sizes: Integers,
        walks: Integers, start: Integers, handover: Integers, banks: int,
    ) -> None:  # fmt: skip
        self.config, self.program, self.banks = config, program, banks
        self.batches, points = sizes.shape
        self.count = (sizes > 0).sum(axis=0)
        rows = self.batches + 1  # one more that no point has, so that every index is legal
        self.sizes = np.vstack([sizes, np.zeros((1, points), np.int64)])
        self.walks, self.start, self.handover = walks, start, handover
        distinct, places = np.unique(self.sizes, return_inverse=True)
        cycles = [program.interaction_cycles(config, int(n)) for n in distinct]
        self.crossing = np.array(cycles, np.int64)[places].reshape(self.sizes.shape)
        self.at = np.arange(points)
        # Cycles from which on something is visible; NEVER: not yet known.
        self.gather_start, self.gathered, self.ready = (
            np.full((rows, points), NEVER, np.int64) for _ in range(3)
        )
        self.transfer, self.bottom_done, self.cross_start, self.cross_done = (
            np.full((rows, points), NEVER, np.int64) for _ in range(4)
        )
        self.logit, self.top_done = (np.full((rows, points), NEVER, np.int64) for _ in range(2))
        self.bottoms, self.tops = (np.zeros(points, np.int64) for _ in range(2))
        self.choose = np.zeros(points, np.int64)
        self.array = ArrayState.idle(points)

    def settle(self) -> None:
        """Follow gathers and interactions as far as what is known determines them."""
        first = max(int(self.tops.min()) - 2 * BANKS, 0)
        for j in range(first, min(int(self.bottoms.max()) + self.banks + 1, self.batches)):
            free = self.start if j == 0 else self.gathered[j - 1]
            bank = self.cross_done[j - self.banks] if j >= self.banks else free
            self.gather_start[j] = np.minimum(np.maximum(free, bank), NEVER)
            self.gathered[j] = np.minimum(self.gather_start[j] + self.walks[j], NEVER)
            self.ready[j] = np.minimum(self.gathered[j] + self.handover, NEVER)
            last = self.cross_done[j - 1] if j else np.zeros_like(self.choose)
            reader = self.top_done[j - BANKS] if j >= BANKS else last
            begin = np.maximum(np.maximum(self.bottom_done[j], last), reader)
            self.cross_start[j] = np.minimum(begin + 2, NEVER)
            # Visible the cycle after done; a sub-batch that a point lacks takes no time.
            self.cross_done[j] = np.minimum(begin + 2 + self.crossing[j], NEVER)

    def step(self) -> None:
        """Choose and place one chain at every point that has one left."""
        self.settle()
        follows = (self.bottoms < self.count) & (self.bottoms - self.tops < BANKS)
        may_bottom = np.where(follows, self.ready[self.bottoms, self.at], NEVER)
        may_top = np.where(self.tops < self.bottoms, self.cross_done[self.tops, self.at], NEVER)
        now = np.maximum(self.choose, np.minimum(may_bottom, may_top))
        left = now < NEVER
        bottom = left & (may_bottom <= now)
        top = left & ~bottom
        self._place(self.program.bottom, bottom, now, self.bottoms, INTERACT_CYCLES)
        self._place(self.program.top, top, now, self.tops, CHOOSE_CYCLES)
        self.bottoms = self.bottoms + bottom
        self.tops = self.tops + top

    def _room(self, which: Integers) -> Integers:
        """Return from when on the scores of sub-batch `which` have room."""
        before = []
        for step in range(1, SCORED + 1):
            there = which >= step
            index = np.where(there, which - step, 0), self.at
            before.append((np.where(there, self.sizes[index], 0), self.logit[index]))
        return score_room(self.config.sub_batch_max, self.sizes[which, self.at], before)

    def _place(
        self,
        chain: tuple[LayerShape, ...],
        here: NDArray[np.bool_],
        now: Integers,
        which: Integers,
        pause: int,
    ) -> None:
        """Place `chain` of sub-batch `which` at the points `here`, chosen in cycle `now`."""
        if not here.any():
            return
        items = self.sizes[which, self.at]
        taken, state = now, self.array
        for number, layer in enumerate(chain, start=1):
            offered = taken + FETCH_CYCLES
            if chain is self.program.top and number == len(chain):
                offered = np.maximum(offered, self._room(which))
            times = place_layer(self.config, layer, items, offered, state)
            taken, state = times.taken, times.after
        last = state.row + items - 1
        index = which[here], self.at[here]
        if chain is self.program.bottom:
            self.transfer[index] = now[here]
            self.bottom_done[index] = last[here] + row_cycles(self.config) + 1
        else:
            self.logit[index] = last[here] + score_cycles(self.config)
            self.top_done[index] = self.logit[index] + 1
        self.choose = np.where(here, taken + pause, self.choose)
        self.array = ArrayState(
            **{
                name: np.where(here, getattr(state, name), getattr(self.array, name))
                for name in ("row", "items", "stack")
            }
        )


def core_times(
    config: AcceleratorConfig,
    program: ProgramShape,
    sizes: Integers | Sequence[int],
    walks: Integers | Sequence[int] | None = None,
    start: Integers | int = 0,
    handover: Integers | int = 0,
    banks: int = BANKS,
) -> CoreTimes:
    """Return the timeline of a stage's sub-batches.

    sizes : int[J] or int[J, points], items of each sub-batch; 0: the point has fewer.
    walks : the same shape, cycles that gathering each takes; None: all are ready at `start`.
    start : cycle in which the first gather may start.
    handover : cycles from the end of gathering to the first possible transfer.
    banks : of the gathered items, `item_banks`.
    """
    table = np.asarray(sizes, np.int64)
    table = table.reshape(len(table), -1)
    walked = np.zeros_like(table) if walks is None else np.asarray(walks, np.int64)
    walked = walked.reshape(table.shape)
    zero = np.zeros(table.shape[1], np.int64)
    core = _Core(config, program, table, walked, zero + start, zero + handover, banks)
    for _ in range(2 * len(table)):
        core.step()
    core.settle()
    batches = len(table)
    return CoreTimes(
        gather_start=core.gather_start[:batches],
        gathered=core.gathered[:batches],
        transfer=core.transfer[:batches],
        interaction_start=core.cross_start[:batches],
        released=core.cross_done[:batches] - 1,
        logit=core.logit[:batches],
        array_busy=program.tiles * table.sum(axis=0),
        interaction_busy=core.crossing[:batches].sum(axis=0),
    )
