"""SCALE-Sim's closed form of a layer on a weight stationary array, to compare with.

Ref: A. Samajdar et al., "SCALE-Sim", arXiv:1811.02883; stacking as in the copy that RecPipe uses.
"""

from __future__ import annotations

__all__ = ["scale_sim_cycles"]


def scale_sim_cycles(
    items: int, inputs: int, outputs: int, size: int, *, stacked: bool = True
) -> int:
    """Return SCALE-Sim's weight stationary cycles of a layer, its weight loads exposed.

    Per fold of k rows and c columns 2 k + c + items; with `stacked`, a layer whose inputs fit the
    array side takes w = size // inputs groups of columns per fold: w k + k + c + items.
    """
    column_folds = range(0, outputs, size)
    if inputs > size or not stacked:
        rows = [min(size, inputs - k) for k in range(0, inputs, size)]
        columns = [min(size, outputs - c) for c in column_folds]
        return sum(2 * k + c + items for c in columns for k in rows)
    groups = size // inputs
    total = 0
    for first in range(0, len(column_folds), groups):
        used = min(groups, len(column_folds) - first)
        columns_used = size if used > 1 else min(size, outputs - first * size)
        total += used * inputs + inputs + columns_used + items
    return total
