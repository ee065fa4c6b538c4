"""SCALE-Sim's closed form of a layer on a weight stationary array, to compare with.

Ref: A. Samajdar et al., "SCALE-Sim", arXiv:1811.02883; stacking as in the copy that RecPipe uses
(version 1). Version 3: github.com/scalesim-project/SCALE-Sim, scalesim 3.0.0 on PyPI.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "Fold", "scale_sim_3_cycles", "scale_sim_cycles", "scale_sim_folds", "scale_sim_utilisation",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Fold:
    """One filling of the array with weights. cells : that hold one."""

    cycles: int
    cells: int


def scale_sim_folds(
    items: int, inputs: int, outputs: int, size: int, *, stacked: bool = True
) -> Iterator[Fold]:
    """Yield SCALE-Sim's folds of a layer, weight stationary, its weight loads exposed.

    A fold of k rows and c columns takes 2 k + c + items; with `stacked`, a layer whose inputs fit
    the array side takes w = size // inputs groups of columns per fold: w k + k + c + items.
    Raises ValueError for numbers below 1.
    """
    for name, value in (
        ("items", items), ("inputs", inputs), ("outputs", outputs), ("size", size)
    ):  # fmt: skip
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    column_folds = range(0, outputs, size)
    if inputs > size or not stacked:
        rows = [min(size, inputs - k) for k in range(0, inputs, size)]
        for columns in (min(size, outputs - c) for c in column_folds):
            for k in rows:
                yield Fold(cycles=2 * k + columns + items, cells=k * columns)
        return
    groups = size // inputs
    for first in range(0, len(column_folds), groups):
        used = min(groups, len(column_folds) - first)
        held = min(used * size, outputs - first * size)  # columns of all groups
        columns = size if used > 1 else held
        cycles = used * inputs + inputs + columns + items
        yield Fold(cycles=cycles, cells=inputs * held)


def scale_sim_cycles(
    items: int, inputs: int, outputs: int, size: int, *, stacked: bool = True
) -> int:
    """Return the cycles of a layer: its folds one after the other; see `scale_sim_folds`."""
    folds = scale_sim_folds(items, inputs, outputs, size, stacked=stacked)
    return sum(fold.cycles for fold in folds)


def scale_sim_utilisation(
    items: int, layers: list[tuple[int, int]], size: int, *, stacked: bool = True
) -> float:
    """Return the share of cells that hold a weight, weighted by cycles: RecPipe's figure 10(a).

    layers : (inputs, outputs). Cycles that load, fill and drain count as used.
    """
    folds = [
        fold for k, n in layers for fold in scale_sim_folds(items, k, n, size, stacked=stacked)
    ]
    held = sum(fold.cells * fold.cycles for fold in folds)
    return held / (size * size * sum(fold.cycles for fold in folds))


def scale_sim_3_cycles(items: int, inputs: int, outputs: int, size: int) -> int:
    """Return the last cycle of a layer in SCALE-Sim 3, weight stationary, memory never late.

    Every fold takes what a full one takes, 3 size + items - 2; cycles count from 0. Exact: see
    tests/rpaccel/test_scale_sim.py.
    """
    folds = -(-inputs // size) * -(-outputs // size)
    return folds * (3 * size + items - 2) - 1
