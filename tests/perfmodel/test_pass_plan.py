from itertools import pairwise

import pytest

from rpaccel.main_job.efficiency import MODELS, core_config
from rpaccel.perfmodel.lane import split_items
from rpaccel.perfmodel.pass_plan import PassPlan, best_passes
from rpaccel.perfmodel.sequencer import ProgramShape, core_times
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.program_plan import ModelSizes, plan_model

EDGE = load_accelerator("edge")
FILMS = plan_model(
    ModelSizes(
        dim=16, user_dense=4, item_dense=20, user_tables=4, item_tables=2, bottom=(64, 16),
        top=(64, 1),
    ),
    EDGE,
)  # fmt: skip


def cycles(plan, counts, item_cycles=0):
    shape = ProgramShape.of(plan.program, plan.row_bytes)
    walks = [item_cycles * count for count in counts]
    return int(core_times(plan.config, shape, counts, walks, -walks[0]).logit[-1, 0])


def test_counts_by_hand():
    passes = PassPlan(size=48, head=(16, 32), tail=(32, 16))
    assert passes.counts(96 + 100) == [16, 32, 48, 48, 32, 16, 4]
    assert passes.counts(96 + 88) == [16, 32, 48, 40, 32, 16]
    assert passes.counts(96) == [16, 32, 32, 16]
    assert (passes.middle(96 + 100), passes.middle(96)) == (2, 0)
    assert PassPlan(size=48).counts(96) == [48, 48]


def test_counts_reject_fewer_items_than_head_and_tail():
    with pytest.raises(ValueError, match=r"^items must be at least 48 \(head and tail\), not 47$"):
        PassPlan(size=64, head=(32,), tail=(16,)).counts(47)


@pytest.mark.parametrize("item_cycles", [0, 3])
@pytest.mark.parametrize("items", [16, 100, 1000, 2048])
def test_no_plan_is_faster(items, item_cycles):
    best = best_passes(FILMS, items, item_cycles)
    counts = best.counts(items)
    assert sum(counts) == items
    assert max(counts) <= FILMS.most_items
    least = cycles(FILMS, counts, item_cycles)
    others = [split_items(items, size) for size in (16, 32, 48, 64, 96, 128)]
    ends = [(), (64,), (64, 32), (64, 32, 16)]
    others += [
        PassPlan(size=96, head=head[::-1], tail=tail).counts(items)
        for head in ends
        for tail in ends
        if sum(head) + sum(tail) + 96 <= items
    ]
    assert least == min(cycles(FILMS, [*other], item_cycles) for other in [counts, *others])


def test_passes_grow_and_shrink():
    best = best_passes(FILMS, 2048, 3)
    assert best.head
    assert best.tail
    assert all(b == 2 * a for a, b in pairwise(best.head))
    assert all(a == 2 * b for a, b in pairwise(best.tail))
    assert max(*best.head, *best.tail) < best.size


def test_rmlarge_on_128_comes_within_3_percent_of_the_bound():
    plan = plan_model(MODELS["rmlarge"].sizes, core_config(128, tuple(MODELS.values()), 1024))
    counts = best_passes(plan, 8192, 8).counts(8192)
    bound = plan.tiles * 8192
    assert bound / cycles(plan, counts, 8) >= 0.97
    assert bound / min(cycles(plan, split_items(8192, 1 << n), 8) for n in range(6, 11)) < 0.96


def test_needs_items_of_a_tile():
    with pytest.raises(
        ValueError, match=r"^most_items and items must be at least 16 \(2 b\), not 15$"
    ):
        best_passes(FILMS, 15)
