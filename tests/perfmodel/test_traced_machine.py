"""Machines of several lanes whose queries' records are known: equal to the netlist's counters."""

from dataclasses import replace

import numpy as np
import pytest

from rpaccel.host.axi_memory import MemoryTiming as SimulatedTiming
from rpaccel.host.row_memory import row_memory
from rpaccel.host.verilated_device import build_simulator
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job.sweep_machines import sweep_machine
from rpaccel.main_job.sweep_session import SweepSession, measured_session
from rpaccel.main_job.sweep_traced import traced_session
from rpaccel.perfmodel.gather_network import GatherNetwork
from rpaccel.perfmodel.gather_traces import (
    GatherStage,
    GatherTasks,
    TracedFeature,
    TracedRecords,
    gather_traces,
)
from rpaccel.perfmodel.gather_unit_kernels import (
    free_bank,
    go_on_gathers,
    start_gather,
    step_gathers,
)
from rpaccel.perfmodel.gather_unit_state import BATCH_ENDED
from rpaccel.perfmodel.lane import StageInput
from rpaccel.perfmodel.machine_load import Machine, QueryLoad, Release, StageLoad
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.perfmodel.networks import FILM_LARGE, FILM_SMALL
from rpaccel.perfmodel.row_banks import constant_memory
from rpaccel.perfmodel.sequencer import item_banks
from rpaccel.perfmodel.shapes import compile_shape
from rpaccel.perfmodel.traced_machine import TracedMachine, TracedQuery
from rpaccel.perfmodel.traced_query import TracedLane, TracedStage
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.platform import MemoryTiming
from rpaccel.spec.stage_tasks import StageTasks
from tests.perfmodel.machine_bench import SPLIT, measure

EDGE = load_accelerator("edge")
LATENCY = 40
WHOLE = StageTasks()
# (query, front, back) cycles of the first queries of sessions, as the netlist counts them: see
# test_known_queries_on_the_netlist. One lane for both stages; lanes for each; four for both.
KNOWN = {
    ("whole", 2): [(18993, 6572, 12413), (11434, 5525, 6277), (12065, 5023, 7520)],
    ("front_and_back", 0): [(62100, 12867, 52999), (26081, 17599, 8474), (28236, 15259, 12969)],
    ("quarters", 6): [(49489, 18505, 30976), (85295, 26406, 58881), (23915, 8330, 17269)],
    ("quarters", 10): [(36878, 9609, 27261), (17394, 3119, 14267), (66636, 12638, 53990)],
}


def records(rng, count, base):
    """Return records of 64 bytes: a beat of dense words, an id, a list of up to three."""
    words = np.zeros((count, 16), np.uint32)
    words[:, 4] = rng.integers(0, 40, count)
    words[:, 5] = rng.integers(0, 4, count)
    words[:, 6:9] = rng.integers(0, 50, (count, 3))
    return TracedRecords(
        words=words,
        addresses=base + 64 * np.arange(count, dtype=np.int64),
        dense_beats=1,
        features=(
            TracedFeature(word=4, rows=40, address=1 << 16),
            TracedFeature(word=5, rows=50, address=1 << 17, multi_hot=True, max_ids=3),
        ),
    )


def stage_of(rng, shape, items, number):
    size = shape.slot["sub_batch"]
    return GatherStage(
        user=records(rng, 1, 1 << 12),
        items=records(rng, items, 1 << 14),
        row_bytes=shape.slot["row_bytes"],
        sub_batch=size,
        banks=item_banks(shape.slot, size),
        list_address=None if number else 1 << 13,
        number=number,
    )


@pytest.fixture
def machine():
    networks = (FILM_SMALL, FILM_LARGE)
    shapes = {net.name: compile_shape(net, EDGE, 16) for net in networks}
    return Machine(
        config=EDGE,
        memory=MemoryTiming(latency_cycles=LATENCY, source="assumed"),
        lanes={0: shapes},
    )


def query_of(gathers, back_tasks=WHOLE):
    front, back = (len(gather.items.words) for gather in gathers)
    load = QueryLoad(
        arrival=0,
        items=front,
        stages=(
            StageLoad(model="small", k=back, releases=(Release(ids=back),)),
            StageLoad(model="large", tasks=back_tasks),
        ),
        records=RecordSizes(user_bytes=64, item_bytes=64),
        top_n=4,
    )
    return TracedQuery(load=load, gathers=tuple(gathers))


