import itertools

import numpy as np
import pytest

from rpaccel.golden import retrieval
from rpaccel.workloads.score_orders import score_orders

ORDERS = tuple(score_orders(8, 2, 2, 16, 0))


def by_hand(scores, k, ids=None):
    ids = range(len(scores)) if ids is None else ids
    rows = [(-int(scores[place]), int(name), place) for place, name in enumerate(ids)]
    return [place for _, _, place in sorted(rows)][:k]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("k", [1, 7, 39, 40, 41])
def test_top_k_is_a_full_sort(order, k):
    scores = score_orders(40, 4, 7, 16, seed=k)[order]
    assert retrieval.top_k(scores, k).tolist() == by_hand(scores, k)
    ids = np.random.default_rng(k).permutation(40)
    assert retrieval.top_k(scores, k, ids).tolist() == by_hand(scores, k, ids)


def test_orders_are_what_they_say():
    orders = score_orders(400, 8, 10, 16, seed=3)
    assert all(values.shape == (400,) for values in orders.values())
    assert all(v.min() >= -(2**15) and v.max() < 2**15 for v in orders.values())
    assert (np.diff(orders["ascending"]) >= 0).all() and (np.diff(orders["descending"]) <= 0).all()
    assert set(np.flatnonzero(orders["one_lane"] >= 0) % 8) == {7}
    winners = retrieval.top_k(orders["one_per_lane"], 8)
    assert sorted(winners % 8) == list(range(8))
    assert np.unique(orders["equal"]).size == 1


def test_scores_by_hand():
    rows = np.array([[1, 2], [-128, 127], [0, 0]], dtype=np.int8)
    query = np.array([-128, 3], dtype=np.int8)
    assert retrieval.inner_product(rows, query).tolist() == [-122, 16384 + 381, 0]
    assert retrieval.l2(rows, query).tolist() == [-(129**2 + 1), -(124**2), -(128**2 + 9)]


def test_l2_identity_at_the_extremes():
    rng = np.random.default_rng(5)
    rows = rng.integers(-128, 128, (50, 512)).astype(np.int8)
    rows[0], rows[1] = -128, 127
    for query in (rows[2], np.full(512, -128, dtype=np.int8), np.full(512, 127, dtype=np.int8)):
        distances = ((rows.astype(int) - query.astype(int)) ** 2).sum(axis=1)
        assert (retrieval.l2(rows, query) == -distances).all()
    assert -(2**25) < retrieval.l2(rows, np.full(512, 127, dtype=np.int8)).min() == -512 * 255**2


def test_cosine_orders_like_float():
    rng = np.random.default_rng(6)
    rows = rng.integers(-128, 128, (300, 64)).astype(np.int8)
    rows[7] = 0
    query = rng.integers(-128, 128, 64).astype(np.int8)
    scales = retrieval.cosine_scales(rows)
    assert scales[7] == 0
    scores = retrieval.cosine(rows, query, scales)
    norms = np.linalg.norm(rows.astype(float), axis=1)
    exact = (rows.astype(float) @ query) / np.where(norms > 0, norms, 1)
    bound = 1 + 0.5 * np.abs(rows.astype(float) @ query) / 2**8  # floor, and half a step of scale
    assert (np.abs(scores - exact * 2**8) <= bound).all()
    assert (np.abs(scores) < 2**31).all()
    short = np.array([[1] + [0] * 63, [2] + [0] * 63], dtype=np.int8)
    assert retrieval.cosine_scales(short).tolist() == [2**16 - 1, 2**15]


def test_histogram_edge_is_the_best_lower_bound():
    rng = np.random.default_rng(9)
    for base, shift, k in itertools.product((-500, 0, 200), (0, 2, 5), (1, 5, 60)):
        scores = rng.integers(-900, 900, 60)
        edge = retrieval.histogram_edge(scores, k, base, shift)
        kth = np.sort(scores)[-k]
        bucket = int(retrieval.bucket_of([kth], base, shift)[0])
        if edge is None:
            assert bucket == 0
        else:
            assert edge <= kth and (bucket == 255 or kth < edge + (1 << shift))
    assert retrieval.histogram_edge(scores, 61, -500, 2) is None
    assert retrieval.bucket_of([-10, 0, 3, 4, 10**6], 0, 2).tolist() == [0, 0, 0, 1, 255]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("k", [1, 6, 50])
def test_ideal_passes(order, k):
    scores = score_orders(50, 4, k, 8, seed=k)[order].tolist()
    among = [sum(s >= score for s in scores[:i]) < k for i, score in enumerate(scores)]
    assert retrieval.ideal_passes(scores, k) == sum(among)


@pytest.mark.parametrize(
    ("rows", "query", "error", "message"),
    [
        (np.zeros((2, 3)), np.zeros(3, np.int8), TypeError, "rows and query must be int8, .*"),
        (np.zeros((2, 3), np.int8), np.zeros(2, np.int8), ValueError, r"rows must be \[n, d\].*"),
        (np.zeros(3, np.int8), np.zeros(3, np.int8), ValueError, r"rows must be \[n, d\].*"),
    ],
)
def test_rejects(rows, query, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        retrieval.inner_product(rows, query)


def test_rejects_k():
    with pytest.raises(ValueError, match=r"^k must be at least 1, not 0$"):
        retrieval.top_k([1, 2], 0)
