import numpy as np
import pytest

from rpaccel.perfmodel.schedule import double_buffered, split_items


def test_compute_bound_by_hand():
    line = double_buffered([2, 2, 2, 2], [5, 5, 5, 5])
    assert line.compute_start.tolist() == [2, 7, 12, 17]
    assert line.compute_end[-1] == 22  # one gather, then compute without a gap
    assert line.gather_start.tolist() == [0, 2, 7, 12]  # the third waits for the first's bank


def test_gather_bound_by_hand():
    line = double_buffered([5, 5, 5], [2, 2, 2])
    assert line.gather_start.tolist() == [0, 5, 10]
    assert line.compute_end[-1] == 17


def test_start_handover_and_release():
    line = double_buffered([2, 2, 2], [5, 5, 5], start=10, handover=1, release=3)
    assert line.gather_start.tolist() == [10, 12, 21]
    assert line.compute_start.tolist() == [13, 18, 24]


def test_many_points_at_once():
    rng = np.random.default_rng(0)
    gather, compute = rng.integers(0, 50, (2, 6, 40))
    start = rng.integers(0, 9, 40)
    line = double_buffered(gather, compute, start=start, handover=2, release=1)
    for point in range(40):
        alone = double_buffered(
            gather[:, point], compute[:, point], start=int(start[point]), handover=2, release=1
        )
        for together, single in zip(line, alone, strict=True):
            assert together[:, point].tolist() == single.tolist()


def test_between_its_bounds():
    rng = np.random.default_rng(1)
    for _ in range(200):
        gather, compute = rng.integers(0, 100, (2, rng.integers(1, 12)))
        end = double_buffered(gather, compute).compute_end[-1]
        assert max(gather.sum() + compute[-1], gather[0] + compute.sum()) <= end
        assert end <= gather.sum() + compute.sum()


def test_never_faster_when_a_part_is_slower():
    rng = np.random.default_rng(2)
    for _ in range(100):
        gather, compute = rng.integers(0, 100, (2, 8))
        slower = gather.copy()
        slower[rng.integers(8)] += 10
        end = double_buffered(gather, compute).compute_end[-1]
        assert double_buffered(slower, compute).compute_end[-1] >= end
        assert (
            double_buffered(compute, slower).compute_end[-1]
            >= (double_buffered(compute, gather).compute_end[-1])
        )


def test_split():
    assert split_items(10, 4) == [4, 4, 2]
    assert split_items(8, 4) == [4, 4]
    assert split_items(3, 4) == [3]
    with pytest.raises(ValueError, match=r"^items and sub_batch must be at least 1, not 0, 4"):
        split_items(0, 4)


def test_rejects_unequal_lengths():
    with pytest.raises(ValueError, match=r"^gather and compute must have equal lengths"):
        double_buffered([1], [1, 2])
