"""Closed forms of the compute units: systolic_array, vector_unit, interaction."""

import numpy as np
import pytest

from rpaccel.golden.dlrm import interact as interact_float
from rpaccel.golden.interaction import dot_pairs, interact, pair_indices
from rpaccel.golden.quantised import QuantisedLayer
from rpaccel.golden.systolic_array import matmul, tile_sums, wrap_int32
from rpaccel.golden.vector_unit import activate, layer, score, score_layer


def test_matmul_by_hand():
    a, w = np.array([[1, -2], [127, 127]]), np.array([[3, 4], [5, -127]])
    assert matmul(a, w).tolist() == [[-7, 258], [1016, -15621]]


def test_matmul_is_exact_at_the_extremes():
    a = np.full((1, 4096), -127, dtype=np.int8)
    w = np.full((4096, 2), 127, dtype=np.int8)
    w[::2, 1] = -127
    assert matmul(a, w).tolist() == [[-4096 * 127 * 127, 0]]


def test_sums_wrap_at_32_bits():
    assert wrap_int32(np.array([1 << 31, -(1 << 31) - 1, (1 << 31) - 1])).tolist() == [
        -(1 << 31), (1 << 31) - 1, (1 << 31) - 1,
    ]  # fmt: skip


def test_tiles_add_up_to_the_layer():
    rng = np.random.default_rng(0)
    a = rng.integers(-127, 128, size=(5, 24))
    w = rng.integers(-127, 128, size=(24, 8))
    sums = 0
    for k in range(3):
        sums = tile_sums(a[:, 8 * k : 8 * k + 8], w[8 * k : 8 * k + 8], sums)
    assert np.array_equal(sums, a @ w)


def test_activate_by_hand():
    sums = np.array([[10, 10], [-11, 1000], [-6, -300]])
    bias, multiplier, shift = np.array([1, 0]), np.array([1, 3]), np.array([1, 2])
    # (10+1)/2 = 5.5 -> 6; 7.5 -> 8; -5; 750 -> 127; -2.5 -> -2; -225 -> -127
    expected = [[6, 8], [-5, 127], [-2, -127]]
    assert activate(sums, bias, multiplier, shift, relu=False).tolist() == expected
    expected = [[6, 8], [0, 127], [0, 0]]
    assert activate(sums, bias, multiplier, shift, relu=True).tolist() == expected


def test_bias_needs_33_bits():
    top = np.array([(1 << 31) - 1])
    assert score(top, top, np.array([1]), np.array([31])).tolist() == [2]
    assert score(-top - 1, -top - 1, np.array([1]), np.array([31])).tolist() == [-2]


def test_score_saturates_at_16_bits():
    sums = np.array([32766, 32767, 32768, -32768, -32769])
    one, zero = np.array([1]), np.array([0])
    assert score(sums, zero, one, zero).tolist() == [32766, 32767, 32767, -32768, -32768]


@pytest.mark.parametrize("relu", [False, True])
def test_layer_follows_float(relu):
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(40, 16)) * 0.2
    x = rng.normal(size=(50, 40)).clip(-4, 4)
    in_scale, out_scale = 4 / 127, 6 / 127
    scale = np.abs(weights).max(axis=0) / 127
    multiplier = np.rint(in_scale * scale / out_scale * 2.0**24).astype(np.uint16)
    bias = rng.normal(size=16)
    quantised = QuantisedLayer(
        weights=np.rint(weights / scale).astype(np.int8),
        bias=np.rint(bias / (in_scale * scale)).astype(np.int32),
        multiplier=multiplier,
        shift=np.full(16, 24, dtype=np.uint8),
        relu=relu,
    )
    steps = np.rint(x / in_scale)
    expected = (steps * in_scale) @ weights + bias
    expected = np.maximum(expected, 0) if relu else expected
    got = layer(steps, quantised) * out_scale
    # Half an output step, and half a weight step on each of 40 inputs up to 4.
    bound = out_scale / 2 + 40 * 4 * scale / 2
    assert (np.abs(got - expected.clip(-6, 6)) <= bound).all()
    assert np.abs(got - expected.clip(-6, 6)).mean() < out_scale


def test_score_layer_gives_one_logit_per_item():
    quantised = QuantisedLayer(
        weights=np.array([[2], [-3]], dtype=np.int8),
        bias=np.array([5], dtype=np.int32),
        multiplier=np.array([1], dtype=np.uint16),
        shift=np.array([0], dtype=np.uint8),
        relu=False,
    )
    assert score_layer(np.array([[1, 1], [10, -10], [0, 0]]), quantised).tolist() == [4, 55, 5]


def test_pairs_come_in_order():
    i, j = pair_indices(4)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == [
        (1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2),
    ]  # fmt: skip


def test_interaction_by_hand():
    vectors = np.array([[[1, 2], [3, 4], [-5, 127]]])
    assert dot_pairs(vectors).tolist() == [[11, 249, 493]]
    got = interact(vectors, np.array([1, 1, 1]), np.array([1, 1, 2]))
    # 5.5 -> 6; 124.5 -> 124; 123.25 -> 123
    assert got.tolist() == [[1, 2, 6, 124, 123]]
    assert interact(vectors, np.array([1, 1, 1]), np.array([0, 0, 0])).tolist()[0][3:] == [127, 127]


def test_interaction_extremes():
    vectors = np.full((1, 2, 128), -127)
    assert dot_pairs(vectors).tolist() == [[128 * 127 * 127]]


def test_interaction_order_is_the_float_reference_order():
    rng = np.random.default_rng(2)
    vectors = rng.integers(-127, 128, size=(3, 6, 8))
    assert np.array_equal(
        dot_pairs(vectors), interact_float(vectors.astype(np.float32)).astype(np.int64)
    )


def test_no_pairs():
    vectors = np.ones((3, 1, 4), dtype=np.int64)
    none = np.zeros(0, dtype=np.int64)
    assert interact(vectors, none, none).shape == (3, 4)
