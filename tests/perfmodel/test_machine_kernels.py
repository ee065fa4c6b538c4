"""The compiled events: what is counted and logged, and what happens where something has no room."""

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from rpaccel.perfmodel import machine as module
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.machine_load import Release, StageLoad
from rpaccel.perfmodel.timeline import machine_events
from rpaccel.spec.stage_tasks import StageTasks
from tests.perfmodel.test_machine import ONES, PAPER, SPLIT, TWOS, load, machine, two_stages

ITEMS = (4096, 512)
LOADS = [load(two_stages(), arrival=4000 * n) for n in range(12)]


def same(one, other):
    return (
        one.queries == other.queries
        and one.tasks == other.tasks
        and one.array_cycles == other.array_cycles
        and one.memory_cycles == other.memory_cycles
        and one.steps == other.steps
    )


@pytest.fixture(scope="module")
def report():
    return simulate(machine(SPLIT), LOADS, sub_batches=True)


def test_a_sub_batch_has_three_steps():
    """By hand: 512 items in tasks of 256, 43 items a sub-batch: six sub-batches a task."""
    stage = StageLoad(model="rmlarge", tasks=replace(two_stages()[1].tasks, task_items=256),
                      lanes=TWOS, sub_batch=43)  # fmt: skip
    found = simulate(machine(TWOS), [load((stage,), items=512)] * 5, sub_batches=True)
    assert len(found.tasks) == 5 * 2
    assert found.steps == 3 * 5 * 2 * 6
    assert sorted(found.batch_log["items"][found.batch_log["query"] == 3]) == [41] * 2 + [43] * 10


def test_sub_batches_are_logged_once(report):
    log = report.batch_log
    assert report.steps == 3 * len(log)
    for stage, items in enumerate(ITEMS):
        sums = np.bincount(log["query"][log["stage"] == stage], log["items"][log["stage"] == stage])
        assert sums.tolist() == [items] * 12
    for before, after in pairwise(("gathering", "gathered", "taken", "crossed", "chosen", "logit")):
        assert (log[before] <= log[after]).all(), before


def parts_of(report):
    """Return (task, its sub-batches) of a report, in the order of starts."""
    rows = defaultdict(list)
    for entry in report.batch_log:
        rows[report.lane_numbers[entry["lane"]]].append(entry)
    left, found = {lane: iter(mine) for lane, mine in rows.items()}, []
    for task in sorted(report.tasks, key=lambda task: task.start):
        mine = []
        while sum(entry["items"] for entry in mine) < task.items:
            mine.append(next(left[task.lane]))
        found.append((task, mine))
    assert all(next(rest, None) is None for rest in left.values())
    return found


def test_sub_batches_make_up_their_tasks(report):
    for task, mine in parts_of(report):
        assert sum(entry["items"] for entry in mine) == task.items
        assert mine[0]["taken"] == task.computing
        assert mine[-1]["gathered"] == task.gathered
        assert mine[-1]["logit"] == task.end


def test_scores_that_find_no_place_wait_for_their_turn():
    """One query whose tasks have more scores than a lane holds: all lanes but one must wait."""
    depth = PAPER.sub_batch_max
    tasks = StageTasks.shared(2 * depth, 64, 8 * depth)
    stage = StageLoad(model="rmsmall", k=64, tasks=tasks, lanes=ONES[:4], sub_batch=depth // 4)
    stages = (stage, StageLoad(model="rmlarge", lanes=TWOS[:1]))
    report = simulate(machine(SPLIT), [load(stages, items=8 * depth)], sub_batches=True)
    given = [(task, mine) for task, mine in parts_of(report) if task.stage == 0]
    waited = 0
    for (before, _), (task, mine) in pairwise(given):
        held = 0
        for entry in mine:
            held += entry["items"]
            if held > depth:  # the first one with less room than it needs
                assert entry["logit"] > before.scored + held - depth
                waited += bool(entry["chosen"] < before.scored)
                break
        assert task.end > before.scored
    assert waited == len(given) - 1 == 3


def test_a_log_changes_nothing(report):
    bare = simulate(machine(SPLIT), LOADS)
    assert same(bare, report)
    assert len(bare.batch_log) == 0


@pytest.mark.parametrize(("name", "places"), [("EVENTS", 1), ("BATCHES", 1)])
def test_a_run_without_room_is_made_anew(report, monkeypatch, name, places):
    monkeypatch.setattr(module, name, places)
    found = simulate(machine(SPLIT), LOADS, sub_batches=True)
    assert same(found, report)
    assert np.array_equal(found.batch_log, report.batch_log)


def test_no_queries():
    found = simulate(machine(SPLIT), [])
    assert (found.queries, found.tasks, found.steps, found.memory_cycles) == ((), (), 0, 0.0)


def test_too_few_releases():
    stages = two_stages()
    stages = (replace(stages[0], releases=(Release(ids=5),) * 15), stages[1])
    with pytest.raises(ValueError, match=r"^releases must be as many as the tasks of their stage"):
        simulate(machine(SPLIT), [load(stages)])


def test_a_circle_of_queries():
    loads = [LOADS[0], replace(LOADS[0], after=2), replace(LOADS[0], after=1)]
    with pytest.raises(ValueError, match=r"^after must be a query that ends, not \[1, 2\]"):
        simulate(machine(SPLIT), loads)


def test_sub_batches_on_a_timeline(report):
    events = machine_events(report, process=5)
    spans = [event for event in events if event["ph"] == "X" and event["pid"] == 7]
    assert len(spans) == 3 * len(report.batch_log)
    names = {event["args"]["name"] for event in events if event["pid"] == 7 and event["ph"] == "M"}
    lanes = sorted(ONES + TWOS)
    assert names == {"model: sub-batches"} | {
        f"lane {lane} {track}" for lane in lanes for track in ("gather", "bottom", "top")
    }
    rows = defaultdict(list)
    for span in spans:
        rows[span["tid"]].append((span["ts"], span["ts"] + span["dur"]))
    for row in rows.values():
        for before, after in pairwise(row):
            assert after[0] >= before[1]
