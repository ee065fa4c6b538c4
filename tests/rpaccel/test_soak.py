"""The soak's judge on the software device; on the netlist where it is slow."""

import itertools
import json

import pytest

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.main_job.run_trace import RunTrace
from rpaccel.main_job.soak import (
    MALFORMED_FIELDS,
    MEMORY_BYTES,
    SPLIT,
    Soak,
    soak,
)
from rpaccel.main_job.soak_page import soak_text
from rpaccel.spec.isa import COMPLETION, Status

GIVEN_UP = (Status.LATE, Status.LANE_RESET, Status.ABORTED)
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


@pytest.mark.parametrize("status", [*GIVEN_UP, Status.MEMORY], ids=lambda status: status.name)
def test_who_gives_up_without_a_cause_is_found(status, monkeypatch):
    job = Soak(Quick(), 3)
    pack = COMPLETION.to_bytes

    def given_up(fields):
        return pack(fields | {"status": status, "count": 0})

    monkeypatch.setattr(COMPLETION, "to_bytes", given_up)
    wrong = (
        rf"^query \d+: (query: status must be \d+ \(golden\), not {int(status)} |{status.name};)"
    )
    with pytest.raises(RuntimeError, match=wrong):
        job.run(20, lambda _: None)


def test_an_answer_behind_its_deadline_is_found(monkeypatch):
    job = Soak(Quick(), 3)
    pack = COMPLETION.to_bytes

    def slow(fields):
        return pack(fields | {"queue_cycles": 15_000, "total_cycles": 5_000})

    monkeypatch.setattr(COMPLETION, "to_bytes", slow)
    with pytest.raises(RuntimeError, match=r"an answer \d+ cycles behind its deadline"):
        job.run(250, lambda _: None)


def test_every_class_of_malformed_descriptors_is_asked():
    named = {status.name for status in Status if status.name.startswith("BAD_")}
    of_others = {"BAD_COUNT", "BAD_IMAGE", "BAD_UPDATE", "BAD_CORPUS"}
    assert named - of_others == {status.name for status in BAD} - {"REGION"}


def test_page():
    report = {
        "seed": 0, "queries": 10_000, "outcomes": {"BAD_K": 12, "OK": 9988}, "sessions": 4,
        "events": {"faults": 1234}, "stages": {1: 4000, 2: 6000}, "cycles": 5_000_000,
        "seconds": 9.5, "cpu_seconds": 8.4, "traced": 0,
    }  # fmt: skip
    text = soak_text(report)
    assert "Written by `rpaccel soak`: random" in text
    assert "10,000\nqueries, no wrong answer" in text and "\n5,000,000 cycles in 8 s of CPU" in text
    assert "| faults | 1,234 |" in text and "|     OK | 9,988 |" in text
    assert "`rpaccel soak --queries 50 --seed 2`" in soak_text(report | {"queries": 50, "seed": 2})
    assert "`rpaccel soak --trace FILE --traced 9`: random" in soak_text(report | {"traced": 9})


def test_rejects_no_query():
    with pytest.raises(ValueError, match=r"^queries must be at least 1, not 0$"):
        soak(0, 0, say=lambda _: None)
    with pytest.raises(ValueError, match=r"^traced must be at least 1, not 0$"):
        soak(1, 0, say=lambda _: None, traced=0)


@pytest.mark.parametrize("option", ["--page", "--trace"])
def test_a_folder_is_no_file_to_write(rpaccel, tmp_path, option):
    status, _, error = rpaccel("soak", option, tmp_path)
    text = " ".join(error.replace("│", " ").split())
    assert status == 2 and f"Invalid value for '{option}'" in text and "is a directory." in text


class Told(RunTrace):
    """A picture that keeps what it was told."""

    def __init__(self, rankers):
        super().__init__(SPLIT, rankers, MemoryTiming())
        self.told = []

    def add(self, images, answered, log, hits, *, retrieved=False):
        self.told.append((images, answered, list(log), hits))
        super().add(images, answered, log, hits)


