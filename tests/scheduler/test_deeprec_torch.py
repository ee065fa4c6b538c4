import numpy as np
import pytest

from rpaccel.golden.deeprec import forward
from rpaccel.spec.deeprec import deeprec_names, load_deeprec
from rpaccel.workloads.deeprec_inputs import random_inputs, random_weights
from tests.scheduler.test_deeprec_models import SCALE, random_tables

deeprec_torch = pytest.importorskip("rpaccel.scheduler.deeprec_torch", reason="extra `train`")


@pytest.mark.parametrize("name", deeprec_names())
def test_matches_golden(name):
    config = load_deeprec(name)
    rng = np.random.default_rng(4)
    weights, tables = random_weights(config, 4), random_tables(config, rng)
    model = deeprec_torch.TorchModel(config, weights, tables, "cpu")
    inputs = random_inputs(config, 37, rng, SCALE)
    expected = forward(config, weights, tables, inputs)
    found = model.run(inputs)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 2e-3 * expected.std(axis=0).min()
