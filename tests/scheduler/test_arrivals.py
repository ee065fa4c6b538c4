import pickle

import numpy as np
import pytest

from rpaccel.scheduler.arrivals import (
    PROCESSES,
    artifact_arrivals_s,
    burst_arrivals_s,
    diurnal_arrivals_s,
    diurnal_rate_qps,
    find_process,
    poisson_arrivals_s,
    read_trace_s,
    replay,
)
from rpaccel.scheduler.queueing import Station, simulate


def test_poisson_gaps_are_exponential():
    gaps = np.diff(poisson_arrivals_s(200_000, 100.0, seed=1))
    assert gaps.mean() == pytest.approx(0.01, rel=0.01)
    assert gaps.std() == pytest.approx(0.01, rel=0.01)
    assert (gaps > 0.01).mean() == pytest.approx(np.exp(-1), rel=0.01)


def test_one_seed_scales_with_load():
    slow = poisson_arrivals_s(100, 10.0, seed=2)
    assert np.allclose(slow, 5 * poisson_arrivals_s(100, 50.0, seed=2))


def test_trace(tmp_path):
    path = tmp_path / "trace.txt"
    path.write_text("# seconds\n0.0\n0.5\n0.5\n2\n")
    assert read_trace_s(path).tolist() == [0.0, 0.5, 0.5, 2.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n0\n", r"^t\.txt:2: arrivals must not go back, not '0'"),
        ("1\nx\n", r"^t\.txt:2: must be seconds, not 'x'"),
        ("#\n", r"^t\.txt: must hold at least one arrival"),
    ],
)
def test_bad_trace(tmp_path, text, message):
    path = tmp_path / "t.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_trace_s(path)


@pytest.mark.parametrize(
    ("gap_ms", "expected"),
    [(2, 5.9), (5, 2.8), (10, 1.9)],  # p95 latency over service time at 85 % load
)
def test_artifact_gaps_hide_the_queue(gap_ms, expected):
    arrivals = artifact_arrivals_s(400_000, 1000 / gap_ms, seed=1)
    gaps = np.diff(arrivals) * 1e3
    assert np.allclose(gaps, np.round(gaps))
    assert gaps.std() / gaps.mean() == pytest.approx(gap_ms**-0.5, rel=0.02)
    service = 0.85 * gap_ms * 1e-3
    p95 = simulate(arrivals, [Station(name="s", servers=1, service_s=service)]).p95_ms
    assert p95 / (service * 1e3) == pytest.approx(expected, rel=0.05)
    true = poisson_arrivals_s(400_000, 1000 / gap_ms, seed=1)
    p95 = simulate(true, [Station(name="s", servers=1, service_s=service)]).p95_ms
    assert p95 / (service * 1e3) == pytest.approx(10.2, rel=0.05)


def test_bursts_keep_the_mean_and_vary_more():
    arrivals = burst_arrivals_s(500_000, 100.0, seed=1, ratio=5.0, share=0.2, burst_queries=200.0)
    assert np.all(np.diff(arrivals) >= 0)
    assert len(arrivals) / arrivals[-1] == pytest.approx(100.0, rel=0.05)
    counts = np.histogram(arrivals, np.arange(0, arrivals[-1], 0.1))[0]
    plain = np.histogram(
        poisson_arrivals_s(500_000, 100.0, seed=1), np.arange(0, arrivals[-1], 0.1)
    )[0]
    assert plain.var() / plain.mean() == pytest.approx(1.0, abs=0.1)
    # Calm 100 / 1.8 and burst 500 / 1.8: variance 0.16 * 222.2^2, over 0.1 s and a mean of 10.
    assert counts.var() / counts.mean() == pytest.approx(1 + 0.16 * 222.2**2 * 0.01 / 10, rel=0.15)


def test_equal_rates_are_poisson():
    plain = poisson_arrivals_s(1000, 50.0, seed=3)
    assert np.allclose(burst_arrivals_s(1000, 50.0, seed=3, ratio=1.0), plain)
    assert np.allclose(diurnal_arrivals_s(1000, 50.0, seed=3, swing=0.0), plain)


def test_a_day_has_its_peak_and_its_valley():
    arrivals = diurnal_arrivals_s(400_000, 200.0, seed=2, swing=0.6)
    assert arrivals[-1] == pytest.approx(2000.0, rel=0.01)
    quarters = np.histogram(arrivals, np.linspace(0, 2000, 5))[0] / 500
    # Mean of 1 + 0.6 sin over a quarter: 1 +- 0.6 * 2 / pi.
    assert quarters == pytest.approx(200 * (1 + 1.2 / np.pi * np.asarray([1, 1, -1, -1])), rel=0.02)


