import numpy as np
import pytest

from rpaccel.perfmodel.analytic import predict_points
from rpaccel.perfmodel.lane import StageInput, predict_query
from rpaccel.perfmodel.memory import padded_records
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
            config.model_dump() | {"axi_data_bits": 8 * int(beat_bytes[point])}
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
