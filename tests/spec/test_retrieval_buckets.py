import numpy as np
import pytest

from rpaccel.spec.retrieval import BUCKETS
from rpaccel.spec.retrieval_buckets import place_buckets, sample_places


def test_places_are_spread_evenly():
    assert sample_places(5).tolist() == [0, 1, 2, 3, 4]
    assert sample_places(0).tolist() == []
    places = sample_places(10**6)
    gaps = np.diff(places)
    assert len(places) == 512 and (places[0], places[-1]) == (0, 10**6 - 1)
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("sigma", [300, 10_000, 14_000, 1 << 18])
@pytest.mark.parametrize("mean", [-(1 << 20), 0, 12_345])
def test_normal_scores(mean, sigma):
    scores = np.random.default_rng(sigma).normal(mean, sigma, 10**6).astype(np.int64)
    base, shift = place_buckets(scores[sample_places(len(scores))])
    assert -1.2 < (base - mean) / sigma < -0.8
    assert base + (BUCKETS << shift) >= mean + 4.2 * sigma
    assert 1 / 64 < (1 << shift) / sigma <= 1 / 16


def test_by_hand():
    # two of 12 lie below 2; it is 9 to the best, 13 are covered
    assert place_buckets(np.arange(12)) == (2, 0)
    assert place_buckets(100 * np.arange(12)) == (200, 3)  # 1350: 256 buckets of 8
    assert place_buckets(np.array([7])) == (7, 0)
    assert place_buckets(np.full(512, -9)) == (-9, 0)


def test_any_scores_give_buckets_that_the_filter_takes():
    low, high = -(1 << 31), (1 << 31) - 1
    for scores in ([low] * 6 + [high], [low, high], [high] * 9, [low] * 100):
        base, shift = place_buckets(np.array(scores))
        assert low <= base <= high and 0 <= shift <= 32
        assert base + (BUCKETS << shift) > max(scores)