@pytest.mark.parametrize("process", [burst_arrivals_s, diurnal_arrivals_s, replay([0, 1, 3, 3.5])])
def test_patterns_scale_with_load(process):
    assert np.allclose(process(300, 10.0, 4), 7 * process(300, 70.0, 4))


def test_replay():
    process = replay(np.asarray([5.0, 6.0, 6.0, 8.0]))
    assert process(5, 1.0, 0) == pytest.approx(np.asarray([1.25, 1.25, 3.75, 5.0, 5.0]))
    assert process(3, 2.0, 0).tolist() == [0.5, 0.5, 1.5]


@pytest.mark.parametrize("queries", [1000, 15_000, 20_000, 50_000])
@pytest.mark.parametrize("seed", [0, 7])
def test_a_part_of_a_trace_has_the_load_asked(queries, seed):
    gaps = np.repeat([1.6, 0.4], 10_000)  # a calm half first
    times = replay(np.concatenate([[0.0], np.cumsum(gaps)]))(queries, 100.0, seed)
    assert queries / times[-1] == pytest.approx(100.0)


def test_a_part_of_a_trace_without_a_gap_is_refused():
    process = replay(np.asarray([0.0, 0.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match=r"^trace must hold a gap in 2 from number 0, not none"):
        process(2, 1.0, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: poisson_arrivals_s(5, 0.0, 0), r"^load_qps must be positive, not 0"),
        (lambda: poisson_arrivals_s(0, 1.0, 0), r"^queries must be at least 1, not 0"),
        (lambda: artifact_arrivals_s(5, -1.0, 0), r"^load_qps must be positive, not -1"),
        (lambda: burst_arrivals_s(5, 1.0, 0, ratio=0.5), r"^load_qps and burst_queries must be"),
        (lambda: diurnal_arrivals_s(5, 1.0, 0, swing=1.0), r"^load_qps and days must be"),
        (lambda: replay(np.zeros(3)), r"^trace must hold two arrivals or more, ascending"),
        (lambda: replay(np.arange(2.0))(1, 0.0, 0), r"^load_qps and queries must be positive"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_diurnal_rate_is_that_of_the_arrivals():
    times = diurnal_arrivals_s(200_000, 50.0, 4, swing=0.8, days=2)
    edges = np.linspace(0, times[-1], 41)
    counts, _ = np.histogram(times, edges)
    middles = (edges[1:] + edges[:-1]) / 2
    rates = [diurnal_rate_qps(t, 200_000, 50.0, swing=0.8, days=2) for t in middles]
    expected = np.asarray(rates) * np.diff(edges)
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected) + 0.03 * expected)
    assert max(rates) > 89
    assert min(rates) < 11


def test_looks_are_long_where_the_load_changes():
    assert PROCESSES["poisson"].look(2048, 4096) == PROCESSES["artifact"].look(2048, 4096) == 2048
    assert PROCESSES["poisson"].look(2048, 400) == 400
    assert PROCESSES["bursts"].look(2048, 4096) == PROCESSES["diurnal"].look(2048, 4096) == 4096


def test_a_trace_goes_to_other_processes(tmp_path):
    path = tmp_path / "trace.txt"
    path.write_text("0\n1\n3\n3.5\n")
    process = find_process(trace=path)
    there = pickle.loads(pickle.dumps(process))
    assert there.name == process.name and not there.steady
    assert np.array_equal(there.draw(50, 2.0, 3), process.draw(50, 2.0, 3))


def test_processes_by_name(tmp_path):
    path = tmp_path / "day.txt"
    path.write_text("0\n1\n3\n")
    trace = find_process(trace=path)
    assert (trace.name, trace.steady) == ("trace day.txt", False)
    assert np.allclose(np.diff(trace.draw(5, 10.0, 0)), [1 / 7, 0.5 / 7, 1 / 7, 0.5 / 7])
    assert find_process() is find_process("poisson")
    gaps = np.diff(find_process("artifact").draw(1000, 500.0, 0)) * 1e3
    assert np.allclose(gaps, gaps.round()) and not find_process("artifact").scales
    with pytest.raises(ValueError, match=r"^arrivals must be one of poisson, bursts, diurnal, art"):
        find_process("weekly")
    with pytest.raises(ValueError, match=r"^arrivals must be left out with a trace, not 'bursts'"):
        find_process("bursts", path)
