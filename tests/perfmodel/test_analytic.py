from dataclasses import replace

import numpy as np
import pytest

from rpaccel.perfmodel.analytic import predict_points
from rpaccel.perfmodel.costs import GatherMachine, gather_cost
from rpaccel.perfmodel.lane import StageInput, predict_query
from rpaccel.perfmodel.memory import padded_records, traffic_of
from rpaccel.perfmodel.networks import WORKLOADS
from rpaccel.perfmodel.shapes import compile_shape
from rpaccel.perfmodel.sweep import machine
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.platform import MemoryTiming


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.name)
@pytest.mark.parametrize("array_size", [8, 32, 128])
def test_equals_the_event_level(workload, array_size):
    rng = np.random.default_rng(array_size)
    config = machine(array_size)
    points = 24
    sub_batch = rng.integers(1, 1025, points)
    beat_bytes = 8 << rng.integers(0, (array_size // 8).bit_length(), points)
    latency = rng.integers(2, 300, points)
    user = max(network.record_bytes("user") for network, _ in workload.stages)
    item = max(network.record_bytes("item") for network, _ in workload.stages)
    shapes = [
        (compile_shape(network, config, config.sub_batch_max), items)
        for network, items in workload.stages
    ]
    report = predict_points(
        config, shapes, sub_batch=sub_batch, beat_bytes=beat_bytes, latency_cycles=latency,
        records=padded_records(user, item, beat_bytes),
    )  # fmt: skip
    for point in range(points):
        one = AcceleratorConfig.model_validate(
            config.model_dump()
            | {"axi_data_bits": 8 * int(beat_bytes[point]), "retrieval_queries": 0}
        )
        stages = [
            StageInput(shape=shape, items=items, sub_batch=int(sub_batch[point]))
            for shape, items in shapes
        ]
        expected = predict_query(
            one,
            stages,
            MemoryTiming(latency_cycles=int(latency[point]), source="test"),
            padded_records(user, item, int(beat_bytes[point])),
            workload.top_n,
        )
        assert report.total_cycles[point] == expected.total_cycles
        for index, stage in enumerate(expected.stages):
            for name in ("stage", "gather", "array", "interaction"):
                field = f"{name}_cycles"
                assert getattr(report, field)[index, point] == getattr(stage, field)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
def test_rows_that_hit_take_a_bank_less_time(share):
    """One bank, with more reads than a trip needs: items cost its cycles."""
    config = machine(32).model_copy(update={"row_banks": 1, "memory_ports": 1, "row_reads": 256})
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


def test_row_hits_are_of_stages():
    config = machine(32).model_copy(update={"row_banks": 1, "memory_ports": 1, "row_reads": 256})
    shapes = [
        (compile_shape(network, config, config.sub_batch_max), items)
        for network, items in WORKLOADS[-1].stages
    ]
    sizes = {
        "sub_batch": np.array([64]), "beat_bytes": np.array([config.beat_bytes]),
        "latency_cycles": np.array([2]), "records": padded_records(64, 64, config.beat_bytes),
    }  # fmt: skip
    none, front = (
        predict_points(config, shapes, **sizes, row_hits=shares).gather_cycles[:, 0]
        for shares in (None, [0.5, 0.0])
    )
    assert front[0] < none[0] and front[1] == none[1]
    with pytest.raises(ValueError, match=r"^row_hits must be in 0..1, not 2$"):
        predict_points(config, shapes, **sizes, row_hits=[2, 0])
