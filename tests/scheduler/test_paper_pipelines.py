from dataclasses import replace

import pytest

from rpaccel.perfmodel.design_space import DesignSpace
from rpaccel.perfmodel.networks import RM_LARGE, RM_MED, RM_SMALL
from rpaccel.scheduler.ablation import Design, Setup, designs, measure, saturated_qps
from rpaccel.scheduler.paper_pipelines import (
    PROVISIONED,
    Pipeline,
    PipelineSetup,
    PipelineStage,
    config_8_8,
    lanes_of_shape,
    neumf,
    neumf_macs,
    provisioned,
    quarters,
    split,
    whole_array,
)
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.sweep import SweepSpec

CONFIG = load_accelerator("paper")


def test_the_designs_of_the_ablation_are_pipelines():
    whole = Setup(designs()[-1])
    ours = PipelineSetup(split(CONFIG, hits=whole.machine.row_hits))
    assert ours.stages == whole.stages
    assert ours.loads([0, 5]) == whole.loads([0, 5])
    assert measure(ours, 500.0, 20) == measure(whole, 500.0, 20)
    fair = Setup(Design(name="B", ideas=frozenset({"O.2"})))
    one = PipelineSetup(whole_array(hits=fair.machine.row_hits))
    assert measure(one, 500.0, 20) == measure(fair, 500.0, 20)
    assert saturated_qps(one) == saturated_qps(fair)


def test_lanes():
    assert [len(lanes_of_shape(CONFIG, shape)) for shape in ((1, 1), (2, 2), (3, 3))] == [8, 4, 0]
    more = config_8_8()
    eights = split(more, hits={}, back_blocks=True)
    lanes = [stage.lanes for stage in eights.stages]
    assert [len(each) for each in lanes] == [8, 8]
    assert not set(lanes[0]) & set(lanes[1])
    assert {more.lane_shape(lane) for each in lanes for lane in each} == {(1, 1)}
    with pytest.raises(ValueError, match=r"config must have 16 lanes of one block for 8 \+ 8"):
        split(CONFIG, hits={}, back_blocks=True)


@pytest.mark.parametrize(
    ("name", "lanes", "macs", "sub_batch"),
    [("8,2", 2, 4096, 64), ("8,8", 8, 1024, 64), ("8,16", 16, 512, 32)],
)
def test_provisioned_splits_share_the_array_in_halves(name, lanes, macs, sub_batch):
    setup = provisioned(name, hits={})
    front, back = setup.stages
    assert (len(front.lanes), len(back.lanes)) == (8, lanes)
    assert set(front.lanes) | set(back.lanes) == set(range(setup.config.lanes))
    assert {setup.config.lane(lane).array_macs for lane in front.lanes} == {1024}
    assert {setup.config.lane(lane).array_macs for lane in back.lanes} == {macs}
    assert lanes * macs == 8 * 1024 == setup.config.array_macs // 2
    assert (front.sub_batch, back.sub_batch) == (64, sub_batch)
    held = setup.machine.lanes[back.lanes[0]][RM_LARGE.name]
    assert back.sub_batch <= held.slot["sub_batch"]
    assert measure(setup, 500.0, 5).p50_ms > 1e3 * setup.last_s


def test_the_front_end_binds_all_provisioned_splits():
    """As figure 12's note and C28 say: the lanes of a split sustain what its front end does."""
    for name in PROVISIONED:
        setup = provisioned(name, hits={RM_SMALL.name: 0.8, RM_LARGE.name: 0.8})
        front = replace(setup.pipeline, stages=setup.pipeline.stages[:1])
        alone = saturated_qps(PipelineSetup(front, setup.config))
        assert saturated_qps(setup) == alone
        assert {setup.config.lane(lane).array_macs for lane in front.stages[0].lanes} == {32 * 32}


def test_provisioned_splits_are_those_of_a_sweep():
    space = DesignSpace(SweepSpec.model_validate({
        "name": "splits", "blocks": 8, "axes": {"split": ["8*2x2+16*1x2"], "back_sub_batch": 32},
    }))  # fmt: skip
    swept, ours = space.config(space.point(0)), provisioned("8,16", hits={}).config
    assert (swept.block_size, swept.lane_blocks) == (ours.block_size, ours.lane_blocks)
    assert swept.lane(8).array_macs == ours.lane(8).array_macs
    with pytest.raises(ValueError, match=r"name must be one of 8,2, 8,8, 8,16, not '8,4'"):
        provisioned("8,4", hits={})


def test_three_stages_run():
    three = quarters(CONFIG, [(RM_SMALL, 4096), (RM_MED, 512), (RM_LARGE, 128)], hits={})
    setup = PipelineSetup(three)
    assert [stage.k for stage in setup.stages] == [512, 128, 0]
    assert measure(setup, 100.0, 5).p50_ms > 1e3 * setup.last_s


@pytest.mark.parametrize(
    ("mf_dim", "mlp", "dim", "rows", "macs"),
    [
        (128, (64, 32, 1), 32, 1 + 4, 64 * 32 + 32 + 128 + 128 + 1),
        (16, (800, 512, 1), 100, 4 + 1, 800 * 512 + 512 + 16 + 16 + 1),
        (1, (32, 1), 16, 1 + 1, 32 + 1 + 1 + 1),
    ],
)
def test_neumf(mf_dim, mlp, dim, rows, macs):
    network = neumf("x", mf_dim, mlp)
    assert (network.dim, len(network.item_features), len(network.user_features)) == (
        dim,
        rows,
        rows,
    )
    assert neumf_macs(mf_dim, mlp) == macs
    plan_macs = network.sizes.tables * dim * mlp[1]
    assert plan_macs >= mlp[0] * mlp[1]


@pytest.mark.parametrize(("mf_dim", "mlp"), [(0, (2, 1)), (1, (3, 1)), (1, (2,))])
def test_neumf_rejects(mf_dim, mlp):
    with pytest.raises(ValueError, match="mlp must be an even width and more, mf_dim above 0"):
        neumf("x", mf_dim, mlp)


def test_items_do_not_grow():
    stages = tuple(
        PipelineStage(network=network, items=items, lanes=(0,))
        for network, items in ((RM_SMALL, 10), (RM_LARGE, 20))
    )
    with pytest.raises(
        ValueError, match=r"items must be at least 1 and must not grow, not \[10, 2"
    ):
        Pipeline(name="x", stages=stages)
    with pytest.raises(ValueError, match="items must be"):
        Pipeline(name="x", stages=())
