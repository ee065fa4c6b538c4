import numpy as np
import pytest

from rpaccel.scheduler.policy import Node, Policy, run_policy
from rpaccel.scheduler.queueing import Station, finish_times_s
from rpaccel.scheduler.serving import LaneStage
from rpaccel.scheduler.serving_model import (
    BLOCK,
    Forecast,
    RanQueries,
    ServiceTimes,
    Tail,
    capacity_qps,
    latencies_s,
)
from rpaccel.scheduler.workers import Part, Served, parts_of

LANE = LaneStage(name="a", lanes=2, items=(1,), service_s=(0.5,), link_s=(0.25,))
FRONT = LaneStage(
    name="a", lanes=1, items=(1, 2), service_s=(0.5, 2.0), link_s=(0.25, 0.5), first=True
)


def random_load(queries=300, seed=0):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.exponential(1.0, queries)), rng.integers(1, 60, queries), rng


@pytest.mark.parametrize(("workers", "batch"), [(1, 1000), (2, 7), (3, 20), (4, 1)])
def test_split_queries_are_the_policy_simulation(workers, batch):
    arrivals, sizes, _ = random_load()
    table = 0.01 + 0.03 * np.arange(61.0)
    node = Node(cores=workers, cpu_s=table[None])
    expected = run_policy(node, [Policy(batch=batch)], arrivals, sizes.astype(np.int32)).finish_s
    parts = parts_of(sizes.tolist(), batch)
    counts = np.asarray([len(all_of) for all_of in parts])
    service = np.asarray([table[p.end - p.first] for all_of in parts for p in all_of])
    found = latencies_s(arrivals, counts, service, workers)
    assert found == pytest.approx(expected - arrivals, abs=1e-9)


def test_whole_queries_are_the_stations_in_a_row():
    arrivals, sizes, _ = random_load(seed=1)
    service = 0.02 * sizes
    stations = [
        Station(name="cpu", servers=2, service_s=service),
        Station(name="a", servers=2, service_s=0.5, delay_s=0.25),
    ]
    finish, _ = finish_times_s(arrivals, stations, 0.125)
    ones = np.ones(len(sizes), np.int64)
    found = latencies_s(arrivals, ones, service, 2, (LANE, 0 * ones), 0.125)
    assert found == pytest.approx(finish - arrivals, abs=1e-9)


def test_by_hand():
    # Two parts of 1 and 2 s on one worker, then a lane; the second query waits for both.
    found = latencies_s(
        np.asarray([0.0, 1.0]), np.asarray([2, 1]), np.asarray([1.0, 2.0, 1.0]), 1,
        (LANE, np.zeros(2, np.int64)), 0.1,
    )  # fmt: skip
    assert found == pytest.approx([3 + 0.25 + 0.5 + 0.1, 4 - 1 + 0.25 + 0.5 + 0.1])


def test_lanes_in_front_by_hand():
    # The second query crosses the link first; then one worker has their parts, two and one.
    found = latencies_s(
        np.asarray([0.0, 0.125]), np.asarray([2, 1]), np.asarray([1.0, 2.0, 4.0]), 1,
        (FRONT, np.asarray([1, 0])), 0.1,
    )  # fmt: skip
    assert found == pytest.approx([2.875 + 2 + 3 + 0.1, 0.875 + 4 - 0.125 + 0.1])


def test_capacity():
    assert capacity_qps(0.25, 2, FRONT) == 1 / 1.25
    assert capacity_qps(0.25, 2, None) == 8
    assert capacity_qps(0.25, 2, LANE) == 4
    assert capacity_qps(1.0, 2, LANE) == 2


def test_calibration():
    parts = parts_of((3, 2), 2)
    first, rest, other = (part for all_of in parts for part in all_of)
    times = [(first, 1.0), (first, 3.0), (first, 2.0), (rest, 5.0), (other, 4.0)]
    served = [
        Served(
            query=i,
            part=part,
            ids=np.arange(0),
            scores=np.zeros(0, np.float32),
            service_s=t,
            cpu_s=t,
        )
        for i, (part, t) in enumerate(times)
    ]
    # A run's queries: two of the first sample, in between one of the second.
    ran = RanQueries(
        asked=np.asarray([0, 1, 0]),
        service_s=np.asarray([3.0, 5.0, 4.0, 1.0, 2.5]),
        transport_s=np.asarray([0.5, 0.75, 0.125]),
    )
    found = ServiceTimes.of(parts, served, ran, 0.25)
    assert found.median_s == {first: 2.0, rest: 5.0, other: 4.0}
    assert found.ratios == pytest.approx([8 / 7, 1.0, 0.5])
    assert found.query_s.tolist() == [7.5, 4.25]
    asked = np.asarray([1, 0, 1])
    assert found.counts(asked).tolist() == [1, 2, 1]
    service, transport = found.draw(asked, np.random.default_rng(0))
    ratios = (service - 0.25) / np.asarray([4.0, 2.0, 5.0, 4.0])
    assert ratios[1] == pytest.approx(ratios[2])  # the parts of one query
    known = dict(zip(found.transport_s.tolist(), found.ratios.tolist(), strict=True))
    assert [known[each] for each in transport] == pytest.approx(ratios[[0, 1, 3]].tolist())
    service, transport = found.draw(np.ones(200, np.int64), np.random.default_rng(0))
    assert len(service) == len(transport) == 200
    following = np.flatnonzero(transport[:-1] == 0.5)
    apart = following[(following + 1) % BLOCK > 0]  # the next one is of the same block
    assert len(apart) > 50
    assert np.all(transport[apart + 1] == 0.75)
    assert service[apart + 1] == pytest.approx(0.25 + 4.0)
    assert rest == Part(sample=0, first=2, end=3)


def test_every_query_has_a_transport_of_its_own():
    arrivals, ones = np.asarray([0.0, 10.0]), np.ones(2, np.int64)
    found = latencies_s(arrivals, ones, np.asarray([1.0, 2.0]), 1, None, np.asarray([0.5, -0.25]))
    assert found == pytest.approx([1.5, 1.75])


def test_tails():
    latency = np.arange(1.0, 101.0)
    tail = Tail.of(latency)
    assert (tail.queries, tail.mean_ms) == (100, pytest.approx(50_500.0))
    assert tail.p50_ms <= tail.p95_ms <= tail.p99_ms <= 100_000
    others = [Tail.of(factor * latency) for factor in (9.0, 2.0)]
    assert Tail.middle([tail, *others]) == others[1]
    found = Forecast.of([tail, *others])
    assert found.tail == others[1]
    assert found.p99_ms == (tail.p99_ms, others[0].p99_ms)
