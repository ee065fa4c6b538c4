"""What an INTERACT makes of an item's vectors: pair dots, their concatenation, or products."""

from __future__ import annotations

import numpy as np

from rpaccel.golden.requantise import INT8_HIGH, INT8_LOW, clamp8, requantise
from rpaccel.spec.isa import Interaction

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


def interaction_width(kind: Interaction, dim: int, user_vectors: int, item_vectors: int) -> int:
    """Return the int8 values of an item's output row, vector 0 (`dim` values) included."""
    if kind is Interaction.DOT:
        return dim + interaction_params(kind, user_vectors, item_vectors)
    if kind is Interaction.CONCAT:
        return dim * (1 + user_vectors + item_vectors)
    return dim * (1 + max(user_vectors, item_vectors))


def interaction_params(kind: Interaction, user_vectors: int, item_vectors: int) -> int:
    """Return the entries of PAIR that an instruction uses: one per dot or per product vector."""
    if kind is Interaction.DOT:
        vectors = 1 + user_vectors + item_vectors
        return vectors * (vectors - 1) // 2
    return min(user_vectors, item_vectors) if kind is Interaction.PRODUCT else 0


def interact(
    vectors: Array,
    multiplier: Array,
    shift: Array,
    kind: Interaction = Interaction.DOT,
    user_vectors: int = 0,
) -> Array:
    """Return the output rows, int64[n, interaction_width]. Bit-exact.

    Vector 0 as it is, then: DOT, the requantised dots of all pairs; CONCAT, the other vectors;
    PRODUCT, user vector n times item vector n, requantised, then the vectors left over. What is
    copied is clamped to -127..127, as every int8 of the machine is.

    vectors : int8[n, F, d]: vector 0 (the bottom output), `user_vectors` of the user side, the
        rest of the item side.
    multiplier, shift : [interaction_params]; user_vectors matters to PRODUCT only.
    """
    x = np.asarray(vectors, dtype=np.int64)
    if kind is Interaction.DOT:
        made, rest = _scaled(dot_pairs(x), multiplier, shift), x[:, :0]
    elif kind is Interaction.CONCAT:
        made, rest = x[:, :0], x[:, 1:]
    else:
        made, rest = _products(x[:, 1 : 1 + user_vectors], x[:, 1 + user_vectors :],
                               multiplier, shift)  # fmt: skip
    return np.concatenate([clamp8(x[:, 0]), _flat(made), _flat(clamp8(rest))], axis=1)


def _products(user: Array, item: Array, multiplier: Array, shift: Array) -> tuple[Array, Array]:
    """Return the requantised products and the vectors of the longer side without a partner."""
    common = min(user.shape[1], item.shape[1])
    product = user[:, :common] * item[:, :common]
    rest = np.concatenate([user[:, common:], item[:, common:]], axis=1)
    return _scaled(product, np.asarray(multiplier)[:, None], np.asarray(shift)[:, None]), rest


def _scaled(x: Array, multiplier: Array, shift: Array) -> Array:
    return requantise(x, multiplier, shift, INT8_LOW, INT8_HIGH)


def _flat(x: Array) -> Array:
    return x.reshape(x.shape[0], int(np.prod(x.shape[1:])))
