from dataclasses import replace

import numpy as np
import pytest

from rpaccel.golden import dlrm
from rpaccel.workloads.quality import evaluate, one_stage, popularity_scorer, scorer
from rpaccel.workloads.rankers import large_ranker, small_ranker
from rpaccel.workloads.synthetic import synthetic_workload

torch = pytest.importorskip("torch")
network = pytest.importorskip("rpaccel.workloads.network")
training = pytest.importorskip("rpaccel.workloads.training")


@pytest.fixture(scope="module")
def workload():
    return synthetic_workload()


def trained(workload, shape, **changes):
    config = shape(workload.features.schema)
    how = training.TrainingConfig(seed=0, epochs=2, batch_users=8, sampled_items=64)
    rows = workload.split.train
    return training.train_ranker(config, workload.features, rows, replace(how, **changes))


@pytest.mark.parametrize("shape", [small_ranker, large_ranker])
def test_trains_above_popularity(workload, shape):
    ranker = trained(workload, shape)
    split = workload.split
    ours = evaluate("trained", one_stage(scorer(ranker, workload.features)), split)
    popular = evaluate("popular", one_stage(popularity_scorer(split, 4.0)), split)
    assert ours.mean("ndcg@10") > 1.4 * popular.mean("ndcg@10")


def test_same_seed_same_parameters(workload, tmp_path):
    for name in ("a", "b"):
        trained(workload, large_ranker, epochs=1).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("shape", [small_ranker, large_ranker])
def test_network_equals_the_reference(workload, shape):
    torch.manual_seed(0)
    config = shape(workload.features.schema)
    model = network.TorchRanker(config, workload.features, dropout=0.1).eval()
    parameters = network.export(model, workload.features, {})
    users, items = np.array([0, 7]), np.arange(100)
    with torch.no_grad():
        for name, table in model.tables.items():
            table.copy_(torch.from_numpy(parameters.tables[name]))
        ours = model(torch.from_numpy(users), torch.from_numpy(items), {}).numpy()
    for row, user in enumerate(users):
        expected = dlrm.logits(parameters, workload.features, user, items)
        assert np.allclose(ours[row], expected, rtol=1e-4, atol=1e-5)


def test_sigmoid_is_a_rate(workload):
    ranker = trained(workload, large_ranker, epochs=1)
    split = workload.split
    rates = [
        dlrm.sigmoid(dlrm.logits(ranker, workload.features, user, split.candidates(user))).mean()
        for user in range(workload.log.user_count)
    ]
    liked = split.train.filter(split.train["rating"] >= 4).height / workload.log.user_count
    assert np.mean(rates) == pytest.approx(0.2 * liked / len(split.candidates(0)), rel=0.05)
