"""Cases of pinned rows and prefetches, and their timelines, on devices in software."""

import json

import pytest

from rpaccel.host.software_device import SoftwareDevice
from rpaccel.main_job import row_cache_study as study

NAMES = ["simple", "simple_ahead", "simple_pinned", "simple_pinned_ahead",
         "far", "far_ahead", "far_pinned", "far_pinned_ahead"]  # fmt: skip


class Device(SoftwareDevice):
    """A device in software that is built and closed as a netlist is."""

    def __init__(self, config, timing, *, memory_bytes, library):
        super().__init__(config, memory_bytes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture
def cases(monkeypatch):
    monkeypatch.setattr(study, "VerilatedDevice", Device)
    monkeypatch.setattr(study, "build_simulator", lambda *_, **__: None)
    monkeypatch.setattr(study, "MEMORIES", {"simple": None})
    monkeypatch.setattr(study, "PROFILE_USERS", 2)

    def run(**options):
        return list(
            study.row_cache_study("synthetic", "edge", 2, 0, progress=lambda _: None, **options)
        )

    return run


def test_each_case_has_a_timeline_and_the_figures_it_had(cases, tmp_path):
    plain, traced = cases(), cases(trace=tmp_path / "new")
    assert plain == traced
    assert [case.name for case in plain] == NAMES
    paths = sorted((tmp_path / "new").iterdir())
    assert [path.name for path in paths] == sorted(f"{name}.json" for name in NAMES)
    for path in paths:
        events = json.loads(path.read_text())["traceEvents"]
        queries = [event["pid"] for event in events if event["name"] == "query"]
        assert sorted(queries) == [2, 2, 4, 4]  # device, model
        model = {event["name"] for event in events if event["ph"] == "X" and event["pid"] == 4}
        assert {"stage 0", "filter 0", "stage 1", "filter 1"} < model
