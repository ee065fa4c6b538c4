"""Timelines of a run, device and model in one picture."""

import json
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from rpaccel.golden.lane import run_query
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.compile import compile_models
from rpaccel.host.query import Completion
from rpaccel.host.task_log import TaskRecord
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.query_load import query_load
from rpaccel.main_job.random_queries import run_session
from rpaccel.main_job.run_trace import Answered, DeviceTrace, RunTrace, hit_share
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.machine_load import Machine
from rpaccel.scheduler.shapes import compiled_shape
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import MAX_STAGES, StageMode, Status, StatusFlag
from rpaccel.spec.platform import MemoryTiming as ModelTiming
from rpaccel.spec.stage_tasks import StageTasks
from rpaccel.workloads.random_models import random_query, random_ranker, shared_schema

TINY = load_accelerator("tiny")
TIMING = MemoryTiming()
START = 5000  # of the device's counter


def completion(report, number, golden, tag):
    """Return what a device would answer that takes the model's cycles."""
    query = report.queries[number]
    stages = [stage.cycles for stage in query.stages]
    nothing = (0,) * MAX_STAGES
    return Completion(
        tag=tag,
        status=Status.OK,
        flags=StatusFlag(0),
        items=nothing,
        ids=golden.ids,
        logits=golden.logits,
        ctr=golden.ctr,
        total_cycles=query.total_cycles,
        queue_cycles=query.accepted - query.arrival,
        ended_at=START + query.end,
        stage_cycles=(*stages, *nothing[len(stages) :]),
        gather_cycles=nothing,
        array_cycles=nothing,
        interaction_cycles=nothing,
        filter_cycles=nothing,
        lane=0,
        lanes=1,
        overshoot=0,
        scores=np.zeros(0, np.int32),
    )


@pytest.fixture(scope="module")
def asked():
    """Queries in tasks of models without lists, and what the model says of them."""
    rng = np.random.default_rng(8)
    small = random_ranker(rng, TINY, name="small", max_ids=1)
    rankers = [small, shared_schema(rng, TINY, small, name="large", dim=16)]
    image = compile_models(rankers, TINY)
    front = StageTasks(task_items=16, mode=StageMode.GLOBAL)
    queries = [
        random_query(rng, TINY, rankers, items=50, slots=(0, 1), keep=(20,), top_n=5)
        for _ in range(3)
    ]
    tasks = front, StageTasks(task_items=8)
    queries[1:] = [replace(query, tasks=tasks) for query in queries[1:]]
    results = [run_query(query, rankers, TINY) for query in queries]
    loads = [
        query_load(query, golden, rankers, [(0,), (0,)], arrival=300 * number)
        for number, (query, golden) in enumerate(zip(queries, results, strict=True))
    ]
    machine = Machine(
        config=TINY,
        memory=ModelTiming(latency_cycles=TIMING.read_latency_cycles, source="test"),
        lanes={0: {ranker.name: compiled_shape(image, ranker.name) for ranker in rankers}},
        row_hits=dict.fromkeys(("small", "large"), 0.25),
    )
    return rankers, image, queries, results, simulate(machine, loads)


def test_device_and_model_are_in_the_same_places(asked, tmp_path):
    rankers, image, queries, results, report = asked
    tags = (4, 5, 6)
    log = [
        TaskRecord(
            tag=tags[task.query], lane=task.lane, stage=task.stage, lost=False, items=task.items,
            given_at=START + task.start, gathered_at=START + task.gathered,
            computed_at=START + task.end, first_score_at=START + task.scored - task.items,
            scored_at=START + task.scored,
        )
        for task in report.tasks
    ]  # fmt: skip
    answered = [
        Answered(query=query, golden=golden, completion=completion(report, number, golden, tag))
        for number, (query, golden, tag) in enumerate(zip(queries, results, tags, strict=True))
    ]
    trace = RunTrace(TINY, rankers, TIMING)
    trace.add([(image, (0,))], answered, log, 0.25)
    trace.write(tmp_path / "new" / "trace.json")
    events = json.loads((tmp_path / "new" / "trace.json").read_text())["traceEvents"]
    found = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            arguments = {k: v for k, v in event["args"].items() if k != "status"}
            found[event["pid"]].append(
                (event["tid"], event["ts"], event["dur"], event["name"], str(arguments))
            )
    assert sorted(found) == [1, 2, 3, 4, 5]
    for device, model in ((1, 3), (2, 4)):
        assert sorted(found[device]) == sorted(found[model])
    assert len(found[1]) == 3 * len(report.tasks) and len(report.tasks) > 8
    names = {
        event["args"]["name"]
        for event in events
        if event["name"] in ("process_name", "thread_name")
    }
    assert {"device: lanes", "model: lanes", "device: queries", "model: sub-batches"} < names
    assert {f"query {tag} filter {stage}" for tag in tags for stage in (0, 1)} < names


