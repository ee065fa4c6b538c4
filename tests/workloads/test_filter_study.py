"""The filter study on scores small enough to check by hand, and the figures of its made scores."""

import numpy as np
import pytest

from rpaccel.host.calibrate import calibrate_edges
from rpaccel.workloads import filter_study
from rpaccel.workloads.filter_study import (
    PLACEMENTS,
    Kept,
    ScoredQuery,
    StudyData,
    calibrated_edges,
    criteo_like,
    even_held,
    measure,
    study_bins,
    study_sub_batches,
    study_threshold,
    uniform_ctr_edges,
)

SMALL = criteo_like(queries=6, calibration=20, items=256, k=32, served=8, query_std=1.0)


def overshoots(queries, edges, k):
    total = 0
    for query in queries:
        cut = max(edge for edge in (*edges, -32768) if np.sum(query >= edge) >= k)
        total += np.sum(query >= cut) - k
    return total


def auc(scores, clicked):
    order = np.argsort(np.argsort(scores))
    positive = clicked.sum()
    return (order[clicked].sum() - positive * (positive - 1) / 2) / positive / (~clicked).sum()


def test_made_scores_have_the_published_statistics():
    data = criteo_like(queries=40, calibration=0)
    first, second = (
        np.concatenate([getattr(query, name) for query in data.queries])
        for name in ("first", "second")
    )
    clicked = np.concatenate([np.isin(query.ids, query.relevant) for query in data.queries])
    assert clicked.mean() == pytest.approx(filter_study.CTR_SHARE, abs=0.004)
    assert auc(first, clicked) == pytest.approx(filter_study.AUC_FIRST, abs=0.004)
    assert auc(second, clicked) == pytest.approx(filter_study.AUC_SECOND, abs=0.004)
    assert auc(second, clicked) > auc(first, clicked)
    assert np.mean(first >= 0) == pytest.approx(0.164, abs=0.02)  # RMsmall of the artifact


def test_published_edges_by_hand():
    edges = uniform_ctr_edges([], 1, 4)  # logits of CTR 1/4, 1/2, 3/4
    assert edges.tolist() == [-2250, 0, 2250]  # ln 3 * 2048


@pytest.mark.parametrize("seed", range(5))
def test_calibrated_edges_are_as_good_as_the_compilers(seed):
    rng = np.random.default_rng(seed)
    queries = [rng.integers(-500, 500, 80) + rng.integers(-300, 300) for _ in range(40)]
    edges, _ = calibrate_edges(queries, 12)
    ours = calibrated_edges(queries, 12, 16)
    assert len(ours) == 15 and np.all(np.diff(ours) >= 0)
    assert overshoots(queries, ours, 12) == overshoots(queries, edges.tolist(), 12)


@pytest.mark.parametrize("bins", [4, 16, 64])
def test_every_placement_gives_ascending_edges(bins):
    for place in PLACEMENTS.values():
        edges = place(SMALL.calibration, SMALL.k, bins)
        assert edges.shape == (bins - 1,)
        assert np.all(np.diff(edges) >= 0)
        assert edges.min() >= -32768 and edges.max() <= 32767


def test_measures_by_hand():
    query = ScoredQuery(
        ids=np.array([10, 11, 12, 13]),
        first=np.array([4, 3, 2, 1]),
        second=np.array([1, 2, 3, 4]),
        relevant=np.array([11]),
    )
    data = StudyData(name="hand", calibration=[], queries=[query], k=2, served=2)
    same = measure("same", 4, data, lambda _: Kept(positions=np.array([1, 0]), stored=2))
    assert (same.overshoot_median, same.recall, same.ndcg_change) == (0, 1, 0)
    assert (same.stored, same.early, same.underfilled) == (0.5, 0, 0)
    more = measure("more", 4, data, lambda _: Kept(positions=np.array([0, 1, 2]), early=1))
    assert (more.overshoot_median, more.recall) == (50, 1)
    assert more.ndcg_change == pytest.approx(100 * (1 / np.log2(3) - 1))  # 12 is served first
    assert more.early == pytest.approx(1 / 3)
    less = measure("less", 4, data, lambda _: Kept(positions=np.array([2])))
    assert (less.overshoot_median, less.recall, less.underfilled) == (-50, 0, 1)


def test_at_least_k_misses_nothing_and_a_limit_does():
    free, limited = study_bins(SMALL, [4, 64]), study_bins(SMALL, [4, 64], limited=True)
    assert all(row.recall == 1 and row.overshoot_median >= 0 for row in free)
    assert all(row.overshoot_p95 == 0 and row.underfilled == 0 for row in limited)
    assert min(row.recall for row in limited) < 1
    for few, many in zip(free[::2], free[1::2], strict=True):
        assert (few.bins, many.bins) == (4, 64)
        assert many.overshoot_median <= few.overshoot_median


def test_a_threshold_underfills():
    rows = {row.name: row for row in study_threshold(SMALL, {"none": -32768, "all": 32767})}
    assert rows["none"].recall == 1 and rows["none"].stored == 1
    assert rows["all"].recall == 0 and rows["all"].underfilled == 1


def test_the_carry_mode_misses_nothing():
    rows = {row.name: row for row in study_sub_batches(SMALL, [16])}
    assert rows["16: k/n each, exact"].recall < 1
    for name in ("certain", "certain, exact", "even", "possible"):
        assert rows[f"16: carry, {name}"].recall == 1
    assert rows["16: carry, certain, exact"].overshoot_p95 == 0
    whole = study_bins(SMALL, [16])[3]
    assert whole.name == "calibrated"
    assert rows["16: carry, certain"].overshoot_median == whole.overshoot_median
    early = [rows[f"16: carry, {name}"].early for name in ("certain", "even", "possible")]
    assert early == sorted(early) and early[1] > 0.8


def test_even_release_ends_with_all():
    assert even_held(10, np.array([30, 20, 10, 0])).tolist() == [8, 5, 3, 0]
