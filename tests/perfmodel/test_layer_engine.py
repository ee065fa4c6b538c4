import pytest

from rpaccel.perfmodel.layer_engine import layer_cycles, layer_macs, row_cycles, tile_cycles
from rpaccel.spec.accelerator import load_accelerator

EDGE = load_accelerator("edge")  # A = 16


def test_row_latency_by_hand():
    # read 2, array 2 * 15 + 3, accumulate 1, requantise 6
    assert row_cycles(EDGE) == 2 + 33 + 1 + 6


def test_one_tile_by_hand():
    # load 16, one row, drain
    assert layer_cycles(EDGE, items=1, k_folds=1, n_folds=1) == 16 + 1 + 42


@pytest.mark.parametrize(("items", "expected"), [(1, 32), (31, 32), (32, 32), (33, 33), (128, 128)])
def test_tiles_are_spaced_by_rows_or_by_loading(items, expected):
    assert tile_cycles(EDGE, items) == expected
    more = layer_cycles(EDGE, items, 2, 3) - layer_cycles(EDGE, items, 1, 1)
    assert more == 5 * expected


def test_array_is_never_faster_than_its_macs():
    for items in (1, 16, 128):
        cycles = layer_cycles(EDGE, items, 3, 2)
        assert cycles * EDGE.array_size**2 > layer_macs(EDGE, items, 3, 2)
