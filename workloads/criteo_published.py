"""RecPipe's published NDCG of Criteo's pipelines: none of it is measured here.

Ref: U. Gupta et al., "RecPipe", MICRO 2021, artifact: its logs of Criteo runs, NDCG of the 64
served items x 100, and section 5.1. The log ranks rows of the training period: 92.47 where the
paper prints 92.25. So what the paper's text alone says is no entry of the log's, and
`published_ndcg` leaves it out.
"""

from __future__ import annotations

import math
from itertools import pairwise

__all__ = [
    "LARGE_ALONE",
    "LOG",
    "ONE_STAGE",
    "SEVERAL_STAGES",
    "TEXT",
    "TWO_STAGES",
    "largest_cut",
    "published_ndcg",
]

LOG = "RecPipe artifact, log of NDCG@64"
TEXT = "RecPipe section 5.1: keeps NDCG 92.25"

# Items -> NDCG@64 x 100 of one stage.
ONE_STAGE = {
    "rmsmall": {256: 59.85, 512: 71.25, 1024: 79.95, 1600: 84.38, 2048: 86.75, 3200: 89.61,
                4096: 91.27},
    "rmmed": {256: 60.39, 512: 71.92, 1024: 80.88, 1600: 85.46, 2048: 87.53, 3200: 90.77,
              4096: 92.22},
    "rmlarge": {256: 60.84, 512: 72.65, 1024: 81.62, 1600: 85.87, 2048: 87.99, 3200: 90.91,
                4096: 92.47, 6140: 93.96, 8192: 94.92, 10240: 95.82, 12288: 96.57},
}  # fmt: skip
# Models, items, NDCG@64 x 100 and source of several stages: all that is published.
SEVERAL_STAGES = (
    (("rmsmall", "rmlarge"), (4096, 128), 92.40, LOG),
    (("rmsmall", "rmlarge"), (4096, 256), 92.25, TEXT),
    (("rmsmall", "rmlarge"), (4096, 512), 92.47, LOG),
    (("rmsmall", "rmlarge"), (4096, 2048), 92.47, LOG),
    (("rmsmall", "rmlarge"), (3200, 512), 90.92, LOG),
    (("rmsmall", "rmlarge"), (2048, 512), 87.99, LOG),
    (("rmsmall", "rmlarge"), (1024, 512), 81.64, LOG),
    (("rmsmall", "rmlarge"), (512, 128), 72.63, LOG),
    (("rmmed", "rmlarge"), (4096, 128), 92.52, LOG),
    (("rmmed", "rmlarge"), (4096, 512), 92.47, LOG),
    (("rmsmall", "rmmed", "rmlarge"), (4096, 512, 128), 92.52, LOG),
)
LARGE_ALONE = ONE_STAGE["rmlarge"]
TWO_STAGES = {
    items: quality
    for models, items, quality, source in SEVERAL_STAGES
    if models == ("rmsmall", "rmlarge") and source == LOG
}
_KEPT = {k: TWO_STAGES[4096, k] - LARGE_ALONE[4096] for k in (128, 512, 2048)}


def largest_cut() -> float:
    """Return the most that several stages lose on RMlarge alone, as many candidates, in the log."""
    return max(
        LARGE_ALONE[items[0]] - quality
        for _, items, quality, source in SEVERAL_STAGES
        if source == LOG
    )


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
