import numpy as np
import pytest

from rpaccel.golden.block_retrieval import best_rows, retrieve_blocks
from rpaccel.golden.corpus import (
    CorpusQuery,
    LiveWrite,
    RowWrite,
    ScaleWrite,
    after,
    new_corpus,
    qualifies,
    retrieve,
    scores_of,
)
from rpaccel.golden.retrieval import cosine_scales, top_k
from rpaccel.spec.isa import StatusFlag
from rpaccel.spec.retrieval import Metric
from rpaccel.workloads.score_orders import score_orders

ORDERS = tuple(score_orders(8, 2, 2, 16, 0))


def int8(rng, *shape):
    return rng.integers(-128, 128, shape).astype(np.int8)


def same(got, want):
    assert got.ids.tolist() == want.ids.tolist()
    assert got.scores.tolist() == want.scores.tolist()
    assert (got.found, got.flags) == (want.found, want.flags)


def by_hand(corpus, query):
    found = []
    for row in range(corpus.count):
        a, b = corpus.rows[row].astype(int).tolist(), query.vector.astype(int).tolist()
        score = sum(x * y for x, y in zip(a, b, strict=True))
        if corpus.metric is Metric.L2:
            score = -sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
        elif corpus.metric is Metric.COSINE:
            score = score * int(corpus.scales[row]) // 256
        looked_at = corpus.live[row] and (query.bitmap is None or query.bitmap[row])
        if looked_at and (query.floor is None or score >= query.floor):
            found.append((-score, row))
    found.sort()
    if query.page is not None:
        found = [key for key in found if key > (-query.page[0], query.page[1])]
    return [(row, -score) for score, row in found[: query.k]], len(found)


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("seed", range(3))
def test_by_hand_and_by_blocks(metric, seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-2, 3, (70, 16)).astype(np.int8)  # many equal scores
    corpus = new_corpus(rows, metric, live=rng.random(70) < 0.8, capacity=96)
    queries = []
    for k in (1, 7, 33, 200):
        vector = rng.integers(-2, 3, 16).astype(np.int8)
        middle = int(np.median(scores_of(corpus, vector)))
        queries += [
            CorpusQuery(vector=vector, k=k),
            CorpusQuery(vector=vector, k=k, floor=middle),
            CorpusQuery(vector=vector, k=k, page=(middle, 30)),
            CorpusQuery(vector=vector, k=k, bitmap=rng.random(70) < 0.5, floor=middle - 3,
                        page=(middle + 2, 3)),
        ]  # fmt: skip
    for block_rows in (1, 16, 70, 100):
        for query, got in zip(queries, retrieve_blocks(corpus, queries, block_rows), strict=True):
            same(got, retrieve(corpus, query))
            rows_found, found = by_hand(corpus, query)
            assert list(zip(got.ids.tolist(), got.scores.tolist(), strict=True)) == rows_found
            assert got.found == found
            assert (StatusFlag.UNDERFILL in got.flags) == (found < query.k)
            more = query.floor is not None and found > query.k
            assert (StatusFlag.OVERFILL in got.flags) == more
            assert got.overshoot == found - len(rows_found)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("k", [1, 7, 39, 40, 41])
def test_best_rows_is_a_full_sort(order, k):
    scores, ids = score_orders(40, 4, 7, 16, seed=k)[order], np.arange(40)
    assert best_rows(scores, ids, k).tolist() == top_k(scores, k).tolist()


def test_pages_are_the_whole_order():
    rng = np.random.default_rng(4)
    corpus = new_corpus(rng.integers(-1, 2, (100, 16)).astype(np.int8))
    vector = rng.integers(-1, 2, 16).astype(np.int8)
    seen, page = [], None
    while True:
        found = retrieve(corpus, CorpusQuery(vector=vector, k=9, page=page))
        assert found.found == 100 - len(seen)
        if found.next_page is None:
            break
        seen += found.ids.tolist()
        page = found.next_page
    assert seen == top_k(scores_of(corpus, vector), 100).tolist()


