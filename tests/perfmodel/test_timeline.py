from collections import defaultdict
from itertools import pairwise

from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.timeline import machine_events
from tests.perfmodel.test_machine import SPLIT, load, machine, two_stages


def test_every_task_and_query_is_there_once():
    report = simulate(machine(SPLIT), [load(two_stages(), arrival=9000 * n) for n in range(5)])
    events = machine_events(report, process=3)
    spans = [event for event in events if event["ph"] == "X"]
    names = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in events
        if event["name"] == "thread_name"
    }
    assert len(spans) == 3 * len(report.tasks) + 5 * (2 + 2 * 2)  # waits, query, stages, filters
    rows = defaultdict(list)
    for span in spans:
        rows[names[span["pid"], span["tid"]]].append((span["ts"], span["ts"] + span["dur"]))
    gathered = sum(
        end - begin for name, row in rows.items() if "gather" in name for begin, end in row
    )
    assert gathered == sum(task.gathered - task.start for task in report.tasks)
    for name, row in rows.items():
        if "gather" in name or "compute" in name:  # one task at a time
            for before, after in pairwise(sorted(row)):
                assert after[0] >= before[1]
    assert max(span["ts"] + span["dur"] for span in spans) == report.cycles


def test_queries_have_the_names_that_they_are_given():
    loads = [load(two_stages(), arrival=9000 * n) for n in range(2)]
    report = simulate(machine(SPLIT), loads, sub_batches=True)
    events = machine_events(report, process=3, start=100, tags=[7, 9])
    assert {event["pid"] for event in events} == {3, 4, 5}  # lanes, queries, sub-batches
    spans = [event for event in events if event["ph"] == "X"]
    assert {span["args"]["query"] for span in spans if span["pid"] in (3, 5)} == {7, 9}
    names = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert {"query 7", "query 9 stage 1", "query 9 filter 0"} < names
    assert min(span["ts"] for span in spans) == 100
    for number, tag in enumerate((7, 9)):
        (stage,) = (
            span for span in spans
            if span["name"] == "filter 0" and span["tid"] // 16 == tag and span["pid"] == 4
        )  # fmt: skip
        record = report.queries[number].stages[0]
        assert stage["ts"] + stage["dur"] == 100 + record.end
