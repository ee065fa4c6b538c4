import numpy as np
import pytest

from rpaccel.scheduler.deeprec_extras import capped
from rpaccel.scheduler.deeprec_study import (
    REPEATS,
    SCHEMES,
    Ask,
    geomean,
    geomean_gains,
    run_study,
)
from rpaccel.scheduler.derived_profiles import load_speedups, sped_up
from rpaccel.scheduler.service_profile import find_profile
from rpaccel.scheduler.sizes import heavy_tail
from tests.scheduler.test_deeprecsched import PROFILES


@pytest.fixture(scope="module")
def study():
    cpu = find_profile(PROFILES, "wnd", "cpu")
    ask = Ask(
        profiles=((cpu, sped_up(cpu, load_speedups())),),
        sizes=heavy_tail(),
        queries=2048,
        levels=("low", "medium"),
    )
    return ask, run_study(ask)


def test_schemes_are_in_their_order(study):
    _, cases = study
    assert [(case.model, case.level, case.sla_ms) for case in cases] == [
        ("wnd", "low", pytest.approx(12.5)),
        ("wnd", "medium", pytest.approx(25.0)),
    ]
    for case in cases:
        assert tuple(case.outcomes) == SCHEMES
        assert case.gain("static") == 1
        assert 1 < case.gain("ours") <= 1.01 * case.gain("optimum")
        assert case.of_optimum("ours") > 0.98
        assert case.of_optimum("ours+") > 0.98
        for plus, settings in (("", 144), ("+", 4848)):
            ours, best = case.outcomes["ours" + plus], case.outcomes["optimum" + plus]
            assert ours.settings == best.settings == settings
            assert ours.evaluations <= min(settings / 10, best.evaluations)
            assert ours.queries <= case.plain["optimum" + plus] / 10
            assert case.plain["optimum" + plus] > best.queries
        assert case.outcomes["ours+"].qps > case.outcomes["ours"].qps
        assert case.gain_per_watt("ours+") < case.gain("ours+")  # the accelerator draws power
    assert cases[0].outcomes["ours"].qps <= cases[1].outcomes["ours"].qps


def test_a_cap_below_the_idle_node_leaves_nothing(study):
    ask, cases = study
    (tight,), (wide,) = capped(ask, cases, 130.0), capped(ask, cases, 400.0)
    medium = cases[1].outcomes
    assert tight.qps == (medium["ours"].qps, 0.0, 0.0)  # idle, both draw 150 W
    assert wide.qps[:2] == (medium["ours"].qps, medium["ours+"].qps)
    assert wide.qps[2] == pytest.approx(wide.qps[1], rel=0.01)  # the cap does not bind
    assert tight.per_joule[0] == wide.per_joule[0] > wide.per_joule[1]


def test_a_search_within_the_cap_holds_more_than_a_throttled_setting(study):
    (found,) = capped(*study, 200.0)
    assert found.qps[2] > 1.3 * found.qps[1]
    assert found.per_joule[2] > 1.3 * found.per_joule[1]
    assert found.qps[0] > found.qps[2]  # the idle accelerator's watts are the cores' loss


def test_gains_on_other_seeds_are_near_and_paired(study):
    _, cases = study
    for scheme in SCHEMES:
        gains = geomean_gains(cases, scheme)
        assert len(gains) == REPEATS
        assert sum(gains) / REPEATS == pytest.approx(
            geomean([case.gain(scheme) for case in cases]), rel=0.05
        )
    assert geomean_gains(cases, "static") == [1.0] * REPEATS
    for case in cases:
        ratios = [
            one / two for one, two in zip(case.peaks["ours"], case.peaks["static"], strict=True)
        ]
        loads = case.peaks["ours"]
        assert np.std(ratios) / np.mean(ratios) < np.std(loads) / np.mean(loads)


def test_geomean():
    assert geomean([2, 8]) == pytest.approx(4)
    with pytest.raises(ValueError, match=r"^values must be one or more positive numbers"):
        geomean([1, 0])