def test_a_lane_alone_takes_what_it_takes_on_a_machine_at_rest(machine):
    """Query after query: what the banks hold, and how long ago all that was, is the same."""
    rng = np.random.default_rng(1)
    lane = TracedLane(EDGE, constant_memory(EDGE, LATENCY))
    traced = TracedMachine(machine, constant_memory(EDGE, LATENCY))
    shapes = machine.lanes[0]
    for items, kept in ((70, 20), (16, 16), (33, 1)):
        gathers = [
            stage_of(rng, shapes[name], count, number)
            for number, (name, count) in enumerate((("small", items), ("large", kept)))
        ]
        stages = [
            TracedStage(stage=StageInput(shape=shapes[name], items=count), gather=gather)
            for name, count, gather in zip(shapes, (items, kept), gathers, strict=True)
        ]
        alone, report = lane.query(stages), traced.run([query_of(gathers)], sub_batches=True)
        query = report.queries[0]
        assert query.total_cycles == alone.total_cycles
        assert [s.cycles for s in query.stages] == [s.stage_cycles for s in alone.stages]
        ends = [b.gather_end for s in alone.stages for b in s.sub_batches]
        counts = [len(s.sub_batches) for s in alone.stages]
        begins = np.repeat([s.start for s in query.stages], counts)
        assert (report.batch_log["gathered"] - begins).tolist() == ends


