"""Dot products of all pairs of vectors."""

from __future__ import annotations

import numpy as np

from rpaccel.golden.quantised import pair_count
from rpaccel.golden.requantise import INT8_HIGH, INT8_LOW, requantise

Array = np.ndarray


def pair_indices(vectors: int) -> tuple[Array, Array]:
    """Return (i, j) of every pair in the machine's order: i = 1..F-1, j = 0..i-1."""
    return np.tril_indices(vectors, k=-1)


def dot_pairs(vectors: Array) -> Array:
    """Return int64[n, pairs] of int8 vectors[n, F, d]. Bit-exact."""
    x = np.asarray(vectors, dtype=np.float64)  # exact: |dot| < 2**53
    gram = np.matmul(x, x.transpose(0, 2, 1))
    i, j = pair_indices(x.shape[1])
    return gram[:, i, j].astype(np.int64)


def interact(vectors: Array, multiplier: Array, shift: Array) -> Array:
    """Return [v0, requantised pairs] as int64[n, d + pairs].

    vectors : int8[n, F, d], vector 0 the bottom output; multiplier, shift : [pairs].
    """
    n, count, dim = vectors.shape
    pairs = requantise(dot_pairs(vectors), multiplier, shift, INT8_LOW, INT8_HIGH)
    output = np.empty((n, dim + pair_count(count)), dtype=np.int64)
    output[:, :dim] = vectors[:, 0]
    output[:, dim:] = pairs
    return output
