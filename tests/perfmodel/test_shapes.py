import numpy as np
import pytest

from rpaccel.host.compile import compile_models
from rpaccel.perfmodel.networks import FILM_LARGE, FILM_SMALL, RM_LARGE, RM_SMALL
from rpaccel.perfmodel.shapes import FeatureShape, NetworkShape, compile_shape
from rpaccel.scheduler.shapes import compiled_shape
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.workloads.random_models import random_ranker


def network_of(ranker):
    def side(features):
        return tuple(FeatureShape(multi_hot=f.multi_hot, max_ids=f.max_ids) for f in features)

    return NetworkShape(
        name=ranker.name,
        dim=ranker.dim,
        user_dense=ranker.user_dense,
        item_dense=ranker.item_dense,
        user_features=side(ranker.user_features),
        item_features=side(ranker.item_features),
        bottom=tuple(layer.outputs for layer in ranker.bottom),
        top=tuple(layer.outputs for layer in ranker.top),
        interaction=ranker.interaction,
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("preset", ["tiny", "edge"])
def test_same_as_the_compiler(preset, seed):
    config = load_accelerator(preset)
    ranker = random_ranker(np.random.default_rng(seed), config, interaction=None)
    compiled = compiled_shape(compile_models([ranker], config), ranker.name)
    planned = compile_shape(network_of(ranker), config)
    for mine, theirs in zip(planned.program, compiled.program, strict=True):
        assert len(mine) >= 5, mine
        for key, value in mine.items():
            assert value == theirs[key], (key, mine, theirs)
        assert set(theirs) - set(mine) <= {"relu", "weight_base", "param_base"}
    for key, value in planned.slot.items():
        assert value == compiled.slot[key], key
    assert len(planned.user_features) == len(compiled.user_features)


def test_criteo_sizes_by_hand():
    shape = compile_shape(RM_LARGE, load_accelerator("default"))
    # 13 -> 512: one K fold, 16 N folds of 32 two at a time; 383 inputs of the top: 32 + 351 pairs.
    layers = [step for step in shape.program if step["op"] == 1]
    assert [(s["words_a"] + s["words_b"], s["n_steps"]) for s in layers] == [
        (1, 8), (16, 8), (8, 4), (4, 2), (2, 1), (12, 3), (3, 1),
    ]  # fmt: skip
    assert [s["stack"] for s in layers] == [1, 0, 0, 0, 0, 0, 0]
    assert (shape.slot["item_dense_words"], shape.slot["item_vector_words"]) == (1, 26)
    assert RM_LARGE.pairs == RM_SMALL.pairs == 351


def test_records_by_hand():
    assert RM_SMALL.record_bytes("item") == 16 + 26 * 4
    assert FILM_SMALL.record_bytes("item") == 8 + 4 + 4 + 4 * 7
    assert FILM_LARGE.record_bytes("user") == 8 + 4 + 4 + 4 * (129 + 97 + 17)
