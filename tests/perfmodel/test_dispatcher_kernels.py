"""Queries at once whose records are known: equal to the netlist's counters, to the cycle."""

from dataclasses import replace

import numpy as np
import pytest

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.memory_layout import lay_out
from rpaccel.host.row_memory import row_memory
from rpaccel.host.verilated_device import build_simulator
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job.sweep_machines import sweep_machine
from rpaccel.main_job.sweep_session import SweepSession, measured_session
from rpaccel.main_job.sweep_traced import DOORBELL_CYCLES, REGISTER_CYCLES, traced_session
from rpaccel.perfmodel.dispatcher_state import SubmissionRing
from rpaccel.perfmodel.gather_network import GatherNetwork
from rpaccel.perfmodel.gather_traces import GatherTasks, gather_traces
from rpaccel.perfmodel.gather_unit_kernels import go_on_gathers, start_gather, step_gathers
from rpaccel.perfmodel.machine_cycles import ACCEPT_CYCLES
from rpaccel.perfmodel.networks import FILM_SMALL
from rpaccel.perfmodel.row_banks import constant_memory
from rpaccel.perfmodel.shapes import compile_shape
from rpaccel.perfmodel.traced_machine import QUIET_CYCLES, TracedMachine, TracedQuery
from rpaccel.spec.accelerator import load_accelerator
from tests.perfmodel.machine_bench import MEMORY_BYTES, SPLIT, measure
from tests.perfmodel.test_traced_machine import stage_of

EDGE = load_accelerator("edge")
QUERIES, DEPTH = 12, 16
GATHER_FROM = 150  # so that descriptors come while the gather waits for memory
# From the LOAD's completion to the first doorbell: interrupt, rings, split of the static caches;
# and whole turns of completions, until nothing moves.
AFTER_LOAD = 5 * REGISTER_CYCLES + DOORBELL_CYCLES + 11 * (SPLIT.funnels + 1)
# (fetched, queue, total, front, back) cycles of the queries of sessions' loads, as the netlist
# counts them: see test_known_loads_on_the_netlist.
KNOWN = {
    ("quarters", 6): [
        (0, 21, 43844, 25921, 17915), (70, 21, 36584, 20929, 23300),
        (161, 36603, 58192, 12744, 45440), (475, 43480, 30641, 14057, 16576),
        (874, 73811, 39957, 30793, 32588),
    ],
    ("front_and_back", 7): [
        (0, 13, 42678, 31045, 24967), (118, 13, 14724, 6270, 5802),
        (236, 14660, 35331, 9999, 10093), (354, 42379, 97778, 22113, 56523),
        (472, 49796, 38264, 8426, 29830),
    ],
}  # fmt: skip


def counted(report):
    """Return (fetched, queue, total) of a report's queries, from the first one's fetch on."""
    first = report.queries[0].arrival
    return [
        (each.arrival - first, each.accepted - ACCEPT_CYCLES - each.arrival, each.total_cycles)
        for each in report.queries
    ]


@pytest.mark.parametrize(("name", "number"), KNOWN)
def test_known_loads(name, number):
    session = SweepSession(sweep_machine(name), 1, number)
    with traced_session(session) as traces:
        traces.run([session.warming])
        for asked in session.alone:
            traces.run([asked])
        report = traces.run(session.load).report
    stages = [tuple(stage.cycles for stage in query.stages) for query in report.queries]
    said = [(*query, *cycles) for query, cycles in zip(counted(report), stages, strict=True)]
    assert said == KNOWN[name, number]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number"), KNOWN)
def test_known_loads_on_the_netlist(name, number):
    machine = sweep_machine(name)
    _, load = measured_session(
        SweepSession(machine, 1, number), build_simulator(machine.config), BUILD_DIR
    )
    real = [(each.arrival, each.queue, each.total, each.front, each.back) for each in load]
    assert real == KNOWN[name, number]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_random_loads_on_the_netlist(seed):
    """More queries than funnels and places of the queue, tasks on four lanes, filters of all modes.

    Of seeds 10 and 22 ends of tasks of two lanes fall into a cycle, which delays a query's end.
    """
    gathers = []
    completions, machine, loads = measure(seed, QUERIES, DEPTH, gathers)
    layout = lay_out(
        SPLIT, MEMORY_BYTES, depth=DEPTH, update_depth=0, task_log_entries=0,
        feature_bytes=MEMORY_BYTES // 4, corpus_bytes=0,
    )  # fmt: skip
    ring = SubmissionRing(base=layout.regions["submissions"][0], entries=DEPTH, taken=1)
    fetched = [load.arrival for load in loads]
    timing = MemoryTiming(read_latency_cycles=machine.memory.latency_cycles)
    with row_memory(SPLIT, timing) as memory:
        report = TracedMachine(machine, memory, ring=ring).run(
            [
                TracedQuery(load=replace(load, arrival=0), gathers=each)
                for load, each in zip(loads, gathers, strict=True)
            ],
            after=AFTER_LOAD,
        )
    real = [
        (at, each.queue_cycles, each.total_cycles)
        for at, each in zip(fetched, completions, strict=True)
    ]
    assert counted(report) == real


def fetched_at(latency, entries, quick):
    """Return when descriptors and sub-batches beside them are there, and the cycles looked at.

    quick : cycles in which nothing moves are left out. entries : places of the queue.
    """
    config = EDGE.model_copy(update={"queue_entries": entries})
    shape = compile_shape(FILM_SMALL, EDGE, 16)
    stage = stage_of(np.random.default_rng(7), shape, 16, 0)
    memory = constant_memory(config, latency)
    network = GatherNetwork(config, [EDGE], memory)
    traces = gather_traces(config, [GatherTasks(stage, EDGE, [16])])
    parts, found, looks = network.parts, [], 0
    fetch = parts.fetch[0]
    fetch["base"], fetch["size"], fetch["waiting"] = 1 << 20, 8, 5
    start_gather(parts, traces.walk, 0, 0, GATHER_FROM)
    while parts.clock[0] < 4_000:
        looks += 1
        if quick:
            told = go_on_gathers(parts, traces, memory.book, 4_000)
        else:
            told = step_gathers(parts, traces, memory.book, int(parts.clock[0]))
            parts.clock[0] += 1
        if told:
            found.append((int(parts.clock[0]), int(fetch["ended"]), int(fetch["head"])))
        if fetch["ended"] and fetch["entries"] == entries:
            fetch["entries"] -= 1
    return found, looks


@pytest.mark.parametrize("latency", [8, 60, 400])
@pytest.mark.parametrize("entries", [1, 4])
def test_descriptors_come_in_cycles_that_are_not_left_out(latency, entries):
    every, cycles = fetched_at(latency, entries, quick=False)
    quick, looks = fetched_at(latency, entries, quick=True)
    assert quick == every
    assert [head for _, ended, head in every if ended] == [1, 2, 3, 4, 5]
    assert looks < cycles


def test_a_ring_has_a_power_of_two():
    with pytest.raises(ValueError, match=r"^entries must be a power of two, not 6$"):
        SubmissionRing(base=0, entries=6)


def test_a_load_comes_when_nothing_moves():
    name, number = next(iter(KNOWN))
    with traced_session(SweepSession(sweep_machine(name), 1, number)) as traces:
        message = rf"^after must be at least {QUIET_CYCLES}, not {QUIET_CYCLES - 1}$"
        with pytest.raises(ValueError, match=message):
            traces.machine.run([], after=QUIET_CYCLES - 1)
