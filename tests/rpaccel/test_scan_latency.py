import json

import numpy as np
import pytest

from rpaccel.host.retrieval_simulator import RetrievalRun, ScanAnswer
from rpaccel.main_job.retrieval_scan import machine, scan_study
from rpaccel.main_job.scan_latency import (
    LatencyRow,
    asked_of,
    latency_study,
    latency_text,
    path_of,
    scan_tracks,
)
from rpaccel.perfmodel.retrieval_latency import Constant
from tests.streams import NIGHTLY

MEMORIES = ("hbm2", "ddr4")
ROW = LatencyRow(
    ports=4,
    memory="hbm2",
    row_bytes=64,
    k=16,
    corpus_bytes=1 << 20,
    stream_cycles=4096.0,
    constant=Constant(memory=30, scoring=8, overrun=1, closing=5, answer=60),
    latency_cycles=4000,
    scan_cycles=3900,
    answer_cycles=100,
    ideal_cycles=3750,
    period_cycles=3800,
    ideal_period_cycles=3700,
)


def test_row_by_hand():
    assert ROW.predicted_cycles == 4200
    assert ROW.error == pytest.approx(0.05)
    assert ROW.overrun == pytest.approx(0.04)
    assert ROW.gap_cycles == 100
    text = latency_text([ROW])
    assert " 0.25 MiB per port " in " ".join(text.split())
    assert "Largest error: 5.00 %." in text
    assert " 4,096 | 104 | " in " ".join(text.split()) and " +5.00 % " in text


def test_path_of_a_memory():
    config = machine(8, 1, 16)
    assert path_of(config, "hbm2").bytes_per_s == 8 * 13.27e9
    assert path_of(config, "ddr4").bytes_per_s == 8 * 64 * 250e6  # a beat per cycle is less


def test_buckets_of_asked_queries():
    rng = np.random.default_rng(1)
    corpus = rng.integers(-128, 128, (5000, 64)).astype(np.int8)
    (query,) = asked_of(corpus, corpus[:1], 7)
    scores = corpus.astype(int) @ query.vector.astype(int)
    assert query.k == 7 and np.sort(scores)[500] < query.base < np.median(scores)


def answer(started, reported, ended):
    nothing = np.zeros(0, np.uint32)
    return ScanAnswer(
        scores=nothing.view(np.int32), ids=nothing, started=started, reported=reported, first=0,
        ended=ended, status=0, found=0, scan_cycles=0, beats=64, stalled_cycles=3,
    )  # fmt: skip


def test_scans_follow_each_other_in_the_timeline():
    scans = [[answer(100, 4000, 4110), answer(100, 4001, 4105)], [answer(4010, 8000, 8100)]]
    run = RetrievalRun(cycles=9000, answers=scans, port_beats=())
    events = [event for tracks in scan_tracks(run, ROW) for event in tracks.events()]
    spans = [event for event in events if event["ph"] == "X"]
    found = {
        (event["pid"], event["name"], event["tid"] // 16): (event["ts"], event["ts"] + event["dur"])
        for event in spans
    }
    engine = {key[2]: span for key, span in found.items() if key[:2] == (2, "query")}
    model = {key[2]: span for key, span in found.items() if key[:2] == (4, "query")}
    assert engine == {0: (100, 4110), 1: (100, 4105), 2: (4010, 8100)}
    assert model == {0: (100, 4300), 1: (100, 4300), 2: (4196, 8396)}  # 4096 each, 104 beyond
    assert found[2, "scan", 1] == (100, 4001) and found[4, "scan", 2] == (4196, 8292)
    assert found[2, "waits", 2] == (100, 4010)
    (facts,) = {tuple(e["args"].items()) for e in spans if e["name"] == "scan" and e["pid"] == 2}
    assert dict(facts) == {"beats": 64, "stalled_cycles": 3}


@pytest.mark.slow
def test_a_timeline_of_each_case(tmp_path):
    sizes, options = [(64, 128), (64, 16)], {"corpus_bytes": 1 << 20, "seed": 1, "progress": print}
    config = machine(4, 2, 128)
    plain = list(latency_study(config, ("hbm2",), sizes, **options))
    assert list(latency_study(config, ("hbm2",), sizes, trace=tmp_path, **options)) == plain
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "4_ports_hbm2_64_bytes_128_rows.json", "4_ports_hbm2_64_bytes_16_rows.json",
    ]  # fmt: skip
    events = json.loads((tmp_path / "4_ports_hbm2_64_bytes_128_rows.json").read_text())
    durations = {
        pid: max(
            event["dur"]
            for event in events["traceEvents"]
            if event["name"] == "query" and event["pid"] == pid and event["tid"] < 32
        )
        for pid in (2, 4)
    }
    assert durations[2] == plain[0].latency_cycles
    assert durations[4] == round(plain[0].predicted_cycles)


@pytest.mark.slow
def test_latency_by_formula_within_one_percent():
    """16 MiB on 4 ports: C is up to a tenth of L."""
    sizes = [(64, 1024), (64, 128), (64, 16), (128, 1024), (512, 1024)]
    found = list(
        latency_study(
            machine(4, 2, 1024), MEMORIES, sizes, corpus_bytes=1 << 24, seed=1, progress=print
        )
    )
    assert len(found) == 10
    for row in found:
        constant = row.constant
        print(f"{row.memory} {row.row_bytes} {row.k}: {row.error:+.2%}, gap {row.gap_cycles}")
        assert abs(row.error) <= 0.01
        assert row.latency_cycles == row.scan_cycles + row.answer_cycles
        # the parts: the scan, and the answer, which hangs on how full the sorter's last run is
        scan = row.predicted_cycles - constant.closing - constant.answer
        assert abs(scan / row.scan_cycles - 1) <= 0.01
        assert abs(row.answer_cycles - constant.closing - constant.answer) <= row.k / 4 + 32
        # between two scans lies no answer, the rest of C at most; on DDR4 refreshes beside it
        assert row.overrun <= 0.01
        assert row.memory == "ddr4" or row.gap_cycles <= constant.total - constant.answer


@pytest.mark.parametrize("ports", [pytest.param(ports, marks=NIGHTLY) for ports in (8, 16)])
def test_a_million_rows_at_the_speed_of_memory(ports):
    """K = 1024, two queries a scan, right behind each other."""
    orders = ("random", "ascending")
    sizes = {"rows": 1 << 20, "k": 1024, "queries": 2, "seed": 1}
    found = list(scan_study([ports], MEMORIES, orders, progress=print, **sizes))
    assert len(found) == 4
    for row in found:
        print(f"{row.memory} {row.order}: {row.share:.2%} of the beats, {row.overrun:.2%} longer")
        assert row.share >= 0.97
        assert row.overrun <= (0.01 if row.order == "random" else 0.05)
