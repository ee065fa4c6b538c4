import os

import numpy as np

from rpaccel.scheduler.float_runner import float_runners, profile_rankers
from tests.factories import random_feature_data, random_parameters


def inputs():
    rng = np.random.default_rng(0)
    data = random_feature_data(rng)
    return {"small": random_parameters(rng, data.schema, name="small")}, data


def test_ranks_every_candidate():
    rankers, data = inputs()
    run = float_runners(rankers, data)["small"]
    ranked = run(40)
    assert sorted(ranked.tolist()) == list(range(40))
    assert len(run(150)) == 150  # more than the catalogue repeats it


def test_profile_of_a_child_with_one_thread():
    rankers, data = inputs()
    before = dict(os.environ)
    profile = profile_rankers(rankers, data, "test", item_counts=(8, 64), repeats=3)
    assert dict(os.environ) == before
    assert profile.machine["blas_threads"] == "1"
    assert [point.items for point in profile.model("small").points] == [8, 64]
    assert profile.model("small").seconds(64) > 0
