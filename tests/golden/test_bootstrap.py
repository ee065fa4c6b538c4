import numpy as np
import pytest

from rpaccel.golden.bootstrap import mean_interval, relative_difference, resampled_means


def test_constant_values_have_no_width():
    interval = mean_interval(np.full(30, 0.25))
    assert (interval.estimate, interval.low, interval.high) == (0.25, 0.25, 0.25)


def test_same_seed_same_interval():
    values = np.random.default_rng(1).random(200)
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)


def test_interval_matches_normal_theory():
    values = np.random.default_rng(1).normal(size=2000)
    interval = mean_interval(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.1)
    assert interval.low < values.mean() < interval.high


def test_pairing_cancels_what_users_share():
    base = np.random.default_rng(1).random(500) + 0.1
    interval = relative_difference(1.1 * base, base)
    assert interval.low == pytest.approx(0.1)
    assert interval.high == pytest.approx(0.1)


def test_columns_see_the_same_users():
    values = np.random.default_rng(1).random(50)
    means = resampled_means(np.stack([values, values], axis=1), seed=0, resamples=7)
    assert means.shape == (7, 2)
    assert (means[:, 0] == means[:, 1]).all()


def test_rejects():
    with pytest.raises(ValueError, match=r"^values and base must be paired, not 2 and 3"):
        relative_difference(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match=r"^values must have shape"):
        resampled_means(np.ones(3), seed=0)
