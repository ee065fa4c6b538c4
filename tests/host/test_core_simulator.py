from dataclasses import replace

import numpy as np
import pytest

from rpaccel.host.core_simulator import (
    CoreError,
    build_core,
    expected_scores,
    predict,
    run_core,
)
from rpaccel.host.core_workload import Workload
from rpaccel.main_job.efficiency import measure
from rpaccel.perfmodel.networks import RM_LARGE
from rpaccel.perfmodel.scale_sim import scale_sim_cycles
from rpaccel.perfmodel.shapes import NetworkShape
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Interaction
from rpaccel.spec.program_plan import plan_model
from rpaccel.workloads.random_models import random_ranker

TINY = load_accelerator("tiny").model_copy(
    update={
        "name": "core8", "weight_words": 4096, "param_entries": 512, "act_words": 512,
        "cross_words": 512, "dense_words": 128, "feature_words": 1024, "pair_entries": 128,
        "user_words": 64, "max_dim": 32,
    }
)  # fmt: skip

WIDE = TINY.model_copy(
    update={
        "name": "wide8", "weight_words": 1 << 16, "param_entries": 8192, "act_words": 4096,
        "cross_words": 4096, "pair_entries": 4096, "feature_entries": 64,
    }
)  # fmt: skip

pytestmark = pytest.mark.slow  # a netlist of its own


@pytest.fixture(scope="module")
def core():
    return build_core(TINY)


def any_ranker(rng):
    """Small rankers of every kind, with stacked, folded and single-tile layers."""

    def widths():
        return tuple(rng.integers(1, 40, size=rng.integers(1, 4)).tolist())

    kind = Interaction(int(rng.integers(len(Interaction))))
    users, items = int(rng.integers(4)), int(rng.integers(1, 6))
    late = int(rng.integers(min(users, items) + 1)) if kind is Interaction.PRODUCT else 0
    return random_ranker(
        rng, TINY, interaction=kind, dim=4 << int(rng.integers(4)), bottom=widths(), top=widths(),
        user_tables=users, item_tables=items, late_products=late,
        user_dense=int(rng.integers(10)), item_dense=int(rng.integers(1, 20)),
    )  # fmt: skip


def some_counts(rng, ranker):
    largest = plan_model(ranker.sizes, TINY).most_items
    return rng.integers(1, largest + 1, size=rng.integers(1, 10)).tolist()


def check(workload, run):
    logits, ctr = expected_scores(workload, run)
    assert run.logits.tolist() == logits.tolist()
    assert run.ctr.tolist() == ctr.tolist()
    assert set(run.differences(predict(workload, run)).values()) == {0}


@pytest.mark.parametrize("seed", range(30))
def test_scores_and_cycles_are_exact(core, seed):
    rng = np.random.default_rng(seed)
    ranker = any_ranker(rng)
    workload = Workload(TINY, ranker, some_counts(rng, ranker), seed=seed)
    check(workload, run_core(core, workload))


@pytest.mark.parametrize("seed", range(10))
def test_with_all_data_ready(core, seed):
    rng = np.random.default_rng(100 + seed)
    ranker = any_ranker(rng)
    largest = plan_model(ranker.sizes, TINY).most_items
    workload = Workload(TINY, ranker, [largest, largest], seed=seed)
    run = run_core(core, workload, some_counts(rng, ranker))
    assert not run.writes.any()
    check(workload, run)


def test_layers_of_4096_and_64_tables():
    ranker = random_ranker(
        np.random.default_rng(0), WIDE, dim=4, bottom=(4096,), top=(100,), user_tables=9,
        item_tables=55, user_dense=0, item_dense=11, max_ids=1, max_rows=4,
    )  # fmt: skip
    plan = plan_model(ranker.sizes, WIDE)
    assert [layer.n_steps for layer in plan.bottom] == [512, 1]
    assert [layer.k_folds for layer in plan.layers] == [2, 512, 261, 13]
    workload = Workload(WIDE, ranker, [plan.most_items, 1, plan.most_items - 1])
    run = run_core(build_core(WIDE), workload)
    assert len(set(run.logits.tolist())) > plan.most_items
    check(workload, run)


def test_late_products(core):
    """Of a NeuMF, whose last layer reads what the interaction made and what the MLP made."""
    ranker = random_ranker(
        np.random.default_rng(1), TINY, interaction=Interaction.PRODUCT, dim=16, bottom=(),
        top=(30, 20, 9), user_tables=2, item_tables=2, late_products=1,
    )  # fmt: skip
    largest = plan_model(ranker.sizes, TINY).most_items
    run = run_core(core, workload := Workload(TINY, ranker, [largest, 1, 3, largest]))
    check(workload, run)
    weights = ranker.top[-1].weights.copy()
    weights[:16] = 0
    without = replace(ranker, top=(*ranker.top[:-1], replace(ranker.top[-1], weights=weights)))
    other = Workload(TINY, without, workload.counts, query=workload.query)
    assert run.logits.tolist() != [each["logit"] for each in other.expected]


def test_missing_scores_are_an_error(core):
    rng = np.random.default_rng(0)
    workload = Workload(TINY, any_ranker(rng), [3, 4])
    with pytest.raises(CoreError, match="the core failed: too many cycles"):
        run_core(core, workload, limit_cycles=60)


def test_rejects_counts_that_were_not_written(core):
    workload = Workload(TINY, any_ranker(np.random.default_rng(0)), [3, 4])
    with pytest.raises(ValueError, match=r"^counts must be at most \[3, 4\] in turn, not \[3, 5\]"):
        run_core(core, workload, [3, 5])


def test_scale_sim_closed_form():
    # 13 -> 512 on 128 with 4096 items: one fold of four groups; SCALE-Sim itself says 4289.
    assert scale_sim_cycles(4096, 13, 512, 128) == 4289
    assert scale_sim_cycles(1024, 512, 256, 32) == 16 * 8 * (2 * 32 + 32 + 1024)
    assert scale_sim_cycles(10, 40, 5, 32) == (64 + 5 + 10) + (16 + 5 + 10)
    assert scale_sim_cycles(10, 13, 5, 32, stacked=False) == 26 + 5 + 10


@pytest.mark.nightly
def test_the_bottom_mlp_of_rmlarge_on_32():
    """With the least behind it; all of RMlarge is in tests/rpaccel/test_efficiency.py."""
    bottom = NetworkShape(
        name="rmlarge-bottom", dim=RM_LARGE.dim, user_dense=0, item_dense=RM_LARGE.item_dense,
        user_features=(), item_features=RM_LARGE.item_features[:1], bottom=RM_LARGE.bottom,
        top=(1,),
    )  # fmt: skip
    result = measure(32, bottom, networks=(RM_LARGE, bottom))
    assert result.steady >= 0.92
    assert result.steady >= 0.97 * result.bound
    assert result.difference == 0
