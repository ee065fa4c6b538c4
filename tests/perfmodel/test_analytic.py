from dataclasses import replace

import numpy as np
import pytest

from rpaccel.perfmodel import analytic
from rpaccel.perfmodel import point_kernels as kernels
from rpaccel.perfmodel.analytic import check_gathers, evaluate
from rpaccel.perfmodel.costs import GatherMachine, gather_cost
from rpaccel.perfmodel.design_space import DesignSpace, dealt
from rpaccel.perfmodel.lane import StageInput, predict_query
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.machine_tables import machine_tables
from rpaccel.perfmodel.memory import padded_records, traffic_of
from rpaccel.perfmodel.networks import WORKLOADS
from rpaccel.perfmodel.point_events import point_events, point_machine, point_query
from rpaccel.perfmodel.shapes import compile_shape
from rpaccel.perfmodel.sram import sram_bytes
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.platform import MemoryTiming
from rpaccel.spec.sweep import SweepSpec

AXES = {
    "array_size": [32, 128],
    "split": ["1*4x4", "8*1x1+2*2x2", "1*2x4+1*2x4"],
    "memory_latency_cycles": [20, 200],
    "front_sub_batch": [32, 100],
    "back_sub_batch": [32, 100],
    "memory_ports": [1, 4],
    "beat_bytes": [16, 32],
}
CACHES = {"static_cache_kib": [0, 4096], "look_ahead_kib": [256], "beat_bytes": [32]}


def space_of(axes, **spec):
    return DesignSpace(SweepSpec.model_validate({"name": "test", "axes": axes} | spec))


def all_points(space):
    return evaluate(space, 0, space.points).columns


@pytest.mark.parametrize("workload", ["criteo", "movielens"])
def test_whole_stages_equal_predict_query(workload):
    space = space_of(AXES | {"k": [100, 256]}, workload=workload)
    columns = all_points(space)
    rng = np.random.default_rng(0)
    assert len(columns["number"]) > 300
    for row in rng.choice(len(columns["number"]), 20, replace=False):
        point = space.point(int(columns["number"][row]))
        config = space.config(point)
        back = len(point.split.lanes) - 1
        total = 0
        stages = (point.front_sub_batch, point.back_sub_batch)
        for stage, lane in enumerate((0, back)):
            network, items = space.workload.stages[stage]
            shape = compile_shape(network, config.lane(lane), stages[stage])
            stage_input = StageInput(shape=shape, items=(items, point.k)[stage])
            both = (
                [stage_input, StageInput(shape=shape, items=1)]
                if stage == 0
                else [StageInput(shape=shape, items=1), stage_input]
            )
            report = predict_query(
                config.lane(lane),
                both,
                MemoryTiming(latency_cycles=point.memory_latency_cycles, source="test"),
                space.records(point.beat_bytes),
                10,
            )
            total += report.stages[stage].stage_cycles
            control = report.control_cycles
        assert columns["latency_cycles"][row] == total + control


@pytest.mark.slow
def test_tasks_are_near_the_machine():
    """Latency within 3 % on average and 25 % at worst; rate 4 % and 25 % of lanes of one model."""
    axes = {
        **AXES,
        **CACHES,
        "array_size": [64, 128],
        "split": ["8*1x1+2*2x2", "4*1x1+3*2x2", "1*2x4+1*2x4"],
        "front_task_items": [0, 256, 500],
        "back_task_items": [0, 100],
        "k": [256, 1000],
    }
    space = space_of(axes)
    rng = np.random.default_rng(1)
    errors, whole = [], 0
    while len(errors) < 12:
        number = int(rng.integers(space.points))
        columns = evaluate(space, number, number + 1).columns
        if not len(columns["number"]):
            continue
        point = space.point(number)
        events = point_events(space, point, queries=12)
        error = columns["latency_cycles"][0] / events.latency_cycles - 1
        if point.front_task_items == point.back_task_items == 0:
            whole += 1
            assert error == 0 and columns["front_cycles"][0] == events.front_cycles
        errors.append((error, columns["interval_cycles"][0] / events.interval_cycles - 1))
    latency, rate = np.abs(errors).T
    assert whole > 1
    assert latency.mean() < 0.03 and latency.max() < 0.25
    assert rate.mean() < 0.06 and rate.max() < 0.3


def both_levels(array, split, batches, tasks, k, ports):
    """Return (latency, front cycles) of a query, on the levels `analytic` and `event`."""
    axes = {"array_size": array, "split": split, "k": k, "memory_ports": ports, "beat_bytes": 32}
    axes |= dict(zip(("front_sub_batch", "back_sub_batch"), batches, strict=True))
    axes |= dict(zip(("front_task_items", "back_task_items"), tasks, strict=True))
    space = space_of(axes)
    point = space.point(0)
    record = simulate(point_machine(space, point), [point_query(space, point)]).queries[0]
    columns = all_points(space)
    said = (int(columns["latency_cycles"][0]), int(columns["front_cycles"][0]))
    return said, (record.total_cycles, record.stages[0].cycles)


