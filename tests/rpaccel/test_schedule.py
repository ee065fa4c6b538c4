"""`rpaccel schedule`: what it refuses at once, and arrivals of a trace."""

import json
import re
import runpy
import sys

import pytest

from rpaccel.main_job import schedule
from rpaccel.main_job.plots import front_of_points
from tests.rpaccel.test_cli import one_line


@pytest.mark.parametrize("workload", ["criteo", "movielens"])
def test_schedule_refuses_numbers_before_it_starts(rpaccel, monkeypatch, workload):
    for name in ("criteo_space", "movielens_job"):  # the card's programs, the rankers: minutes
        monkeypatch.setattr(schedule, name, lambda *_, **__: pytest.fail("has started"))
    ask = ("schedule", "--workload", workload)
    line = one_line(rpaccel(*ask, "--quality", "92"))
    assert "quality must be in 0..1, not 92: did you mean 0.92?" in line
    assert "load_qps must be positive, not 0" in one_line(rpaccel(*ask, "--qps", "0"))
    assert "sla_ms must be positive, not -1" in one_line(rpaccel(*ask, "--sla-ms", "-1"))


def test_the_package_is_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rpaccel", "schedule", "--quality", "7"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("rpaccel", run_name="__main__")
    assert end.value.code == 2 and "quality must be in 0..1, not 7\n" in capsys.readouterr().err


def test_schedule_replays_a_trace(rpaccel, tmp_path):
    path = tmp_path / "calm.txt"
    path.write_text("".join(f"{0.01 * second}\n" for second in range(1000)))  # regular
    ask = ("schedule", "--devices", "cpu", "--qps", "20", "--quality", "0.92")
    status, out, _ = rpaccel(*ask, "--trace", path, "--json")
    choice = json.loads(out)
    assert (status, choice["arrivals"]) == (0, "trace calm.txt")
    tail = choice["again"]["chosen"]["quantiles_ms"]["p99"]["value"]
    assert tail == choice["chosen"]["idle_ms"]  # none meets another: no queue, no slowdown
    assert choice["poisson"]["quantiles_ms"]["p99"]["value"] > tail
    line = one_line(rpaccel(*ask, "--trace", path, "--arrivals", "bursts"))
    assert "arrivals must be left out with a trace, not 'bursts'" in line


def test_front_of_a_plot_holds_what_no_other_point_beats():
    points = [
        {"tail_ms": tail, "quality": quality}
        for tail, quality in ((3, 0.9), (1, 0.5), (2, 0.4), (None, 1.0), (3, 0.95), (1, 0.6))
    ]
    assert front_of_points(points) == [(1, 0.6), (3, 0.95)]
    assert front_of_points(points[3:4]) == []


@pytest.mark.parametrize(
    "need",
    [
        {"--devices": "cpu", "--qps": 500, "--sla-ms": 27, "--quality": 0.924},
        {"--devices": "cpu", "--qps": 2000, "--sla-ms": 5, "--quality": 0.9225},
        {"--devices": "gpu", "--qps": 75, "--sla-ms": 60, "--quality": 0.92},
    ],
)
def test_points_that_are_named_may_be_asked_as_they_are_printed(rpaccel, need):
    """Nothing is rounded into what is not feasible, and no longer run refuses it."""

    def asked(changes):
        pairs = (need | changes).items()
        _, out, _ = rpaccel("schedule", "--json", *(part for pair in pairs for part in pair))
        return json.loads(out)

    flags = {"load": "--qps", "latency": "--sla-ms", "quality": "--quality"}
    choice = asked({})
    assert choice["chosen"] is None and choice["binding_constraint"] and choice["nearest"]
    keys = {"load": "load_qps", "latency": "sla_ms", "quality": "quality"}
    points = [{flags[name]: choice["nearest"][key] for name, key in keys.items()}]
    for name, value in re.findall(r"(\w+) (\S+) \S+ instead of", choice["explanation"]):
        points += [{flags[name]: value}, {flags[name]: choice["relaxations"][name][keys[name]]}]
    assert len(points) == 1 + 2 * len(choice["relaxations"])
    for point in points:
        then = asked(point)
        assert then["chosen"]["feasible"], point
    most = re.search(r"It meets the SLA (?:only )?up to (\S+) queries/s", then["explanation"])
    for load in (most[1], then["qps_under_sla"]):
        assert asked(point | {"--qps": load})["chosen"]["feasible"], load
