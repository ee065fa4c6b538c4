"""Sizes of the retrieval engine: exact top-K over a scanned corpus of int8 rows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "BUCKETS",
    "K_LIMIT",
    "LANES_LIMIT",
    "MAX_ROW_BYTES",
    "MIN_ROW_BYTES",
    "QUERIES_LIMIT",
    "Metric",
    "RetrievalConfig",
]

BUCKETS = 256  # of a lane's histogram
K_LIMIT = 4096
LANES_LIMIT = 32
QUERIES_LIMIT = 16  # that share a scan
MIN_ROW_BYTES = 16
MAX_ROW_BYTES = 512
MIN_RUN = 16  # a merge costs a few cycles: shorter runs would cost more than they bring


class Metric(IntEnum):
    """What a score is; larger is better."""

    INNER_PRODUCT = 0
    L2 = 1  # -||row - query||^2
    COSINE = 2  # row . query * scale of the row >> 8


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """Size of one query's score filter and selector, and of the scoring lanes that feed them.

    lanes : int            scores per cycle: a power of two, 1..32
    k_max : int            largest K of a query, 1..4096
    score_bits : int       of a signed score; 512 dimensions need 25, L2 26
    id_bits : int          of a row's id
    fifo_depth : int       scores that wait per lane: a power of two
    generation_bits : int  of a histogram counter: it is cleared once in 2**bits - 1 queries
    beat_bytes : int       of the corpus per cycle into a scoring unit: 16..512, a power of two
    products_per_dsp : int 2: two queries share a multiplier for a row's byte (rtl.retrieval_score)
    """

    lanes: int
    k_max: int
    score_bits: int = 32
    id_bits: int = 32
    fifo_depth: int = 512
    generation_bits: int = 5
    beat_bytes: int = 64
    products_per_dsp: int = 1

    def __post_init__(self) -> None:
        ranges = {
            "lanes": (1, LANES_LIMIT),
            "k_max": (1, K_LIMIT),
            "score_bits": (8, 32),
            "id_bits": (1, 40),
            "fifo_depth": (16, 4096),
            "generation_bits": (1, 8),
            "beat_bytes": (MIN_ROW_BYTES, MAX_ROW_BYTES),
            "products_per_dsp": (1, 2),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be in {low}..{high}, not {value}")
        for name in ("lanes", "fifo_depth", "beat_bytes"):
            value = getattr(self, name)
            if value & (value - 1):
                raise ValueError(f"{name} must be a power of two, not {value}")

    @property
    def key_bits(self) -> int:
        """Bits of a key: the score, sign flipped, then the inverted id. Larger is better."""
        return self.score_bits + self.id_bits

    @property
    def count_bits(self) -> int:
        """Bits of a counter of 0..k_max rows."""
        return self.k_max.bit_length()

    @property
    def levels(self) -> int:
        """Merge stages of the selector: runs of 2**levels candidates for K = k_max."""
        return self.run_levels(self.k_max)

    def run_levels(self, k: int) -> int:
        """Return the merge stages that a query of `k` uses: runs of 2**levels >= k candidates."""
        if not 1 <= k <= self.k_max:
            raise ValueError(f"k must be in 1..{self.k_max}, not {k}")
        return max((k - 1).bit_length(), (MIN_RUN - 1).bit_length())
