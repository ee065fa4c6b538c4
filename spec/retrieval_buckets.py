"""Where the buckets of a score filter's histogram lie, from the scores of some rows.

Any buckets give the same rows; good ones let fewer rows through. The bound rises from the first K
rows on, so the buckets begin below the middle of the scores: in bucket 0 there is no edge. Edges
near the K-th best of all rows bring less than they cost, a longer sweep: most rows that pass for
nothing pass while a few K rows are known.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rpaccel.spec.retrieval import BUCKETS

__all__ = ["place_buckets", "sample_places"]

SAMPLE = 512  # rows whose scores place the buckets of a query's filter
BELOW = 6  # one row of so many lies below: a deviation of normal scores under their mean


def sample_places(rows: int) -> npt.NDArray[np.int64]:
    """Return which of `rows` rows are looked at, int64[min(rows, 512)], evenly spread."""
    return np.linspace(0, max(0, rows - 1), min(rows, SAMPLE)).astype(np.int64)


def place_buckets(scores: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Return base and shift for a corpus of which `scores`, int[n], n >= 1, are a sample.

    From the score that 5 of 6 rows reach, by 3/2 of the way to the sample's best: of normal scores
    about 5 deviations above the mean, the best of a million. BUCKETS << shift is more than that.
    """
    base = int(np.partition(scores, len(scores) // BELOW)[len(scores) // BELOW])
    span = 3 * (int(scores.max()) - base) // 2
    return base, (span // BUCKETS).bit_length()
