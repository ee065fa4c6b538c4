from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from rpaccel.host.partition import split_8_2
from rpaccel.perfmodel.lane import StageInput, predict_query
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.machine_load import Machine, QueryLoad, Release, StageLoad, leaving_ids
from rpaccel.perfmodel.machine_plan import MachinePlan
from rpaccel.perfmodel.memory import padded_records
from rpaccel.perfmodel.networks import FILM_LARGE, FILM_SMALL, RM_LARGE, RM_SMALL
from rpaccel.perfmodel.shapes import compile_shape
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import StageMode
from rpaccel.spec.platform import MemoryTiming
from rpaccel.spec.stage_tasks import StageTasks

PAPER = load_accelerator("paper")
QUICK = MemoryTiming(latency_cycles=100, source="RecPipe table 3")
SPLIT = split_8_2(PAPER)
ONES = tuple(lane for lane in SPLIT if PAPER.lane_shape(lane) == (1, 1))
TWOS = tuple(lane for lane in SPLIT if PAPER.lane_shape(lane) == (2, 2))
RECORDS = padded_records(64, RM_LARGE.record_bytes("item"), PAPER.beat_bytes)


def machine(lanes, networks=(RM_SMALL, RM_LARGE), config=PAPER, **changes):
    shapes = {
        lane: {net.name: compile_shape(net, config.lane(lane)) for net in networks}
        for lane in lanes
    }
    return Machine(config=config, memory=QUICK, lanes=shapes, **changes)


def two_stages(mode=StageMode.PROPORTIONAL, first=256, second=128):
    shared = mode in (StageMode.LOCAL, StageMode.PROPORTIONAL)
    tasks = (
        StageTasks.shared(first, 512, 4096, mode)
        if shared
        else StageTasks(task_items=first, mode=mode)
    )
    return (
        StageLoad(model="rmsmall", k=512, tasks=tasks, lanes=ONES),
        StageLoad(model="rmlarge", tasks=StageTasks(task_items=second), lanes=TWOS),
    )


def load(stages, *, items=4096, arrival=0, top_n=64):
    return QueryLoad(arrival=arrival, items=items, stages=stages, records=RECORDS, top_n=top_n)


@pytest.mark.parametrize("preset", ["tiny", "edge", "paper"])
@pytest.mark.parametrize("items", [(64, 9), (50, 1), (33, 33)])
def test_one_query_on_one_lane_takes_what_predict_query_says(preset, items):
    config = load_accelerator(preset)
    networks = (FILM_SMALL, FILM_LARGE)
    records = padded_records(512, 64, config.beat_bytes)
    stages = (StageLoad(model="small", k=items[1]), StageLoad(model="large"))
    query = QueryLoad(arrival=7, items=items[0], stages=stages, records=records, top_n=5)
    found = simulate(machine([0], networks, config), [query]).queries[0]
    inputs = [
        StageInput(shape=compile_shape(net, config.lane(0)), items=count)
        for net, count in zip(networks, items, strict=True)
    ]
    expected = predict_query(config.lane(0), inputs, QUICK, records, 5)
    assert found.total_cycles == expected.total_cycles
    assert [stage.cycles for stage in found.stages] == [s.stage_cycles for s in expected.stages]


def test_sub_batches_of_one_query_are_what_predict_query_says():
    networks, config = (FILM_SMALL, FILM_LARGE), load_accelerator("edge")
    records = padded_records(512, 64, config.beat_bytes)
    stages = (StageLoad(model="small", k=90), StageLoad(model="large"))
    query = QueryLoad(arrival=0, items=700, stages=stages, records=records, top_n=5)
    report = simulate(machine([0], networks, config), [query], sub_batches=True)
    inputs = [
        StageInput(shape=compile_shape(net, config.lane(0)), items=count)
        for net, count in zip(networks, (700, 90), strict=True)
    ]
    expected = predict_query(config.lane(0), inputs, QUICK, records, 5)
    for number, stage in enumerate(expected.stages):
        batches = [batch for batch in report.sub_batches if batch.stage == number]
        assert len(batches) == len(stage.sub_batches)
        start = report.queries[0].stages[number].start
        for found, batch in zip(batches, stage.sub_batches, strict=True):
            assert (found.query, found.lane, found.items) == (0, 0, batch.items)
            times = (found.gathering, found.gathered, found.taken, found.logit + 1)
            assert [time - start for time in times] == [
                batch.gather_start, batch.gather_end, batch.compute_start, batch.compute_end,
            ]  # fmt: skip
            assert found.gathered <= found.taken < found.crossed <= found.chosen < found.logit
    assert len(report.sub_batches) > 2
    assert simulate(machine([0], networks, config), [query]).sub_batches == ()


