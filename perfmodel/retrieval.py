"""Cycles of the score filter: a model of its registers, equal to rtl.retrieval_filter.

Holds while the reader of results never waits and sets are always offered; see
tests/perfmodel/test_retrieval.py for what is equal and what is close.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from rpaccel.perfmodel.retrieval_kernels import scan_cycles
from rpaccel.perfmodel.retrieval_state import (
    Query,
    new_chosen,
    new_counters,
    new_nodes,
    new_queues,
)
from rpaccel.spec.retrieval import BUCKETS, RetrievalConfig

__all__ = ["ScanReport", "mean_passes", "scan"]


@dataclass(frozen=True, kw_only=True)
class ScanReport:
    """What a query takes. Cycle 0 is the first that may take a set of rows.

    sets : int            of rows, one per lane
    scan_cycles : int     until the last set is taken: sets + stalls
    stalled_cycles : int  a set waits because a lane's queue is almost full
    passes : int          rows that enter the selector's sorter
    close_cycle : int     the query is closed; the next one may start after it
    end_cycle : int       the end of the answer leaves
    peak_entries : int    of the longest queue
    queued : int          rows that enter the lanes' queues
    sweeps : int          of the histogram, before the closing
    """

    sets: int
    scan_cycles: int
    stalled_cycles: int
    passes: int
    close_cycle: int
    end_cycle: int
    peak_entries: int
    queued: int
    sweeps: int

    @property
    def overrun(self) -> float:
        """Cycles from the first set to the closing beyond one per set, as a share of the sets."""
        return (self.close_cycle + 1 - self.sets) / self.sets


def mean_passes(count: int, k: int) -> float:
    """Return the mean passes of `count` rows in random order by a threshold that is always exact.

    K + K (H_n - H_K): row i is among the best K of the first i with probability min(1, K / i).
    """
    if count <= k:
        return float(count)
    return k + k * float(np.sum(1.0 / np.arange(k + 1, count + 1)))


def scan(
    config: RetrievalConfig,
    scores: npt.ArrayLike,
    k: int,
    base: int,
    shift: int,
    valid: npt.ArrayLike | None = None,
    *,
    trials: bool = True,
) -> ScanReport:
    """Return the cycles of a query, the first after a reset.

    scores : int[n], n >= 1; row i is in lane i mod lanes and has id i. valid : bool[n]. Without
    `trials`: as if the filter had no recent bound, to see what that brings.
    """
    values = np.asarray(scores, dtype=np.int64)
    lanes = config.lanes
    if not len(values):
        raise ValueError("scores must have at least one row, not 0")
    sets = -(-len(values) // lanes)
    padding = sets * lanes - len(values)
    given = np.ones(len(values), bool) if valid is None else np.asarray(valid, bool)
    lowest = -(1 << (config.score_bits - 1))
    query = Query(
        scores=np.pad(values, (0, padding)),
        valid=np.pad(given, (0, padding)),
        buckets=np.clip((np.pad(values, (0, padding)) - base) >> shift, 0, BUCKETS - 1),
        edges=base + (np.arange(BUCKETS, dtype=np.int64) << shift),
        lowest=lowest,
        lanes=lanes,
        k=k,
        trials=trials,
    )
    out = scan_cycles(
        query,
        new_queues(lanes, config.fifo_depth),
        new_nodes(lanes),
        new_counters(lanes),
        new_chosen(k, config.run_levels(k), config.levels),
    )
    names = [field.name for field in fields(ScanReport) if field.name != "sets"]
    return ScanReport(sets=sets, **dict(zip(names, map(int, out), strict=True)))
