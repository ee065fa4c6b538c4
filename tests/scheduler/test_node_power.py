import pytest

from rpaccel.scheduler.deeprecsched import Space, joint
from rpaccel.scheduler.node_power import CappedPlant, NodePower, capped_qps, power_w
from rpaccel.scheduler.policy import NOT_OFFLOADED, Policy
from tests.scheduler.test_deeprecsched import plant

POWER = NodePower(cpu_w=100.0, accelerator_w=200.0, idle_share=0.5)


def test_idle_and_busy():
    assert POWER.watts(0.0, 0.0, 0) == 50
    assert POWER.watts(1.0, 0.0, 0) == 100
    assert POWER.watts(1.0, 1.0, 1) == 300
    assert POWER.watts(0.5, 0.0, 1) == 175


def test_power_follows_the_load():
    node, policy = plant(accelerator=False), Policy(batch=64)
    limit = node.limit_qps(policy)
    assert power_w(node, policy, 0.0, POWER) == 50
    assert power_w(node, policy, 0.5 * limit, POWER) == pytest.approx(75, rel=0.05)
    assert power_w(node, policy, 0.9 * limit, POWER) == pytest.approx(95, rel=0.05)


def test_cap():
    node, policy = plant(), Policy(batch=64, threshold=400)
    peak = 0.8 * node.limit_qps(policy)
    full = power_w(node, policy, peak, POWER)
    assert capped_qps(node, policy, peak, POWER, full + 1) == peak
    less = capped_qps(node, policy, peak, POWER, full - 20)
    assert 0 < less < peak
    assert full - 21 < power_w(node, policy, less, POWER) <= full - 20
    assert capped_qps(node, policy, peak, POWER, 149.0) == 0


def capped_plant(cap_w, **keys):
    found = plant(**keys)
    return CappedPlant(node=found.node, sizes=found.sizes, sla=found.sla, power=POWER, cap_w=cap_w)


def test_a_search_within_a_cap_holds_the_most_within_it():
    space = Space(
        batch=(16, 64, 256), threshold=(1, 400, NOT_OFFLOADED), even=(True,), merge_items=(0, 4000)
    )
    cap_w = 190.0  # of 150 idle and 300 at most: cores alone would draw 200
    within = capped_plant(cap_w)
    found = joint(within, space, share=1.0)
    throttled = {
        policy: capped_qps(within, policy, plant().peak(policy).qps, POWER, cap_w)
        for policy in space
    }
    assert found.qps == pytest.approx(max(throttled.values()), rel=0.02)
    assert power_w(within, found.policy, found.qps, POWER) <= cap_w
    free = joint(plant(), space, share=1.0)
    assert free.policy.threshold == 400  # what holds most takes the accelerator: watts for load
    assert found.policy.threshold == NOT_OFFLOADED
    assert found.qps > 1.1 * throttled[free.policy] > 0


@pytest.mark.parametrize("policy", [Policy(batch=64), Policy(batch=64, threshold=400)])
def test_the_limit_within_a_cap_is_where_it_is_drawn(policy):
    within = capped_plant(175.0)
    limit = within.limit_qps(policy)
    assert limit < 0.8 * plant().limit_qps(policy)
    assert power_w(within, policy, limit, POWER) == pytest.approx(175.0, rel=0.01)
    assert 0.98 * limit < within.peak(policy).qps < limit
    assert not within.probe(policy, 1.02 * limit).passes


def test_a_cap_below_the_idle_node_is_met_by_no_load():
    found = joint(capped_plant(149.0), Space(batch=(64,)))
    assert found.qps == 0


def test_rejects():
    with pytest.raises(ValueError, match=r"^power must not be negative and idle_share in 0\.\.1"):
        NodePower(idle_share=1.5)
