"""Random layers in the netlist and by the model; the page is docs/generated/layers.md."""

import numpy as np
import pytest

from rpaccel.host.layer_netlist import LayerJob, LayerNetlist
from rpaccel.main_job.layer_page import layer_text, layer_values
from rpaccel.main_job.layer_sweep import SIZES, SPLITS, layer_sweep, sweep_config
from rpaccel.perfmodel import layer_engine


@pytest.fixture(scope="module")
def points():
    return list(layer_sweep([8], layers=6))


def test_every_layer_takes_the_cycles_of_the_model(points):
    assert len(points) == 42
    assert [point for point in points if not point.equal] == []
    assert len({(x.plan.inputs, x.plan.outputs, x.items, x.lane) for x in points}) > 35
    assert any(x.idle for x in points)
    assert any(not x.idle for x in points)


@pytest.mark.slow
def test_every_layer_of_larger_arrays_takes_the_cycles_of_the_model():
    points = list(layer_sweep([8, 16, 32], layers=12, seed=1))
    assert len(points) >= 300
    assert [point for point in points if not point.equal] == []
    assert sum(x.stacked for x in points) >= 20
    assert {x.lane for x in points} >= {(4, 4), (2, 4), (4, 2), (2, 2), (4, 1), (1, 2), (1, 1)}
    assert max(x.plan.k_folds for x in points) >= 4
    assert max(x.plan.n_steps for x in points) >= 4
    assert max(x.items for x in points) > 900


@pytest.mark.parametrize(
    "name", ["SETTLE_CYCLES", "READ_CYCLES", "GRID_CYCLES", "PE_CYCLES", "ADD_CYCLES"]
)
def test_a_cycle_more_in_the_model_is_seen(monkeypatch, name):
    monkeypatch.setattr(layer_engine, name, getattr(layer_engine, name) + 1)
    points = list(layer_sweep([8], layers=2))
    assert not any(point.equal for point in points)


def test_a_tile_of_a_cycle_more_is_seen(monkeypatch):
    monkeypatch.setattr(
        layer_engine, "tile_cycles", lambda config, n: np.maximum(n + 1, 2 * config.block_size)
    )
    points = list(layer_sweep([8], layers=2))
    longer = [x for x in points if x.plan.tiles > 1 and x.items >= 2 * x.block_size]
    assert longer
    assert not any(point.equal for point in longer)


def test_the_page_counts_what_is_equal(points):
    values = layer_values(points)
    assert (values["points"], values["equal"], values["late"]) == (42, 42, 0)
    text = layer_text(points)
    assert "**42 of 42 layers are equal.**" in text
    assert f"0 of {values['results']:,} are in another one" in text


@pytest.mark.parametrize(
    ("offers", "message"),
    [
        *((offers, r"offered in ascending cycles from 0 on, not \[") for offers in (
            [5, 5], [5, 4], [-1], [-1, 0]
        )),
        ([], r"1\.\.32, not 0$"),
        (range(33), r"1\.\.32, not 33$"),
    ],
)  # fmt: skip
def test_jobs_are_few_and_in_order(offers, message):
    netlist = LayerNetlist(sweep_config(8))
    jobs = [LayerJob(fields={}, items=1, offered=cycle) for cycle in offers]
    with pytest.raises(ValueError, match=f"^jobs of lane 0 must be {message}"):
        netlist.run({0: (0, 0)}, {0: jobs}, 10)


@pytest.mark.parametrize("size", SIZES)
def test_lanes_of_a_split_share_nothing(size):
    config = sweep_config(size)
    for split in SPLITS[config.blocks].values():
        owned = np.zeros((config.blocks, config.blocks), int)
        for lane, (row, col) in split.items():
            rows, cols = config.lane_shape(lane)
            assert max(row + rows, col + cols) <= config.blocks
            owned[row : row + rows, col : col + cols] += 1
        assert owned.max() == 1


def test_rejects_other_sizes():
    with pytest.raises(ValueError, match=r"^sizes must be of 8, 16, 32, 64, not 128$"):
        sweep_config(128)
