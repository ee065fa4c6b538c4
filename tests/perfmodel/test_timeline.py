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
    assert len(spans) == 3 * len(report.tasks) + 5 * (2 + 2)  # waits, the query, two stages
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
