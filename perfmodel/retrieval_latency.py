"""Latency of an exact scan: L = M / B + C, and what a score filter lets through, as formulas.

Ref: FAERY (OSDI 2022): the ideal engine's latency is corpus over bandwidth plus a constant; SNARY
(USENIX ATC 2025), eq. 1 (the law) and 4 (lanes of a filter); HBM2 as measured by Shuhai (FCCM
2020). The formulas of passes and backlog are derived in their docstrings; perfmodel.retrieval
counts the same things cycle by cycle.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import ceil, log, sqrt

import numpy as np
import numpy.typing as npt

from rpaccel.perfmodel.retrieval import ScanReport

__all__ = [
    "DDR4_PORT_BYTES_PER_S",
    "HBM2_PORT_BYTES_PER_S",
    "Constant",
    "MemoryPath",
    "answer_bound_cycles",
    "constant_of",
    "free_lanes_share",
    "overrun_bound_cycles",
    "pass_deviation",
    "queue_bound",
    "queued_rows",
    "scan_latency_s",
    "scattered_bytes_per_s",
    "stale_backlog",
    "stale_passes",
]

HBM2_PORT_BYTES_PER_S = 13.27e9  # sequential, a pseudo-channel: Shuhai
DDR4_PORT_BYTES_PER_S = 18.0e9  # the same, a channel of DDR4-2400: Shuhai
ROW_CYCLE_S = 13.3e-9  # between scattered 32-byte reads of a pseudo-channel: Shuhai, 2.4 GB/s
# By products per DSP: rtl.retrieval_score, rtl.retrieval_gate: latency_cycles.
SCORE_CYCLES = {1: 7 + 1, 2: 10 + 1}


@dataclass(frozen=True, kw_only=True)
class MemoryPath:
    """What streams a corpus: `ports` ports of `beat_bytes` at `clock_hz`, a memory behind each.

    memory_bytes_per_s : float  That a port's memory sustains.
    burst_bytes, in_flight, latency_s : bursts that a port has on their way, and the time [s] from
        the request of one to its first beat.
    """

    ports: int
    beat_bytes: int
    clock_hz: float
    memory_bytes_per_s: float = HBM2_PORT_BYTES_PER_S
    burst_bytes: int = 512
    in_flight: int = 16
    latency_s: float = 137.8e-9  # a page that must be closed first: Shuhai, 62 cycles of 450 MHz

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value <= 0:
                raise ValueError(f"{field.name} must be above 0, not {value}")

    @property
    def port_bytes_per_s(self) -> float:
        """Rate of one port: the least of a beat per cycle, its memory, and bursts over latency."""
        beats = self.beat_bytes * self.clock_hz
        waiting = self.in_flight * self.burst_bytes / (self.latency_s + self.burst_bytes / beats)
        return min(beats, self.memory_bytes_per_s, waiting)

    @property
    def bytes_per_s(self) -> float:
        """Rate of all ports."""
        return self.ports * self.port_bytes_per_s


def scattered_bytes_per_s(
    burst_bytes: float, sequential_bytes_per_s: float = HBM2_PORT_BYTES_PER_S
) -> float:
    """Return the rate of a pseudo-channel whose bursts meet a closed row each, about.

    b / max(13.3 ns, b / sequential): an access to another row of a few banks at least every 13.3 ns
    (Shuhai: 32 B at a stride of 4 KiB over 256 MB). From 177 bytes on the full rate.
    """
    return burst_bytes / max(ROW_CYCLE_S, burst_bytes / sequential_bytes_per_s)


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The C of a scan by its parts, in cycles; one query or all that share the scan.

    memory : until the first beat is there. scoring : from a row's last beat to its score. overrun :
    the scan waits for a queue. closing : rows on their way to the selector. answer : the sorter's
    last run, the merges before it, K rows.
    """

    memory: int
    scoring: int
    overrun: int
    closing: int
    answer: int

    @property
    def total(self) -> int:
        """Cycles of all parts."""
        return self.memory + self.scoring + self.overrun + self.closing + self.answer


def constant_of(
    report: ScanReport,
    path: MemoryPath,
    *,
    beats_per_row: int = 1,
    switch_s: float = 0.0,
    products_per_dsp: int = 1,
) -> Constant:
    """Return the C of a scan that the register-exact model has counted.

    switch_s : [s] a switch between port and memory adds. The first row is whole `beats_per_row`
    beats after the first beat.
    """
    memory = ceil((path.latency_s + switch_s) * path.clock_hz)
    return Constant(
        memory=memory,
        scoring=SCORE_CYCLES[products_per_dsp] + beats_per_row - 1,
        overrun=report.stalled_cycles,
        closing=report.close_cycle + 1 - report.scan_cycles,
        answer=report.end_cycle - report.close_cycle,
    )