def test_two_lanes_halve_the_makespan():
    """Each takes half of the queries: as one lane does half of the load, but for the grants."""
    stage, hits = (StageLoad(model="rmlarge"),), {"rmlarge": 0.9}  # memory for both at once
    one = simulate(machine(TWOS[:1], row_hits=hits), [load(stage, items=512)] * 10)
    two = simulate(machine(TWOS, row_hits=hits), [load(stage, items=512)] * 20)
    assert one.cycles <= two.cycles <= one.cycles + 10
    assert two.array_cycles[TWOS[0]] == two.array_cycles[TWOS[1]] == one.array_cycles[TWOS[0]]


@pytest.mark.parametrize("mode", list(StageMode))
def test_every_item_is_scored_once(mode):
    loads = [load(two_stages(mode), arrival=3000 * n) for n in range(12)]
    report = simulate(machine(SPLIT), loads)
    items = Counter()
    for task in report.tasks:
        items[task.query, task.stage] += task.items
        assert task.lane in (ONES, TWOS)[task.stage]
        assert task.start < task.computing
        assert task.gathered < task.end < task.scored
    assert items == {(query, stage): (4096, 512)[stage] for query in range(12) for stage in (0, 1)}
    for query in report.queries:
        assert [stage.items for stage in query.stages] == [4096, 512]
        assert query.arrival < query.accepted < query.end


def test_a_filter_takes_one_score_per_cycle_in_the_order_of_the_tasks():
    report = simulate(machine(SPLIT), [load(two_stages(StageMode.WHOLE))])
    ends = [task.scored for task in report.tasks if task.stage == 0]
    assert len(ends) == 16
    assert all(after - before >= 256 for before, after in pairwise(ends))


def test_releases_are_what_the_load_says():
    stages = two_stages()
    releases = (Release(ids=0),) * 15 + (Release(ids=33),)
    stages = (replace(stages[0], releases=releases), stages[1])
    report = simulate(machine(SPLIT), [load(stages)])
    assert report.queries[0].stages[1].items == 33
    none = (replace(stages[0], releases=(Release(ids=0),) * 16), stages[1])
    query = simulate(machine(SPLIT), [load(none)]).queries[0]
    assert len(query.stages) == 1
    assert query.end > query.stages[0].end


def test_tasks_begin_the_next_stage_early():
    whole, shared = (
        simulate(machine(SPLIT), [load(two_stages(mode))]).queries[0]
        for mode in (StageMode.WHOLE, StageMode.PROPORTIONAL)
    )
    assert whole.stages[1].start > whole.stages[0].end
    assert shared.stages[1].start < shared.stages[0].end
    assert shared.total_cycles < whole.total_cycles


def test_more_bandwidth_is_never_slower():
    ends = []
    for ports in (1, 2, 4, 8):
        config = PAPER.model_copy(update={"memory_ports": ports})
        loads = [load(two_stages()) for _ in range(10)]
        ends.append(simulate(machine(SPLIT, config=config), loads).cycles)
    assert ends == sorted(ends, reverse=True)
    assert ends[0] > 1.5 * ends[-1]  # one port binds


def test_more_hits_are_never_slower():
    config = PAPER.model_copy(update={"memory_ports": 2})
    loads = [load(two_stages()) for _ in range(10)]
    ends = [
        simulate(
            machine(SPLIT, config=config, row_hits={"rmsmall": hits, "rmlarge": hits}), loads
        ).cycles
        for hits in (0.0, 0.3, 0.6, 0.9)
    ]
    assert ends == sorted(ends, reverse=True)
    assert ends[0] > 1.2 * ends[-1]