def ends_of(machine, latency, lanes, quick, late=()):
    """Return when sub-batches end on lanes that gather at once, and how many cycles were looked at.

    quick : those in which nothing moves are left out. A bank is free again 30 cycles later. late :
    of each round of tasks; all its ids come so many cycles after the start, the first one's at
    once.
    """
    rng, shape = np.random.default_rng(4), machine.lanes[0]["small"]
    memory = constant_memory(EDGE, latency)
    network = GatherNetwork(EDGE, [EDGE] * lanes, memory)
    parts, ends, looks = network.parts, [], 0
    items, delays = 60 * lanes, (0, *late)
    stage = stage_of(rng, shape, items * len(delays), int(len(late) > 0))
    traces = gather_traces(EDGE, [GatherTasks(stage, EDGE, [60] * lanes * len(delays))])
    for number, delay in enumerate(delays):
        for n in range(lanes):
            now = int(parts.clock[0]) + 3 * n
            start_gather(parts, traces.walk, n, number * lanes + n, now)
            parts.gathers.units[n]["ids_late"] = 60 if delay else 0
            parts.gathers.units[n]["ids_from"] = now + delay
        while len(ends) < (number + 1) * lanes * -(-60 // 16):
            assert looks < 50_000
            looks += 1
            if quick:
                told = go_on_gathers(parts, traces, memory.book, 1 << 20)
            else:
                told = step_gathers(parts, traces, memory.book, int(parts.clock[0]))
                parts.clock[0] += 1
            for n in range(lanes if told else 0):
                if parts.gathers.units[n]["ended"] & BATCH_ENDED:
                    ends.append((n, int(parts.clock[0])))
                    free_bank(parts.gathers, n, int(parts.clock[0]) + 30)
        for _ in range(50):  # all is quiet before the next round
            step_gathers(parts, traces, memory.book, int(parts.clock[0]))
            parts.clock[0] += 1
    return ends, looks


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("latency", [8, 60, 400])
def test_cycles_in_which_nothing_moves_are_left_out(machine, latency, lanes):
    every, cycles = ends_of(machine, latency, lanes, quick=False)
    quick, looks = ends_of(machine, latency, lanes, quick=True)
    assert quick == every
    assert looks < cycles * (0.5 if latency == 400 else 1)


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("late", [1, 20, 100, 500])
def test_ids_that_come_late_after_quiet_cycles(machine, late, lanes):
    every, cycles = ends_of(machine, 60, lanes, quick=False, late=(late, late))
    quick, looks = ends_of(machine, 60, lanes, quick=True, late=(late, late))
    assert quick == every
    assert looks < cycles


def test_a_query_of_which_nothing_is_left(machine):
    """Two stages that nothing reaches, in front of another query."""
    rng = np.random.default_rng(6)
    shape = machine.lanes[0]["small"]
    gather = stage_of(rng, shape, 20, 0)
    stage = TracedStage(stage=StageInput(shape=shape, items=20), gather=gather)
    alone = TracedLane(EDGE, constant_memory(EDGE, LATENCY)).query([stage], goes_on=True)
    whole = query_of([gather, stage_of(rng, machine.lanes[0]["large"], 5, 1)])
    stages = (replace(whole.load.stages[0], k=5, releases=(Release(ids=0),)),)
    stages += (StageLoad(model="large", k=2), StageLoad(model="large"))
    ended = TracedQuery(load=replace(whole.load, stages=stages), gathers=(gather,))
    traced = TracedMachine(machine, constant_memory(EDGE, LATENCY))
    later = replace(whole, load=replace(whole.load, arrival=alone.total_cycles + 100))
    report = traced.run([ended, later])
    assert report.queries[0].total_cycles == alone.total_cycles
    assert [stage.items for stage in report.queries[1].stages] == [20, 5]


def test_ids_of_a_long_task_wait_before_the_lane(machine):
    """A lane's queue of ids holds less than the task has: the next one is offered later."""
    rng = np.random.default_rng(2)
    gathers = [stage_of(rng, machine.lanes[0]["small"], 300, 0)]
    gathers.append(stage_of(rng, machine.lanes[0]["large"], 300, 1))
    size = EDGE.sub_batch_max + 40
    traced = TracedMachine(machine, constant_memory(EDGE, LATENCY))
    report = traced.run([query_of(gathers, StageTasks(task_items=size))])
    first, second = [task for task in report.tasks if task.stage == 1]
    assert (first.items, second.items) == (size, 300 - size)
    assert first.begin + size < second.start
    assert second.begin > first.gathered


def test_gathers_that_share_the_memory_slow_each_other_down(machine):
    """Two queries at once on one lane of edge are two tasks; on two lanes they share a port."""
    rng = np.random.default_rng(3)
    gathers = [stage_of(rng, machine.lanes[0]["small"], 64, 0)]
    gathers.append(stage_of(rng, machine.lanes[0]["large"], 16, 1))
    together = TracedMachine(machine, constant_memory(EDGE, LATENCY))
    one = query_of(gathers)
    report = together.run([one, one])
    assert report.queries[1].end > report.queries[0].end
    assert report.memory_cycles > 0
    later = together.run([one])
    assert later.queries[0].accepted > report.cycles
    assert later.queries[0].total_cycles < report.queries[0].total_cycles  # the banks are warm


def test_shares_of_several_gather_ports():
    """An item of a sub-batch is of share n modulo ports; each sub-batch has a part in every one."""
    config = EDGE.model_copy(update={"array_size": 64})
    assert config.gather_ports == 4
    rng = np.random.default_rng(4)
    stage = GatherStage(
        user=records(rng, 1, 0), items=records(rng, 11, 1 << 14), row_bytes=8, sub_batch=6,
        banks=2, list_address=1 << 13,
    )  # fmt: skip
    walk = gather_traces(config, [GatherTasks(stage, config, [8, 3])]).walk
    assert walk.tasks["items"].tolist() == [8, 3]
    assert walk.tasks["address"].tolist() == [1 << 13, (1 << 13) + 32]
    owners = [
        [(int(walk.address[n]) - (1 << 14)) // 64 if not walk.bad[n] else None
         for n in range(begin + 1, end)]
        for begin, end, _ in walk.shares.tolist()
    ]  # fmt: skip
    assert owners == [[0, 4, 6], [1, 5, 7], [2, None], [3, None], [8], [9], [10], [None]]
    assert [int(walk.bad[begin]) for begin, _, _ in walk.shares.tolist()] == [0, 1, 1, 1] * 2
    opens = [walk.first[b + 1 : e].tolist() for b, e, _ in walk.shares.tolist()]
    assert opens[:3] == [[1, 0, 1], [1, 0, 1], [1, 1]]


def test_lanes_of_a_stage_must_be_alike():
    config = load_accelerator("paper")
    shapes = {lane: {"small": compile_shape(FILM_SMALL, config.lane(lane), 16)} for lane in (0, 1)}
    assert config.lane(0) != config.lane(1)
    machine = Machine(
        config=config, memory=MemoryTiming(latency_cycles=20, source="assumed"), lanes=shapes
    )
    rng = np.random.default_rng(5)
    load = QueryLoad(
        arrival=0, items=4, stages=(StageLoad(model="small"),),
        records=RecordSizes(user_bytes=64, item_bytes=64), top_n=1,
    )  # fmt: skip
    query = TracedQuery(load=load, gathers=(stage_of(rng, shapes[0]["small"], 4, 0),))
    with pytest.raises(ValueError, match=r"^lanes of small must be alike, not \(0, 1\)"):
        TracedMachine(machine, constant_memory(config, 20)).run([query])


def said(name, number):
    """Return (query, front, back) of a session's first queries."""
    session = SweepSession(sweep_machine(name), 1, number)
    with traced_session(session) as traces:
        traces.run([session.warming])
        reports = [traces.run([asked]).report.queries[0] for asked in session.alone[:3]]
    return [(r.total_cycles, *(stage.cycles for stage in r.stages)) for r in reports]


@pytest.mark.parametrize(("name", "number"), KNOWN)
def test_known_queries(name, number):
    assert said(name, number) == KNOWN[name, number]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number"), KNOWN)
def test_known_queries_on_the_netlist(name, number):
    machine = sweep_machine(name)
    alone, _ = measured_session(
        SweepSession(machine, 1, number), build_simulator(machine.config), BUILD_DIR
    )
    counted = [(each.total, each.front, each.back) for each in alone[:3]]
    assert counted == KNOWN[name, number]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_random_queries_in_tasks_on_the_netlist(seed):
    """All modes of filters, cut bins too, on up to four lanes."""
    gathers = []
    (completion,), machine, (load,) = measure(seed, 1, gathers=gathers)
    timing = SimulatedTiming(read_latency_cycles=machine.memory.latency_cycles)
    with row_memory(SPLIT, timing) as memory:
        report = TracedMachine(machine, memory).run([TracedQuery(load=load, gathers=gathers[0])])
    query = report.queries[0]
    counted = [completion.total_cycles, *completion.stage_cycles[: len(query.stages)]]
    assert [query.total_cycles, *(stage.cycles for stage in query.stages)] == counted
