from dataclasses import replace

import pytest

from rpaccel.perfmodel.lane import split_items
from rpaccel.perfmodel.networks import RM_SMALL
from rpaccel.perfmodel.sequencer import ProgramShape, core_times
from rpaccel.perfmodel.sub_batch import best_sub_batch
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.program_plan import ModelSizes, plan_model

EDGE = load_accelerator("edge")
FILMS = ModelSizes(
    dim=16, user_dense=4, item_dense=20, user_tables=4, item_tables=2, bottom=(64, 16), top=(64, 1)
)


def cycles(plan, items, sub_batch, gathered):
    """A record takes the walker 2 cycles, one per dense beat and one per row; then 150."""
    shape, config = ProgramShape.of(plan.program, plan.row_bytes), plan.config
    sizes = split_items(items, sub_batch)
    dense = plan.item_dense_words * config.array_size // config.beat_bytes
    rows = plan.sizes.item_tables * max(1, plan.row_bytes // config.beat_bytes)
    walks = [-(-size // config.gather_ports) * (2 + dense + rows) for size in sizes]
    banks = 4 if sub_batch <= plan.quarter_items else 2
    data = ([0] * len(sizes), 0, 0) if gathered else (walks, 0, 150)
    return int(core_times(config, shape, sizes, *data, banks).logit[-1, 0])


@pytest.mark.parametrize("gathered", [False, True])
@pytest.mark.parametrize("items", [1, 15, 200, 2048])
@pytest.mark.parametrize("dim", [4, 16, 64])
def test_no_candidate_is_faster(items, dim, gathered):
    plan = plan_model(replace(FILMS, dim=dim, bottom=(64, dim)), EDGE)
    best = best_sub_batch(plan, items, gathered=gathered)
    assert 1 <= best <= plan.most_items
    others = [n for n in (16, 32, 64, min(plan.most_items, items)) if n <= plan.most_items]
    least = min(cycles(plan, items, n, gathered) for n in others)
    assert cycles(plan, items, best, gathered) == least


def test_half_the_items_at_a_time_beat_all_at_once():
    plan = plan_model(FILMS, EDGE)
    assert plan.most_items == 128
    assert best_sub_batch(plan, 128) < 128
    assert best_sub_batch(plan) == best_sub_batch(plan, EDGE.max_items)


def test_what_must_be_gathered_comes_in_smaller_sub_batches():
    """RMsmall on a block of `paper`: 84 items fit, and the array alone would take them all."""
    lane = load_accelerator("paper").lane(6)
    plan = plan_model(RM_SMALL.sizes, lane)
    assert (plan.most_items, plan.quarter_items) == (84, 64)
    assert best_sub_batch(plan, gathered=True) == 84
    assert best_sub_batch(plan) == 64


def test_a_tile_is_never_shorter_than_loading_the_next_one():
    tiny = load_accelerator("tiny")
    plan = plan_model(replace(FILMS, dim=4, bottom=(8, 4)), tiny)
    assert best_sub_batch(plan, 1000) >= 2 * tiny.block_size


def test_needs_room_for_an_item():
    narrow = EDGE.model_copy(update={"cross_words": 1})
    with pytest.raises(ValueError, match=r"^most_items must be at least 1, not 0"):
        best_sub_batch(plan_model(FILMS, narrow))
