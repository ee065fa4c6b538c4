import json
from collections import defaultdict
from itertools import pairwise

import pytest

from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.timeline import trace_events
from tests.perfmodel.test_machine import SPLIT, load, machine, two_stages


def test_every_task_and_query_is_there_once():
    report = simulate(machine(SPLIT), [load(two_stages(), arrival=9000 * n) for n in range(5)])
    trace = json.loads(json.dumps(trace_events(report, 250e6)))
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    names = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in trace["traceEvents"]
        if event["name"] == "thread_name"
    }
    assert len(spans) == 3 * len(report.tasks) + 5 * 3
    rows = defaultdict(list)
    for span in spans:
        rows[span["pid"], names[span["pid"], span["tid"]]].append(
            (span["ts"], span["ts"] + span["dur"])
        )
        assert span["dur"] > 0
    gathers = [row for (_, name), row in rows.items() if "gather" in name]
    gathered = sum(end - begin for row in gathers for begin, end in row)
    cycles = sum(task.gathered - task.start for task in report.tasks)
    assert gathered == pytest.approx(cycles / 250)
    for row in rows.values():
        for before, after in pairwise(sorted(row)):
            assert after[0] >= before[1] - 1e-6
    assert max(span["ts"] + span["dur"] for span in spans) == pytest.approx(report.cycles / 250)


def test_rejects():
    report = simulate(machine(SPLIT), [load(two_stages())])
    with pytest.raises(ValueError, match=r"^clock_hz must be positive, not 0"):
        trace_events(report, 0)