def test_the_last_queries_are_in_the_timeline(monkeypatch, tmp_path):
    monkeypatch.setattr("rpaccel.main_job.soak.NEW_SPLIT", 20)
    job = Soak(Quick(), 3, log=True)
    splits = []
    split = job.split

    def noted(blocks):
        splits.append(sum(job.stages.values()))  # queries that were asked before
        split(blocks)

    job.split = noted
    picture = Told(job.rankers)
    job.run(250, lambda _: None, picture=picture, traced=120)
    job.timeline.write(tmp_path / "new" / "soak.json")
    later = [asked for asked in splits if asked > 130]
    sizes = [last - first for first, last in itertools.pairwise([130, *later, 250])]
    assert len(sizes) > 1
    assert [len(answered) for _, answered, _, _ in picture.told] == [n for n in sizes if n]
    tags = {each.completion.tag for _, answered, _, _ in picture.told for each in answered}
    assert len(tags) == 120
    for images, answered, _, _ in picture.told:
        ((image, lanes),) = images
        assert image is job.images[0 in lanes]
        for each in answered:
            assert set(each.lanes) <= set(lanes)
            assert each.completion.tag in tags
    events = json.loads((tmp_path / "new" / "soak.json").read_text())["traceEvents"]
    used = {(e["args"]["query"], e["tid"] // 3) for e in events if e["ph"] == "X" and e["pid"] == 3}
    for _, answered, _, _ in picture.told:
        for each in answered:
            lanes = {lane for query, lane in used if query == each.completion.tag}
            assert lanes if each.completion.ok else not lanes
            assert lanes <= set(each.lanes) or not each.lanes
    status = {event["args"]["status"] for event in events if event["name"] == "query"}
    assert "OK" in status and len({Status[name] for name in status} & BAD) >= 3
    device, model = (
        {e["tid"] // 16 for e in events if e["name"] == "query" and e["pid"] == pid}
        for pid in (2, 4)
    )
    assert device == tags
    assert model == {
        each.completion.tag
        for _, answered, _, _ in picture.told
        for each in answered
        if each.completion.ok
    }


def test_a_timeline_needs_a_log():
    job = Soak(Quick(), 3)
    with pytest.raises(ValueError, match=r"^driver must keep a log of tasks for a timeline, not"):
        job.run(1, lambda _: None, picture=Told(job.rankers), traced=1)


@pytest.mark.slow
def test_netlist_passes(tmp_path):
    report = soak(
        300, 5, say=lambda _: None, session_queries=150, trace=tmp_path / "t.json", traced=80
    )
    assert report["queries"] == 300 and report["sessions"] == 2
    assert {"LATE", "LANE_RESET", "ABORTED", "OK"} <= set(report["outcomes"])
    assert len({Status[name] for name in report["outcomes"]} & BAD) >= 4
    assert set(report["events"]) == {"splits", "lane resets", "soft resets", "faults"}
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    asked, modelled = (
        {e["tid"] // 16: e["args"]["status"] for e in spans
         if e["name"] == "query" and e["pid"] == pid}
        for pid in (2, 4)
    )  # fmt: skip
    assert len(asked) == 80 and len(set(asked.values())) > 3
    assert set(modelled) == {tag for tag, status in asked.items() if status == "OK"}
    for process in (1, 3):  # lanes of the device and of the model
        done = {e["args"]["query"] for e in spans if e["pid"] == process}
        assert set(modelled) <= done
    ends = {(e["pid"], e["tid"] // 16): e["ts"] + e["dur"] for e in spans if e["name"] == "query"}
    begins = {e["tid"] // 16: e["ts"] for e in spans if e["name"] == "waits" and e["pid"] == 2}
    for tag in modelled:
        assert begins[tag] < ends[4, tag]