def test_extremes_are_exact_in_blocks():
    rows = np.full((40, 512), -128, dtype=np.int8)
    rows[3:] = 127
    rows[9, ::2] = -128
    for metric in Metric:
        corpus = new_corpus(rows, metric)
        queries = [CorpusQuery(vector=row, k=40) for row in rows[[0, 3, 9]]]
        for query, got in zip(queries, retrieve_blocks(corpus, queries, 16), strict=True):
            same(got, retrieve(corpus, query))
    wide = new_corpus(np.zeros((1, 1024), dtype=np.int8))
    with pytest.raises(ValueError, match=r"^rows must have at most 512 bytes, not 1024$"):
        retrieve_blocks(wide, [])


@pytest.mark.slow
@pytest.mark.parametrize("metric", Metric)
def test_a_million_rows(metric):
    rng = np.random.default_rng(5)
    corpus = new_corpus(int8(rng, 1 << 20, 32), metric, live=rng.random(1 << 20) < 0.9)
    queries = [CorpusQuery(vector=int8(rng, 32), k=k) for k in (1, 1000, 4096)]
    for query, got in zip(queries, retrieve_blocks(corpus, queries), strict=True):
        same(got, retrieve(corpus, query))


def test_epochs():
    rng = np.random.default_rng(6)
    first = new_corpus(int8(rng, 40, 16), Metric.COSINE, capacity=70)
    row, other = int8(rng, 16), int8(rng, 16)
    scale = int(cosine_scales(row[None])[0])
    updates = [
        LiveWrite(word=1, bits=0xFFFF_FFFE),  # deletes row 32
        ScaleWrite(word=20, scales=(scale, 0)),
        RowWrite(row=40, values=row, count=41),
        RowWrite(row=40, values=other, count=41),  # stale
        RowWrite(row=3, values=other),
        LiveWrite(word=2, bits=0b111101),  # rows 64.., up to the capacity
    ]
    states = [after(first, updates, epoch) for epoch in range(len(updates) + 1)]
    assert [state.count for state in states] == [40, 40, 40, 41, 41, 41, 41]
    assert not states[1].live[32] and states[1].live[33] and states[0].live[32]
    assert states[2].scales[40] == scale
    assert (states[4].rows[40] == row).all()
    assert (states[5].rows[3] == other).all() and (first.rows[3] == states[4].rows[3]).all()
    assert states[6].live[64:].tolist() == [True, False, True, True, True, True]
    assert 32 in retrieve(states[0], CorpusQuery(vector=row, k=70)).ids
    assert 32 not in retrieve(states[1], CorpusQuery(vector=row, k=70)).ids
    assert 40 in retrieve(states[3], CorpusQuery(vector=row, k=1)).ids


def test_a_long_row_comes_in_pieces():
    rng = np.random.default_rng(7)
    first, row = new_corpus(int8(rng, 3, 64), capacity=4), int8(rng, 64)
    updates = [
        RowWrite(row=3, values=row[:32]),
        RowWrite(row=3, values=row[32:], offset=32, count=4),
        RowWrite(row=1, values=row[16:32], offset=16),
    ]
    states = [after(first, updates, epoch) for epoch in range(4)]
    assert [state.count for state in states] == [3, 3, 4, 4]
    assert (states[2].rows[3] == row).all() and (states[2].rows[:3] == first.rows[:3]).all()
    changed = np.flatnonzero((states[3].rows[1] == row) & (first.rows[1] != row))
    assert len(changed) > 12 and set(changed) <= set(range(16, 32))
    assert (states[3].rows[1, 32:] == first.rows[1, 32:]).all()


def test_qualifies_is_strictly_behind_a_page():
    scores = np.array([5, 4, 4, 3])
    query = CorpusQuery(vector=np.zeros(1, np.int8), k=1, page=(4, 1))
    wanted = qualifies(scores, np.arange(4), np.ones(4, dtype=bool), query)
    assert wanted.tolist() == [False, False, True, True]


def test_rejects():
    corpus = new_corpus(np.zeros((2, 4), dtype=np.int8))
    with pytest.raises(ValueError, match=r"^epoch must be in 0..0, not 1$"):
        after(corpus, [], 1)
    with pytest.raises(ValueError, match=r"^capacity must be at least 2 rows, not 1$"):
        new_corpus(corpus.rows, capacity=1)
