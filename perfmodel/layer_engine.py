"""Cycles of a LAYER instruction. Exact."""

from __future__ import annotations

from rpaccel.spec.accelerator import AcceleratorConfig

READ_CYCLES = 2  # vector memory and the choice of the memory
PE_CYCLES = 3  # activation, product, sum
ADD_CYCLES = 1  # accumulator
REQUANTISE_CYCLES = 6  # bias, product (2), round, shift, clamp


def tile_cycles(config: AcceleratorConfig, items: int) -> int:
    """Return the cycles from one tile to the next: its rows, or loading the next tile."""
    return max(items, 2 * config.array_size)


def row_cycles(config: AcceleratorConfig) -> int:
    """Return the cycles from reading a row of activations to writing its result."""
    array = 2 * (config.array_size - 1) + PE_CYCLES
    return READ_CYCLES + array + ADD_CYCLES + REQUANTISE_CYCLES


def layer_cycles(config: AcceleratorConfig, items: int, k_folds: int, n_folds: int) -> int:
    """Return the busy cycles of a layer over `items` rows with k_folds x n_folds tiles.

    The first tile is loaded in A cycles, tiles follow each other, the last row drains:
    A + (k_folds * n_folds - 1) * max(items, 2 A) + items + row_cycles.
    k_folds counts user words and item words together.
    """
    tiles = k_folds * n_folds
    streaming = (tiles - 1) * tile_cycles(config, items) + items
    return config.array_size + streaming + row_cycles(config)


def layer_macs(config: AcceleratorConfig, items: int, k_folds: int, n_folds: int) -> int:
    """Return the MACs that the array performs on real rows (padding of folds included)."""
    return items * k_folds * n_folds * config.array_size**2
