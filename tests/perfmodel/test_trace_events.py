import json
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import pytest

from rpaccel.perfmodel.trace_events import QuerySpan, TaskSpan, trace_events, trace_json


def task(**changes):
    fields = {
        "tag": 3, "lane": 1, "stage": 0, "items": 20, "given_at": 10, "gathered_at": 50,
        "computed_at": 90, "first_score_at": 80, "scored_at": 95,
    }  # fmt: skip
    return TaskSpan(**fields | changes)


QUERY = QuerySpan(tag=3, fetched_at=1, begun_at=8, ended_at=200, stage_cycles=(100,))


def spans(events, **wanted):
    found = [event for event in events if event["ph"] == "X"]
    return [e for e in found if all(e[name] == value for name, value in wanted.items())]


def test_every_span_has_its_track_and_length():
    tasks = [task(), task(stage=1, lane=0, items=5, given_at=96, gathered_at=120, computed_at=150,
                          first_score_at=151, scored_at=155)]  # fmt: skip
    events = trace_events(tasks, [QUERY], source="device", process=5)
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert names[5, 3] == "lane 1 gather" and names[5, 2] == "lane 0 scores"
    assert {name for (pid, _), name in names.items() if pid == 6} == {
        "query 3", "query 3 stage 0", "query 3 filter 0", "query 3 stage 1", "query 3 filter 1",
    }  # fmt: skip
    assert len(spans(events)) == 2 * 3 + 2 + 2 * 2
    (gather,) = spans(events, pid=5, tid=3)
    assert (gather["ts"], gather["dur"]) == (10, 40)
    (compute,) = spans(events, pid=5, tid=4)
    assert (compute["ts"], compute["dur"]) == (50, 40)
    (stage,) = spans(events, name="stage 1")
    assert (stage["ts"], stage["dur"], stage["args"]["items"]) == (96, 59, 5)
    (first,), (second,) = spans(events, name="filter 0"), spans(events, name="filter 1")
    assert (first["ts"], first["dur"]) == (80, 110 - 80)  # until it has counted: 10 + 100
    assert (second["ts"], second["dur"]) == (151, 4)  # not known: until its last score
    (waits,) = spans(events, name="waits")
    assert (waits["ts"], waits["dur"]) == (1, 7)


def test_spans_of_a_track_follow_each_other_or_lie_within():
    """Also if stages overlap, as those of sub-batches do: Perfetto drops what crosses."""
    tasks = [task(tag=tag, stage=stage, lane=stage, given_at=10 + 30 * stage + n, gathered_at=60,
                  computed_at=90, first_score_at=80 + n, scored_at=95)
             for tag in (3, 4) for stage in (0, 1) for n in (0, 1)]  # fmt: skip
    events = trace_events(tasks, [QUERY, replace(QUERY, tag=4)], source="device", process=1)
    tracks = defaultdict(list)
    for span in spans(events, pid=2):
        tracks[span["tid"]].append((span["ts"], span["ts"] + span["dur"]))
    assert len(tracks) == 2 * 5
    for track in tracks.values():
        for (_, end), (after, last) in pairwise(sorted(track)):
            assert after >= end or last <= end


def test_a_lane_computes_one_task_after_the_other():
    tasks = [task(), task(given_at=51, gathered_at=70, computed_at=130, first_score_at=120,
                          scored_at=140)]  # fmt: skip
    events = trace_events(tasks, [], source="model")
    first, second = spans(events, tid=4)
    assert first["ts"] + first["dur"] == second["ts"] == 90


def test_is_json_and_the_same_every_time():
    events = trace_events([task()], [QUERY], source="device")
    text = trace_json(events, trace_events([task()], [QUERY], source="model", process=3))
    assert text == trace_json(events, trace_events([task()], [QUERY], source="model", process=3))
    document = json.loads(text)
    assert {event["pid"] for event in document["traceEvents"]} == {1, 2, 3, 4}


def test_rejects_a_span_that_ends_before_it_begins():
    with pytest.raises(ValueError, match=r"^end of 'query 3 stage 0' must be at least 10, not 5$"):
        trace_events([task(gathered_at=5)], [], source="device")
