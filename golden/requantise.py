"""The one rounding of the machine: multiply, shift, round half to even, clamp."""

from __future__ import annotations

import numpy as np

Array = np.ndarray
INT8_LOW, INT8_HIGH = -127, 127
INT16_LOW, INT16_HIGH = -32768, 32767


def round_shift(product: Array, shift: Array | int) -> Array:
    """Return product / 2**shift, rounded half to even.

    product : int64, at most 62 bits; shift : 0..47. Bit-exact with the RTL.
    """
    value = np.asarray(product, dtype=np.int64)
    amount = np.asarray(shift, dtype=np.int64)
    odd = (value >> amount) & 1
    half_less_one = np.where(amount > 0, (np.int64(1) << np.maximum(amount - 1, 0)) - 1, 0)
    return (value + np.where(amount > 0, half_less_one + odd, 0)) >> amount


def requantise(x: Array, multiplier: Array | int, shift: Array | int, low: int, high: int) -> Array:
    """Return clamp(round half even(x * multiplier / 2**shift), low, high) as int64.

    x : at most 33 bits; multiplier : 0..65535; shift : 0..47; all broadcast.
    """
    product = np.asarray(x, dtype=np.int64) * np.asarray(multiplier, dtype=np.int64)
    return np.clip(round_shift(product, shift), low, high)


def clamp8(x: Array) -> Array:
    """Return x clamped to [-127, 127]: activations are symmetric."""
    return np.clip(x, INT8_LOW, INT8_HIGH)