def scan_latency_s(
    corpus_bytes: float, bytes_per_s: float, constant_cycles: float, clock_hz: float
) -> float:
    """Return L = M / B + C in seconds."""
    return corpus_bytes / bytes_per_s + constant_cycles / clock_hz


def pass_deviation(count: int, k: int) -> float:
    """Return the standard deviation of the passes of `count` rows in random order.

    Row i passes with p = min(1, k / i), whatever the others do: the variance is the sum of p (1-p).
    """
    if count <= k:
        return 0.0
    share = k / np.arange(k + 1, count + 1)
    return sqrt(float(np.sum(share * (1 - share))))


def queued_rows(
    count: int,
    k: int,
    lanes: int,
    interval_cycles: float,
    *,
    age_cycles: float = 0.0,
    tails: npt.ArrayLike | None = None,
) -> float:
    """Return the rows that pass a threshold over all scanned rows, renewed every so many cycles.

    Random order, `lanes` rows per cycle. A threshold that knows s rows lets k / s of the next ones
    pass. age_cycles : it knows the rows up to so long before it was renewed. A histogram that is
    swept while it counts: half a sweep, chosen of none, a half and one beside counted scans.
    tails : float[edges] share of the scores at or above each edge that a threshold may have, the
    first 1; it is the highest edge with at least k / s above it. None: any score.
    """
    block = lanes * interval_cycles
    begins = np.arange(0, count, block)
    known = begins - age_cycles * lanes
    share = np.minimum(1.0, k / np.maximum(known, 1e-9))
    share[known <= k] = 1.0
    if tails is not None:
        edges = np.sort(np.asarray(tails, dtype=np.float64))
        share = edges[np.searchsorted(edges, share)]
    return float(np.sum(share * np.minimum(block, count - begins)))


def queue_bound(k: int, lanes: int, interval_cycles: float) -> float:
    """Return a bound of the longest queue of a lane by a threshold over all scanned rows.

    lanes rows per cycle come in until k are scanned, then k / t in cycle t, and one leaves: all
    queues together hold k + k ln(t lanes / k) - t rows, at most k ln(lanes), at t = k. A threshold
    that is two intervals old (it is renewed as often, and was counted an interval long) adds
    lanes - 1 rows a cycle. Three deviations of the k (1 + ln(lanes)) / lanes rows that a lane takes
    until then. Heads that are checked again only make queues shorter.
    """
    mean = k * log(lanes) / lanes + 2 * interval_cycles * (1 - 1 / lanes)
    return mean + 3 * sqrt(k * (1 + log(lanes)) / lanes)


def stale_backlog(k: int, lanes: int) -> float:
    """Return the peak backlog by a threshold over what the selector has taken: lanes k ln(lanes).

    After cycle t the selector knows t rows, so lanes k / t come in; Q(t) = lanes k (1 + ln(t / k))
    - t is largest at t = lanes k.
    """
    return lanes * k * log(lanes)


def stale_passes(count: int, k: int, lanes: int) -> float:
    """Return the passes by a threshold over what the selector has taken.

    lanes k (2 + ln(lanes)) until the backlog is gone, then those of an exact threshold.
    """
    backlog = lanes * k * (2 + log(lanes))
    if count <= lanes * backlog:
        return min(float(count), backlog)
    return backlog + k * log(count / (lanes * backlog))


def free_lanes_share(lanes: int) -> float:
    """Return the largest k / count at which a stale threshold costs no cycle at the scan's end."""
    return 1 / (lanes**2 * (2 + log(lanes)))


def overrun_bound_cycles(k: int, lanes: int, interval_cycles: int = 1) -> float:
    """Return a bound of the scan's stalls, however short the queues: II k ln(lanes II).

    interval_cycles : II, cycles per candidate of the selector. For random order and a threshold
    that knows all scanned rows at once; each row more that an older one lets pass costs at most II
    more.
    """
    return interval_cycles * k * log(lanes * interval_cycles)


def answer_bound_cycles(k: int, run: int) -> int:
    """Return the most cycles from a query's closing to the end of its answer, about: 2 run + 2 k.

    The last run through the sorter, the merges before it, k rows.
    """
    return 2 * run + 2 * k