@pytest.mark.parametrize(
    "case",
    [
        (64, "4*1x1+3*2x2", (32, 32), (128, 100), 256, 8),
        (64, "1*2x4+1*2x4", (64, 64), (128, 0), 256, 1),
        (128, "1*2x4+1*2x4", (32, 64), (256, 100), 256, 4),
        (128, "1*2x4+1*2x4", (64, 64), (512, 0), 1000, 1),
    ],
)
def test_some_tasks_equal_the_machine(case):
    """What is simplified does not matter for these."""
    analytic, event = both_levels(*case)
    assert analytic == event


@pytest.mark.parametrize(
    "case",
    [
        (128, "1*2x4+1*2x4", (32, 64), (0, 100), 256, 4),
        (128, "1*2x4+1*2x4", (32, 32), (0, 100), 230, 4),
        (64, "1*2x4+1*2x4", (32, 64), (0, 64), 130, 8),
        (64, "1*2x4+1*2x4", (64, 32), (0, 128), 200, 8),
        (64, "1*2x4+1*2x4", (64, 32), (0, 100), 305, 8),
        (64, "1*4x4", (64, 32), (0, 100), 305, 8),
    ],
)
def test_a_last_task_of_another_size_ends_when_the_machine_says(case):
    """Behind one, two or three tasks, of which each begins before the one before has ended."""
    analytic, event = both_levels(*case)
    assert analytic == event


@pytest.mark.parametrize(
    "case",
    [
        (64, "8*1x1+2*2x2", (32, 32), (512, 100), 1000, 8),
        (64, "4*1x1+3*2x2", (32, 64), (512, 64), 256, 4),
        (128, "4*1x1+3*2x2", (32, 64), (128, 0), 1000, 4),
        (64, "4*2x2", (64, 64), (256, 100), 256, 4),
        (64, "4*2x2", (32, 32), (128, 64), 256, 4),
        (64, "4*2x2", (32, 32), (512, 100), 1000, 8),
        (64, "4*2x2", (32, 64), (128, 0), 256, 8),
        (64, "4*2x2", (256, 64), (2048, 0), 256, 8),  # scores wait for their turn
        (64, "8*1x1+2*2x2", (64, 64), (2048, 0), 256, 8),
        (64, "1*2x4+1*2x4", (32, 64), (512, 64), 256, 8),
    ],
)
def test_lanes_that_share_the_memory_are_near_the_machine(case):
    """Its reads of a task are not as even as its gathers' of a sub-batch."""
    analytic, event = both_levels(*case)
    assert analytic[0] == pytest.approx(event[0], rel=0.025)
    assert analytic[1] == pytest.approx(event[1], rel=0.035)


def test_first_gathers_of_lanes_at_once_are_told_too_early():
    """The array holds the tasks up: their first gathers wait for each other, the later ones do not.

    `analytic` takes all of a task's to be as even.
    """
    analytic, event = both_levels(128, "4*1x1+3*2x2", (64, 32), (256, 0), 1000, 8)
    assert event[1] * 0.935 < analytic[1] < event[1]
    assert analytic[0] == pytest.approx(event[0], rel=0.02)


def test_every_point_is_what_it_is_alone():
    """Chunks do not matter: any part of the space gives the same rows."""
    space = space_of(AXES | {"front_task_items": [0, 512], "k": [64, 512]})
    every = all_points(space)
    for first, stop in ((0, 7), (77, 734), (space.points - 1, space.points)):
        part = evaluate(space, first, stop).columns
        inside = (every["number"] >= first) & (every["number"] < stop)
        assert part.keys() == every.keys()
        for name, column in part.items():
            np.testing.assert_array_equal(column, every[name][inside], err_msg=name)


def test_columns_are_those_of_the_point():
    space = space_of(AXES | CACHES | {"k": [64, 4096]})
    columns = all_points(space)
    rng = np.random.default_rng(2)
    for row in rng.choice(len(columns["number"]), 20, replace=False):
        point = space.point(int(columns["number"][row]))
        for name, values in space.values.items():
            value = columns[name][row]
            assert (values[value] if name == "split" else value) == getattr(point, name)
        machine = point_machine(space, point)
        assert columns["array_macs"][row] == machine.config.array_macs
        assert columns["sram_bytes"][row] == sram_bytes(machine.config)
        hits = columns["front_hits"][row], columns["back_hits"][row]
        assert hits == pytest.approx(tuple(machine.row_hits.values()))


