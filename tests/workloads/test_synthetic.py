import numpy as np
import pytest

from rpaccel.golden.dlrm import logits
from rpaccel.workloads.quality import evaluate, one_stage, popularity_scorer, scorer
from rpaccel.workloads.synthetic import SyntheticConfig, synthetic_workload


@pytest.fixture(scope="module")
def workload():
    return synthetic_workload()


def test_same_config_same_workload(workload):
    again = synthetic_workload(SyntheticConfig())
    assert again.log.digest == workload.log.digest
    assert again.log.interactions.equals(workload.log.interactions)
    assert all((again.large.tables[n] == t).all() for n, t in workload.large.tables.items())


def test_popularity_is_heavy_tailed(workload):
    counts = np.sort(np.bincount(workload.log.interactions["item"], minlength=400))[::-1]
    assert counts[:40].sum() > 0.3 * counts.sum()


@pytest.mark.parametrize("stage", ["small", "large"])
def test_planted_ranker_finds_what_it_planted(workload, stage):
    ranker = getattr(workload, stage)
    split = workload.split
    planted = evaluate(stage, one_stage(scorer(ranker, workload.features)), split)
    popular = evaluate("popular", one_stage(popularity_scorer(split, 4.0)), split)
    assert planted.mean("ndcg@10") > 2 * popular.mean("ndcg@10")


def test_liked_items_score_above_the_others(workload):
    assert len(workload.split.relevant) > 50
    for user, liked in workload.split.relevant.items():
        scores = logits(workload.large, workload.features, user, np.arange(400))
        assert scores[liked].mean() > np.median(scores)


def test_rejects():
    with pytest.raises(ValueError, match=r"^ratings_per_user must be at most half of items 40"):
        synthetic_workload(SyntheticConfig(items=40, ratings_per_user=30))
    with pytest.raises(ValueError, match=r"Extra inputs"):
        SyntheticConfig(user_count=3)
