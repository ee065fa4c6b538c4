"""The served list: the best n, in order."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def ordered_top_n(ids: Array, logits: Array, n: int) -> Array:
    """Return the positions of the best `n` by (logit descending, id ascending), int64[<= n]."""
    order = np.lexsort((np.asarray(ids, dtype=np.int64), -np.asarray(logits, dtype=np.int64)))
    return order[:n]
