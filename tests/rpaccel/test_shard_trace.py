"""Timelines of devices that share a corpus: host, devices, the same by the model."""

import json
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest

from rpaccel.host.corpus_shards import ShardedCorpus
from rpaccel.host.query import Completion
from rpaccel.main_job.shard_runs import shard_study
from rpaccel.main_job.shard_trace import PageDriver, ScanCosts, ShardTrace
from rpaccel.spec.isa import MAX_STAGES, Status, StatusFlag
from tests.host.retrieval_machine import CORPUS_BYTES, MEMORY_BYTES, machine, random_rows, software

VECTORS = np.arange(12, dtype=np.int8).reshape(3, 4)
COSTS = ScanCosts(scan_cycles=1000.4, constant_cycles=60.2, shared=2)
NAMES = ("host", "device 0", "device 1", "model, host", "model, device 0", "model, device 1")


def page(place, ended_at, *, rows=5, total=900):
    nothing = (0,) * (MAX_STAGES - 1)
    counters = {"gather_cycles": 800, "array_cycles": 64, "filter_cycles": 7}
    completion = Completion(
        tag=99, status=Status.OK, flags=StatusFlag(0), lane=0, lanes=0, queue_cycles=13,
        ended_at=ended_at, overshoot=0, ids=np.arange(rows, dtype=np.uint32),
        logits=np.zeros(0, np.int16), ctr=np.zeros(0, np.uint16), scores=np.zeros(rows, np.int32),
        total_cycles=total, items=(64, *nothing), stage_cycles=(total - 10, *nothing),
        interaction_cycles=(0, *nothing),
        **{name: (value, *nothing) for name, value in counters.items()},
    )  # fmt: skip
    return SimpleNamespace(vector=VECTORS[place]), completion


def read(path):
    """Return spans by (process, name) as (query, begin, end, facts)."""
    events = json.loads(path.read_text())["traceEvents"]
    processes = {
        event["pid"]: event["args"]["name"].removesuffix(": queries")
        for event in events
        if event["name"] == "process_name"
    }
    found = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            span = event["tid"] // 16, event["ts"], event["ts"] + event["dur"], event["args"]
            found[processes[event["pid"]], event["name"]].append(span)
    return processes, found


@pytest.fixture
def picture(tmp_path):
    """Query 0 alone; then all at once, of which query 1 asks device 0 for a second page."""
    trace = ShardTrace(VECTORS, 2, COSTS)
    trace.add([[page(0, 5_950)], [page(0, 7_970)]], [5_000, 7_000], 1_010)
    first = [page(place, 10_950 + place) for place in range(3)]
    trace.add(
        [[*first, page(1, 11_950, rows=2)], [page(place, 20_960) for place in range(3)]],
        [10_000, 20_000],
        3_000,
    )
    trace.write(tmp_path / "new" / "trace.json")
    return read(tmp_path / "new" / "trace.json")


def test_what_is_asked_at_once_begins_at_once_on_all_devices(picture):
    processes, found = picture
    assert sorted(processes.values()) == sorted(NAMES)
    begins = 1_061  # the model's first answer, the device's was at 1,010
    zero, one = found["device 0", "query"], found["device 1", "query"]
    assert [span[:3] for span in zero] == [
        (0, 50, 950),
        (0, begins + 50, begins + 950),
        (1, begins + 51, begins + 951),
        (2, begins + 52, begins + 952),
        (1, begins + 1_050, begins + 1_950),
    ]
    assert [span[:3] for span in one][:2] == [(0, 70, 970), (0, begins + 60, begins + 960)]
    (first, *_) = found["device 0", "retrieval"]
    facts = {"rows": 64, "scan_cycles": 800, "stalled_cycles": 7}
    assert first == (0, 50, 940, facts)
    assert found["device 0", "waits"][0][:3] == (0, 37, 50)


def test_the_host_merges_what_all_devices_gave(picture):
    _, found = picture
    assert found["host", "query"][0][:3] == (0, 0, 1_010)
    assert found["host", "merge"] == [
        (0, 1_010, 1_010, {"rows": 10}),
        (0, 4_061, 4_061, {"rows": 10}),
        (1, 4_061, 4_061, {"rows": 12}),
        (2, 4_061, 4_061, {"rows": 10}),
    ]
    assert {span[3]["rows"] for span in found["model, host", "merge"]} == {10, 12}


def test_the_model_scans_for_two_queries_at_a_time(picture):
    _, found = picture
    begins, later = 1_061, 1_061 + 2_061
    scans = [span[:3] for span in found["model, device 0", "retrieval"]]
    assert scans == [
        (0, 0, 1_061),
        (0, begins, begins + 1_061),
        (1, begins, begins + 1_061),
        (2, begins + 1_000, begins + 2_061),
        (1, later, later + 1_061),  # a second page, when all first ones are there
    ]
    assert len(found["model, device 1", "retrieval"]) == 4
    assert found["model, host", "merge"][-1][1] == later + 1_061
    assert found["model, device 0", "waits"][3][:3] == (2, begins, begins + 1_000)


def test_a_driver_keeps_its_pages_until_they_are_taken():
    rng, config = np.random.default_rng(2), machine()
    drivers = [
        PageDriver(software(config), config, MEMORY_BYTES, depth=4, corpus_bytes=CORPUS_BYTES,
                   feature_bytes=1 << 18)
        for _ in range(2)
    ]  # fmt: skip
    corpus = ShardedCorpus(drivers, random_rows(rng, 301, 16, 3))
    vectors = random_rows(rng, 3, 16, 3)
    answers = corpus.retrieve(vectors, 40, per_shard=7)
    for shard, driver in enumerate(drivers):
        pages = driver.take_pages()
        assert len(pages) == sum(answer.pages[shard] for answer in answers) > 3
        assert [asked.vector.tolist() for asked, _ in pages[:3]] == vectors.tolist()
        assert driver.take_pages() == []


@pytest.mark.slow
def test_a_timeline_of_each_run_changes_no_figure(tmp_path):
    sizes = {"device_counts": (1, 2), "rows": 1 << 12, "k": 100, "queries": 8}
    plain = shard_study(progress=lambda _: None, **sizes)
    traced = shard_study(progress=lambda _: None, trace=tmp_path, **sizes)
    assert plain == traced
    assert len(list(tmp_path.iterdir())) == len(plain.runs)
    for run in plain.runs:
        name = f"{run.devices}_devices_{run.shards}_shards_{run.kept}_rows.json"
        processes, found = read(tmp_path / name)
        assert len(processes) == 2 * (1 + run.devices)
        for host, latency in (
            ("host", run.latency_cycles), ("model, host", run.model_latency_cycles),
        ):  # fmt: skip
            singles = [end - begin for _, begin, end, _ in found[host, "query"]][:3]
            assert np.mean(singles) == pytest.approx(latency, rel=0.2 if run.again else 0.01)
        pages = sum(len(found[f"device {n}", "retrieval"]) for n in range(run.devices))
        assert pages >= run.queries * run.shards + run.again
        assert len(found["host", "merge"]) == run.queries
