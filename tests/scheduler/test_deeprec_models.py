import subprocess
import sys

import numpy as np
import pytest

from rpaccel.golden.deeprec import DeeprecInputs, forward, pooled
from rpaccel.scheduler.deeprec_models import DeeprecModel
from rpaccel.scheduler.row_pooling import pool_rows
from rpaccel.spec.deeprec import deeprec_names, load_deeprec
from rpaccel.workloads.deeprec_inputs import random_inputs, random_weights

SCALE = 1e-4


def random_tables(config, rng, scale=SCALE):
    return {
        g.name: rng.uniform(-1, 1, (g.tables, g.scaled_rows(scale), config.dim)).astype(np.float32)
        for g in config.groups
    }


def made(name, seed=0, change=None):
    config = load_deeprec(name)
    config = config.model_copy(update=change or {})
    rng = np.random.default_rng(seed)
    weights, tables = random_weights(config, seed), random_tables(config, rng)
    return config, weights, tables, DeeprecModel(config, weights, tables), rng


@pytest.mark.parametrize("name", deeprec_names())
def test_matches_golden(name):
    config, weights, tables, model, rng = made(name)
    inputs = random_inputs(config, 37, rng, SCALE)
    expected = forward(config, weights, tables, inputs)
    spread = expected.std(axis=0).min()  # what the items differ by
    for items in (1, 2, 37):
        found = model.run(inputs.take(slice(items)))
        assert found.shape == (items, config.outputs)
        assert np.abs(found - expected[:items]).max() < 2e-3 * spread


@pytest.mark.parametrize(
    ("name", "change"),
    [("din", {"attention": (36, 1)}), ("mt-wnd", {"tasks": 1}), ("wnd", {"bottom": (64, 32)})],
)
def test_matches_golden_of_other_shapes(name, change):
    config, weights, tables, model, rng = made(name, 3, change)
    inputs = random_inputs(config, 5, rng, SCALE)
    expected = forward(config, weights, tables, inputs)
    assert np.allclose(model.run(inputs), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("lookups", "positions"), [(1, 1), (7, 2), (8, 1), (9, 3), (16, 1)])
def test_pooling_matches_golden(lookups, positions):
    rng = np.random.default_rng(lookups)
    tables = rng.standard_normal((3, 50, 12), dtype=np.float32)
    ids = rng.integers(0, 50, (4, 3 * positions, lookups), dtype=np.int32)
    out = np.full((4, 3 * positions, 12), np.nan, np.float32)
    pool_rows(tables, ids, positions, out)
    assert np.allclose(out, pooled(tables, ids, positions), atol=1e-5)


def test_rejects():
    config, weights, tables, model, rng = made("ncf")
    inputs = random_inputs(config, 2, rng, SCALE)
    rows = tables["mlp"].shape[1]
    beyond = dict(inputs.ids) | {"mlp": np.full_like(inputs.ids["mlp"], rows)}
    with pytest.raises(ValueError, match=rf"^ids of mlp must be in 0\.\.{rows - 1}"):
        model.run(DeeprecInputs(dense=inputs.dense, ids=beyond))
    short = dict(inputs.ids) | {"mlp": inputs.ids["mlp"][:1]}
    with pytest.raises(ValueError, match=r"^ids of mlp must be \(2, 2, 1\), not \(1, 2, 1\)"):
        model.run(DeeprecInputs(dense=inputs.dense, ids=short))
    with pytest.raises(ValueError, match=r"^tables of mf must be contiguous float32\[2"):
        DeeprecModel(config, weights, tables | {"mf": tables["mf"][:1]})
    with pytest.raises(ValueError, match=r"^threads must be at least 1, not 0"):
        DeeprecModel(config, weights, tables, threads=0)


def test_the_core_imports_no_runtime():
    code = (
        "import sys, rpaccel.cli, rpaccel.main_job.serve, rpaccel.scheduler.deeprec_profile\n"
        "print(sorted({'onnx', 'onnxruntime', 'mlperf_loadgen', 'torch'} & set(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_names_the_extra():
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from rpaccel.scheduler.deeprec_models import require_runtime\n"
        "try: require_runtime()\n"
        "except ModuleNotFoundError as error: print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("onnxruntime must be installed to run float models")
    assert "rpaccel[serve]" in ran.stdout
