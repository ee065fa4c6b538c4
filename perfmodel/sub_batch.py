"""How many items a ranker takes at a time: small enough to overlap, large enough to stream.

While the array computes one sub-batch, the interaction works on the one before. What a stage loses
is the work of its first and last sub-batch that nothing overlaps, so small ones are better; but a
weight tile takes max(items, 2 b) cycles, and a layer waits for the rows of the one before, so they
must not be too small.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from rpaccel.perfmodel.sequencer import ProgramShape, core_times
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.program_plan import ModelPlan

__all__ = ["best_sub_batch"]


def best_sub_batch(plan: ModelPlan, items: int | None = None) -> int:
    """Return the items per sub-batch with which a stage of `items` takes the fewest cycles.

    items : of the stage; None: config.max_items. Candidates are the most that fit and the powers
    of two below it, down to 2 b; among equals the largest. Gathering is taken to keep up.
    Raises ValueError if not one item fits.
    """
    most, config = plan.most_items, plan.config
    if most < 1:
        raise ValueError("most_items must be at least 1, not 0: an item's data must fit on chip")
    shape = ProgramShape.of(plan.program, plan.row_bytes)
    return _best(config, shape, most, config.max_items if items is None else items)


@lru_cache(maxsize=1024)
def _best(config: AcceleratorConfig, shape: ProgramShape, most: int, items: int) -> int:
    least = 2 * config.block_size
    smaller = {1 << bits for bits in range(least.bit_length() - 1, most.bit_length())}
    candidates = np.array(sorted({min(most, items), *(n for n in smaller if n < most)}))
    starts = np.arange(-(-items // int(candidates[0])))[:, None] * candidates
    times = core_times(config, shape, np.clip(items - starts, 0, candidates))
    ends = np.where(starts < items, times.logit, 0).max(axis=0)
    return int(candidates[ends == ends.min()][-1])
