import numpy as np
import pytest

from rpaccel.perfmodel.gemm_space import GemmSpace, gemm_layer_cycles
from rpaccel.perfmodel.scale_sim import scale_sim_cycles
from rpaccel.perfmodel.sweep import run_sweep
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.gemm_topology import GemmLayer, read_gemm_topology
from rpaccel.spec.sweep import SweepSpec

TOPOLOGY = "Layer, M, N, K,\nbottom, 4096, 512, 13,\nhidden 1, 4096, 256, 512,\n\ntop, 64, 1, 96,\n"
PAPER = load_accelerator("paper").lane(0)


@pytest.fixture
def topology(tmp_path):
    path = tmp_path / "net.csv"
    path.write_text(TOPOLOGY)
    return path


def space_of(path, **axes):
    return GemmSpace(spec_of(path, {"split": "1*4x4"} | axes))


def spec_of(path, axes):
    layers = [layer.model_dump() for layer in read_gemm_topology(path)]
    fields = {"name": "gemm", "workload": path.name, "layers": layers, "axes": axes}
    return SweepSpec.model_validate(fields)


def layer_cycles(layer, rows, sub_batch, walk=0.0, start=0):
    return int(
        gemm_layer_cycles(PAPER, layer, rows, sub_batch, np.array([walk]), np.array([start]))[0]
    )


def test_a_layer_by_hand():
    """512 x 256 on 128 x 128: 4 folds x 2 steps of 1024 rows; 128 rows' skew and pipeline."""
    layer = GemmLayer(name="x", rows=1024, inputs=512, outputs=256)
    streaming = 8 * 1024
    assert streaming < layer_cycles(layer, 1024, 1024) < streaming + 3 * 128 + 64
    # SCALE-Sim shows the weights' loading of every fold, this array only the first.
    assert streaming < layer_cycles(layer, 1024, 1024) < scale_sim_cycles(1024, 512, 256, 128)


def test_a_layer_waits_for_its_rows():
    layer = GemmLayer(name="x", rows=1000, inputs=128, outputs=128)
    free, bound = (layer_cycles(layer, 1000, 100, walk) for walk in (0.0, 4.0))
    assert free < 1000 + 600
    assert 4000 < bound < 4000 + 600
    assert layer_cycles(layer, 1000, 100, 4.0, start=77) == bound + 77


def test_lanes_share_the_rows(topology):
    one = space_of(topology).evaluate(0, 1).columns
    four = space_of(topology, split="4*2x2", front_sub_batch=64).evaluate(0, 1).columns
    assert one["query_macs"][0] == 128 * 128 * (4096 * 4 + 4096 * 8 + 64 * 1)
    assert four["array_macs"][0] == one["array_macs"][0]
    assert 0.5 < four["latency_cycles"][0] / one["latency_cycles"][0] < 2
    assert one["memory_cycles"][0] == (4096 * 1 + 4096 * 8 + 64 * 2) / 4


def test_more_bandwidth_is_never_slower(topology):
    space = space_of(topology, memory_ports=[1, 2, 4, 8], beat_bytes=[16, 64],
                     front_sub_batch=[16, 64, 500])  # fmt: skip
    cycles = space.evaluate(0, space.points).columns["latency_cycles"].reshape(3, 4, 2)
    assert (np.diff(cycles, axis=1) <= 0).all() and (np.diff(cycles, axis=2) <= 0).all()
    assert (cycles[:, 0, 0] > cycles[:, -1, -1]).all()


def test_weights_must_fit(topology):
    topology.write_text("Layer,M,N,K\nbig,8,4096,4096\n")
    assert not len(space_of(topology).evaluate(0, 1).columns["number"])  # 16 MiB of 4 MiB


def test_axes_of_rankers_are_refused(topology):
    with pytest.raises(ValueError, match=r"^axes\.k: must be left out for a GEMM topology$"):
        space_of(topology, k=[64])
    with pytest.raises(ValueError, match=r"^axes\.split: must have one term .*, not 8\*1x1\+2"):
        space_of(topology, split="8*1x1+2*2x2")
    with pytest.raises(ValueError, match=r"^layers: must be those of the topology"):
        GemmSpace(SweepSpec.model_validate({"name": "gemm", "workload": "net.csv"}))


def test_a_sweep_of_a_topology(topology, tmp_path):
    axes = {"split": ["1*4x4", "4*2x2"], "array_size": [32, 64, 128],
            "front_sub_batch": [64, 256], "memory_ports": [1, 4], "beat_bytes": 16}  # fmt: skip
    spec = spec_of(topology, axes)
    summary = run_sweep(spec, tmp_path / "out", chunk_points=5)
    assert summary["points"] == 3 * 2 * 2 * 2
    assert 1 <= summary["front"] < summary["points"]
    assert summary["files"] == [
        "pareto.png", "array_size.png", "bandwidth.png", "sram.png", "sub_batch.png",
    ]  # fmt: skip
