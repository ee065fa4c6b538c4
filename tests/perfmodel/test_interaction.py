from rpaccel.perfmodel.interaction import (
    drain_cycles,
    interaction_cycles,
    interaction_macs,
    item_cycles,
)
from rpaccel.spec.accelerator import load_accelerator

EDGE = load_accelerator("edge")  # A = 16


def test_item_by_hand():
    # F = 3: hold 0, hold 1, 0, hold 2, 0, 1
    assert item_cycles(vectors=3, vector_words=1) == 6
    assert item_cycles(vectors=3, vector_words=2) == 12


def test_drain_by_hand():
    # read 2, product and four additions 5, sum 1, requantise 6, pack 1
    assert drain_cycles(EDGE) == 15


def test_items_follow_each_other():
    assert interaction_cycles(EDGE, 10, 3, 1) == 10 * 6 + 15


def test_never_faster_than_its_macs():
    cycles = interaction_cycles(EDGE, 7, 9, 2)
    assert cycles * EDGE.array_size > interaction_macs(EDGE, 7, 9, 2)
