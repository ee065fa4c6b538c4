import numpy as np
import pytest

from rpaccel.golden.deeprec import GruWeights, forward, gru, interest, pooled
from rpaccel.spec.deeprec import deeprec_names, load_deeprec
from rpaccel.workloads.deeprec_inputs import random_inputs, random_weights


def float32(*values):
    return np.asarray(values, np.float32)


def test_pools_by_table_and_position():
    tables = np.arange(12, dtype=np.float32).reshape(2, 3, 2)  # two tables, three rows, dim 2
    ids = np.asarray([[[0, 2], [1, 1], [0, 0], [2, 2]]], np.int32)  # two positions per table
    expected = [[[4, 6], [4, 6], [12, 14], [20, 22]]]
    assert pooled(tables, ids, 2).tolist() == expected


def one_unit(z=0.0, r=0.0, h=0.0):
    weights = GruWeights(
        inputs=float32([z, r, h]),
        states=float32([0.0, 0.0, 1.0]),
        input_bias=np.zeros(3, np.float32),
        state_bias=np.zeros(3, np.float32),
    )
    return weights


def test_gru_by_hand():
    # gates at one half: h1 = tanh(1) / 2, h2 = h1 / 2 + tanh(1 + h1 / 2) / 2
    states = gru(one_unit(h=1.0), np.ones((1, 2, 1), np.float32))
    first = np.tanh(1.0) / 2
    second = first / 2 + np.tanh(1 + first / 2) / 2
    assert states[0, :, 0] == pytest.approx([first, second], rel=1e-6)


def test_no_attention_keeps_the_state():
    x = np.ones((1, 3, 1), np.float32)
    full = gru(one_unit(h=1.0), x, np.ones((1, 3), np.float32))
    assert np.array_equal(full, gru(one_unit(h=1.0), x))
    some = gru(one_unit(h=1.0), x, float32([1.0, 0.0, 0.0]))
    assert some[0, :, 0] == pytest.approx([full[0, 0, 0]] * 3)


def test_interest_by_hand():
    # unit: 1 * behaviour + 0 * candidate + 2 * product + 0.5
    layers = ((float32([1.0], [0.0], [2.0]), float32(0.5)),)
    behaviours = float32([[1.0], [3.0]])[None, :, :].reshape(1, 2, 1)
    result = interest(layers, behaviours, float32([2.0]).reshape(1, 1))
    # weights 1 + 4 + .5 and 3 + 12 + .5
    assert result.tolist() == [[5.5 * 1 + 15.5 * 3]]


@pytest.mark.parametrize("name", deeprec_names())
def test_every_item_is_scored_alone(name):
    config = load_deeprec(name)
    rng = np.random.default_rng(1)
    weights = random_weights(config, seed=1)
    tables = {
        g.name: rng.standard_normal((g.tables, g.scaled_rows(1e-4), config.dim), dtype=np.float32)
        for g in config.groups
    }
    inputs = random_inputs(config, 3, rng, 1e-4)
    scores = forward(config, weights, tables, inputs)
    assert scores.shape == (3, config.outputs)
    assert len(np.unique(scores)) == scores.size
    order = [2, 0, 1]
    swapped = forward(config, weights, tables, inputs.take(np.asarray(order)))
    assert np.allclose(swapped, scores[order], atol=2e-4)
