"""What queries find in a large corpus: golden.corpus.retrieve, block by block, by BLAS.

Ref: IEEE 754: sums of products in float32 are exact, in any order, while every one of them is an
integer of at most 2**24. 512 products of int8 are at most 512 * 2**14 = 2**23.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rpaccel.golden.corpus import Corpus, CorpusQuery, Found, answer, qualifies
from rpaccel.golden.retrieval import SCALE_BITS, top_k
from rpaccel.spec.retrieval import MAX_ROW_BYTES, Metric

__all__ = ["best_rows", "retrieve_blocks"]

Ints = npt.NDArray[np.int64]
BLOCK_ROWS = 1 << 14


def best_rows(scores: Ints, ids: Ints, k: int) -> Ints:
    """Return positions of the `k` best by (score descending, id ascending), int64[<= k].

    golden.retrieval.top_k without a sort of all. ids : int64[n], ascending.
    """
    if k < len(scores):
        kth = np.partition(scores, len(scores) - k)[len(scores) - k]
        above = np.flatnonzero(scores > kth)
        equal = np.flatnonzero(scores == kth)[: k - len(above)]
        places = np.concatenate([above, equal])
    else:
        places = np.arange(len(scores))
    return places[top_k(scores[places], k, ids[places])]


def retrieve_blocks(
    corpus: Corpus, queries: Sequence[CorpusQuery], block_rows: int = BLOCK_ROWS
) -> list[Found]:
    """Return what `golden.corpus.retrieve` finds for each query; rows are read once for all.

    Raises ValueError for rows of more than 512 bytes.
    """
    width = corpus.rows.shape[1]
    if width > MAX_ROW_BYTES:
        raise ValueError(f"rows must have at most {MAX_ROW_BYTES} bytes, not {width}")
    vectors = np.array([query.vector for query in queries], dtype=np.float32).reshape(-1, width)
    nothing: Ints = np.zeros(0, dtype=np.int64)
    best = [(nothing, nothing, 0) for _ in queries]  # ids ascending, scores, found
    for start in range(0, corpus.count, block_rows):
        end = min(start + block_rows, corpus.count)
        products = (corpus.rows[start:end].astype(np.float32) @ vectors.T).astype(np.int64)
        ids = np.arange(start, end)
        live = corpus.live[start:end]
        scored = _scores(corpus, products, vectors, start, end)
        for place, query in enumerate(queries):
            best[place] = _merge(best[place], scored[:, place], ids, live, query)
    answers = []
    for query, (ids, scores, found) in zip(queries, best, strict=True):
        order = top_k(scores, query.k, ids)
        answers.append(answer(query, ids[order], scores[order], found))
    return answers


def _scores(
    corpus: Corpus, products: Ints, vectors: npt.NDArray[np.float32], start: int, end: int
) -> Ints:
    """Return the scores of rows start..end-1, int64[rows, queries], from their inner products."""
    if corpus.metric is Metric.L2:
        rows = corpus.rows[start:end].astype(np.float32)
        norms = np.einsum("nd,nd->n", rows, rows).astype(np.int64)
        own = np.einsum("qd,qd->q", vectors, vectors).astype(np.int64)
        return 2 * products - norms[:, None] - own
    if corpus.metric is Metric.COSINE:
        return products * corpus.scales[start:end, None] >> SCALE_BITS // 2
    return products


def _merge(
    best: tuple[Ints, Ints, int],
    scores: Ints,
    ids: Ints,
    live: npt.NDArray[np.bool_],
    query: CorpusQuery,
) -> tuple[Ints, Ints, int]:
    """Return the best rows so far, ids ascending, with a block's; and how many qualified."""
    wanted = qualifies(scores, ids, live, query)
    found = best[2] + int(wanted.sum())
    if len(best[0]) == query.k:
        wanted &= scores > best[1].min()  # of equal scores the ids held are smaller
    all_ids = np.concatenate([best[0], ids[wanted]])
    all_scores = np.concatenate([best[1], scores[wanted]])
    kept = np.sort(best_rows(all_scores, all_ids, query.k))
    return all_ids[kept], all_scores[kept], found
