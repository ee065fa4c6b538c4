import math

import numpy as np
import pytest

from rpaccel.golden.metrics import hit_rate, ndcg, rank_items, set_recall

IDS = np.array([7, 3, 9, 1])


def test_rank_breaks_ties_by_lower_id():
    assert rank_items(IDS, np.array([1.0, 2.0, 1.0, 2.0])).tolist() == [1, 3, 7, 9]


def test_rank_survives_lowest_int16():
    assert rank_items(np.array([0, 1]), np.array([-32768, 5], dtype=np.int16)).tolist() == [1, 0]


def test_ndcg_by_hand():
    # hits at ranks 1 and 3 of 3 relevant: (1 + 1/2) / (1 + 1/log2(3) + 1/2)
    expected = 1.5 / (1.5 + 1 / math.log2(3))
    assert ndcg(IDS, np.array([7, 9, 100]), 4) == pytest.approx(expected)


def test_ndcg_ideal_is_cut_at_k():
    assert ndcg(IDS, np.array([7, 3, 9, 1, 50, 51]), 2) == pytest.approx(1.0)


def test_ndcg_counts_relevant_items_that_were_never_served():
    assert ndcg(IDS[:1], np.array([7, 8]), 10) == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_hit_rate_looks_at_k_items():
    assert hit_rate(IDS, np.array([9]), 2) == 0.0
    assert hit_rate(IDS, np.array([9]), 3) == 1.0


def test_set_recall_ignores_order():
    assert set_recall(np.array([1, 2, 3]), np.array([3, 5, 1, 6])) == 0.5


def test_rejects():
    with pytest.raises(ValueError, match=r"^k must be at least 1, not 0"):
        ndcg(IDS, IDS, 0)
    with pytest.raises(ValueError, match=r"^relevant must hold at least 1"):
        hit_rate(IDS, np.array([], dtype=int), 1)
    with pytest.raises(ValueError, match=r"^scores must have one entry per item 4, not 1"):
        rank_items(IDS, np.array([1.0]))
