"""Click-through rate of a logit: 256 straight segments of the sigmoid."""

from __future__ import annotations

import numpy as np

Array = np.ndarray
CTR_MAX = 65535
SEGMENTS = 256


def sigmoid_float(logit: Array) -> Array:
    """Return the sigmoid of int16 logits with 11 fraction bits, in float64."""
    return 1.0 / (1.0 + np.exp(-np.asarray(logit, dtype=np.float64) / 2048.0))


def sigmoid_base() -> Array:
    """Return the 257 knots of the table, int64: round(65535 / (1 + exp(-(i - 128) / 8)))."""
    i = np.arange(SEGMENTS + 1)
    return np.rint(CTR_MAX / (1.0 + np.exp(-(i - 128) / 8.0))).astype(np.int64)


def ctr(logit: Array) -> Array:
    """Return uint16 rates (as int64) of int16 logits. Monotone; within 14 LSB of the sigmoid."""
    offset = np.asarray(logit, dtype=np.int64) + 32768
    segment, fraction = offset >> 8, offset & 0xFF
    base = sigmoid_base()
    return base[segment] + ((base[segment + 1] - base[segment]) * fraction >> 8)
