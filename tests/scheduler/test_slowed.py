"""Requests that slow each other down: by hand, at saturation, on average, in the study."""

from dataclasses import replace

import numpy as np
import pytest

from rpaccel.scheduler.criteo_node import cited_hosts
from rpaccel.scheduler.funnel_quality import Funnel
from rpaccel.scheduler.published_pipelines import Contention
from rpaccel.scheduler.recpipe_evaluate import MOST_LOAD, Evaluator
from rpaccel.scheduler.recpipe_node import Design, HostTimes, Node
from rpaccel.scheduler.recpipe_space import RecPipeSpace
from rpaccel.scheduler.slowed import SHARES, slowed_tails
from rpaccel.spec.recpipe import load_recpipe
from tests.scheduler.test_recpipe_search import node, quality, spec

MS = np.full(4097, 1e-3)
WHOLE = Design(funnel=Funnel(models=("small",), items=(2048,)), devices=("cpu",))
HALVES = replace(WHOLE, batch=1024)


def host(slowdown: float, servers: int = 2) -> Node:
    """A CPU whose requests take a millisecond alone."""
    cpu = HostTimes(table_s={"small": MS, "large": MS}, slowdown=slowdown)
    return node(servers={"cpu": servers}, hosts={"cpu": cpu})


def latencies(given: Node, design: Design, load_qps: float, queries: int = 400):
    found = Evaluator(given, quality(), queries=queries, seed=2)
    return found.latencies(found.table([design]), np.zeros(1, np.int64), np.array([load_qps]))[0]


@pytest.mark.parametrize(("servers", "alone_ms"), [(1, 2.0), (2, 1.5), (3, 1.5)])
def test_halves_of_a_query_slow_each_other_by_hand(servers, alone_ms) -> None:
    # The second half begins beside the first and takes half as long again, if there is a server.
    given = host(0.5, servers)
    assert latencies(given, HALVES, 0.1) == pytest.approx(np.full(400, alone_ms * 1e-3))
    table = Evaluator(given, quality(), queries=400).table([WHOLE, HALVES])
    assert table.idle_s == pytest.approx([1e-3, alone_ms * 1e-3])


@pytest.mark.parametrize("batch", [0, 100, 300, 500])
@pytest.mark.parametrize("servers", [1, 3, 4])
def test_idle_latency_is_that_of_a_query_alone(batch, servers) -> None:
    ramp = np.arange(4097) * 1e-6
    cpu = HostTimes(table_s={"small": ramp, "large": ramp}, slowdown=0.2)
    given = node(servers={"cpu": servers}, hosts={"cpu": cpu})
    design = replace(WHOLE, batch=batch)
    idle = Evaluator(given, quality(), queries=400).table([design]).idle_s[0]
    assert latencies(given, design, 0.01) == pytest.approx(np.full(400, idle), rel=1e-6)


def test_servers_that_are_all_busy_set_the_capacity() -> None:
    table = Evaluator(host(0.1, 4), quality(), queries=400).table([WHOLE])
    assert table.capacity_qps == pytest.approx(4 / (1e-3 * 1.3))
    within, beyond = (
        latencies(host(0.1, 4), WHOLE, share * table.capacity_qps[0], 40_000)
        for share in (0.97, 1.03)
    )
    assert within[20_000:].mean() < 2 * within[:20_000].mean()
    assert beyond[20_000:].mean() > 2.0 * beyond[:20_000].mean()
    assert MOST_LOAD < 1


@pytest.mark.parametrize("load_qps", [100.0, 300.0, 400.0])
def test_on_average_requests_take_what_the_closed_form_says(load_qps) -> None:
    # The form that is fitted to figure 7: one stage of 50 ms on 64 engines.
    cpu = HostTimes(table_s={"small": 50 * MS, "large": MS}, slowdown=0.021)
    given = node(servers={"cpu": 64}, hosts={"cpu": cpu})
    mean = latencies(given, WHOLE, load_qps, 20_000)[2000:].mean()
    factor = Contention(per_engine=0.021).stretch(0.05, load_qps, 64)
    assert mean / 0.05 == pytest.approx(factor, rel=0.03)


def test_what_a_space_says_of_the_cpu_reaches_its_node() -> None:
    given = load_recpipe("criteo")
    assert cited_hosts(given)["cpu"].slowdown == given.slowdown["cpu"] > 0
    assert cited_hosts(given)["gpu"].slowdown == 0
    made = node(hosts={"cpu": HostTimes(table_s={}, slowdown=0.25)})
    assert dict(zip(made.pools, made.slowdowns, strict=True)) == {
        "link": 0, "cpu": 0.25, "gpu": 0, "accelerator": 0,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"^slowdown must be in 0\.\.1, not -0\.1"):
        HostTimes(table_s={}, slowdown=-0.1)


def test_tails_grow_with_the_slowdown() -> None:
    base = node()
    hosts = {**base.hosts, "cpu": replace(base.hosts["cpu"], slowdown=0.1)}
    found = RecPipeSpace(spec=spec(), node=replace(base, hosts=hosts), quality=quality())
    found = replace(found, spec=spec(slices=spec().slices.model_copy(update={"quality": 0.85})))
    evaluator = Evaluator(found.node, found.quality, queries=400)
    rows = slowed_tails(found, evaluator, (50.0, 200.0, 1e6))
    assert {(row.stages, row.whole) for row in rows} == {
        (1, False), (1, True), (2, False), (2, True),
    }  # fmt: skip
    by = {(row.stages, row.whole, row.load_qps): row.tails_ms for row in rows}
    for (stages, whole, load), tails in by.items():
        assert len(tails) == len(SHARES)
        assert list(tails) == sorted(tails)
        assert np.isinf(tails).all() == (load == 1e6)
        if not whole:
            assert all(a <= b for a, b in zip(tails, by[stages, True, load], strict=True))
    assert by[2, False, 200.0][-1] > 1.05 * by[2, False, 200.0][0]
    # As searched is the share of 1: the same designs under the space's own node.
    alone = [d for d in found.designs() if d.devices == ("cpu",) and not d.batch and not d.retrieval
             and d.funnel.models == ("large",)]  # fmt: skip
    table = evaluator.table(alone)
    tails = evaluator.measure(
        table, np.arange(len(alone)), np.full(len(alone), 200.0), evaluator.qualities(alone)
    ).tail_ms
    assert by[1, True, 200.0][SHARES.index(1.0)] == tails.min()
    none = RecPipeSpace(spec=spec(), node=base, quality=quality())
    assert slowed_tails(none, Evaluator(base, quality(), queries=400), (50.0,)) == ()
