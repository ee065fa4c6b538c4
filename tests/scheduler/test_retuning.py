from dataclasses import replace

import numpy as np
import pytest

from rpaccel.scheduler.arrivals import poisson_arrivals_s
from rpaccel.scheduler.deeprecsched import Space, joint
from rpaccel.scheduler.peak import Peak
from rpaccel.scheduler.policy import NOT_OFFLOADED, Policy
from rpaccel.scheduler.retuning import Guards, retune, size_distance
from rpaccel.scheduler.sizes import fixed, heavy_tail, lognormal, mlperf_dlrm
from tests.scheduler.test_deeprecsched import plant

GUARDS = Guards(window=2000)
NO_PEAK = Peak(qps=0.0, low_qps=0.0, high_qps=0.0, probes=())
SPACE = Space(
    batch=(16, 64, 160, 400, 1000), threshold=(1, 200, 400, 600, 800, NOT_OFFLOADED), even=(True,)
)


def stream(*parts, load_qps, seed=1):
    sizes = np.concatenate([sizes.draw(count, seed) for sizes, count in parts])
    return poisson_arrivals_s(sizes.size, load_qps, seed), sizes


def tune(where):
    return joint(where, SPACE, share=0.3).policy


@pytest.fixture(scope="module")
def drifting():
    light = plant(limit_s=0.0125, cores=20, sizes=lognormal(5.1, 0.2))
    heavy = joint(light.with_sizes(heavy_tail()), SPACE, share=0.3)
    queries = stream((lognormal(5.1, 0.2), 6000), (heavy_tail(), 14_000), load_qps=0.9 * heavy.qps)
    return light, Policy(batch=160, threshold=300, even=True), queries  # few are so large yet


def test_drift_is_followed(drifting):
    light, policy, (arrivals, sizes) = drifting
    stays = retune(light, policy, arrivals, sizes, None, GUARDS)
    follows = retune(light, policy, arrivals, sizes, tune, GUARDS)
    assert [window.action for window in stays] == ["keep"] * 10
    assert all(window.policy == policy for window in stays)
    assert [window.action for window in follows[:4]] == ["keep", "keep", "keep", "try"]
    assert np.mean([window.late for window in stays[4:]]) > 0.05
    assert np.mean([window.late for window in follows[4:]]) < 0.05


def test_without_drift_nothing_moves():
    light = plant(limit_s=0.0125, cores=20)
    policy = tune(light)
    load = 0.8 * light.peak(policy).qps
    windows = retune(light, policy, *stream((heavy_tail(), 9000), load_qps=load), tune, GUARDS)
    assert {window.action for window in windows} == {"keep"}


def test_a_setting_that_turns_out_worse_goes_back(drifting, monkeypatch):
    light, policy, (arrivals, sizes) = drifting
    bad = Policy(batch=1000, threshold=1)
    peak = type(light).peak
    monkeypatch.setattr(
        type(light),
        "peak",
        lambda self, p, start=None: replace(NO_PEAK, qps=1e9) if p == bad else peak(self, p, start),
    )
    windows = retune(light, policy, arrivals, sizes, lambda _plant: bad, GUARDS)
    actions = [window.action for window in windows]
    assert actions[3:8] == ["try", "back", "rest", "rest", "rest"]
    assert windows[4].policy == bad
    assert windows[5].policy == policy


def test_a_setting_without_promise_is_not_tried(drifting):
    light, policy, (arrivals, sizes) = drifting
    windows = retune(light, policy, arrivals, sizes, lambda _plant: Policy(batch=1), GUARDS)
    assert {window.action for window in windows} == {"keep"}


def test_every_query_is_in_one_window():
    light = plant(limit_s=0.1)
    for count in (1, 1999, 2000, 2001):
        windows = retune(
            light, Policy(batch=64), *stream((fixed(10), count), load_qps=5.0), None, GUARDS
        )
        assert len(windows) == -(-count // 2000)
        assert {window.late for window in windows} == {0.0}


def test_size_distance():
    assert size_distance(heavy_tail(), heavy_tail()) == 0
    assert size_distance(fixed(10), fixed(11)) == pytest.approx(1)
    assert size_distance(fixed(1), fixed(900)) == size_distance(fixed(900), fixed(1))
    assert 0.1 < size_distance(heavy_tail(), mlperf_dlrm()) < 0.6


def test_rejects():
    with pytest.raises(ValueError, match=r"^window must be at least 200, drift in 0\.\.1"):
        replace(GUARDS, window=100)
