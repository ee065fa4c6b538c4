import json
from pathlib import Path

import numpy as np
import pytest

from rpaccel.golden.lane import run_query
from rpaccel.main_job.serve import ServeAsk, run_serve
from rpaccel.main_job.serve_bench import Bench, Load
from rpaccel.main_job.serve_page import serve_page, serve_text
from rpaccel.main_job.serve_stages import parse_stages
from rpaccel.perfmodel.networks import RM_LARGE, RM_SMALL
from rpaccel.results import to_json
from rpaccel.scheduler.lane_machine import LaneMachine
from rpaccel.scheduler.lane_ranker import LaneRanker
from rpaccel.scheduler.serving import LaneStage
from rpaccel.scheduler.workers import CpuStage, CpuStages, Part, Served, WorkerAsk
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.deeprec import load_deeprec
from rpaccel.spec.platform import load_platform

SCALE = 0.001


def test_stages_of_a_text():
    found = parse_stages("wnd:256,dlrm-rmc3@cpu:64,rmlarge@accelerator:8")
    assert found.cpu == (CpuStage(model="wnd", keep=256), CpuStage(model="dlrm-rmc3", keep=64))
    assert found.lane == (RM_LARGE, 8)
    assert not found.lane_first
    assert found.to_workers([999, 9]) == (999, 9)
    assert found.to_lanes([999, 9]) == (64, 9)
    front = parse_stages("rmsmall@accelerator:64,wnd:8")
    assert (front.cpu, front.lane) == ((CpuStage(model="wnd", keep=8),), (RM_SMALL, 64))
    assert front.lane_first
    assert front.to_workers([999, 9]) == (64, 9)
    assert front.to_lanes([999, 9]) == (999, 9)
    assert parse_stages("ncf:1").lane is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a stage must be MODEL\[@cpu\|@accelerator\]:KEEP, not ''"),
        ("ncf@gpu:4", r"not 'ncf@gpu:4'"),
        ("ncf:-1", r"not 'ncf:-1'"),
        ("ncf:0", r"keep must be at least 1, not 0"),
        ("rm9:4", r"model must be one of dien"),
        ("rmlarge@accelerator:4", r"a stage must be on the CPU, not 'rmlarge@accelerator:4'"),
        ("ncf:9,rmsmall@accelerator:4,ncf:2", r"the accelerator must be the first or the last"),
        ("rmlarge@accelerator:9,ncf:4,rmsmall@accelerator:2", r"must be the first or the last"),
    ],
)
def test_rejects_stages(text, message):
    with pytest.raises(ValueError, match=message):
        parse_stages(text)


def golden_lists(ask, folder, sizes):
    """What every sample must end with: the float models' survivors and the integer golden model."""
    stages = parse_stages(ask.stages)
    cpu = CpuStages(WorkerAsk(stages=stages.cpu, sizes=sizes, scale_rows=SCALE, folder=folder))
    platform, config = load_platform("paper"), load_accelerator("paper")
    network, keep = stages.lane
    machine = LaneMachine(
        config=config, platform=platform, network=network, split=ask.split, keep=keep
    )
    ranker = LaneRanker(machine, max(sizes), ask.seed)

    def golden(sample, items):
        return run_query(ranker.query(sample, items), [ranker.ranker], config).ids.tolist()

    found = []
    for sample, size in enumerate(sizes):
        if stages.lane_first:
            items = sorted(golden(sample, range(size)))
            whole = Part(sample=sample, first=0, end=len(items))
            found.append(cpu.rank(whole, np.asarray(items))[0].tolist())
        else:
            kept = cpu.rank(Part(sample=sample, first=0, end=size))[0].tolist()
            found.append(golden(sample, kept))
    return found


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stages", ["ncf:16,rmlarge@accelerator:8", "rmlarge@accelerator:16,ncf:8"])
def test_every_query_ends_with_the_golden_list(tmp_path, stages, workers):
    ask = ServeAsk(
        stages=stages, sizes="fixed:40", samples=3, queries=80, scale_rows=SCALE, load=0.2,
        workers=workers,
    )  # fmt: skip
    report = run_serve(ask, tmp_path / "out", tmp_path / "tables", lambda _: None)
    lists = golden_lists(ask, tmp_path / "tables", (40, 40, 40))
    assert sum(one.queries for one in report.lists) == report.trials[0].measured.queries == 80
    assert [(one.sample, list(one.items)) for one in report.lists] == list(enumerate(lists))
    assert all(len(found) == 8 for found in lists)
    assert len({tuple(found) for found in lists}) == 3
    assert report.computed == (3, 0)  # every list before the run, none in it
    assert report.lane.first == stages.startswith("rm")
    assert "80 queries, each with a ranked list, 3 different ones" in serve_text(report)


