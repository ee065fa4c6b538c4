from dataclasses import replace

import pytest

from rpaccel.perfmodel import retrieval_board as board
from rpaccel.perfmodel.retrieval_latency import MemoryPath

PATH = MemoryPath(ports=16, beat_bytes=32, clock_hz=250e6)
DESIGN = board.ScanDesign(path=PATH, queries=11, overhead_cycles=50)
POINT = board.SNARY[1]


def test_snary_moves_146_gb_per_s():
    assert POINT.bytes_per_s == pytest.approx(146e9, rel=0.001)
    assert POINT.latency_s(1e6) == pytest.approx(0.877e-3, rel=0.001)
    assert POINT.latency_s(11.4e6) == pytest.approx(10e-3, rel=0.001)
    assert POINT.queries_per_s(1e6) == pytest.approx(3 / 0.877e-3, rel=0.001)
    assert [point.queries for point in board.SNARY] == [3, 3, 2, 1]


def test_bands():
    faery = board.CORPUS_BANDS["FAERY"]
    latency = faery.latency_s(POINT.latency_s(1e6))
    assert (round(1e3 * latency.low, 2), round(1e3 * latency.high, 2)) == (1.34, 1.60)
    assert latency.holds(1.5e-3) and not latency.holds(1.7e-3)
    # 4 rows per cycle
    clocks = [1e6 / 4 / seconds / 1e6 for seconds in (latency.high, latency.low)]
    assert [round(clock) for clock in clocks] == [156, 187]
    rate = faery.queries_per_s(1760.0)
    assert rate == board.Band(1000.0, 1760 / 1.52)
    faiss = board.CORPUS_BANDS["Faiss, 4 x A100"].latency_s(POINT.latency_s(1e6))
    assert (round(1e3 * faiss.low, 1), round(1e3 * faiss.high, 1)) == (5.0, 5.4)


def test_scan_takes_its_bytes_and_its_overhead():
    assert DESIGN.scan_s(1e6) == pytest.approx(1e-3 + 50 / 250e6)
    faster = replace(DESIGN, path=replace(PATH, ports=28))
    assert faster.scan_s(1e6) < DESIGN.scan_s(1e6)


def test_limit():
    rows = board.rows_within(DESIGN, 1600, 10e-3)
    assert rows == pytest.approx(1e7, rel=0.001)

    def rate(count, waits):
        return board.queries_per_s(DESIGN, count, 1600, 10e-3, waits=waits)

    assert rate(rows, False) == 11 / DESIGN.scan_s(rows)
    assert rate(rows + 1000, False) == rate(rows, True) == 0
    assert rate(rows // 2 - 1000, True) > 0
    assert board.rows_within(DESIGN, 10**9, 10e-3) == 0


def test_multipliers_bound_the_rate():
    """Twice the channels with half the queries: as many products, as many queries per second."""
    wide = board.ScanDesign(path=replace(PATH, ports=32), queries=5)
    narrow = board.ScanDesign(path=PATH, queries=10)
    assert 5 / wide.scan_s(1e6) == pytest.approx(10 / narrow.scan_s(1e6))
