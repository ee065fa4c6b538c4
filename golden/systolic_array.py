"""What the array computes: int8 products summed in int32."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def wrap_int32(x: Array) -> Array:
    """Return the int32 that hardware would hold for each integer of x, as int64."""
    return ((np.asarray(x, dtype=np.int64) + (1 << 31)) & 0xFFFF_FFFF) - (1 << 31)


def matmul(activations: Array, weights: Array) -> Array:
    """Return activations @ weights as int64 in int32 range. Bit-exact.

    activations : int[n, K]; weights : int[K, N]; both in [-128, 127]. Products go through
    float64, which is exact below 2**53: K up to 2**39.
    """
    sums = np.asarray(activations, dtype=np.float64) @ np.asarray(weights, dtype=np.float64)
    return wrap_int32(sums.astype(np.int64))


def tile_sums(activations: Array, tile: Array, partial: Array | int = 0) -> Array:
    """Return int32 sums after one pass of rows through a weight tile.

    activations : int8[B, A]; tile : int8[A, A] (row, channel); partial : int32[B, A], the sums
    of earlier K folds.
    """
    return wrap_int32(matmul(activations, tile) + np.asarray(partial, dtype=np.int64))
