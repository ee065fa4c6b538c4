from dataclasses import replace

import pytest

from rpaccel.perfmodel.lane import split_items
from rpaccel.perfmodel.sequencer import ProgramShape, core_times
from rpaccel.perfmodel.sub_batch import best_sub_batch
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.program_plan import ModelSizes, plan_model

EDGE = load_accelerator("edge")
FILMS = ModelSizes(
    dim=16, user_dense=4, item_dense=20, user_tables=4, item_tables=2, bottom=(64, 16), top=(64, 1)
)


def cycles(plan, items, sub_batch):
    shape = ProgramShape.of(plan.program, plan.row_bytes)
    times = core_times(plan.config, shape, split_items(items, sub_batch))
    return int(times.logit[-1, 0])


@pytest.mark.parametrize("items", [1, 15, 200, 2048])
@pytest.mark.parametrize("dim", [4, 16, 64])
def test_no_candidate_is_faster(items, dim):
    plan = plan_model(replace(FILMS, dim=dim, bottom=(64, dim)), EDGE)
    best = best_sub_batch(plan, items)
    assert 1 <= best <= plan.most_items
    others = [n for n in (16, 32, 64, min(plan.most_items, items)) if n <= plan.most_items]
    assert cycles(plan, items, best) == min(cycles(plan, items, n) for n in others)


def test_half_the_items_at_a_time_beat_all_at_once():
    plan = plan_model(FILMS, EDGE)
    assert plan.most_items == 128
    assert best_sub_batch(plan, 128) < 128
    assert best_sub_batch(plan) == best_sub_batch(plan, EDGE.max_items)


def test_a_tile_is_never_shorter_than_loading_the_next_one():
    tiny = load_accelerator("tiny")
    plan = plan_model(replace(FILMS, dim=4, bottom=(8, 4)), tiny)
    assert best_sub_batch(plan, 1000) >= 2 * tiny.block_size


def test_needs_room_for_an_item():
    narrow = EDGE.model_copy(update={"cross_words": 1})
    with pytest.raises(ValueError, match=r"^most_items must be at least 1, not 0"):
        best_sub_batch(plan_model(FILMS, narrow))
