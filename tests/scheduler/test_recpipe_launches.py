"""Launches of a GPU that hold several queries, in the joint search and beside a SimPy twin."""

from dataclasses import replace

import numpy as np
import pytest

from rpaccel.main_job.recpipe_page import _launches
from rpaccel.scheduler.arrivals import poisson_arrivals_s
from rpaccel.scheduler.criteo_node import cited_hosts
from rpaccel.scheduler.funnel_quality import Funnel
from rpaccel.scheduler.recpipe_evaluate import Evaluator
from rpaccel.scheduler.recpipe_node import Design, HostTimes, Visit
from rpaccel.scheduler.stage_queues import Stage, StageNode
from rpaccel.spec.recpipe import load_recpipe
from tests.scheduler.test_recpipe_search import node, quality, spec
from tests.scheduler.test_stage_queues import Twin

GPU_S = 1e-3 + 1e-6 * np.arange(4097.0)
TWO = Funnel(models=("small", "large"), items=(2048, 256))


def launching(items, **changes):
    """The test node, whose GPU takes up to so many items in a launch."""
    given = node(**changes)
    gpu = HostTimes(table_s={"small": GPU_S, "large": GPU_S}, launch_items=items)
    cpu = replace(given.hosts["cpu"], slowdown=0.1)
    return replace(given, hosts={"cpu": cpu, "gpu": gpu})


def test_a_visit_has_the_times_of_its_launches():
    design = Design(funnel=TWO, devices=("cpu", "gpu"), batch=512)
    _, visit = launching(900).visits(design)
    assert visit.launches_s == pytest.approx((GPU_S[256], GPU_S[512], GPU_S[768]))
    assert visit.work_s == pytest.approx(GPU_S[768] / 3)
    for items in (0, 511):  # none, or no place for a second query
        _, alone = launching(items).visits(design)
        assert (alone.launches_s, alone.last_s) == ((), GPU_S[256])
    with pytest.raises(ValueError, match=r"^launches_s must be of one part, and begin with"):
        Visit(pool="gpu", last_s=1.0, launches_s=(2.0, 3.0))
    with pytest.raises(ValueError, match=r"^launch_items must be 0 where the times of queries are"):
        HostTimes(table_s={}, ratios={"small": np.ones(2)}, launch_items=4)


@pytest.mark.parametrize("devices", [("cpu", "gpu"), ("gpu", "cpu"), ("gpu", "gpu")])
def test_pipelines_match_simpy(devices):
    given = launching(4096)
    found = Evaluator(given, quality(), queries=150, seed=2)
    cut = "cpu" in devices
    design = Design(funnel=TWO, devices=devices, batch=300 if cut else 0)
    single = Design(funnel=Funnel(models=("small",), items=(2048,)), devices=("cpu",))
    table = found.table([single, design])
    assert sorted(table.merged) == [1]
    tables = {"cpu": {"small": node().hosts["cpu"].table_s["small"],
                      "large": node().hosts["cpu"].table_s["large"]},
              "gpu": {"small": GPU_S, "large": GPU_S}}  # fmt: skip
    stages = [
        Stage(pool=device, table_s=tables[device][model], most_items=items, split=device == "cpu",
              merge=device == "gpu", batch=300 if device == "cpu" else 4096)
        for device, model, items in zip(devices, TWO.models, TWO.items, strict=True)
    ]  # fmt: skip
    servers = StageNode(servers={"cpu": 4, "gpu": 1}, slowdown={"cpu": 0.1})
    loads = np.array([0.3, 0.9, 1.3]) * table.capacity_qps[1]
    ours = found.latencies(table, np.ones(3, np.int64), loads)
    requests = []
    for row, load in enumerate(loads):
        arrivals = poisson_arrivals_s(150, load, 2)
        sizes, kinds = np.full(150, 2048, np.int32), np.zeros(150, np.int32)
        twin = Twin(servers, [stages], arrivals, sizes, kinds)
        assert np.allclose(ours[row], np.asarray(twin.finish) - arrivals, rtol=0, atol=1e-12)
        requests.append([twin.requests[0, step] for step in range(2) if devices[step] == "gpu"])
    assert np.all(np.asarray(requests[-1]) < 150)  # a launch had several queries, of every stage
    # Rows of both kinds in one call, in any order.
    both = found.latencies(table, np.array([1, 0, 1]), loads[[0, 0, 1]])
    assert np.array_equal(both[[0, 2]], ours[:2])
    alone = found.latencies(table, np.array([0]), loads[:1])
    assert np.array_equal(both[1], alone[0])


def test_a_query_alone_takes_links_and_delays_too():
    design = Design(funnel=TWO, devices=("gpu", "accelerator"), split="1*4x4", sub_batches=1)
    found = Evaluator(launching(4096), quality(), queries=400)
    table = found.table([design])
    assert table.merged and table.transfer_s[0] > 80e-6
    assert table.idle_s[0] > GPU_S[2048] + table.transfer_s[0]
    latency = found.latencies(table, np.zeros(1, np.int64), np.array([1e-3]))
    assert np.allclose(latency, table.idle_s[0])


def test_full_launches_are_the_capacity_and_a_query_alone_is_not_slower():
    design = Design(funnel=TWO, devices=("gpu", "gpu"))
    tables = [Evaluator(launching(items), quality()).table([design]) for items in (0, 4096)]
    assert tables[0].capacity_qps[0] == pytest.approx(1 / (GPU_S[2048] + GPU_S[256]))
    assert tables[1].capacity_qps[0] == pytest.approx(1 / (GPU_S[4096] / 2 + GPU_S[4096] / 16))
    assert tables[0].idle_s[0] == tables[1].idle_s[0]
    measured = [
        Evaluator(launching(items), quality(), queries=4000).measure(
            table, np.array([0, 0]), np.array([100.0, 320.0]), np.array([0.5])
        )
        for items, table in zip((0, 4096), tables, strict=True)
    ]
    assert measured[0].stable.tolist() == [True, False]
    assert measured[1].stable.all()
    assert measured[1].tail_ms[0] <= measured[0].tail_ms[0]


def test_times_that_are_spread_are_refused():
    given = launching(4096)
    cpu = replace(given.hosts["cpu"], ratios={"small": np.array([0.5, 1.5])})
    given = replace(given, hosts={**given.hosts, "cpu": cpu})
    found = Evaluator(given, quality(), queries=400)
    table = found.table([Design(funnel=TWO, devices=("cpu", "gpu"))])
    with pytest.raises(ValueError, match=r"^launch_items must be 0 where the times of any device"):
        found.latencies(table, np.zeros(1, np.int64), np.array([10.0]))


def test_criteo_with_launches():
    made = load_recpipe("criteo_launches")
    plain = load_recpipe("criteo").model_dump() | {"name": made.name, "launches": {"gpu": 4096}}
    assert made.model_dump() == plain  # nothing else differs
    hosts = cited_hosts(made)
    assert (hosts["gpu"].launch_items, hosts["cpu"].launch_items) == (4096, 0)
    assert "up to 4096 items" in _launches(made)
    assert _launches(load_recpipe("criteo")) == "A stage on the GPU is one request."
    with pytest.raises(
        ValueError, match=r"^launches must be at most 4096 items \(published\), not 5"
    ):
        cited_hosts(made.model_copy(update={"launches": {"gpu": 5000}}))
    assert spec().launches == {}
