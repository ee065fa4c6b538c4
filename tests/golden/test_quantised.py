from dataclasses import replace

import numpy as np
import pytest

from rpaccel.golden.quantised import QuantisedFeature, record_bytes_needed
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Interaction
from rpaccel.spec.program_plan import cross_rows, late_rows, pair_params
from rpaccel.workloads import random_models

TINY = load_accelerator("tiny")


def ranker(**sizes):
    return random_models.random_ranker(np.random.default_rng(0), TINY, **sizes)


def test_record_bytes():
    small = ranker(user_dense=5, item_dense=1, max_ids=1)
    assert record_bytes_needed([small], "user") == 8 + 8
    assert record_bytes_needed([small], "item") == 4 + 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user_dense": 0, "item_dense": 0}, r"must have at least one dense feature"),
        ({"user_dense": 9}, r"bottom layer 0 must have 14 inputs, not 8"),
        ({"features": ()}, r"tables must be in 1\.\.64, not 0"),
        ({"edges": np.arange(15)[::-1].astype(np.int16)}, r"edges must ascend"),
        ({"threshold": 40000}, r"threshold must be in -32768\.\.32767, not 40000"),
        ({"bottom": ()}, r"the bottom MLP must have at least one layer"),
        ({"dim": 4}, r"rows must have 4 values, not 8"),
        ({"pair_shift": np.zeros(9, np.uint8)}, r"pair_shift must be uint8\[10\], not uint8\[9\]"),
        ({"interaction": Interaction.CONCAT}, r"top layer 0 must have 40 inputs, not 18"),
        ({"interaction": Interaction.PRODUCT}, r"top layer 0 must have 24 inputs, not 18"),
        ({"late_products": 1}, r"late_products must be in 0\.\.0 \(products\), not 1"),
    ],
)
def test_rejects(change, message):
    good = ranker()
    with pytest.raises(ValueError, match=message):
        replace(good, **change)


@pytest.mark.parametrize("kind", list(Interaction))
@pytest.mark.parametrize("tables", [(2, 3), (3, 1), (0, 2)])
def test_the_plan_counts_as_the_golden_model(kind, tables):
    made = ranker(interaction=kind, user_tables=tables[0], item_tables=tables[1], dim=6)
    assert pair_params(made.sizes) == made.pairs == len(made.pair_shift)
    assert len(cross_rows(made.sizes)) == made.top_inputs == made.top[0].inputs


@pytest.mark.parametrize("late", [1, 2])
def test_late_products_leave_the_first_layer(late):
    sizes = {"user_tables": 2, "item_tables": 3, "dim": 6, "interaction": Interaction.PRODUCT}
    made = ranker(**sizes, late_products=late)
    assert list(late_rows(made.sizes)) == [*range(8, 14), *range(16, 22)][: 6 * late]
    assert len(cross_rows(made.sizes)) == made.top_inputs == 6 * (4 - late)
    assert made.top[-1].inputs == made.top[-2].outputs + 6 * late
    with pytest.raises(ValueError, match=r"late_products must be 0 with one top layer$"):
        replace(made, top=made.top[-1:])


def test_rejects_item_features_before_user_features():
    good = ranker()
    with pytest.raises(ValueError, match=r"user-side features must come first"):
        replace(good, features=good.features[::-1])


def test_rejects_relu_on_the_logit():
    good = ranker()
    last = replace(good.top[-1], relu=True)
    with pytest.raises(ValueError, match=r"the last top layer must have no ReLU"):
        replace(good, top=(*good.top[:-1], last))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": np.full((2, 4), -128, np.int8)}, r"must be in -127\.\.127, not -128"),
        ({"table": np.zeros((2, 4))}, r"f\.table must be int8"),
        ({"max_ids": 129, "multi_hot": True}, r"max_ids must be in 1\.\.128, not 129"),
        ({"max_ids": 2}, r"max_ids must be 1 \(single-hot\), not 2"),
        ({"shift": 48}, r"shift in 0\.\.47, not 0 and 48"),
        ({"side": "both"}, r"side must be 'user' or 'item', not 'both'"),
    ],
)
def test_features_reject(change, message):
    fields = {"name": "f", "side": "user", "table": np.zeros((2, 4), np.int8), "word": 0}
    with pytest.raises(ValueError, match=message):
        QuantisedFeature(**(fields | change))
