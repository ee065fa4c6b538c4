import numpy as np
import pytest

from rpaccel.perfmodel.layer_engine import (
    ArrayState,
    LayerShape,
    dependency_cycles,
    layer_cycles,
    layer_macs,
    layer_results,
    place_layer,
    result_cycles,
    row_cycles,
    score_cycles,
    tile_cycles,
    tile_latency_cycles,
)
from rpaccel.spec.accelerator import load_accelerator

EDGE = load_accelerator("edge")  # 16 x 16, blocks of 8


def place(layer, items, offered, before):
    return place_layer(EDGE, layer, np.array([items]), np.array([offered]), before)


def shape(k_folds=1, n_steps=1, stack=0, reads_act=False):
    return LayerShape(k_folds=k_folds, n_steps=n_steps, stack=stack, reads_act=reads_act)


def test_latencies_by_hand():
    # 2 * 7 skew and deskew, 3 in a cell, 1 to accumulate, 6 to requantise.
    assert tile_latency_cycles(EDGE) == 14 + 3 + 1 + 6
    # 2 to read, a register before and behind the array, 8 down to the second block row.
    assert score_cycles(EDGE) == 2 + 2 + 24 + 8
    assert row_cycles(EDGE) == 2 * 16 + 12
    assert dependency_cycles(EDGE) == score_cycles(EDGE) + 1


@pytest.mark.parametrize(("items", "cycles"), [(1, 16), (16, 16), (17, 17), (100, 100)])
def test_a_tile_takes_its_rows_or_the_next_load(items, cycles):
    assert tile_cycles(EDGE, items) == cycles


def test_first_layer_by_hand():
    times = place(shape(k_folds=3, n_steps=2), 100, 5, ArrayState.idle())
    assert times.taken == 5
    # Loading takes cycles 6..13, 2 more to settle; then five tiles of 100 before the last one.
    assert times.after.row == 6 + 8 + 2 + 5 * 100


def test_layers_follow_each_other_without_a_gap():
    first = place(shape(k_folds=2), 100, 0, ArrayState.idle()).after
    second = place(shape(reads_act=True), 100, 0, first)
    assert second.taken == first.row - 1
    assert second.after.row == first.row + 100


def test_a_short_layer_waits_for_its_inputs():
    first = place(shape(), 20, 0, ArrayState.idle()).after
    second = place(shape(reads_act=True), 20, 0, first)
    assert second.after.row == first.row + dependency_cycles(EDGE)
    free = place(shape(), 20, 0, first)
    assert free.after.row == first.row + 20


def test_another_stacking_lets_the_last_block_row_end():
    first = place(shape(), 100, 0, ArrayState.idle()).after
    assert place(shape(stack=1), 100, 0, first).after.row == first.row + 100 + 8


def test_results_leave_at_the_last_block_row_of_a_group():
    assert result_cycles(EDGE, 0) == score_cycles(EDGE)
    assert result_cycles(EDGE, 0, column=1) == row_cycles(EDGE)
    assert result_cycles(EDGE, 1) == score_cycles(EDGE) - 8


def test_results_of_a_layer_by_hand():
    work = shape(k_folds=3, n_steps=2)
    after = place(work, 100, 5, ArrayState.idle()).after
    first, last = layer_results(EDGE, work, np.array([100]), after)
    # The first row of the third of six tiles, which begin in 16, and the last of the sixth.
    assert first == 16 + 2 * 100 + score_cycles(EDGE)
    assert last == 16 + 5 * 100 + 99 + row_cycles(EDGE)
    assert last - 5 == layer_cycles(EDGE, work, 100)


@pytest.mark.parametrize("stack", [0, 1])
@pytest.mark.parametrize("items", [1, 16, 17, 1024])
def test_closed_form_of_a_layer_alone(items, stack):
    work = shape(n_steps=3, stack=stack)
    times = place(work, items, 7, ArrayState.idle())
    _, last = layer_results(EDGE, work, np.array([items]), times.after)
    assert last - times.taken == layer_cycles(EDGE, work, items)
    # 16 x 16 in blocks of 8: H + W + b + 14 = 54, or 46 with two groups.
    assert layer_cycles(EDGE, work, items) == 2 * max(items, 16) + items + (46 if stack else 54)


def test_macs():
    assert layer_macs(EDGE, 10, shape(k_folds=3, n_steps=2)) == 10 * 6 * 256
