"""bucket_filter and ordered_top_n against plain sorting."""

import numpy as np
import pytest

from rpaccel.golden.bucket_filter import bin_of, bucket_filter
from rpaccel.golden.ordered_top_n import ordered_top_n

EDGES = np.arange(-700, 800, 100)


def plain_filter(ids, logits, edges, threshold, k):
    kept = [(i, x) for i, x in zip(ids, logits, strict=True) if x >= threshold]
    bins = [[] for _ in range(16)]
    for i, x in kept:
        bins[sum(edge <= x for edge in edges)].insert(0, i)
    out = []
    for content in reversed(bins):
        out += content
        if len(out) >= k:
            return out, False
    return out, len(out) < k


def test_bins_by_hand():
    logits = [-32768, -701, -700, -699, -601, -600, 0, 699, 700, 32767]
    assert bin_of(np.array(logits), EDGES).tolist() == [0, 0, 1, 1, 1, 2, 8, 14, 15, 15]


def test_newest_first_inside_a_bin():
    result = bucket_filter(
        np.array([10, 11, 12, 13, 14]), np.array([5, 150, 7, 160, -500]), EDGES, -32768, 3
    )
    assert result.ids.tolist() == [13, 11, 12, 10]
    assert result.logits.tolist() == [160, 150, 7, 5]
    assert result.cut_bin == 8
    assert not result.underfill
    assert int(result.bins.sum()) == 5


@pytest.mark.parametrize("seed", range(30))
def test_matches_plain_sorting(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 200))
    ids, logits = rng.permutation(1000)[:n], rng.integers(-1000, 1000, size=n)
    edges = np.sort(rng.integers(-1000, 1000, size=15))
    threshold, k = int(rng.integers(-1000, 500)), int(rng.integers(1, n + 1))
    result = bucket_filter(ids, logits, edges, threshold, k)
    expected, underfill = plain_filter(ids.tolist(), logits.tolist(), edges, threshold, k)
    assert result.ids.tolist() == expected
    assert result.underfill == underfill
    assert np.array_equal(ids[result.positions], result.ids)
    if not underfill:
        best = ids[np.argsort(-logits, kind="stable")[:k]]
        missed = set(best.tolist()) - set(expected)
        lowest = min(result.logits.tolist())
        assert all(logits[ids.tolist().index(i)] <= lowest for i in missed)


def test_everything_below_threshold():
    result = bucket_filter(np.arange(4), np.array([-9, -8, -7, -6]), EDGES, 0, 2)
    assert result.ids.size == 0
    assert result.underfill


def test_threshold_itself_is_kept():
    result = bucket_filter(np.arange(3), np.array([-1, 0, 1]), EDGES, 0, 2)
    assert sorted(result.ids.tolist()) == [1, 2]
    assert not result.underfill


def test_equal_edges_leave_empty_bins():
    result = bucket_filter(np.arange(3), np.array([4, 5, 6]), np.full(15, 5), -32768, 1)
    assert result.ids.tolist() == [2, 1]
    assert result.cut_bin == 15


def test_order_breaks_ties_by_id():
    ids, logits = np.array([7, 3, 9, 1, 5]), np.array([10, 20, 20, 10, -5])
    assert ids[ordered_top_n(ids, logits, 4)].tolist() == [3, 9, 1, 7]
    assert len(ordered_top_n(ids, logits, 64)) == 5
    assert len(ordered_top_n(ids[:0], logits[:0], 3)) == 0


@pytest.mark.parametrize("seed", range(10))
def test_top_n_matches_sorted(seed):
    rng = np.random.default_rng(seed)
    ids, logits = rng.permutation(500)[:120], rng.integers(-32768, -32760, size=120)
    expected = sorted(zip(ids.tolist(), logits.tolist(), strict=True), key=lambda p: (-p[1], p[0]))
    got = ordered_top_n(ids, logits, 25)
    assert list(zip(ids[got].tolist(), logits[got].tolist(), strict=True)) == expected[:25]
