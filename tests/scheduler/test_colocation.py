from dataclasses import replace

import numpy as np
import pytest

from rpaccel.scheduler.colocation import Colocation, Tenant, apart, by_deadline, in_order, tuned
from rpaccel.scheduler.peak import Sla
from rpaccel.scheduler.policy import Node, Policy
from rpaccel.scheduler.service_profile import find_profile
from rpaccel.scheduler.sizes import heavy_tail
from tests.scheduler.test_deeprecsched import PROFILES


def pair(models=("wnd", "dlrm-rmc2"), limits_s=(0.025, 0.4), cores=16, share=0.8):
    tables = [find_profile(PROFILES, model, "cpu").table_s(1024) for model in models]
    tenants = tuple(
        Tenant(
            share=part,
            sla=Sla(limit_s=limit, first=1024, most=8192),
            policy=Policy(batch=64, table=place),
        )
        for place, (limit, part) in enumerate(zip(limits_s, (share, 1 - share), strict=True))
    )
    node = Node(cores=cores, cpu_s=np.stack(tables))
    return Colocation(node=node, tenants=tenants, sizes=heavy_tail())


@pytest.mark.slow
def test_deadlines_help_the_model_that_cannot_wait():
    plain, ordered = in_order(pair()).peak().qps, by_deadline(pair()).peak().qps
    assert ordered > 1.05 * plain


def test_shared_cores_hold_more_than_divided_ones():
    assert by_deadline(pair()).peak().qps > apart(pair()) > 0


def test_equal_tenants_are_one_model():
    same = pair(models=("wnd", "wnd"), limits_s=(0.025, 0.025), share=0.5)
    first, second = same.latencies_s(500.0, 4000)
    assert np.quantile(first, 0.9) == pytest.approx(np.quantile(second, 0.9), rel=0.1)
    assert by_deadline(same).peak().qps == pytest.approx(in_order(same).peak().qps)


def test_every_tenant_must_meet_its_own_target():
    tight = pair(limits_s=(1e-4, 0.4))
    assert in_order(tight).peak().qps == 0
    found = by_deadline(pair())
    peak = found.peak().qps
    for tenant, latencies in zip(found.tenants, found.latencies_s(peak, 8192), strict=True):
        assert np.mean(latencies[len(latencies) // 10 :] <= tenant.sla.limit_s) > 0.94


def test_batches_are_searched_for_each_other():
    poor = by_deadline(pair())
    tenants = tuple(replace(one, policy=replace(one.policy, batch=25)) for one in poor.tenants)
    poor = replace(poor, tenants=tenants)
    best = tuned(poor)
    assert best.peak().qps > 1.1 * poor.peak().qps
    assert all(tenant.policy.batch > 25 for tenant in best.tenants)
    assert [one.policy.deadline_s for one in best.tenants] == [0.025, 0.4]


def test_rejects():
    with pytest.raises(ValueError, match=r"^a load must meet every target with the batches given"):
        tuned(pair(limits_s=(1e-4, 0.4)))
    with pytest.raises(ValueError, match=r"^shares of the tenants must be positive and sum to 1"):
        pair(share=1.5)
    with pytest.raises(ValueError, match=r"^tenants must be two to be divided, not 1"):
        one = pair().tenants[0]
        apart(
            Colocation(
                node=pair().node,
                tenants=(Tenant(share=1.0, sla=one.sla, policy=one.policy),),
                sizes=heavy_tail(),
            )
        )