class UnevenBanks:
    """Nothing hits; reads are as uneven as is said, of each stage."""

    def __init__(self, *skews):
        self._skews = skews

    def rates(self, key):
        return 0.0, 0.0

    def skews(self, key):
        return self._skews


@pytest.mark.parametrize("tasks", [0, 512])
def test_uneven_banks_are_as_slow_on_both_levels(tasks):
    """A stage whose reads are all in one of 16 banks takes longer, and that stage alone."""
    spec = SweepSpec.model_validate(
        {
            "name": "test",
            "axes": {"memory_ports": 16, "memory_latency_cycles": 200, "split": "1*2x4+1*2x4",
                     "front_task_items": tasks},
        }
    )  # fmt: skip
    found = []
    for skews in ((1.0, 1.0), (16.0, 1.0), (1.0, 16.0)):
        space = DesignSpace(spec, hits=UnevenBanks(*skews))
        point = space.point(0)
        query = simulate(point_machine(space, point), [point_query(space, point)]).queries[0]
        columns = all_points(space)
        assert columns["latency_cycles"][0] == query.total_cycles
        found.append((int(columns["front_cycles"][0]), int(columns["back_cycles"][0])))
    even, front, back = found
    assert front[0] > 2 * even[0]
    assert back[1] > 2 * even[1] and back[0] == even[0]


def test_what_cannot_be_is_left_out():
    space = space_of(
        {"array_size": [16, 128], "beat_bytes": [16, 64], "back_sub_batch": [16, 1024]}
    )
    columns = all_points(space)
    found = set(zip(*(columns[n].tolist() for n in ("array_size", "beat_bytes")), strict=True))
    assert found == {(16, 16), (128, 16), (128, 64)}  # no beat is wider than a word
    assert set(columns["back_sub_batch"].tolist()) == {16}  # 1024 items do not fit a quarter
    with pytest.raises(ValueError, match=r"axi_data_bits must be at most 128"):
        space.config(replace(space.point(0), beat_bytes=64))


@pytest.mark.parametrize("seed", range(8))
def test_odd_spaces_break_no_rule(seed):
    rng = np.random.default_rng(seed)
    splits = ["1*1x1", "16*1x1", "15*1x1+1*1x1", "1*2x4+1*4x2", "2*4x2", "1*1x4+3*1x4", "3*2x2"]
    axes = {
        "array_size": [16, 32, 64, 128],
        "split": splits,
        "memory_latency_cycles": [1, 100, 3000],
        "front_sub_batch": [1, 3, 33, 64, 200],
        "back_sub_batch": [1, 3, 33, 64, 200],
        "front_task_items": [0, 4, 17, 256, 5000],
        "back_task_items": [0, 4, 17, 256],
        "k": [64, 65, 511, 1600],
        "memory_ports": [1, 2, 16],
        "beat_bytes": [8, 64, 128],
    }
    space = space_of(axes, workload=["criteo", "movielens"][seed % 2])
    first = int(rng.integers(space.points - 3000))
    found = evaluate(space, first, first + 3000)
    assert (found.columns["latency_cycles"] >= found.columns["memory_cycles"]).all()
    assert 1 <= found.worst < analytic.ANOMALY


def test_rows_sum_to_the_total():
    space = space_of(AXES | {"front_task_items": [0, 300], "back_task_items": [0, 50]})
    columns = all_points(space)
    control = 1 + 3 + 1  # opened, granted, closed: perfmodel.lane
    parts = columns["front_cycles"] + columns["back_cycles"] + control
    assert (parts == columns["latency_cycles"]).all()
    assert (columns["memory_cycles"] <= columns["latency_cycles"]).all()
    for column in columns.values():
        assert (column >= 0).all()


@pytest.mark.parametrize("rule", range(len(kernels.FAULTS)))
def test_a_broken_rule_stops_the_evaluation(rule, monkeypatch):
    def broken(first, sizes, machines, *others):
        kernels.query_points(first, sizes, machines, *others)
        others[-1][3, kernels.FAULT] = 1 + rule

    space = space_of({})
    stub = type("Kernels", (), dict(vars(kernels)) | {"query_points": staticmethod(broken)})
    space = space_of({"k": [64, 128, 256, 512]})
    monkeypatch.setattr(analytic, "kernels", stub)
    with pytest.raises(RuntimeError, match=rf"^{kernels.FAULTS[rule]}: 1 points, one is .*k=512"):
        evaluate(space, 0, 4)


