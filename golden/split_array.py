"""What an array of tiles computes when lanes own rectangles of it and stack layers in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rpaccel.golden.systolic_array import matmul, wrap_int32
from rpaccel.golden.vector_unit import activate, score
from rpaccel.spec.rectangle import Rectangle

Array = np.ndarray


def check_partition(blocks: int, rectangles: Sequence[Rectangle]) -> None:
    """Raise ValueError unless all `rectangles` lie in a grid of `blocks` and none overlap."""
    owner: dict[tuple[int, int], int] = {}
    for lane, rectangle in enumerate(rectangles):
        for tile in sorted(rectangle.tiles):
            if not all(0 <= place < blocks for place in tile):
                raise ValueError(f"lane {lane} must stay inside {blocks} blocks, not own {tile}")
            if tile in owner:
                raise ValueError(f"tile {tile} must have one owner, not {owner[tile]} and {lane}")
            owner[tile] = lane


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One weight tile in every block of a rectangle of rows x cols blocks of b x b cells.

    inputs : int8[items, rows, b]; weights : int8[rows, cols, b, b] (row of the block, channel).
    cuts, taps : bool[rows]: the sums of a block row start from zero; they end there.
    first_k, last_k : K fold. The last one has bias, multiplier, shift : int[rows, cols, b].
    score : channel 0 of a block is a logit, instead of b activations.
    """

    inputs: Array
    weights: Array
    cuts: tuple[bool, ...]
    taps: tuple[bool, ...]
    first_k: bool = True
    last_k: bool = True
    relu: bool = False
    score: bool = False
    bias: Array = field(default_factory=lambda: np.zeros(0))
    multiplier: Array = field(default_factory=lambda: np.zeros(0))
    shift: Array = field(default_factory=lambda: np.zeros(0))


def pass_sums(one: Pass) -> dict[int, Array]:
    """Return the sums of every tapped block row: int64[cols, items, b] in int32 range."""
    partial: Array = np.zeros((), np.int64)
    sums = {}
    for row, (cut, tap) in enumerate(zip(one.cuts, one.taps, strict=True)):
        products = np.stack([matmul(one.inputs[:, row], block) for block in one.weights[row]])
        partial = products if cut else partial + products
        if tap:
            sums[row] = wrap_int32(partial)
    return sums


def lane_results(passes: Sequence[Pass]) -> list[dict[int, Array]]:
    """Return what leaves the rectangle for each last K fold, in order.

    Each entry has, by tapped block row, int8 activations [cols, items, b], or logits [cols, items].
    """
    kept: dict[int, Array] = {}
    results = []
    for one in passes:
        for row, sums in pass_sums(one).items():
            kept[row] = sums if one.first_k else wrap_int32(kept[row] + sums)
        if one.last_k:
            results.append({row: _requantised(one, row, kept[row]) for row in pass_sums(one)})
    return results


def _requantised(one: Pass, row: int, sums: Array) -> Array:
    parameters = [getattr(one, name)[row][:, None, :] for name in ("bias", "multiplier", "shift")]
    if one.score:
        return score(sums[..., 0], *(values[..., 0] for values in parameters))
    return activate(sums, *parameters, relu=one.relu)
