import math

import numpy as np
import pytest

from rpaccel.scheduler.arrivals import exponential_gaps, poisson_arrivals_s
from rpaccel.scheduler.peak import Sla, Verdict, find_peak, least_in_time, probe
from rpaccel.scheduler.queueing import Station, finish_times_s

SERVICE_S = 0.01


def mm1(seed):
    def latencies(load_qps, queries):
        arrivals = poisson_arrivals_s(queries, load_qps, seed)
        service = exponential_gaps(queries, seed + 10_000) * SERVICE_S
        finish, _ = finish_times_s(arrivals, [Station(name="s", servers=1, service_s=service)])
        return finish - arrivals

    return latencies


def mm1_peak_qps(limit_s, percentile):
    # The latency is exponential, of mean SERVICE_S / (1 - rho).
    return (1 + math.log(1 - percentile / 100) * SERVICE_S / limit_s) / SERVICE_S


def test_early_stopping_as_loadgen():
    assert [least_in_time(0, p) for p in (90, 95, 99)] == [44, 90, 459]
    counts = [least_in_time(late, 95) for late in range(200)]
    assert counts == sorted(counts)
    assert counts[-1] / 199 == pytest.approx(19, rel=0.25)  # 19 in time for each late one


def test_independent_latencies_need_what_loadgen_needs():
    values = np.zeros(400)
    sla = Sla(limit_s=1.0, first=400, most=400)  # one look: all of the doubt
    for late, verdict in ((6, Verdict.PASSES), (20, Verdict.OPEN), (60, Verdict.FAILS)):
        values[:] = 0
        values[np.random.default_rng(late).permutation(400)[:late]] = 2.0
        assert sla.judge(values) is verdict
    assert least_in_time(6, 95) < 394 < least_in_time(20, 95)


def test_clusters_are_not_independent():
    # The same 2 % of late queries: one at a time, or all in a row.
    spread, clustered = np.zeros(2000), np.zeros(2000)
    spread[::50] = 2.0
    clustered[1000:1040] = 2.0
    sla = Sla(limit_s=1.0)
    assert sla.judge(spread) is Verdict.PASSES
    assert sla.judge(clustered) is Verdict.OPEN


def test_rounding_is_no_memory():
    # All latencies are 8 ms, but for the rounding of times that grow.
    arrivals = np.cumsum(exponential_gaps(4096, 0)) * 1e-3
    latencies = (arrivals + 0.008) - arrivals
    assert np.ptp(latencies) > 0
    assert Sla(limit_s=0.02, percentile=99).judge(latencies) is Verdict.PASSES
    assert Sla(limit_s=0.007, percentile=99).judge(latencies) is Verdict.FAILS


@pytest.mark.parametrize("limit_s", [0.1, 0.3])
@pytest.mark.parametrize("factor", [0.9, 0.97, 1.03])
def test_sure_verdicts_are_right(limit_s, factor):
    load = factor * mm1_peak_qps(limit_s, 95)
    sla = Sla(limit_s=limit_s, most=16384)
    found = [probe(mm1(seed), load, sla) for seed in range(100)]
    wrong = sum(p.sure and p.passes != (factor < 1) for p in found)
    assert wrong <= 4  # P(more than 4 of 100 at 1 % each) is 0.3 %


def test_far_loads_take_few_queries():
    easy = probe(mm1(1), 0.3 / SERVICE_S, Sla(limit_s=0.2))
    assert easy.sure
    assert easy.passes
    assert easy.queries <= 4 * 2048
    near = probe(mm1(1), 0.995 * mm1_peak_qps(0.2, 95), Sla(limit_s=0.2))
    assert near.queries > 10 * easy.queries


@pytest.mark.parametrize(("limit_s", "percentile"), [(0.1, 95.0), (0.1, 50.0), (0.2, 99.0)])
def test_peak_of_mm1(limit_s, percentile):
    true = mm1_peak_qps(limit_s, percentile)
    sla = Sla(limit_s=limit_s, percentile=percentile)
    peaks = [find_peak(mm1(seed), sla, limit_qps=1 / SERVICE_S) for seed in range(8)]
    assert sum(peak.low_qps <= true <= peak.high_qps for peak in peaks) >= 7
    assert np.mean([peak.qps for peak in peaks]) == pytest.approx(true, rel=0.02)


def step_system(peak_qps, calls):
    """In time up to a load and late beyond."""

    def latencies(load_qps, queries):
        calls.append(load_qps)
        return np.full(queries, 0.5 if load_qps <= peak_qps else 1.5)

    return latencies


@pytest.mark.parametrize("peak_qps", [0.3, 7.0, 63.0, 99.0])
@pytest.mark.parametrize("start_qps", [None, 5.0, 60.0, 99.9])
def test_search_finds_a_step(peak_qps, start_qps):
    calls = []
    peak = find_peak(
        step_system(peak_qps, calls), Sla(limit_s=1.0), limit_qps=100.0, start_qps=start_qps
    )
    assert peak_qps / 1.0051 < peak.qps <= peak_qps
    assert peak.low_qps == peak.qps
    assert peak.high_qps >= peak_qps
    assert max(calls) < 100.0
    assert len(calls) <= 24


def test_good_start_takes_fewer_probes():
    calls = {start: [] for start in (None, 62.0)}
    for start, seen in calls.items():
        find_peak(step_system(63.0, seen), Sla(limit_s=1.0), limit_qps=1e4, start_qps=start)
    assert len(calls[62.0]) <= 6 < len(calls[None])


def test_nothing_passes_and_all_passes():
    assert find_peak(step_system(0.0, []), Sla(limit_s=1.0), limit_qps=100.0).qps == 0
    assert find_peak(step_system(1e9, []), Sla(limit_s=1.0), limit_qps=100.0).qps > 99


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Sla(limit_s=0), r"^limit_s must be positive, percentile in 0\.\.100"),
        (lambda: Sla(limit_s=1, percentile=100), r"^limit_s must be positive, percentile"),
        (lambda: Sla(limit_s=1, first=100), r"^first must be in 200\.\.most, not 100 of 65536"),
        (lambda: least_in_time(-1, 95), r"^late must not be negative, not -1"),
        (
            lambda: find_peak(mm1(0), Sla(limit_s=1), limit_qps=math.inf),
            r"^limit_qps must be positive",
        ),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()
