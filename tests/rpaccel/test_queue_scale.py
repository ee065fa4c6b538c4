"""`rpaccel queue-scale`: its page, other arrivals in a queue, a Dask cluster as the executor."""

import json
import sys
from inspect import signature

import pytest

from rpaccel import schedule_verbs
from rpaccel.cli import main
from rpaccel.main_job import queue_scale
from rpaccel.main_job.queue_scale import QueueAsk, queue_text, queue_values, run_queues
from rpaccel.scheduler.arrival_study import queue_tails
from rpaccel.scheduler.arrivals import POISSON, PROCESSES
from rpaccel.scheduler.scale import run_scale


@pytest.fixture
def rated(monkeypatch):
    """Give rates that need no measuring."""
    rates = tuple((what, lambda _: 2e6, goal) for what, _, goal in queue_scale.RATES)
    monkeypatch.setattr(queue_scale, "RATES", rates)


def few(**changes) -> QueueAsk:
    return QueueAsk(**({"configurations": 6, "queries": 500, "jobs": 1} | changes))


def test_page_has_rates_beside_their_goals(rated, tmp_path) -> None:
    trace = tmp_path / "even.txt"
    trace.write_text("0\n1\n2\n")
    study = run_queues(few(trace=trace), lambda _: None)
    text, values = queue_text(study), queue_values(study)
    assert (
        f"`{study.ask.command}` (`{study.ask.target}`)" in text and str(trace) in study.ask.command
    )
    assert text.count(" 2.00 |") >= 4 and " 0.40 |" in text  # of 5 million and of 1 million
    assert "6 configurations" in text and "x 500 queries on 1 processes" in text
    assert [rate["goal"] for rate in values["rates"]] == [5e6, 1e6, 1e6, 1e6]
    assert values["scale"]["cases"] == 6
    (even,) = [tail for tail in values["arrivals"] if tail["process"] == "trace even.txt"]
    assert even["p95"] == pytest.approx(1) and even["gap_spread"] == pytest.approx(0, abs=1e-9)
    stages = {(each["device"], each["way"], each["load_qps"]): each for each in values["stages"]}
    assert len(stages) == 5 * len(queue_scale.STAGE_LOADS_QPS)
    for each in stages.values():
        low, high = each["interval_ms"]
        known = f"{each['p99_ms']:.1f} [{low:.1f}, {high:.1f}] ({each['requests']:.2f})"
        assert known in text or (each["p99_ms"] == float("inf") and "not met" in text)
    for tail in values["arrivals"]:
        assert f"{tail['p95']:.2f} [{tail['low']:.2f}, {tail['high']:.2f}]" in text


def test_whole_milliseconds_make_short_tails() -> None:
    # DeepRecSys' gaps spread by 1 / sqrt(mean): p95 5.9, 2.8 and 1.9 services, Poisson's is 10.2.
    tails = queue_tails([PROCESSES["artifact"]], (2.0, 5.0, 10.0), 0.85)
    for tail, gap_ms, expected in zip(tails, (2, 5, 10), (5.9, 2.8, 1.9), strict=True):
        assert tail.gap_spread == pytest.approx(gap_ms**-0.5, rel=0.01)
        assert tail.p95 == pytest.approx(expected, abs=0.1)
        assert tail.low < tail.p95 < tail.high
    (poisson,) = queue_tails([POISSON], (2.0,), 0.85)
    assert poisson.low < 10.2 < poisson.high


def test_command_has_what_is_not_the_default() -> None:
    assert QueueAsk().command == "rpaccel queue-scale"
    assert few(cluster="tcp://a:1").command == (
        "rpaccel queue-scale --configurations 6 --queries 500 --jobs 1 --cluster tcp://a:1"
    )
    assert QueueAsk().target == "make queue-scale"
    assert few().target == ("make queue-scale ARGS='--configurations 6 --queries 500 --jobs 1'")
    verb = signature(schedule_verbs.queue_scale).parameters
    assert all(verb[name].default == value for name, value in vars(QueueAsk()).items())


@pytest.mark.slow  # a cluster starts
@pytest.mark.filterwarnings("default")  # of the cluster's own threads and sockets
def test_a_cluster_finds_the_same(rated, monkeypatch, capsys, tmp_path) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        page = tmp_path / "queueing.md"
        monkeypatch.setattr(
            sys, "argv",
            ["rpaccel", "queue-scale", "--configurations", "120", "--queries", "500", "--cluster",
             cluster.scheduler_address, "--out", str(page), "--json"],
        )  # fmt: skip
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code in (0, None)
    assert f"on the cluster {cluster.scheduler_address}" in page.read_text()
    found = json.loads(capsys.readouterr().out)["scale"]
    here = run_scale(120, 500)
    assert tuple(found["p99_ms"]) == pytest.approx(here.p99_ms, rel=1e-12)
