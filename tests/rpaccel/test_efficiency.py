"""The machines of `rpaccel efficiency`; what they measure is in docs/generated/efficiency.md."""

import pytest

from rpaccel.main_job.efficiency import MODELS, SIZES, core_config, measure
from rpaccel.spec.program_plan import plan_model
from tests.streams import NIGHTLY


@pytest.mark.parametrize("size", SIZES)
def test_a_machine_holds_a_sub_batch_of_every_model(size):
    config = core_config(size, tuple(MODELS.values()), 1024)
    assert (config.array_size, config.block_size) == (size, SIZES[size][1])
    for network in MODELS.values():
        plan = plan_model(network.sizes, config)
        assert plan.item_dense_words * 1024 <= config.dense_words
        assert plan.act_stride * 1024 <= config.act_words


def test_rejects_other_sizes():
    with pytest.raises(ValueError, match=r"^sizes must be of 8, 16, 32, 64, 128, not 24$"):
        core_config(24, tuple(MODELS.values()), 1024)


# Goals of the whole run, fill and drain included: of all MACs, and of what the folds allow.
@pytest.mark.parametrize(
    ("size", "model", "goal"),
    [
        pytest.param(32, "rmsmall", 0.74, marks=pytest.mark.slow),
        pytest.param(32, "rmlarge", 0.92, marks=pytest.mark.slow),
        pytest.param(64, "rmlarge", 0.85, marks=NIGHTLY),
        pytest.param(128, "rmlarge", 0.75, marks=NIGHTLY),
    ],
)
def test_a_run_reaches_its_goal(size, model, goal):
    result = measure(size, MODELS[model])
    assert (result.sub_batch, result.sub_batches) == (1024, 8)
    assert result.difference == 0
    assert result.cycles == result.model_cycles == result.longer[8]
    assert result.whole >= goal
    assert result.whole >= 0.97 * result.bound
    assert result.whole <= result.steady <= result.bound
    assert result.cold < result.whole


@pytest.mark.slow
def test_longer_runs_begin_with_the_measured_one():
    network = MODELS["rmsmall"]
    result = measure(8, network, networks=(network,), sub_batch=32, sub_batches=8)
    assert result.longer[8] == result.model_cycles == result.cycles
    assert list(result.longer) == [8, 16, 32, 64]
    assert result.cycles < min(result.equal.values())
    assert result.cold_cycles < min(result.equal_cold.values())


def test_rejects_runs_without_a_middle():
    network = MODELS["rmsmall"]
    with pytest.raises(ValueError, match=r"^sub_batches must leave 5 equal passes of \d+ items"):
        measure(8, network, networks=(network,), sub_batch=32, sub_batches=1)
