"""When the tiles of a layer enter the array. Exact.

Tiles follow each other every max(items, 2 b) cycles, b = block_size: the next tile's weights are
shifted in while the rows of the present one stream. Between layers the same holds, unless
 - the layer comes late: loading takes b cycles, and 2 more until the first row;
 - it reads what the layer before wrote: `dependency_cycles` after that layer's last tile began;
 - it stacks in other groups: `skew_cycles` more, until the last block row is through.

All functions take integers or int64[points].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Source

Integers = NDArray[np.int64]

READ_CYCLES = 2  # vector memory and the choice of the memory
GRID_CYCLES = 2  # a register before the tiles and one behind
PE_CYCLES = 3  # activation, product, sum
ADD_CYCLES = 1  # accumulator
REQUANTISE_CYCLES = 6  # bias, product (2), round, shift, clamp
SETTLE_CYCLES = 2  # weight bank: memory and register
LONG_AGO = -(1 << 40)


def tile_latency_cycles(config: AcceleratorConfig) -> int:
    """Return the cycles from a row at a tile to its result: 2 b + 8."""
    return 2 * (config.block_size - 1) + PE_CYCLES + ADD_CYCLES + REQUANTISE_CYCLES


def skew_cycles(config: AcceleratorConfig) -> int:
    """Return by how many cycles the last block row lags the first."""
    return config.array_size - config.block_size


def score_cycles(config: AcceleratorConfig) -> int:
    """Return the cycles from reading a row to its logit: A + b + 12."""
    return READ_CYCLES + GRID_CYCLES + tile_latency_cycles(config) + skew_cycles(config)


def row_cycles(config: AcceleratorConfig) -> int:
    """Return the cycles from reading a row to the last part of its result: 2 A + 12."""
    return score_cycles(config) + skew_cycles(config)


def result_cycles(config: AcceleratorConfig, stack: int, column: int = 0) -> int:
    """Return the cycles from reading a row to its result's part in block column `column`.

    stack : log2 of the groups of block rows. Sums leave at the last block row of each group, as if
    the array were as low as a group is.
    """
    lag = (config.block_rows >> stack) - 1 + column
    return READ_CYCLES + GRID_CYCLES + tile_latency_cycles(config) + lag * config.block_size


def dependency_cycles(config: AcceleratorConfig) -> int:
    """Return the fewest cycles from a tile's first row to the first row that reads its results.

    Block columns of further squares across are later than those whose words they follow.
    """
    return score_cycles(config) + 1 + (config.groups_across - 1) * config.array_size


def tile_cycles(config: AcceleratorConfig, items: Integers | int) -> Integers:
    """Return the cycles from one tile to the next: its rows, or loading the next tile."""
    return np.maximum(items, 2 * config.block_size)


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """What timing needs of a LAYER instruction."""

    k_folds: int
    n_steps: int
    stack: int
    reads_act: bool

    @classmethod
    def of(cls, instruction: Mapping[str, int]) -> LayerShape:
        """Return the shape of a LAYER. instruction : fields of spec.isa.INSTRUCTION."""
        sources = (instruction.get("source_a", 0), instruction["source_b"])
        return cls(
            k_folds=instruction.get("words_a", 0) + instruction["words_b"],
            n_steps=instruction["n_steps"],
            stack=instruction.get("stack", 0),
            reads_act=any(source in (Source.ACT0, Source.ACT1) for source in sources),
        )

    @property
    def tiles(self) -> int:
        """Weight tiles that every item passes."""
        return self.k_folds * self.n_steps


@dataclass(frozen=True, kw_only=True)
class ArrayState:
    """Where the array stands: the last tile's first row [cycle], its rows, its stacking."""

    row: Integers
    items: Integers
    stack: Integers

    @classmethod
    def idle(cls, points: int = 1) -> ArrayState:
        """Return the state after reset."""
        zero = np.zeros(points, np.int64)
        return cls(row=zero + LONG_AGO, items=zero, stack=zero)


@dataclass(frozen=True, kw_only=True)
class LayerTimes:
    """taken : cycle in which the layer is taken. after : state once its last tile has begun."""

    taken: Integers
    after: ArrayState


def place_layer(
    config: AcceleratorConfig,
    layer: LayerShape,
    items: Integers,
    offered: Integers,
    before: ArrayState,
) -> LayerTimes:
    """Return when a layer that is offered from cycle `offered` on is taken and streamed."""
    size = config.block_size
    taken = np.maximum(offered, before.row - 1)
    skew = np.where(before.stack != layer.stack, skew_cycles(config), 0)
    load = np.maximum(taken + 1, before.row + size - 2 + skew)
    first = np.maximum(load + size + SETTLE_CYCLES, before.row + before.items + skew)
    if layer.reads_act:
        first = np.maximum(first, before.row + dependency_cycles(config))
    last = first + (layer.tiles - 1) * tile_cycles(config, items)
    stack = np.full_like(before.stack, layer.stack)
    return LayerTimes(taken=taken, after=ArrayState(row=last, items=items, stack=stack))


def layer_results(
    config: AcceleratorConfig, layer: LayerShape, items: Integers, after: ArrayState
) -> tuple[Integers, Integers]:
    """Return when the first and the last result of a layer leave the array. after : `place_layer`.

    The first comes with the last K fold of the first N fold.
    """
    begin = after.row - (layer.tiles - layer.k_folds) * tile_cycles(config, items)
    last = after.row + items - 1 + result_cycles(config, layer.stack, config.block_cols - 1)
    return begin + result_cycles(config, layer.stack), last


def layer_cycles(config: AcceleratorConfig, layer: LayerShape, items: Integers | int) -> Integers:
    """Return the cycles of a layer on an idle array, from being taken to its last result.

    (tiles - 1) max(items, 2 b) + items + H + W + b + 14: H rows of cells in a group, W columns.
    """
    height = (config.block_rows >> layer.stack) * config.block_size
    fixed = height + config.channels_across + config.block_size + 14
    return (layer.tiles - 1) * tile_cycles(config, items) + items + fixed


def layer_macs(config: AcceleratorConfig, items: int, layer: LayerShape) -> int:
    """Return the MACs that the array performs on real rows (padding of folds included)."""
    return items * layer.tiles * config.array_macs