def test_memory_is_not_used_above_its_rate():
    config = PAPER.model_copy(update={"memory_ports": 1})
    loads = [load(two_stages()) for _ in range(10)]
    report = simulate(machine(SPLIT, config=config), loads)
    assert 0.9 * report.cycles < report.memory_cycles <= report.cycles


def test_funnels_bound_the_queries_at_work():
    config = PAPER.model_copy(update={"funnels": 2})
    loads = [load(two_stages()) for _ in range(8)]
    queries = simulate(machine(SPLIT, config=config), loads).queries
    for query in queries:
        at_work = [q for q in queries if q.accepted <= query.accepted < q.end]
        assert len(at_work) <= 2
    assert [q.accepted for q in queries] == sorted(q.accepted for q in queries)


def test_a_change_of_model_waits_for_the_array():
    """Two queries of two models on one lane: nothing is computed side by side."""
    stages = [(StageLoad(model=name),) for name in ("rmlarge", "rmsmall", "rmlarge")]
    report = simulate(machine(TWOS[:1]), [load(stage, items=256) for stage in stages])
    tasks = report.tasks
    assert [task.query for task in tasks] == [0, 1, 2]
    for before, after in pairwise(tasks):
        assert after.computing > before.end


def test_a_query_is_made_at_the_end_of_another():
    stage = (StageLoad(model="rmlarge"),)
    loads = [load(stage, items=256), replace(load(stage, items=256, arrival=777), after=0)]
    first, second = simulate(machine(TWOS), loads).queries
    assert second.arrival == first.end + 777
    with pytest.raises(ValueError, match=r"^after must be a query that ends, not \[5\]"):
        simulate(machine(TWOS), [replace(loads[0], after=5)])


def test_more_tasks_than_planned_are_an_error(monkeypatch):
    """Compiled code does not look at bounds by itself."""
    asked = machine(SPLIT), [load(two_stages())]
    count = len(simulate(*asked).tasks)
    monkeypatch.setattr(MachinePlan, "_most_tasks", lambda _: count)
    assert len(simulate(*asked).tasks) == count
    monkeypatch.setattr(MachinePlan, "_most_tasks", lambda _: count - 1)
    with pytest.raises(RuntimeError, match=rf"^tasks must be at most {count - 1}, as planned"):
        simulate(*asked)


def test_an_event_of_the_past_is_an_error(monkeypatch):
    def late(self, events, batches):
        state = new_state(self, events, batches)
        state.run["now"] = 1 << 40
        return state

    new_state = MachinePlan.new_state
    monkeypatch.setattr(MachinePlan, "new_state", late)
    with pytest.raises(RuntimeError, match=r"^an event must not be before the events of now$"):
        simulate(machine(SPLIT), [load(two_stages())])


def test_leaving_ids_sum_to_k():
    for mode in (StageMode.LOCAL, StageMode.PROPORTIONAL, StageMode.GLOBAL):
        stage = two_stages(mode)[0]
        task_k, left, ids = stage.tasks.task_k, 0, []
        for task in range(16):
            ids.append(
                leaving_ids(mode, stage.k, task_k, task, 256 * (task + 1), left, 4096, task == 15)
            )
            left += ids[-1]
        assert sum(ids) == 512
        expected = [0] * 14 + [256, 256] if mode is StageMode.GLOBAL else [32] * 16
        assert ids == expected


def test_rejects():
    with pytest.raises(ValueError, match=r"^lanes must be some of 0\.\.13, not \[14\]"):
        Machine(config=PAPER, memory=QUICK, lanes={14: {}})
    with pytest.raises(ValueError, match=r"^stages must be in 1\.\.4, not 0"):
        load(())
    stage = (StageLoad(model="rmlarge", lanes=ONES),)
    with pytest.raises(ValueError, match=r"^lanes of rmlarge must hold it, not \[6, 7"):
        simulate(machine(ONES, (RM_SMALL,)), [load(stage)])
