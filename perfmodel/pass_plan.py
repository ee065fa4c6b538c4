"""Passes of unequal sizes: short ones where a stage fills and drains, long ones in between.

At both ends of a stage an interaction runs with little or no layer beside it, and it is as long as
the first or the last pass is: so passes begin short and end short. In between long ones hide what a
layer waits for, and what a weight tile of fewer than 2 b items would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rpaccel.perfmodel.sequencer import Integers, ProgramShape, core_times
from rpaccel.spec.program_plan import ModelPlan

__all__ = ["PassPlan", "best_passes"]


@dataclass(frozen=True, kw_only=True)
class PassPlan:
    """How a core walks through a stage: `head`, passes of `size` items, `tail`.

    head : sizes of the first passes, each twice the one before. tail : of the last ones, each half
    the one before. All are below `size`.
    """

    size: int
    head: tuple[int, ...] = ()
    tail: tuple[int, ...] = ()

    def middle(self, items: int) -> int:
        """Return the passes of `size` items in a stage of `items`, 0 at least.

        Raises ValueError if head and tail are more than `items`.
        """
        ends = sum(self.head) + sum(self.tail)
        if items < ends:
            raise ValueError(f"items must be at least {ends} (head and tail), not {items}")
        return (items - ends) // self.size

    def counts(self, items: int) -> list[int]:
        """Return the items of every pass; what remains of `items` is one more of the falling ones.

        Raises ValueError if head and tail are more than `items`.
        """
        middle = self.middle(items)
        rest = items - sum(self.head) - sum(self.tail) - middle * self.size
        falling = sorted([*self.tail, *[rest] * (rest > 0)], reverse=True)
        return [*self.head, *[self.size] * middle, *falling]


def best_passes(plan: ModelPlan, items: int, item_cycles: int = 0) -> PassPlan:
    """Return the plan with which a stage of `items` takes the fewest cycles, of those there are.

    Sizes are powers of two and three times such; head and tail are the powers of two below `size`
    down to any, or empty: all combinations are placed by `perfmodel.sequencer`. None but what
    remains is below 2 b, which a weight tile takes at least. Among equals the largest size, the
    shortest head, then tail.
    item_cycles : that bringing an item's data takes, into one of two banks; 0: all are there.
    Raises ValueError if 2 b items do not fit.
    """
    least, most = 2 * plan.config.block_size, min(plan.most_items, items)
    if most < least:
        raise ValueError(f"most_items and items must be at least {least} (2 b), not {most}")
    powers = [least << bits for bits in range((most // least).bit_length())]
    sizes = sorted({*powers, *(3 * n // 2 for n in powers if 3 * n // 2 <= most)}, reverse=True)
    best: list[tuple[int, PassPlan]] = []
    for size in sizes:  # at once: those of about as many passes
        below = [n for n in powers if n < size]
        ramps = [tuple(below[first:]) for first in range(len(below), -1, -1)]
        tried = [
            PassPlan(size=size, head=head, tail=tail[::-1])
            for head in ramps
            for tail in ramps
            if items - sum(head) - sum(tail) >= size
        ]
        ends = _ends(plan, [passes.counts(items) for passes in tried], item_cycles)
        best.append((int(ends.min()), tried[int(ends.argmin())]))
    return min(best, key=lambda found: found[0])[1]


def _ends(plan: ModelPlan, counts: Sequence[Sequence[int]], item_cycles: int) -> Integers:
    """Return when the last logit of each run leaves, int64[runs], from its first transfer on."""
    sizes = np.zeros((max(map(len, counts)), len(counts)), np.int64)
    for run, count in enumerate(counts):
        sizes[: len(count), run] = count
    shape = ProgramShape.of(plan.program, plan.row_bytes)
    walks = item_cycles * sizes
    logits = core_times(plan.config, shape, sizes, walks, -walks[0]).logit
    ends: Integers = np.where(sizes > 0, logits, 0).max(axis=0)
    return ends