def test_more_bandwidth_must_not_cost_a_gather_more():
    space = space_of({"memory_ports": [1, 2, 4], "beat_bytes": [32, 64], "array_size": [64, 128]})
    tables = machine_tables(space, range(2))
    check_gathers(space, 0, tables)
    tables.gathers[1][9, 0, 3] *= 2  # array 128, ports 2, beat 64
    assert np.isfinite(tables.gathers[1][9]).all()
    with pytest.raises(RuntimeError, match=r"^a gather must not take longer .*\(array_size=128"):
        check_gathers(space, 0, tables)
    tables.hits[0, 9] = 0.5
    tables.hits[0, 7] = 0.9  # with more hits on the narrower machines there is nothing to say
    tables.hits[0, 8] = 0.9
    check_gathers(space, 0, tables)


ANOMALOUS = {
    "split": ["1*2x4+1*2x4"], "front_task_items": [512], "back_task_items": [64], "k": [1024],
    "memory_ports": [1, 2, 4], "beat_bytes": [32, 64], "array_size": [64, 128],
    "front_sub_batch": [16, 128], "back_sub_batch": [64, 128],
}  # fmt: skip


def test_a_query_is_later_with_more_bandwidth_by_little():
    found = evaluate(space_of(ANOMALOUS), 0, 48)
    assert found.pairs > 20
    assert 0 < found.slower < found.pairs / 2
    assert 1 < found.worst < analytic.ANOMALY


def test_the_event_model_has_such_queries():
    axes = {"split": "1*2x4+1*2x4", "front_sub_batch": 16, "back_sub_batch": 128, "beat_bytes": 32,
            "back_task_items": 64, "k": 1024, "memory_ports": [2, 4]}  # fmt: skip
    space = space_of(axes)
    latencies = evaluate(space, 0, 2).columns["latency_cycles"]
    events = [
        simulate(point_machine(space, point), [point_query(space, point)]).queries[0].total_cycles
        for point in map(space.point, range(2))
    ]
    assert latencies[1] > latencies[0] and events[1] > events[0]


def test_more_than_an_anomaly_stops_the_evaluation(monkeypatch):
    monkeypatch.setattr(analytic, "ANOMALY", 1.001)
    with pytest.raises(RuntimeError, match=r"^a query must not take more than 1\.001 times as"):
        evaluate(space_of(ANOMALOUS), 0, 48)


@pytest.mark.parametrize(("items", "task", "expected"), [
    (512, 0, (1, 512, 512)), (512, 512, (1, 512, 512)), (512, 600, (1, 512, 512)),
    (512, 511, (2, 511, 1)), (512, 128, (4, 128, 128)), (1, 1, (1, 1, 1)),
])  # fmt: skip
def test_items_are_dealt_out(items, task, expected):
    assert dealt(items, task) == expected


def test_rejects():
    with pytest.raises(ValueError, match=r"^points must be in 0\.\.1, not 0 to 2$"):
        evaluate(space_of({}), 0, 2)
    with pytest.raises(IndexError, match=r"^point must be in 0\.\.0, not 1$"):
        space_of({}).point(1)
    with pytest.raises(ValueError, match=r"^axes\.k: values must be in 64\.\.4096 .*, not 63$"):
        space_of({"k": [63]})
    with pytest.raises(ValueError, match=r"^axes\.front_task_items: 4096 items .* not 1366 of 3$"):
        space_of({"front_task_items": [0, 3]})
    with pytest.raises(ValueError, match=r"^axes must have at most 100,000,000,000 points, not "):
        names = ("front_sub_batch", "back_sub_batch", "memory_latency_cycles", "k")
        space_of({name: {"from": 64, "to": 1024, "step": 1} for name in names})
    with pytest.raises(ValueError, match=r"^workload: must be one of movielens, criteo, or a GEMM"):
        space_of({}, workload="bert")
    with pytest.raises(ValueError, match=r"^axes\.static_cache_kib, .*must be 0 for movielens"):
        space_of({"static_cache_kib": 4, "k": 64}, workload="movielens")
    with pytest.raises(ValueError, match=r"^axes\.look_ahead_kib: values must be powers of two"):
        space_of({"look_ahead_kib": 100})


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
def test_rows_that_hit_take_a_bank_less_time(share):
    """One bank, with more reads than a trip needs: items cost its cycles."""
    config = load_accelerator("default").model_copy(
        update={"row_banks": 1, "memory_ports": 1, "row_reads": 256}
    )
    network, items = WORKLOADS[-1].stages[0]
    shape = compile_shape(network, config, config.sub_batch_max)
    gather = GatherMachine.of(config, 2)
    records = padded_records(64, 64, config.beat_bytes)
    costs = [
        gather_cost(replace(gather, row_hits=hits), shape, records, items, True)
        for hits in (0.0, share)
    ]
    rows = traffic_of(config.beat_bytes, shape, records)
    assert [cost.item for cost in costs] == [
        rows.item_rows * rows.row_beats * cycles for cycles in (2, 2 - share)
    ]
    assert costs[0] == gather_cost(gather, shape, records, items, True)
