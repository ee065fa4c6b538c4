import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from rpaccel.scheduler.arrivals import exponential_gaps, poisson_arrivals_s
from rpaccel.scheduler.closed_forms import (
    erlang_c,
    md1_wait_s,
    mg1_wait_s,
    mm1_latency_s,
    mm1_quantile_s,
    mmc_wait_quantile_s,
    mmc_wait_s,
)
from rpaccel.scheduler.intervals import student_t
from rpaccel.scheduler.queueing import (
    Station,
    capacity_qps,
    finish_times_s,
    qps_under_sla,
    serve,
    simulate,
)

QUERIES = 400_000


def exponential_service(mean_s, seed, queries=QUERIES):
    return exponential_gaps(queries, seed) * mean_s


def mean_waits_s(load, servers, service, runs=16, queries=200_000):
    """Mean wait after warm-up of independent runs, and the half of its 99.9 % interval."""
    means = []
    for seed in range(runs):
        arrivals = poisson_arrivals_s(queries, load, seed)
        station = Station(name="s", servers=servers, service_s=service(seed + 100, queries))
        _, (wait,) = finish_times_s(arrivals, [station])
        means.append(wait[queries // 10 :].mean())
    half = student_t(0.999, runs - 1) * np.std(means, ddof=1) / np.sqrt(runs)
    return np.mean(means), half


def exponential_of(mean_s):
    return lambda seed, queries: exponential_gaps(queries, seed) * mean_s


@pytest.mark.parametrize(("servers", "share"), [(1, 0.7), (2, 0.75), (4, 0.8), (40, 0.9)])
def test_mmc(servers, share):
    load = 100 * share * servers
    mean, half = mean_waits_s(load, servers, exponential_of(0.01))
    assert half < 0.12 * mean
    assert abs(mean - mmc_wait_s(load, 0.01, servers)) < half


def test_md1():
    mean, half = mean_waits_s(80.0, 1, lambda _seed, _queries: 0.01)
    assert half < 0.03 * mean
    assert abs(mean - md1_wait_s(80.0, 0.01)) < half


def test_mg1_of_lognormal_service():
    # E[S] = 10 ms and E[S^2] = E[S]^2 * exp(sigma^2).
    def service(seed, queries):
        return np.random.default_rng(seed).lognormal(np.log(0.01) - 0.32, 0.8, queries)

    mean, half = mean_waits_s(70.0, 1, service)
    assert half < 0.06 * mean
    assert abs(mean - mg1_wait_s(70.0, 0.01, 1e-4 * np.exp(0.64))) < half


def test_quantiles_within_their_intervals():
    arrivals = poisson_arrivals_s(QUERIES, 70.0, seed=3)
    station = Station(name="s", servers=1, service_s=exponential_service(0.01, 4))
    report = simulate(arrivals, [station])
    for name, quantile in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        low, high = report.interval_ms[name]
        assert low < 1e3 * mm1_quantile_s(70.0, 0.01, quantile) < high
    assert low < report.p99_ms < high


def test_wait_quantile_of_many_servers():
    arrivals = poisson_arrivals_s(QUERIES, 340.0, seed=5)
    station = Station(name="s", servers=4, service_s=exponential_service(0.01, 6))
    _, (wait,) = finish_times_s(arrivals, [station])
    expected = mmc_wait_quantile_s(340.0, 0.01, 4, 0.95)
    assert np.quantile(wait, 0.95) == pytest.approx(expected, rel=0.05)
    assert mmc_wait_quantile_s(10.0, 0.01, 4, 0.5) == 0.0


def test_erlang_c_of_one_server_is_utilisation():
    assert erlang_c(60.0, 0.01, 1) == pytest.approx(0.6)


def test_erlang_c_two_servers_by_hand():
    # a = 1: B = (1/2) / (1 + 1 + 1/2) = 0.2; C = 0.2 / (1 - 0.5 * 0.8) = 1/3
    assert erlang_c(100.0, 0.01, 2) == pytest.approx(1 / 3)


def test_overload_has_no_closed_form():
    with pytest.raises(ValueError, match=r"^utilisation must be below 1, not 1\.200"):
        mm1_latency_s(120.0, 0.01)


def simpy_twin(arrivals, stations, last_delay):
    environment = simpy.Environment()
    pools = [simpy.Resource(environment, station.servers) for station in stations]
    finish = np.zeros(len(arrivals))

    def query(index):
        yield environment.timeout(arrivals[index])
        for station, pool in zip(stations, pools, strict=True):
            yield environment.timeout(station.delay_s)
            with pool.request() as request:
                yield request
                yield environment.timeout(np.broadcast_to(station.service_s, len(arrivals))[index])
        finish[index] = environment.now + last_delay

    for index in range(len(arrivals)):
        environment.process(query(index))
    environment.run()
    return finish


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("servers", [(1,), (3,), (2, 1), (1, 3), (2, 4, 1)])
def test_matches_simpy(servers, constant):
    queries = 400
    arrivals = poisson_arrivals_s(queries, 120.0, seed=8)
    stations = [
        Station(
            name=f"s{index}",
            servers=count,
            service_s=0.006 * count if constant else exponential_service(0.006, index, queries),
            delay_s=0.001 * index,
        )
        for index, count in enumerate(servers)
    ]
    finish, _ = finish_times_s(arrivals, stations, 0.002)
    assert np.allclose(finish, simpy_twin(arrivals, stations, 0.002), rtol=0, atol=1e-9)


def test_a_query_of_no_time_goes_before_an_equal_later_one():
    # Both leave b at 5, query 0 behind query 1 and in no time: c sees 0 first.
    stations = [
        Station(name="a", servers=2, service_s=np.array([3.0, 0.0])),
        Station(name="b", servers=1, service_s=np.array([0.0, 5.0])),
        Station(name="c", servers=1, service_s=1.0),
    ]
    assert finish_times_s(np.zeros(2), stations)[0].tolist() == [6.0, 7.0]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_coarse_times_match_a_search_of_all_servers(data):
    # Whole numbers: many ties, times of nothing, idle and full stations.
    queries = data.draw(st.integers(1, 25))
    times = st.integers(0, 6).map(float)
    arrivals = np.sort(data.draw(st.lists(times, min_size=queries, max_size=queries)))
    stations = [
        Station(
            name=str(index),
            servers=data.draw(st.integers(1, 5)),
            service_s=np.asarray(data.draw(st.lists(times, min_size=queries, max_size=queries))),
            delay_s=data.draw(times),
        )
        for index in range(data.draw(st.integers(1, 3)))
    ]
    finish, waits = finish_times_s(arrivals, stations, 1.0)
    expected, by_hand = arrivals.copy(), []
    for station in stations:  # a station at a time, every server looked at
        free, ready = [0.0] * station.servers, expected + station.delay_s
        for who in np.argsort(ready, kind="stable"):
            server = free.index(min(free))
            begin = max(free[server], ready[who])
            by_hand.append(begin - ready[who])
            free[server] = expected[who] = begin + station.service_s[who]
    assert finish.tolist() == (expected + 1.0).tolist()
    assert sum(wait.sum() for wait in waits) == sum(by_hand)


def test_ties_keep_the_order_of_queries():
    arrivals = np.zeros(4)
    start, finish = serve(arrivals, np.array([3.0, 1.0, 1.0, 1.0]), 2)
    assert start.tolist() == [0.0, 0.0, 1.0, 2.0]
    assert finish.tolist() == [3.0, 1.0, 2.0, 3.0]
    # Queries 0 and 3 reach the next station at once: 0 goes first.
    stations = [
        Station(name="a", servers=2, service_s=np.array([3.0, 1.0, 1.0, 1.0])),
        Station(name="b", servers=1, service_s=1.0),
    ]
    assert finish_times_s(arrivals, stations)[0].tolist() == [4.0, 2.0, 3.0, 5.0]


def test_latency_grows_with_load():
    station = Station(name="s", servers=2, service_s=0.01)
    tails = [
        simulate(poisson_arrivals_s(5000, load, seed=9), [station]).p99_ms
        for load in (20.0, 80.0, 140.0, 190.0)
    ]
    assert tails == sorted(tails)


def test_qps_under_sla():
    station = Station(name="s", servers=1, service_s=exponential_service(0.01, 10, 100_000))
    # The p99 of M/M/1 is 50 ms where -ln(0.01) * 0.01 / (1 - rho) = 0.05.
    load = qps_under_sla([station], 0.05, queries=100_000, seed=11)
    assert load == pytest.approx(100 * (1 - 0.2 * -np.log(0.01) / 1), abs=4)
    assert qps_under_sla([station], 0.001, queries=100_000, seed=11) == 0.0


def test_qps_under_a_wide_sla_stays_below_saturation():
    # M/D/1 at D = 1 ms: waits decay like exp(-2 (1 - rho) w / (rho D)), Kleinrock vol. 2, 2.1.
    load = qps_under_sla([Station(name="s", servers=1, service_s=1e-3)], 0.05, queries=200_000)
    assert 950 < load < 975


def test_capacity_is_the_busiest_station():
    stations = [
        Station(name="a", servers=4, service_s=0.02),
        Station(name="b", servers=1, service_s=0.01),
    ]
    assert capacity_qps(stations) == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"servers": 0, "service_s": 1.0}, r"^servers must be at least 1, not 0"),
        ({"servers": 1, "service_s": -1.0}, r"^times of station s must not be negative"),
    ],
)
def test_rejects(keys, message):
    with pytest.raises(ValueError, match=message):
        Station(name="s", **keys)


def test_rejects_arrivals_that_go_back():
    with pytest.raises(ValueError, match=r"^arrivals must not go back in time"):
        finish_times_s(np.array([1.0, 0.0]), [Station(name="s", servers=1, service_s=1.0)])
