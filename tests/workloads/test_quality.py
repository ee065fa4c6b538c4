import hashlib
import json

import numpy as np
import pytest

from rpaccel.workloads.features import build_features
from rpaccel.workloads.log import ClickLog
from rpaccel.workloads.movielens import load_movielens
from rpaccel.workloads.quality import (
    FLOAT_LARGE,
    FLOAT_SMALL,
    FLOAT_TWO_STAGE,
    evaluate,
    float_report,
    one_stage,
    quality_table,
    two_stage,
)
from rpaccel.workloads.rankers import SHIPPED, load_rankers, parameters_path
from rpaccel.workloads.split import split_log
from rpaccel.workloads.synthetic import synthetic_workload


@pytest.fixture(scope="module")
def shipped():
    log = load_movielens()
    split = split_log(log)
    small, large = load_rankers(log)
    report = float_report(small, large, build_features(log, split.train), split)
    return report, json.loads((SHIPPED / "ml100k.json").read_text())


def test_shipped_parameters_reproduce_their_figures(shipped):
    report, record = shipped
    ours, stated = report.to_json(), record["quality"]
    assert (ours["users"], ours["excluded_users"]) == (stated["users"], stated["excluded_users"])
    assert ours["rows"].keys() == stated["rows"].keys()
    for name, metrics in stated["rows"].items():
        for metric, interval in metrics.items():
            # float sums may order ties otherwise on another machine
            assert ours["rows"][name][metric] == pytest.approx(interval, abs=1e-3), (name, metric)


def test_shipped_files_are_the_measured_ones(shipped):
    for name, digest in shipped[1]["files"].items():
        assert hashlib.sha256((SHIPPED / name).read_bytes()).hexdigest() == digest


def test_both_rankers_beat_popularity(shipped):
    report, _ = shipped
    best = max(q.mean("ndcg@10") for q in report.rows if q.name.startswith("popularity"))
    for name in (FLOAT_SMALL, FLOAT_LARGE, FLOAT_TWO_STAGE):
        assert report.row(name).mean("ndcg@10") >= 1.4 * best


def test_large_earns_its_place(shipped):
    report, _ = shipped
    ease = next(q.name for q in report.rows if q.name.startswith("EASE"))
    assert report.row(FLOAT_LARGE).mean("ndcg@10") >= report.row(ease).mean("ndcg@10")
    assert report.difference(FLOAT_LARGE, FLOAT_SMALL).low > 0


def test_table_shows_every_ranking(shipped):
    assert quality_table(shipped[0]).row_count == len(shipped[0].rows)


def test_perfect_scores_give_full_marks():
    split = synthetic_workload().split

    def oracle(user, item_ids):
        return np.isin(item_ids, split.relevant[user]).astype(float)

    perfect = evaluate("oracle", one_stage(oracle), split)
    assert all(perfect.mean(metric) == 1.0 for metric in perfect.values)
    blind = two_stage(lambda user, ids: -oracle(user, ids), oracle, k=10)
    assert evaluate("blind", blind, split).mean("ndcg@10") == 0.0


def test_untrained_data_asks_for_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = synthetic_workload().log
    log = ClickLog(name="own", digest="ab" * 32, interactions=source.interactions,
                   items=source.items, users=source.users)  # fmt: skip
    with pytest.raises(FileNotFoundError, match=r"run `make train DATA=\.\.\.` first"):
        load_rankers(log)
    with pytest.raises(ValueError, match=r"^stage must be one of"):
        parameters_path(log, "medium")
