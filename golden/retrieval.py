"""Exact retrieval: the K best rows of an int8 corpus, by (score descending, id ascending).

Ref: facts of running top-K filters: a row can be dropped once K rows that beat it are known.
"""

from __future__ import annotations

from heapq import heapify, heapreplace

import numpy as np
import numpy.typing as npt

from rpaccel.spec.retrieval import BUCKETS

Ints = npt.NDArray[np.int64]

SCALE_BITS = 16  # fraction bits of a row's cosine scale
SCALE_LIMIT = (1 << SCALE_BITS) - 1


def inner_product(rows: npt.ArrayLike, query: npt.ArrayLike) -> Ints:
    """Return row . query for every row. rows : int8[n, d]; query : int8[d]. Exact, int64[n]."""
    corpus, vector = _checked(rows, query)
    return corpus @ vector


def l2(rows: npt.ArrayLike, query: npt.ArrayLike) -> Ints:
    """Return -||row - query||^2 for every row, exact, int64[n].

    By the identity ||x - q||^2 = x . x - 2 x . q + q . q, so that a row's norm may be stored.
    """
    corpus, vector = _checked(rows, query)
    norms = np.einsum("nd,nd->n", corpus, corpus)
    return 2 * (corpus @ vector) - norms - vector @ vector


def cosine_scales(rows: npt.ArrayLike) -> Ints:
    """Return round(2**16 / ||row||) at most 2**16 - 1, int64[n]; 0 for a row of zeros."""
    corpus = np.asarray(rows, dtype=np.int64)
    norms = np.sqrt(np.einsum("nd,nd->n", corpus, corpus).astype(np.float64))
    scales = np.divide(2.0**SCALE_BITS, norms, out=np.zeros(len(norms)), where=norms > 0)
    return np.minimum(np.rint(scales).astype(np.int64), SCALE_LIMIT)


def cosine(rows: npt.ArrayLike, query: npt.ArrayLike, scales: npt.ArrayLike) -> Ints:
    """Return floor(row . query * scale / 2**8), int64[n]; scale : int64[n] of `cosine_scales`.

    The order is that of the cosines up to a scale's rounding: the query's own norm is the same for
    all rows. 8 of the 16 fraction bits stay, so a score of 512 dimensions has 32 bits or fewer:
    |row . query| <= ||row|| ||query||, so the score is at most 2**8 ||query|| (1 + 2**-4).
    """
    factors = np.asarray(scales, dtype=np.int64)
    return inner_product(rows, query) * factors >> SCALE_BITS // 2


def _checked(rows: npt.ArrayLike, query: npt.ArrayLike) -> tuple[Ints, Ints]:
    corpus, vector = np.asarray(rows), np.asarray(query)
    if corpus.dtype != np.int8 or vector.dtype != np.int8:
        raise TypeError(f"rows and query must be int8, not {corpus.dtype} and {vector.dtype}")
    if corpus.ndim != 2 or corpus.shape[1:] != vector.shape:
        raise ValueError(
            f"rows must be [n, d] and query [d], not {corpus.shape} and {vector.shape}"
        )
    return corpus.astype(np.int64), vector.astype(np.int64)


def top_k(scores: npt.ArrayLike, k: int, ids: npt.ArrayLike | None = None) -> Ints:
    """Return the positions of the `k` best by (score descending, id ascending), int64[<= k].

    scores : int[n]; ids : int[n], distinct; default 0..n-1. Fewer than k rows: all of them.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    values = np.asarray(scores, dtype=np.int64)
    names = np.arange(len(values)) if ids is None else np.asarray(ids, dtype=np.int64)
    return np.lexsort((names, -values))[:k]


def bucket_of(scores: npt.ArrayLike, base: int, shift: int) -> Ints:
    """Return clamp((score - base) >> shift, 0, 255), int64[n]."""
    return np.clip((np.asarray(scores, dtype=np.int64) - base) >> shift, 0, BUCKETS - 1)


def histogram_edge(scores: npt.ArrayLike, k: int, base: int, shift: int) -> int | None:
    """Return the lower edge of the highest bucket from whose edge up at least `k` scores lie.

    A lower bound of the k-th best of `scores`. None if that bucket is 0, which has no lower edge.
    """
    counts = np.bincount(bucket_of(scores, base, shift), minlength=BUCKETS)
    from_bucket = np.cumsum(counts[::-1])[::-1]
    bucket = int(np.flatnonzero(from_bucket >= k)[-1]) if from_bucket[0] >= k else 0
    return base + (bucket << shift) if bucket else None


def ideal_passes(scores: npt.ArrayLike, k: int) -> int:
    """Return how many rows are among the `k` best of the rows up to them, ties to earlier rows.

    What a filter whose threshold is always exact lets pass.
    """
    values = np.asarray(scores, dtype=np.int64).tolist()
    best = values[:k]
    heapify(best)
    passes = len(best)
    for value in values[k:]:
        if value > best[0]:
            heapreplace(best, value)
            passes += 1
    return passes
