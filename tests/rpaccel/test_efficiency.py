"""The machines of `rpaccel efficiency`; what they measure is in docs/generated/efficiency.md."""

import pytest

from rpaccel.main_job.efficiency import MODELS, SIZES, core_config, measure
from rpaccel.spec.program_plan import plan_model


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


@pytest.mark.slow
def test_longer_runs_begin_with_the_measured_one():
    network = MODELS["rmsmall"]
    result = measure(8, network, networks=(network,), sub_batch=32, sub_batches=6)
    assert result.longer[6] == result.model_cycles == result.cycles
    again = measure(8, network, networks=(network,), sub_batch=32, sub_batches=12)
    assert result.longer[12] == again.cycles
    assert list(result.longer) == [6, 12, 24, 48]
