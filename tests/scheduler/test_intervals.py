import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpaccel.scheduler.arrivals import exponential_gaps, poisson_arrivals_s
from rpaccel.scheduler.closed_forms import mm1_quantile_s
from rpaccel.scheduler.intervals import (
    beta_share,
    mean_interval,
    quantile_intervals,
    quantiles_of,
    student_t,
)
from rpaccel.scheduler.queueing import Station, simulate


@given(st.integers(1, 60), st.integers(0, 59), st.floats(0.001, 0.999))
def test_beta_is_the_binomial_tail(trials, least, share):
    least = min(least, trials - 1) + 1
    tail = sum(
        math.comb(trials, k) * share**k * (1 - share) ** (trials - k)
        for k in range(least, trials + 1)
    )
    assert beta_share(share, least, trials - least + 1) == pytest.approx(tail, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("confidence", "freedom", "t"),
    [(0.95, 19, 2.093024), (0.99, 10, 3.169273), (0.95, 1, 12.706205), (0.5, 3, 0.764892)],
)
def test_student_t_as_tabled(confidence, freedom, t):
    assert student_t(confidence, freedom) == pytest.approx(t, abs=1e-6)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=200), st.floats(0, 1))
def test_quantile_is_the_least_value_of_enough_share(values, quantile):
    (found,) = quantiles_of(np.asarray(values, np.float64), [quantile])
    assert found in values
    assert sum(value <= found for value in values) >= quantile * len(values) - 1e-6
    assert sum(value < found for value in values) < max(quantile * len(values), 1e-6)


def test_mean_intervals_hold_the_true_mean_as_often_as_they_say():
    random = np.random.default_rng(5)
    held = 0
    for _ in range(2000):
        mean, half = mean_interval(list(random.normal(3.0, 2.0, 8)))
        held += abs(mean - 3.0) <= half
    assert held / 2000 == pytest.approx(0.95, abs=0.015)
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 4.302653 / math.sqrt(3)))
    with pytest.raises(ValueError, match=r"^values must be two or more, not 1"):
        mean_interval([1.0])


def test_intervals_hold_the_true_quantile_as_often_as_they_say():
    held = []
    for seed in range(200):
        arrivals = poisson_arrivals_s(40_000, 60.0, seed)
        service = exponential_gaps(40_000, seed + 1000) * 0.01
        report = simulate(arrivals, [Station(name="s", servers=1, service_s=service)])
        held.append(
            [
                low <= 1e3 * mm1_quantile_s(60.0, 0.01, quantile) <= high
                for quantile, (low, high) in zip(
                    (0.5, 0.95, 0.99), list(report.interval_ms.values())[:3], strict=True
                )
            ]
        )
    assert np.all(np.abs(np.mean(held, axis=0) - 0.95) < 0.05)


def test_constant_run_has_an_interval_of_no_width():
    assert quantile_intervals(np.full(100, 2.0), [0.5, 0.99]) == [(2.0, 2.0), (2.0, 2.0)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: beta_share(1.5, 1, 1), r"^share must be in 0\.\.1"),
        (lambda: student_t(0.95, 0), r"^confidence must be in 0\.\.1 and freedom at least 1"),
        (
            lambda: quantile_intervals(np.zeros(19), [0.5]),
            r"^values must hold at least 20 latencies, not 19",
        ),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()
