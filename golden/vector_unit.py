"""From int32 sums to int8 activations, or to the int16 logit."""

from __future__ import annotations

import numpy as np

from rpaccel.golden.quantised import QuantisedLayer
from rpaccel.golden.requantise import INT8_HIGH, INT8_LOW, INT16_HIGH, INT16_LOW, requantise
from rpaccel.golden.systolic_array import matmul

Array = np.ndarray


def activate(sums: Array, bias: Array, multiplier: Array, shift: Array, *, relu: bool) -> Array:
    """Return int8 activations (as int64) of int32 sums[n, channels]."""
    x = np.asarray(sums, dtype=np.int64) + np.asarray(bias, dtype=np.int64)
    return requantise(x, multiplier, shift, 0 if relu else INT8_LOW, INT8_HIGH)


def score(sums: Array, bias: Array, multiplier: Array, shift: Array) -> Array:
    """Return int16 logits (as int64) of int32 sums[n, 1] or sums[n]; 11 fraction bits."""
    x = np.asarray(sums, dtype=np.int64) + np.asarray(bias, dtype=np.int64)
    return requantise(x, multiplier, shift, INT16_LOW, INT16_HIGH)


def layer(inputs: Array, parameters: QuantisedLayer) -> Array:
    """Return the activations of one hidden layer. inputs : int8[n, inputs]."""
    sums = matmul(inputs, parameters.weights)
    p = parameters
    return activate(sums, p.bias, p.multiplier, p.shift, relu=p.relu)


def score_layer(inputs: Array, parameters: QuantisedLayer) -> Array:
    """Return the logits int64[n] of the last layer. inputs : int8[n, inputs]."""
    sums = matmul(inputs, parameters.weights)
    p = parameters
    return score(sums, p.bias, p.multiplier, p.shift)[:, 0]
