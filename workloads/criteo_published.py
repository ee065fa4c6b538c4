"""RecPipe's published NDCG of Criteo's two-stage pipelines: none of it is measured here.

Ref: U. Gupta et al., "RecPipe", MICRO 2021, artifact: its logs of Criteo runs, NDCG of the 64
served items x 100, RMsmall before RMlarge.
"""

from __future__ import annotations

import math
from itertools import pairwise

__all__ = ["LARGE_ALONE", "TWO_STAGES", "published_ndcg"]

# Candidates -> NDCG of RMlarge alone on all of them.
LARGE_ALONE = {
    256: 60.84, 512: 72.65, 1024: 81.62, 1600: 85.87, 2048: 87.99, 3200: 90.91, 4096: 92.47,
    6140: 93.96, 8192: 94.92, 10240: 95.82, 12288: 96.57,
}  # fmt: skip
# (candidates, items that RMlarge ranks again) -> NDCG.
TWO_STAGES = {
    (4096, 128): 92.40, (4096, 512): 92.47, (4096, 2048): 92.47, (3200, 512): 90.92,
    (2048, 512): 87.99, (1024, 512): 81.64, (512, 128): 72.63,
}  # fmt: skip
_KEPT = {k: TWO_STAGES[4096, k] - LARGE_ALONE[4096] for k in (128, 512, 2048)}


def published_ndcg(candidates: int, k: int) -> tuple[float, bool]:
    """Return (NDCG@64 x 100, whether it is in the logs as it stands).

    Else: RMlarge alone on as many candidates, and what keeping `k` changes at 4096 candidates,
    between logged k by their logarithms. Raises ValueError for candidates that are not in the logs,
    or a k that is not in 128..candidates.
    """
    if candidates not in LARGE_ALONE:
        known = ", ".join(map(str, LARGE_ALONE))
        raise ValueError(f"candidates must be one of {known} (published), not {candidates}")
    if not 128 <= k <= candidates:
        raise ValueError(f"k must be in 128..{candidates}, not {k}")
    if (candidates, k) in TWO_STAGES:
        return TWO_STAGES[candidates, k], True
    marks = sorted(_KEPT)
    low, high = next(((a, b) for a, b in pairwise(marks) if k <= b), (marks[-1], marks[-1]))
    share = math.log(k / low) / math.log(high / low) if high > low else 0.0
    lost = _KEPT[low] + share * (_KEPT[high] - _KEPT[low])
    return LARGE_ALONE[candidates] + lost, False
