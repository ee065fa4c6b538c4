"""How many items a ranker takes at a time: small enough to overlap, large enough to stream.

While the array computes one sub-batch, the interaction works on the one before and the gather on
those behind: in four banks up to four ahead, if a quarter of the item memories holds one, else two.
What a stage loses is the work of its first and last sub-batch that nothing overlaps, so small ones
are better; but a weight tile takes max(items, 2 b) cycles, and a layer waits for the rows of the
one before, so they must not be too small.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from rpaccel.perfmodel.sequencer import (
    BANKS,
    QUARTERS,
    Integers,
    ProgramShape,
    core_times,
    item_banks,
)
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.program_plan import ModelPlan

__all__ = ["WALK_RECORD_CYCLES", "best_sub_batch"]

WALK_RECORD_CYCLES = 2  # FeatureWalker: take a record, finish it
LONG_STAGE = 4096  # items; more would not change the choice
HANDOVER_CYCLES = 150  # assumed: from the last row asked for to the hand-over, memory of 100 cycles


def best_sub_batch(plan: ModelPlan, items: int | None = None, *, gathered: bool = False) -> int:
    """Return the items per sub-batch with which a stage of `items` takes the fewest cycles.

    items : of the stage; None: config.max_items, or LONG_STAGE if that is less. gathered : all data
    are there at once; else they come as fast as the gather unit walks through records and
    single-hot rows that hit. Candidates are the most that fit, the most that fit a quarter, and the
    powers of two below, down to 2 b; among equals the largest. Raises ValueError if not one item
    fits.
    """
    most, config = plan.most_items, plan.config
    if most < 1:
        raise ValueError("most_items must be at least 1, not 0: an item's data must fit on chip")
    shape = ProgramShape.of(plan.program, plan.row_bytes)
    walk = (0, 0) if gathered else _walk(plan)
    sizes = most, plan.quarter_items
    return _best(
        config, shape, sizes, min(config.max_items, LONG_STAGE) if items is None else items, walk
    )


def _walk(plan: ModelPlan) -> tuple[int, int]:
    """Return the cycles of an item's walk in its share, and of what all shares have in common."""
    config = plan.config
    dense = plan.item_dense_words * config.array_size // config.beat_bytes
    rows = plan.sizes.item_tables * max(1, plan.row_bytes // config.beat_bytes)
    return WALK_RECORD_CYCLES + dense + rows, dense if config.gather_ports > 1 else 0


@lru_cache(maxsize=1024)
def _best(
    config: AcceleratorConfig,
    shape: ProgramShape,
    sizes: tuple[int, int],
    items: int,
    walk: tuple[int, int],
) -> int:
    """Return the best of the candidates. sizes : items that a half and a quarter hold."""
    most, quarter = sizes
    least = 2 * config.block_size
    smaller = {1 << bits for bits in range(least.bit_length() - 1, most.bit_length())} | {quarter}
    candidates = np.array(
        sorted({min(most, items), *(n for n in smaller if least <= n < min(most, items))})
    )
    ends = np.zeros(len(candidates), np.int64)
    for banks in (BANKS, QUARTERS):
        here = np.array([item_banks({"quarter_items": quarter}, n) == banks for n in candidates])
        if here.any():
            ends[here] = _ends(config, shape, candidates[here], items, walk, banks)
    return int(candidates[ends == ends.min()][-1])


def _ends(
    config: AcceleratorConfig,
    shape: ProgramShape,
    candidates: Integers,
    items: int,
    walk: tuple[int, int],
    banks: int,
) -> Integers:
    """Return the last logit of a stage with sub-batches of each size."""
    starts = np.arange(-(-items // int(candidates[0])))[:, None] * candidates
    sizes = np.clip(items - starts, 0, candidates)
    share, common = walk
    walks = np.maximum(-(-sizes // config.gather_ports) * share, sizes * common)
    handover = HANDOVER_CYCLES if share else 0
    times = core_times(config, shape, sizes, walks, 0, handover, banks)
    ends: Integers = np.where(starts < items, times.logit, 0).max(axis=0)
    return ends
