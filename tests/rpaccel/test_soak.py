"""The soak's judge on the software device; on the netlist where it is slow."""

import pytest

from rpaccel.host.software_device import SoftwareDevice
from rpaccel.main_job.soak import (
    GIVEN_UP,
    MALFORMED_FIELDS,
    MEMORY_BYTES,
    SPLIT,
    Soak,
    soak,
    soak_text,
)
from rpaccel.spec.isa import COMPLETION, Status

BAD = {status for _, status in MALFORMED_FIELDS}


class Quick(SoftwareDevice):
    """A software device with what the soak asks of a simulated one; nothing fails in it."""

    def __init__(self):
        super().__init__(SPLIT, MEMORY_BYTES)
        self.faults = 0

    def run(self, cycles):
        assert cycles >= 1

    def inject_fault(self, begin, end):
        assert 0 <= begin < end <= MEMORY_BYTES
        self.faults += 1

    def clear_faults(self):
        pass


def test_software_device_passes():
    device = Quick()
    job = Soak(device, 3)
    job.run(250, lambda _: None)
    assert sum(job.outcomes.values()) == sum(job.stages.values()) == 250
    assert set(job.stages) == {1, 2, 3}
    assert set(job.events) == {"splits", "lane resets", "soft resets", "faults"}
    assert device.faults == job.events["faults"]
    named = {Status[name] for name in job.outcomes}
    assert Status.OK in named and len(named & BAD) >= 5 and not named & set(GIVEN_UP)


@pytest.mark.parametrize("field", ["items0", "overshoot", "status"])
def test_a_wrong_answer_is_found(field, monkeypatch):
    job = Soak(Quick(), 3)
    pack = COMPLETION.to_bytes

    def other(fields):
        return pack(fields | {field: fields.get(field, 0) ^ 1})

    monkeypatch.setattr(COMPLETION, "to_bytes", other)
    with pytest.raises(RuntimeError, match=r"^query 1: "):
        job.run(20, lambda _: None)


def test_every_class_of_malformed_descriptors_is_asked():
    named = {status.name for status in Status if status.name.startswith("BAD_")}
    of_others = {"BAD_ID", "BAD_COUNT", "BAD_IMAGE", "BAD_UPDATE", "BAD_CORPUS"}
    assert named - of_others == {status.name for status in BAD} - {"REGION"}


def test_page():
    report = {
        "seed": 0, "queries": 10_000, "outcomes": {"BAD_K": 12, "OK": 9988}, "sessions": 4,
        "events": {"faults": 1234}, "stages": {1: 4000, 2: 6000}, "cycles": 5_000_000,
        "seconds": 9.5, "cpu_seconds": 8.4,
    }  # fmt: skip
    text = soak_text(report)
    assert "Written by `rpaccel soak`: random" in text
    assert "10,000\nqueries, no wrong answer" in text and "5,000,000 cycles in\n8 s of CPU" in text
    assert "| faults | 1,234 |" in text and "|     OK | 9,988 |" in text
    assert "`rpaccel soak --queries 50 --seed 2`" in soak_text(report | {"queries": 50, "seed": 2})


def test_rejects_no_query():
    with pytest.raises(ValueError, match=r"^queries must be at least 1, not 0$"):
        soak(0, 0, say=lambda _: None)


@pytest.mark.slow
def test_netlist_passes():
    report = soak(300, 5, say=lambda _: None, session_queries=150)
    assert report["queries"] == 300 and report["sessions"] == 2
    assert {"LATE", "LANE_RESET", "ABORTED", "OK"} <= set(report["outcomes"])
    assert len({Status[name] for name in report["outcomes"]} & BAD) >= 4
    assert set(report["events"]) == {"splits", "lane resets", "soft resets", "faults"}
