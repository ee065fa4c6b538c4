"""Timelines of `rpaccel validate`: device and models, and figures that stay as they are."""

import json
from collections import defaultdict
from dataclasses import replace

import pytest

from rpaccel.host.software_device import SoftwareDevice
from rpaccel.main_job import sweep_session, sweep_validation
from rpaccel.main_job.sweep_machines import sweep_machine
from rpaccel.main_job.sweep_session import LOAD_QUERIES, MEMORY_BYTES, SESSION_QUERIES, SweepSession
from rpaccel.main_job.sweep_trace import session_timeline
from rpaccel.main_job.sweep_traced import image_lanes, traced_session
from rpaccel.main_job.validation import validate_machine
from rpaccel.perfmodel.report import UNIT_FIELDS

ALL = 1 + SESSION_QUERIES + LOAD_QUERIES
DEVICE, MODEL, TOLD = 1, 3, 6  # first processes


def spans(path):
    """Return the spans of a file by process."""
    found = defaultdict(list)
    for event in json.loads(path.read_text())["traceEvents"]:
        if event["ph"] == "X":
            found[event["pid"]].append(event)
    return found


def cycles(events, name="query"):
    return [event["dur"] for event in events if event["name"] == name]


def without_seconds(points):
    return [replace(point, records_s=0.0, means_s=0.0) for point in points]


def test_queries_of_a_netlist_beside_both_models(tmp_path):
    """The counters are those without a log of tasks, and who is told the records has them all."""
    plain = without_seconds(validate_machine("tiny", 12, 3))
    traced = without_seconds(validate_machine("tiny", 12, 3, trace=tmp_path / "new"))
    assert plain == traced
    paths = sorted((tmp_path / "new").iterdir())
    assert [path.name for path in paths] == ["tiny_0.json", "tiny_1.json"]
    measured = [point.measured for point in plain if point.unit == "query"]
    means = [point.means for point in plain if point.unit == "query"]
    found = [spans(path) for path in paths]
    device = [each for by in found for each in cycles(by[DEVICE + 1])]
    assert device == measured
    assert [each for by in found for each in cycles(by[TOLD + 1])] == measured
    for said, mean in zip(
        [each for by in found for each in cycles(by[MODEL + 1])], means, strict=True
    ):
        assert mean is None or said == pytest.approx(mean, rel=0.1)
    for by in found:
        assert set(by) == {1, 2, 3, 4, 5, 6, 7, 8}
        for stage in ("stage 0", "stage 1"):
            tasks = cycles(by[DEVICE + 1], stage)
            assert cycles(by[TOLD + 1], stage) == pytest.approx(tasks, abs=2)


@pytest.fixture(scope="module")
def session():
    return SweepSession(sweep_machine("front_and_back"), 1, 0)


def test_a_session_of_a_sweep_has_all_its_queries(session, tmp_path):
    with traced_session(session, sub_batches=True) as traces:
        for load in ([session.warming], *([asked] for asked in session.alone), session.load):
            traces.run(load)
    images = image_lanes(session)
    assert [lanes for _, lanes in images] == [range(2), range(2, 3)]
    device = SoftwareDevice(session.config, MEMORY_BYTES)
    session_timeline(session, device, traces.reports).write(tmp_path / "trace.json")
    found = spans(tmp_path / "trace.json")
    assert set(found) == {2, 3, 4, 5, 6, 7, 8}  # a device in software logs no tasks
    assert all(len(cycles(found[first + 1])) == ALL for first in (DEVICE, MODEL, TOLD))
    told = [query.total_cycles for report in traces.reports for query in report.queries]
    assert cycles(found[TOLD + 1]) == told
    batches = sum(len(report.batch_log) for report in traces.reports)
    assert len(found[TOLD + 2]) == 3 * batches > 0


def test_a_session_is_asked_again_for_its_timeline(session, tmp_path, monkeypatch):
    """What was measured is kept without tasks: it stays, and so do the points."""
    kept = {"entered": 64, "total": 9000, "front": 5000, "back": 4000, "beats": 9, "read": 5}
    units = dict.fromkeys(UNIT_FIELDS, (1, 1))
    monkeypatch.setattr(sweep_session, "_measure", lambda *_: [kept | {"units": units}] * (ALL - 1))
    monkeypatch.setattr(sweep_validation, "build_simulator", lambda *_, **__: tmp_path / "a" / "b")
    asked = []
    monkeypatch.setattr(
        sweep_validation,
        "trace_session",
        lambda session, library, told, path: asked.append((session.number, len(told), path.name)),
    )

    def points(**options):
        found = list(
            sweep_validation.validate_sweep(
                "whole", 1, 1, build_dir=tmp_path, say=lambda _: None, **options
            )
        )
        return [
            replace(each, event_s=0.0, traced_s=0.0) if hasattr(each, "event_s") else each
            for each in found
        ]

    assert points() == points(trace=tmp_path)
    assert asked == [(0, 1 + SESSION_QUERIES + 1, "sweep_whole_0.json")]


@pytest.mark.slow
def test_a_session_on_the_netlist(tmp_path):
    list(sweep_validation.validate_sweep("front_and_back", 1, 1, trace=tmp_path))
    found = spans(tmp_path / "sweep_front_and_back_0.json")
    assert set(found) == {1, 2, 3, 4, 5, 6, 7, 8}
    device, model, told = (cycles(found[first + 1]) for first in (DEVICE, MODEL, TOLD))
    assert len(device) == ALL
    assert told == pytest.approx(device, rel=0.01)
    assert model == pytest.approx(device, rel=0.03)
    assert len(found[DEVICE]) == len(found[MODEL]) == len(found[TOLD]) > 3 * 2 * ALL
