import pytest

from rpaccel.golden.interaction import interaction_params, interaction_width
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Interaction, Op
from rpaccel.spec.program_plan import (
    ModelSizes,
    cross_bytes,
    cross_rows,
    pair_params,
    plan_model,
    row_bytes_of,
)

TINY = load_accelerator("tiny")
GRID = TINY.model_copy(  # 8 x 8 blocks of 4 x 4, 4 engines
    update={"array_size": 32, "sub_batch_max": 4096, "act_words": 4096, "dense_words": 4096,
            "feature_words": 1024, "cross_words": 4096}
)  # fmt: skip


def sizes(**changed):
    usual = {
        "dim": 8, "user_dense": 3, "item_dense": 5, "user_tables": 2, "item_tables": 2,
        "bottom": (12, 8), "top": (16, 1),
    }  # fmt: skip
    usual |= changed
    usual["bottom"] = (*usual["bottom"][:-1], usual["dim"])
    return ModelSizes(**usual)


@pytest.mark.parametrize(("dim", "row_bytes"), [(1, 4), (4, 4), (5, 8), (16, 16), (65, 128)])
def test_row_bytes(dim, row_bytes):
    assert row_bytes_of(dim) == row_bytes


@pytest.mark.parametrize(
    ("inputs", "words", "stack", "steps"),
    [
        (32, 16, 0, 16),  # the inputs need all block rows
        (17, 16, 0, 16),
        (16, 16, 1, 8),
        (8, 16, 2, 4),
        (5, 16, 2, 4),
        (4, 16, 3, 2),
        (4, 3, 2, 1),  # 8 groups take no fewer steps
        (4, 9, 3, 2),
        (4, 1, 0, 1),
    ],
)
def test_stacking_by_hand(inputs, words, stack, steps):
    plan = plan_model(sizes(user_dense=0, item_dense=inputs, bottom=(32 * words - 1, 6, 0)), GRID)
    first, second = plan.bottom[:2]
    assert (first.stack, first.n_steps) == (stack, steps)
    assert first.destination_stride == steps << stack
    assert (second.words_b, second.stride) == (words, steps << stack)


def test_a_layer_of_user_inputs_stacks():
    first = plan_model(sizes(user_dense=7, item_dense=0, bottom=(100, 0)), GRID).bottom[0]
    assert (first.words_a, first.words_b, first.stack, first.n_steps) == (1, 0, 2, 1)


def test_only_hidden_layers_of_one_fold_stack():
    plan = plan_model(sizes(dim=128, bottom=(64, 4, 0), top=(3, 1)), GRID)
    assert [(x.k_folds, x.n_steps, x.stack) for x in plan.bottom] == [
        (2, 2, 0), (2, 1, 0), (1, 4, 0),
    ]  # fmt: skip
    assert [(x.n_steps, x.stack) for x in plan.top] == [(1, 0), (1, 0)]


def test_one_block_never_stacks():
    one = GRID.model_copy(update={"block_size": 32})
    plan = plan_model(sizes(user_dense=0, item_dense=1, bottom=(512, 0)), one)
    assert [x.stack for x in plan.layers] == [0] * 4


@pytest.mark.parametrize(
    ("update", "sub_batch"),
    [
        ({}, 16),
        ({"act_words": 16}, 16 // 2),
        ({"cross_words": 32}, 32 // 3),
        ({"feature_words": 16}, 16 // 2),
        ({"dense_words": 8}, 8),
        ({"act_words": 1}, 0),
    ],
)
def test_sub_batch_is_the_largest_that_fits(update, sub_batch):
    assert plan_model(sizes(), TINY.model_copy(update=update)).most_items == sub_batch


@pytest.mark.parametrize(
    ("update", "quarter"),
    [
        ({}, 8),  # half of sub_batch_max
        ({"act_words": 8}, 8 // 2),  # activations keep all of their memory
        ({"cross_words": 16}, 16 // 3),
        ({"feature_words": 8}, 4 // 2),  # half of a bank
        ({"dense_words": 8}, 4),
        ({"dense_words": 1}, 0),
    ],
)
def test_a_quarter_of_the_item_memories_holds_half_of_a_bank(update, quarter):
    plan = plan_model(sizes(), TINY.model_copy(update=update))
    assert plan.slot["quarter_items"] == plan.quarter_items == quarter


@pytest.mark.parametrize(
    ("update", "sub_batch"),
    [
        ({"cross_words": 64}, 4 * (16 // 9)),  # one memory of 64 words would hold 7 items
        ({"feature_words": 128}, 4 * (64 // 40)),
        ({}, 4 * (512 // 40)),
    ],
)
def test_engines_share_a_sub_batch(update, sub_batch):
    config = GRID.model_copy(update=update)
    plan = plan_model(sizes(dim=30, user_tables=1, item_tables=20), config)
    # 32 + 231 B: 9 words. 20 vectors of 2 chunks.
    assert (config.engines, plan.cross_stride, plan.item_vector_words) == (4, 9, 40)
    assert plan.most_items == sub_batch


@pytest.mark.parametrize(
    ("kind", "size", "rows"),
    [
        # v0 in 8 bytes, then 10 pairs.
        (Interaction.DOT, 18, [0, 1, 2, 3, 4, *range(8, 18)]),
        # v0 and 4 vectors of 5 values in 8 bytes each.
        (Interaction.CONCAT, 40, [8 * v + x for v in range(5) for x in range(5)]),
        # v0, the product of the first two, and the two item vectors left over.
        (Interaction.PRODUCT, 32, [8 * v + x for v in range(4) for x in range(5)]),
    ],
)
def test_interaction_rows_by_hand(kind, size, rows):
    model = sizes(dim=5, user_tables=1, item_tables=3, interaction=kind)
    assert cross_bytes(model) == size
    assert list(cross_rows(model)) == rows
    pairs = {Interaction.DOT: 10, Interaction.CONCAT: 0, Interaction.PRODUCT: 1}
    assert pair_params(model) == pairs[kind]
    plan = plan_model(model, TINY)
    assert plan.cross_stride == plan.top[0].words_b == -(-size // 8)
    step = plan.program[2]
    assert (step["kind"], step["user_vectors"], step["item_vectors"]) == (kind, 1, 3)


@pytest.mark.parametrize("kind", Interaction)
@pytest.mark.parametrize(("user", "item"), [(0, 3), (3, 0), (2, 4), (5, 1)])
def test_interaction_is_as_wide_as_golden(kind, user, item):
    model = sizes(dim=8, user_tables=user, item_tables=item, interaction=kind)
    assert cross_bytes(model) == interaction_width(kind, 8, user, item)
    assert pair_params(model) == interaction_params(kind, user, item)


def test_rows_wider_than_a_word():
    plan = plan_model(sizes(dim=33, interaction=Interaction.CONCAT), TINY)
    # 33 values in rows of 64 B: the last vector is written in full, 5 * 64 B.
    assert (plan.row_bytes, plan.cross_stride, plan.bottom[-1].n_steps) == (64, 40, 8)
    assert plan.top[0].inputs == 5 * 33


@pytest.mark.parametrize(("user", "item"), [(0, 3), (2, 0)])
def test_a_product_of_one_side_is_a_concatenation(user, item):
    shape = sizes(user_tables=user, item_tables=item, interaction=Interaction.PRODUCT)
    interact = next(step for step in plan_model(shape, TINY).program if step["op"] == Op.INTERACT)
    assert interact["kind"] == Interaction.CONCAT