def test_the_model_leaves_out_what_did_not_end_well(asked):
    rankers, image, queries, results, report = asked
    late = replace(completion(report, 0, results[0], 1), status=Status.LATE)
    trace = RunTrace(TINY, rankers, TIMING)
    trace.add(
        [(image, (0,))], [Answered(query=queries[0], golden=results[0], completion=late)], [], 0.0
    )
    assert {event["pid"] for event in trace.events} == {2}  # no task: no lanes
    assert {event["args"].get("status") for event in trace.events} == {None, "LATE"}


def test_a_stage_that_nothing_reaches_takes_no_task():
    rng = np.random.default_rng(3)
    none = random_ranker(rng, TINY, name="none", threshold=32767)
    rankers = [none, shared_schema(rng, TINY, none, name="large", dim=16)]
    query = random_query(rng, TINY, rankers, items=30, slots=(0, 1), keep=(10,), top_n=5)
    golden = run_query(query, rankers, TINY)
    assert len(golden.stages) == 1 < len(query.stages)
    image = compile_models(rankers, TINY)
    load = query_load(query, golden, rankers, [(0,), (0,)])
    assert [[each.ids for each in stage.releases] for stage in load.stages] == [[0], []]
    shapes = {ranker.name: compiled_shape(image, ranker.name) for ranker in rankers}
    memory = ModelTiming(latency_cycles=TIMING.read_latency_cycles, source="test")
    report = simulate(Machine(config=TINY, memory=memory, lanes={0: shapes}), [load])
    trace = RunTrace(TINY, rankers, TIMING)
    answer = Answered(query=query, golden=golden, completion=completion(report, 0, golden, 1))
    trace.add([(image, (0,))], [answer], [], 0.0)
    names = {e["name"] for e in trace.events if e["ph"] == "X" and e["pid"] == 4}
    assert names == {"waits", "query", "stage 0", "filter 0"}


def test_who_is_told_the_records_is_beside_the_device(asked):
    rankers, image, queries, results, report = asked
    answered = [
        Answered(query=query, golden=golden, completion=completion(report, number, golden, number))
        for number, (query, golden) in enumerate(zip(queries, results, strict=True))
    ]
    trace = RunTrace(TINY, rankers, TIMING)
    trace.add([(image, (0,))], answered, [], 0.25, told=report)
    names = {
        event["args"]["name"]: event["pid"]
        for event in trace.events
        if event["name"] == "process_name"
    }
    assert names["model, told the records: lanes"] == 6
    found = defaultdict(list)
    for event in trace.events:
        if event["name"] == "query":
            found[event["pid"]].append((event["ts"], event["dur"]))
    assert found[7] == found[2] and len(found[7]) == 3  # `report` is what the device took


def test_a_timeline_needs_a_log():
    class Driver:
        task_log = None

    with pytest.raises(ValueError, match=r"^driver must keep a log of tasks for a timeline, not"):
        DeviceTrace(Driver(), [], TIMING, [])


def test_share_of_hits():
    before = {"pinned": 1, "hits": 2, "merged": 3, "misses": 4, "refused": 5, "used": 9}
    after = {"pinned": 3, "hits": 5, "merged": 4, "misses": 6, "refused": 5, "used": 30}
    assert hit_share(before, after) == 6 / 8
    assert hit_share(before, before) == 0.0


@pytest.mark.slow
def test_random_queries_on_the_netlist(tmp_path):
    library = build_simulator(TINY)
    with VerilatedDevice(TINY, TIMING, memory_bytes=1 << 24, library=library) as device:
        completions = run_session(
            device, TINY, np.random.default_rng(2), 6, "q", (tmp_path / "t.json", TIMING)
        )
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    ends = {
        (event["pid"], event["tid"] // 16): event["ts"] + event["dur"]
        for event in events
        if event["name"] == "query"
    }
    assert {tag for _, tag in ends} == {each.tag for each in completions}
    last = {pid: max(end for p, end in ends if p == pid) for pid in (2, 4)}
    for each in completions:
        assert ends[2, each.tag] == each.ended_at
        begun = each.ended_at - each.total_cycles - each.queue_cycles
        assert ends[4, each.tag] > begun
    assert set(last) == {2, 4}
    first = min(e["ts"] for e in events if e["ph"] == "X" and e["pid"] == 2)
    device, model = (max(end for (p, _), end in ends.items() if p == pid) - first for pid in (2, 4))
    assert model == pytest.approx(device, rel=0.2)
