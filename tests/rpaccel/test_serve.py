import pytest

from rpaccel.main_job.serve import (
    ServeAsk,
    lane_stage,
    parse_stages,
    run_serve,
    serve_text,
)
from rpaccel.perfmodel.lane import StageInput, predict_query
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.perfmodel.networks import RM_LARGE
from rpaccel.perfmodel.shapes import compile_shape
from rpaccel.scheduler.workers import CpuStage
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.platform import load_platform


def test_stages_of_a_text():
    cpu, lane = parse_stages("wnd:256,dlrm-rmc3@cpu:64,rmlarge@accelerator:8")
    assert cpu == (CpuStage(model="wnd", keep=256), CpuStage(model="dlrm-rmc3", keep=64))
    assert lane == ("rmlarge", 8)
    assert parse_stages("ncf:1") == ((CpuStage(model="ncf", keep=1),), None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a stage must be MODEL\[@cpu\|@accelerator\]:KEEP, not ''"),
        ("ncf@gpu:4", r"not 'ncf@gpu:4'"),
        ("ncf:-1", r"not 'ncf:-1'"),
        ("ncf:0", r"keep must be at least 1, not 0"),
        ("rm9:4", r"model must be one of dien"),
        ("rmlarge@accelerator:4", r"the first stage must be on the CPU"),
        ("ncf:9,rmsmall@accelerator:4,ncf:2", r"the accelerator must be the last stage"),
    ],
)
def test_rejects_stages(text, message):
    with pytest.raises(ValueError, match=message):
        parse_stages(text)


def test_lane_is_the_performance_model():
    platform, config = load_platform("paper"), load_accelerator("paper")
    stage = StageInput(shape=compile_shape(RM_LARGE, config), items=256)
    records = RecordSizes(user_bytes=config.beat_bytes, item_bytes=128)
    cycles = predict_query(config, [stage], platform.accelerator.memory, records, 64).total_cycles
    lane = lane_stage("paper", "rmlarge", 256, 64)
    assert lane.service_s == pytest.approx(cycles / 250e6 + platform.link.seconds(64 * 8))
    assert lane.link_s == pytest.approx(40e-6 + 256 * 120 / 6.67e9)
    assert lane.lanes == config.lanes


def test_serves_and_compares(tmp_path):
    ask = ServeAsk(
        stages="ncf:16,rmlarge@accelerator:8", sizes="fixed:64", samples=3, queries=100,
        scale_rows=0.001, load=0.2,
    )  # fmt: skip
    said = []
    report = run_serve(ask, tmp_path / "out", tmp_path / "tables", said.append)
    assert report.measured.queries == 100
    assert report.qps == pytest.approx(0.2 * report.capacity_qps)
    lane_ms = 1e3 * (report.lane.service_s + report.lane.link_s)
    assert report.measured.latency_ms[50] > lane_ms
    assert report.predicted.p50_ms > lane_ms + 0.5 * report.service_ms[0]
    assert report.explained.queries == report.replayed.queries == 100
    assert report.predicted.queries == 18_000  # a tenth warms up
    assert report.error(report.predicted) == pytest.approx(
        report.predicted.p99_ms / report.measured.latency_ms[99] - 1
    )
    text = serve_text(report)
    assert "scale_rows 0.001" in text
    assert f"{report.measured.latency_ms[99]:8.2f}" in text
    assert "peak memory of the workers" in text


def test_serves_split_queries(tmp_path):
    ask = ServeAsk(
        stages="ncf:16", sizes="fixed:50", samples=2, queries=60, scale_rows=0.001, load=0.2,
        workers=2, batch=20,
    )  # fmt: skip
    report = run_serve(ask, tmp_path / "out", tmp_path / "tables", lambda _: None)
    assert report.measured.queries == 60
    assert report.explained.queries == 60
    assert "requests of at most 20 items" in serve_text(report)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"load": 1.0}, r"^load must be in 0\.\.1, not 1\.0"),
        ({"qps": -3.0}, r"^qps must be positive, not -3\.0"),
        (
            {"batch": 4, "stages": "ncf:8,wnd:1"},
            r"^batch must not be given with several",
        ),
        ({"queries": 3}, r"^queries must be at least 20, not 3"),
    ],
)
def test_rejects(change, message):
    with pytest.raises(ValueError, match=message):
        ServeAsk(**{"stages": "ncf:1", **change})
