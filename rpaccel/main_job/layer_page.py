"""The page of `rpaccel layers`: random layers in the netlist beside the model's closed form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from rpaccel.main_job.layer_sweep import MOST_ITEMS, MOST_WORDS, SweptLayer
from rpaccel.main_job.markdown import markdown_table

__all__ = ["layer_text", "layer_values"]


def _equal(points: Iterable[SweptLayer]) -> str:
    """Return how many of `points` are equal."""
    equal = [point.equal for point in points]
    return f"{sum(equal):,} of {len(equal):,}"


def _span(values: Iterable[int]) -> str:
    values = sorted(values)
    return f"{values[0]:,} to {values[-1]:,}"


def _row(points: Sequence[SweptLayer]) -> list[str]:
    """Return the row of the points of one split."""
    first, plans = points[0], [point.plan for point in points]
    lanes = dict.fromkeys(f"{rows} x {cols}" for rows, cols in (point.lane for point in points))
    return [
        f"{first.array_size} / {first.block_size}",
        first.split,
        ", ".join(lanes),
        _span(plan.inputs for plan in plans),
        _span(plan.outputs for plan in plans),
        _span(point.items for point in points),
        str(sum(point.stacked for point in points)),
        f"{sum(point.results for point in points):,}",
        _equal(points),
    ]


def layer_values(points: Sequence[SweptLayer]) -> dict[str, Any]:
    """Return the figures of the page for JSON."""
    return {
        "points": len(points),
        "equal": sum(point.equal for point in points),
        "idle": sum(point.idle for point in points),
        "stacked": sum(point.stacked for point in points),
        "results": sum(point.results for point in points),
        "late": sum(point.late for point in points),
    }


def layer_text(points: Sequence[SweptLayer]) -> str:
    """Return the Markdown page of `points`."""
    splits = [list(group) for _, group in groupby(points, key=lambda x: (x.array_size, x.split))]
    idle = [point for point in points if point.idle]
    return _TEXT.format(
        equal=_equal(points),
        results=f"{sum(point.results for point in points):,}",
        late=f"{sum(point.late for point in points):,}",
        idle=_equal(idle),
        stacked=sum(point.stacked for point in points),
        words=MOST_WORDS,
        items=MOST_ITEMS,
        table=markdown_table(
            ["A / block", "split", "lanes [blocks]", "K", "N", "B", "stacked", "results", "equal"],
            [_row(points) for points in splits],
        ),
    )


_TEXT = """\
# Layers, cycle for cycle

Written by `rpaccel layers` (`make layers`): random layers (K inputs, N outputs, B items) through
layer engines and the array that they share, in the generated Verilog, beside
`perfmodel/layer_engine.py`. K and N are of 1 to {words} words of the lane's own width, mostly not
whole; B is 1 to {items}, uniform in its logarithm; the compiler's rule cuts them into tiles, with
stacking and without. All lanes of a split work at the same time; a layer follows the one before at
once, or when its lane is idle again.

**{equal} layers are equal.** Equal means: the cycle in which the layer is taken, those of its first
and last row, of its first and last result at the array's outputs and of the end of its chain, all
are the model's; so is the cycle of every result between: {late} of {results} are in another one.

A layer that finds the array idle takes, from being taken to its last result,

    (k n - 1) max(B, 2 b) + B + H + W + b + 14 cycles

k = K folds, n = N folds, b = side of a block, W = columns of cells of the rectangle, H = rows of
cells of a group: one square of the rectangle, or a half or less of it if stacked, as {stacked}
are. So do {idle} that found it idle. For the others `place_layer` says how long they wait for the
layer before.

{table}"""