def test_serves_and_compares(tmp_path):
    ask = ServeAsk(
        stages="ncf:16,rmlarge@accelerator:8", sizes="fixed:64", samples=3, queries=100,
        scale_rows=SCALE, load=0.2,
    )  # fmt: skip
    said = []
    report = run_serve(ask, tmp_path / "out", tmp_path / "tables", said.append)
    (trial,) = report.trials
    assert trial.measured.queries == 100
    assert report.qps == pytest.approx(0.2 * report.capacity_qps)
    assert (report.lane.lanes, report.lane.items) == (4, (16, 16, 16))
    lane_ms = 1e3 * (report.lane.service_s[0] + report.lane.link_s[0])
    assert trial.measured.latency_ms[50] > lane_ms
    assert trial.predicted.tail.p50_ms > lane_ms + 0.5 * report.service_ms[0]
    assert [tail.queries for tail in trial.tails] == [100, 100, 100]
    least, most = trial.predicted.p99_ms
    assert least < trial.predicted.tail.p99_ms < most
    assert trial.errors[0] == pytest.approx(
        trial.predicted.tail.p99_ms / trial.measured.latency_ms[99] - 1
    )
    text = serve_text(report)
    assert "scale_rows 0.001" in text
    assert "rmlarge on paper, 4*2x2: 4 lane(s)" in text
    assert f"{trial.measured.latency_ms[99]:8.2f}" in text
    assert f"error of p99, of a run: {100 * trial.errors[0]:+.1f} % (" in text
    assert "peak memory of the workers" in text
    assert text in serve_page([report], Path("results/tables"))
    values = json.loads(to_json([report]))[0]
    assert [one["sample"] for one in values["lists"]] == [0, 1, 2]
    assert values["lane"]["items"] == [16, 16, 16]


def test_serves_split_queries(tmp_path):
    ask = ServeAsk(
        stages="ncf:16", sizes="fixed:50", samples=2, queries=20, scale_rows=0.001, qps=150.0,
        seconds=0.4, workers=2, batch=20,
    )  # fmt: skip
    report = run_serve(ask, tmp_path / "out", tmp_path / "tables", lambda _: None)
    assert report.trials[0].measured.queries == 60
    assert report.trials[0].explained.queries == 60
    assert report.lane is None
    assert [one.sample for one in report.lists] == [0, 1]
    assert sum(one.queries for one in report.lists) == 60
    assert "requests of at most 20 items" in serve_text(report)


def test_each_run_is_simulated_from_the_one_before(tmp_path, monkeypatch):
    times, forecasts = [], []
    measure, forecast = Bench.times, Bench.forecast

    def keep_times(self, run):
        times.append(measure(self, run))
        return times[-1]

    def keep_forecast(self, service, *rest):
        forecasts.append(service)
        return forecast(self, service, *rest)

    monkeypatch.setattr(Bench, "times", keep_times)
    monkeypatch.setattr(Bench, "forecast", keep_forecast)
    ask = ServeAsk(
        stages="ncf:16", sizes="fixed:50", samples=2, queries=20, scale_rows=SCALE, qps=200.0,
        runs=3,
    )  # fmt: skip
    report = run_serve(ask, tmp_path / "out", tmp_path / "tables", lambda _: None)
    assert all(mine is given for mine, given in zip(forecasts, times, strict=False))
    assert len(forecasts) == len(report.trials) == 3
    assert len({trial.measured.mean_ms for trial in report.trials}) == 3
    assert sum(one.queries for one in report.lists) == 60
    text = serve_text(report)
    middle = sorted(trial.measured.latency_ms[99] for trial in report.trials)[1]
    measured = next(line for line in text.splitlines() if line.startswith("measured"))
    assert measured.endswith(f"{middle:8.2f}")
    errors = sorted(100 * trial.errors[2] for trial in report.trials)
    said = f"{errors[1]:+.1f} % ({errors[0]:+.1f} to {errors[2]:+.1f}) with its service times"
    assert said in text
    assert "median of 3 runs" in text


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
        ({"runs": 0}, r"^runs must be at least 1, not 0"),
        ({"seconds": -1.0}, r"^seconds must be 0 or more, not -1\.0"),
        ({"seconds": float("inf")}, r"^seconds must be 0 or more, not inf"),
    ],
)
def test_rejects(change, message):
    with pytest.raises(ValueError, match=message):
        ServeAsk(**{"stages": "ncf:1", **change})


class AskedError(Exception):
    """The load that a bench asks for."""


def test_calibration_asks_what_the_slower_of_workers_and_lanes_takes(monkeypatch, tmp_path):
    """Workers of 1 ms saturate at 1,000 queries/s, a lane of 10 ms at 100."""
    part = Part(sample=0, first=0, end=4)

    class Idle:
        count = 1

        def run_alone(self, parts, items=None):
            return [
                Served(query=0, part=part, ids=np.arange(4), scores=np.zeros(4, np.float32),
                       service_s=1e-3, cpu_s=1e-3)
            ]  # fmt: skip

    class Ranks:
        asked = 0

        def rank(self, sample, items):
            return list(items)

    def run(self, qps, queries, seed, folder):
        raise AskedError(qps)

    monkeypatch.setattr(Bench, "run", run)
    stage = LaneStage(name="a", lanes=1, items=(4,), service_s=(0.01,), link_s=(0.0,))
    load = Load(share=0.5, qps=None, seconds=0.0, sla=load_deeprec("ncf").sla, seed=0)
    for lanes, qps in ((None, 500.0), ((stage, Ranks()), 50.0)):
        bench = Bench(Idle(), ((part,),), 4, lanes, load)
        with pytest.raises(AskedError) as asked:
            bench.calibrate(np.random.default_rng(0), tmp_path)
        assert asked.value.args[0] == pytest.approx(qps)
