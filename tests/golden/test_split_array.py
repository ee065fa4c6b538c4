import numpy as np
import pytest

from rpaccel.golden.split_array import (
    Pass,
    Rectangle,
    check_partition,
    lane_results,
    pass_sums,
)
from rpaccel.golden.systolic_array import matmul

SIZE = 4


def random_pass(rng, shape, cuts, taps, items=3, **update):
    rows, cols = shape
    ones = np.ones((rows, cols, SIZE), dtype=int)
    values = {
        "inputs": rng.integers(-128, 128, (items, rows, SIZE)),
        "weights": rng.integers(-128, 128, (rows, cols, SIZE, SIZE)),
        "cuts": cuts,
        "taps": taps,
        "bias": 0 * ones,
        "multiplier": ones,
        "shift": 9 * ones,
    }
    return Pass(**values | update)


def test_one_group_is_a_matrix_product():
    rng = np.random.default_rng(0)
    one = random_pass(rng, (3, 2), (True, False, False), (False, False, True))
    matrix = one.weights.transpose(0, 2, 1, 3).reshape(3 * SIZE, 2 * SIZE)
    expected = matmul(one.inputs.reshape(3, 3 * SIZE), matrix)
    sums = pass_sums(one)
    assert list(sums) == [2]
    assert np.hstack(list(sums[2])).tolist() == expected.tolist()


def test_stacked_groups_are_products_of_their_own():
    rng = np.random.default_rng(1)
    both = random_pass(rng, (2, 2), (True, True), (True, True))
    for row in range(2):
        single = random_pass(
            rng, (1, 2), (True,), (True,),
            inputs=both.inputs[:, row : row + 1], weights=both.weights[row : row + 1],
        )  # fmt: skip
        assert pass_sums(both)[row].tolist() == pass_sums(single)[0].tolist()


def test_a_tap_without_a_cut_below_does_not_end_the_sums():
    ones = random_pass(
        np.random.default_rng(2), (2, 1), (True, False), (True, True),
        inputs=np.ones((1, 2, SIZE)), weights=np.ones((2, 1, SIZE, SIZE)),
    )  # fmt: skip
    sums = pass_sums(ones)
    assert sums[0].tolist() == [[[SIZE] * SIZE]]
    assert sums[1].tolist() == [[[2 * SIZE] * SIZE]]


def test_k_folds_add_up():
    rng = np.random.default_rng(3)
    folds = [
        random_pass(rng, (2, 1), (True, True), (True, True), first_k=k == 0, last_k=k == 2)
        for k in range(3)
    ]
    (result,) = lane_results(folds)
    for row in range(2):
        total = sum(pass_sums(one)[row] for one in folds)
        assert result[row].tolist() == np.clip(np.rint(total / 512), -127, 127).tolist()


def test_score_keeps_channel_0_of_each_block():
    rng = np.random.default_rng(4)
    one = random_pass(rng, (1, 2), (True,), (True,), score=True, relu=True)
    (result,) = lane_results([one])
    assert result[0].shape == (2, 3)
    assert result[0].tolist() == np.rint(pass_sums(one)[0][..., 0] / 512).tolist()


def test_partition():
    corner = Rectangle(row=1, col=1, rows=1, cols=1)
    top = Rectangle(row=0, col=0, rows=1, cols=2)
    nothing = Rectangle(row=0, col=0, rows=0, cols=2)
    assert top.tiles == {(0, 0), (0, 1)}
    check_partition(2, [corner, top, nothing])


def test_rejects_partitions():
    top = Rectangle(row=0, col=0, rows=1, cols=2)
    left = Rectangle(row=0, col=0, rows=2, cols=1)
    with pytest.raises(ValueError, match=r"^tile \(0, 0\) must have one owner, not 0 and 1$"):
        check_partition(2, [top, left])
    with pytest.raises(ValueError, match=r"^lane 0 must stay inside 1 blocks, not own \(0, 1\)$"):
        check_partition(1, [top])
