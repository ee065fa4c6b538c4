"""Retrieval engines on one board: rates and batches; published points as bands.

Ref: SNARY (USENIX ATC 2025), table 1 and figure 9: its own engine and FAERY's on an Alveo U50
(VU35P, HBM2), 16 pseudo-channels for the corpus, rows of 128 bytes. Clocks of ours are assumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

from rpaccel.perfmodel.retrieval_latency import MemoryPath

__all__ = [
    "CORPUS_BANDS",
    "K_BANDS",
    "ROW_BYTES",
    "SNARY",
    "SNARY_CHANNELS",
    "Band",
    "Bands",
    "ScanDesign",
    "SnaryPoint",
    "queries_per_s",
    "rows_within",
]

ROW_BYTES = 128  # of SNARY's corpora
SNARY_CHANNELS = 16  # of the corpus
SNARY_BEAT_BYTES = 32  # per cycle and pseudo-channel


@dataclass(frozen=True, kw_only=True)
class SnaryPoint:
    """A build of SNARY: its table 1."""

    k: int
    clock_hz: float
    queries: int  # that share a scan
    lut_share: float

    @property
    def bytes_per_s(self) -> float:
        """Rate of the scan: a beat of 32 bytes per cycle and pseudo-channel."""
        return SNARY_CHANNELS * SNARY_BEAT_BYTES * self.clock_hz

    def latency_s(self, rows: float) -> float:
        """Return M / B [s]; its constant is not published."""
        return rows * ROW_BYTES / self.bytes_per_s

    def queries_per_s(self, rows: float) -> float:
        """Return the rate with every scan full."""
        return self.queries / self.latency_s(rows)


SNARY = (
    SnaryPoint(k=512, clock_hz=302.0e6, queries=3, lut_share=0.1817),  # table 1
    SnaryPoint(k=1024, clock_hz=285.0e6, queries=3, lut_share=0.2641),  # table 1
    SnaryPoint(k=2048, clock_hz=279.0e6, queries=2, lut_share=0.3444),  # table 1
    SnaryPoint(k=4096, clock_hz=235.3e6, queries=1, lut_share=0.4016),  # table 1
)


@dataclass(frozen=True)
class Band:
    """A published range."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Return whether `value` is inside."""
        return self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class Bands:
    """What a figure says of SNARY against another engine.

    saved : share of the other's latency that SNARY saves; gain : its queries per second over the
    other's, under 10 ms.
    """

    saved: Band
    gain: Band

    def latency_s(self, snary_s: float) -> Band:
        """Return the other's latency [s] where SNARY takes `snary_s`."""
        return Band(snary_s / (1 - self.saved.low), snary_s / (1 - self.saved.high))

    def queries_per_s(self, snary_qps: float) -> Band:
        """Return the other's rate where SNARY has `snary_qps`."""
        return Band(snary_qps / self.gain.high, snary_qps / self.gain.low)


CORPUS_BANDS = {  # SNARY figures 9a, 9b: K = 1024, 1 to 9 million rows
    "FAERY": Bands(saved=Band(0.3452, 0.4519), gain=Band(1.52, 1.76)),
    "Faiss, 4 x A100": Bands(saved=Band(0.8242, 0.8363), gain=Band(18.27, 18.27)),
}
K_BANDS = {  # SNARY figures 9c, 9d: K = 512..4096, one million rows
    "FAERY": Bands(saved=Band(0.2091, 0.3885), gain=Band(1.26, 1.64)),
    "Faiss, 4 x A100": Bands(saved=Band(0.7875, 0.8388), gain=Band(14.12, 18.27)),
}


@dataclass(frozen=True, kw_only=True)
class ScanDesign:
    """Ours: `queries` share a scan over `path`; overhead_cycles between two scans."""

    path: MemoryPath
    queries: int
    overhead_cycles: int = 0

    def scan_s(self, rows: float, row_bytes: int = ROW_BYTES) -> float:
        """Return the time from one scan's start to the next one's."""
        return rows * row_bytes / self.path.bytes_per_s + self.overhead_cycles / self.path.clock_hz


def queries_per_s(
    design: ScanDesign, rows: float, constant_cycles: int, limit_s: float, *, waits: bool
) -> float:
    """Return the rate with every scan full, 0 if a query's latency is above `limit_s`.

    waits : a query that just missed a scan waits for all of it; else it comes as one begins.
    """
    scan = design.scan_s(rows)
    latency = scan + constant_cycles / design.path.clock_hz + (scan if waits else 0)
    return design.queries / scan if latency <= limit_s else 0.0


def rows_within(design: ScanDesign, constant_cycles: int, limit_s: float) -> int:
    """Return the rows of the largest corpus that is scanned within `limit_s`, alone."""
    left = limit_s - (constant_cycles + design.overhead_cycles) / design.path.clock_hz
    return max(0, floor(left * design.path.bytes_per_s / ROW_BYTES))
