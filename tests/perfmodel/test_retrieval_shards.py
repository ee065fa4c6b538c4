from itertools import product
from math import comb

import numpy as np
import pytest

from rpaccel.golden.retrieval import top_k
from rpaccel.perfmodel import retrieval_shards as shards

ROWS = 1 << 20


def certified(scores, cut, count, k, kept):
    """Ask shards for their `kept` best; return (the certificate holds, the answer is exact)."""
    answers = [np.flatnonzero(cut == one) for one in range(count)]
    answers = [rows[top_k(scores[rows], kept, rows)] for rows in answers]
    names = np.concatenate(answers)
    merged = names[top_k(scores[names], k, names)]
    full = [rows[-1] for rows in answers if len(rows) == kept]
    holds = len(merged) == k and all(
        (scores[last], -last) <= (scores[merged[-1]], -merged[-1]) for last in full
    )
    return holds, merged.tolist() == top_k(scores, k).tolist()


@pytest.mark.parametrize(("rows", "count", "k", "kept"), [(8, 2, 3, 2), (6, 3, 2, 1), (8, 4, 4, 2)])
def test_second_round_counts_all_cuts(rows, count, k, kept):
    """Every cut into equal shards, with the certificate on real answers."""
    scores = np.random.default_rng(3).permutation(rows)
    cuts = [
        np.array(cut)
        for cut in product(range(count), repeat=rows)
        if all(cut.count(one) == rows // count for one in range(count))
    ]
    found = [certified(scores, cut, count, k, kept) for cut in cuts]
    assert all(exact for holds, exact in found if holds)
    again = np.mean([not holds for holds, _ in found])
    assert shards.second_round(rows, k, count, kept) == pytest.approx(again, abs=1e-12)


def test_two_shards_by_hand():
    """Of 3 winners all in one of two shards of 4 rows: 2 C(4, 3) / C(8, 3)."""
    assert shards.second_round(8, 4, 2, 3) == pytest.approx(2 * comb(4, 3) / comb(8, 3))


def test_ends():
    assert shards.second_round(ROWS, 1024, 16, 1024) == 0
    assert shards.second_round(ROWS, 1024, 16, 64) == pytest.approx(1)  # 16 x 64 is only just k
    assert shards.second_round(64, 64, 4, 16) == 1
    chances = [shards.second_round(ROWS, 1024, 8, kept) for kept in range(130, 200, 5)]
    assert chances == sorted(chances, reverse=True)


@pytest.mark.parametrize(("count", "percent", "millionth"),
                         [(4, 295, 328), (8, 161, 186), (16, 90, 109), (32, 53, 66)])  # fmt: skip
def test_kept_rows_of_the_published_table(count, percent, millionth):
    """The table is for more than `kept` winners; `kept` of them may be a false alarm: one more."""
    assert shards.kept_rows(ROWS, 1024, count, 0.01) - percent in {0, 1}
    assert shards.kept_rows(ROWS, 1024, count, 1e-6) - millionth in {0, 1}


@pytest.mark.parametrize(("count", "kept"), [(2, 530), (8, 150), (16, 85)])
def test_simulation_agrees(count, kept):
    chance = shards.second_round(ROWS, 1024, count, kept)
    trials = 4000
    simulated = shards.simulate_second_rounds(ROWS, 1024, count, kept, trials)
    assert abs(simulated - chance) <= 4 * np.sqrt(chance * (1 - chance) / trials)


def test_copies_and_shards():
    copies = shards.replicate(4, 1e-3, 3000.0)
    assert (copies.latency_s, copies.queries_per_s, copies.merged_rows) == (1e-3, 12_000, 0)
    free = shards.shard(4, 1e-3, 1e-5, 3, 1024, 1024, 0.0)
    assert free.queries_per_s == pytest.approx(12_000)
    assert free.latency_s == pytest.approx(0.25e-3 + 1e-5)
    merged = shards.shard(4, 1e-3, 1e-5, 3, 1024, 1024, 1e-7)  # 0.41 ms of host per query
    assert merged.queries_per_s == pytest.approx(1 / 4096e-7)
    assert merged.latency_s == pytest.approx(free.latency_s + 4096e-7)
    short = shards.shard(4, 1e-3, 1e-5, 3, 300, 1024, 1e-7, 0.01)
    assert short.merged_rows == pytest.approx(1200 + 0.01 * 4096)
    assert short.latency_s == pytest.approx(1.01 * free.latency_s + 1e-7 * short.merged_rows)


def test_rejects():
    with pytest.raises(ValueError, match=r"^kept must be at least 1, not 0$"):
        shards.second_round(8, 2, 2, 0)
    with pytest.raises(ValueError, match=r"^rows must be a multiple of 3 shards and at least k"):
        shards.second_round(8, 2, 3, 1)
