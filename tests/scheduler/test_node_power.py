import pytest

from rpaccel.scheduler.node_power import NodePower, capped_qps, power_w
from rpaccel.scheduler.policy import Policy
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


def test_rejects():
    with pytest.raises(ValueError, match=r"^power must not be negative and idle_share in 0\.\.1"):
        NodePower(idle_share=1.5)
