"""Ranking metrics of one served list, with binary relevance.

Ref: K. Järvelin and J. Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS
20(4), 2002, with gain 1 and discount 1 / log2(rank + 1).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer]


def rank_items(item_ids: Ids, scores: npt.NDArray[np.number]) -> Ids:
    """Return `item_ids` ordered by (score descending, id ascending).

    item_ids : int[n]; scores : number[n].  Returns int[n].
    """
    if len(item_ids) != len(scores):
        raise ValueError(f"scores must have one entry per item {len(item_ids)}, not {len(scores)}")
    wide = scores.astype(np.int64) if scores.dtype.kind in "iu" else scores
    return item_ids[np.lexsort((item_ids, -wide))]


def ndcg(ranked: Ids, relevant: Ids, k: int) -> float:
    """Return DCG@k over that of the true ideal list: min(k, len(relevant)) hits on top.

    ranked : int[n]  Served order.  relevant : int[m], m >= 1.  Returns a value in 0..1.
    """
    _check(relevant, k)
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    hits = np.isin(ranked[:k], relevant)
    ideal = discount[: min(k, len(relevant))].sum()
    return float((discount[: len(hits)] * hits).sum() / ideal)


def hit_rate(ranked: Ids, relevant: Ids, k: int) -> float:
    """Return 1.0 if one of the first k is relevant, else 0.0."""
    _check(relevant, k)
    return float(np.isin(ranked[:k], relevant).any())


def set_recall(served: Ids, reference: Ids) -> float:
    """Return the share of `reference` that is in `served`, order ignored."""
    if len(reference) == 0:
        raise ValueError("reference must hold at least 1 item, not 0")
    return float(np.isin(reference, served).mean())


def _check(relevant: Ids, k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    if len(relevant) == 0:
        raise ValueError("relevant must hold at least 1 item, not 0")
