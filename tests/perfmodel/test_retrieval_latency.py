from dataclasses import replace
from math import log

import numpy as np
import pytest

from rpaccel.golden.retrieval import ideal_passes
from rpaccel.perfmodel import retrieval_latency as latency
from rpaccel.perfmodel.retrieval import mean_passes
from rpaccel.perfmodel.retrieval_overrun import measure
from rpaccel.rtl.retrieval_gate import RowGate
from rpaccel.rtl.retrieval_score import ScoreUnit
from rpaccel.spec.retrieval import RetrievalConfig

PATH = latency.MemoryPath(ports=16, beat_bytes=32, clock_hz=250e6)
ROWS, K = 1_000_000, 1024


def scan(lanes, depth=512):
    config = RetrievalConfig(lanes=lanes, k_max=K, fifo_depth=depth)
    return measure(config, "random", ROWS, K)


def test_rate_is_the_least_of_three():
    assert PATH.bytes_per_s == 16 * 32 * 250e6  # beats
    wide = replace(PATH, beat_bytes=64)
    assert wide.bytes_per_s == 16 * latency.HBM2_PORT_BYTES_PER_S  # memory
    alone = replace(PATH, in_flight=1, latency_s=136e-9)  # 512 bytes take 64 ns more
    assert alone.bytes_per_s == pytest.approx(16 * 512 / 200e-9)


@pytest.mark.parametrize(
    "more", [{"ports": 32}, {"beat_bytes": 64}, {"clock_hz": 300e6}, {"memory_bytes_per_s": 20e9},
             {"burst_bytes": 1024}, {"in_flight": 32}, {"latency_s": 50e-9}]
)  # fmt: skip
@pytest.mark.parametrize("base", [PATH, replace(PATH, beat_bytes=64), replace(PATH, in_flight=1)])
def test_more_is_never_slower(base, more):
    assert replace(base, **more).bytes_per_s >= base.bytes_per_s


def test_a_path_needs_all_its_parts():
    with pytest.raises(ValueError, match=r"^in_flight must be above 0, not 0$"):
        replace(PATH, in_flight=0)


def test_scattered_bursts():
    full = latency.HBM2_PORT_BYTES_PER_S
    rates = [latency.scattered_bytes_per_s(size) for size in (32, 64, 128, 177, 512)]
    assert rates[0] == pytest.approx(2.4e9, rel=0.01)  # measured
    assert rates == sorted(rates) and rates[3] == rates[4] == full


def test_law():
    assert latency.scan_latency_s(128e6, 128e9, 2500, 250e6) == pytest.approx(1.01e-3)
    assert latency.scan_latency_s(0, 1, 0, 1) == 0


@pytest.mark.parametrize("products", [1, 2])
def test_constant_adds_up(products):
    report = scan(16)
    constant = latency.constant_of(
        report, PATH, beats_per_row=4, switch_s=15.6e-9, products_per_dsp=products
    )
    assert constant.memory == 39  # 153.4 ns
    assert constant.scoring == ScoreUnit.latency_of(products) + RowGate.latency_cycles + 3
    counted = constant.overrun + constant.closing + constant.answer
    assert counted == report.end_cycle + 1 - report.sets
    assert constant.total == constant.memory + constant.scoring + counted
    assert constant.answer <= latency.answer_bound_cycles(K, 1024) == 4096


def test_passes_of_an_exact_threshold():
    assert round(latency.pass_deviation(ROWS, K)) == 78
    assert latency.pass_deviation(K, K) == 0
    # two rows, k = 1: the second passes with probability 1/2
    assert latency.pass_deviation(2, 1) == pytest.approx(0.5)
    scores = np.random.default_rng(5)
    found = [ideal_passes(scores.permutation(20_000), 64) for _ in range(100)]
    mean, deviation = mean_passes(20_000, 64), latency.pass_deviation(20_000, 64)
    assert abs(np.mean(found) - mean) <= 4 * deviation / 10
    assert np.std(found) == pytest.approx(deviation, rel=0.3)


@pytest.mark.parametrize(
    ("interval", "published"), [(1, 8200), (64, 8700), (256, 10_300), (512, 13_700), (1024, 21_100)]
)
def test_queued_rows_of_the_published_table(interval, published):
    """16 lanes; the table has three digits, its first line simulated histograms."""
    assert latency.queued_rows(ROWS, K, 16, interval) == pytest.approx(published, rel=0.02)


def test_queued_rows_closed_forms():
    assert latency.queued_rows(100, 100, 4, 1) == 100
    assert latency.queued_rows(ROWS, K, 1, 1) == pytest.approx(mean_passes(ROWS, K), rel=1e-3)
    # blocks of 8 rows: all, 2/8, 2/16 of 8
    assert latency.queued_rows(24, 2, 4, 2) == 8 + 2 + 1
    assert latency.queued_rows(24, 2, 4, 2, age_cycles=2) == 8 + 8 + 2
    # edges with all, half and a tenth above them
    tails = [1.0, 0.5, 0.1]
    assert latency.queued_rows(24, 2, 4, 2, tails=tails) == 8 + 4 + 4
    ages = [latency.queued_rows(ROWS, K, 16, 64, age_cycles=age) for age in (0, 32, 64)]
    assert ages == sorted(ages)


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_counted_scans_against_the_formulas(lanes):
    report = scan(lanes)
    interval = report.scan_cycles / report.sweeps
    tails = np.linspace(1, 0, 1 << 16)  # buckets matter little here
    at_most = latency.queued_rows(ROWS, K, lanes, interval, age_cycles=2 * interval, tails=tails)
    assert mean_passes(ROWS, K) < report.queued < 1.1 * at_most
    assert report.passes <= report.queued
    assert report.peak_entries <= latency.queue_bound(K, lanes, interval)
    assert report.stalled_cycles == 0
    # short queues: a cycle for each row more than an exact threshold lets pass
    more = report.queued - mean_passes(ROWS, K)
    for depth in (16, 64, 256):
        stalls = scan(lanes, depth).stalled_cycles
        assert stalls <= latency.overrun_bound_cycles(K, lanes) + more


def test_bounds():
    assert latency.overrun_bound_cycles(1024, 16) == 1024 * log(16)
    assert latency.overrun_bound_cycles(1024, 1) == 0
    assert latency.overrun_bound_cycles(1024, 4, 4) == 4 * 1024 * log(16)
    assert latency.queue_bound(1024, 1, 64) == 3 * 32


@pytest.mark.parametrize(
    ("lanes", "k", "peak", "passes"),
    [(4, 256, 1451, 4474), (4, 1024, 5737, 16_480), (8, 1024, 16_942, 34_180),
     (16, 1024, 45_699, 77_568), (4, 4096, 22_820, 60_220)],
)  # fmt: skip
def test_stale_threshold_as_simulated_elsewhere(lanes, k, peak, passes):
    assert latency.stale_backlog(k, lanes) == pytest.approx(peak, rel=0.03)
    assert latency.stale_passes(ROWS, k, lanes) == pytest.approx(passes, rel=0.06)


def test_lanes_of_a_stale_threshold():
    free = {0.01: 5, 0.004: 7, 0.001: 14, 0.0001: 41}
    for share, lanes in free.items():
        most = max(n for n in range(1, 60) if latency.free_lanes_share(n) >= share)
        assert most == lanes
