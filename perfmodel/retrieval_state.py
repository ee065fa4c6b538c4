"""Registers of the score filter, for its model cycle by cycle.

Keys are score * 2**32 + (2**32 - 1 - place); NONE is below all of them, and below all scores.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rpaccel.spec.retrieval import BUCKETS

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

NONE = -(2**63)
RADIX = 4  # sources of an arbiter's node: rtl.retrieval_arbiter
ACCEPTED, FREE, MERGED, KNOWN, SELECTED, NUMBERS = range(6)


class Query(NamedTuple):
    """What a scan reads: scores, valid, buckets : [sets * lanes], by place; edges : int64[256].

    trials : the recent bound works.
    """

    scores: Ints
    valid: Flags
    buckets: Ints
    edges: Ints
    lowest: int
    lanes: int
    k: int
    trials: bool


class Sweep(NamedTuple):
    """Registers of a histogram's sweep; bound: the edge's score."""

    state: int
    at: int
    edge: int
    total: int
    read: bool
    read_bucket: int
    read_sum: int
    summed: bool
    sum_bucket: int
    bucket_sum: int
    bound: int


class Trial(NamedTuple):
    """Registers of a trial of the recent bound; bound: it succeeds."""

    state: int
    score: int
    reach: int
    reached: int
    total: int
    rows: int
    came: bool
    bound: int


class Counters(NamedTuple):
    """Registers of the lanes' histograms. piped : int64[3, lanes] buckets on their way, -1: none.

    counts : int64[lanes, 256]; lane_top : int64[lanes].
    """

    piped: Ints
    counts: Ints
    lane_top: Ints


def new_counters(lanes: int) -> Counters:
    """Return cleared counters."""
    return Counters(
        piped=np.full((3, lanes), -1, dtype=np.int64),
        counts=np.zeros((lanes, BUCKETS), dtype=np.int64),
        lane_top=np.zeros(lanes, dtype=np.int64),
    )


class Queues(NamedTuple):
    """Registers of the lanes. memory : int64[lanes, depth]; the others are [lanes]."""

    memory: Ints
    tail: Ints
    head: Ints
    head_valid: Flags
    almost_full: Flags
    incoming: Ints
    outgoing: Ints


def new_queues(lanes: int, depth: int) -> Queues:
    """Return empty queues."""
    return Queues(
        memory=np.zeros((lanes, depth), dtype=np.int64),
        tail=np.zeros(lanes, dtype=np.int64),
        head=np.zeros(lanes, dtype=np.int64),
        head_valid=np.zeros(lanes, dtype=np.bool_),
        almost_full=np.zeros(lanes, dtype=np.bool_),
        incoming=np.full(lanes, NONE, dtype=np.int64),
        outgoing=np.full(lanes, NONE, dtype=np.int64),
    )


class Nodes(NamedTuple):
    """Registers of the arbiter: widths : int64[levels], values, turns : int64[levels, lanes]."""

    widths: Ints
    values: Ints
    turns: Ints


def new_nodes(lanes: int) -> Nodes:
    """Return an empty arbiter of `lanes` sources."""
    widths: list[int] = []
    while not widths or widths[-1] > 1:
        widths.append(-(-(widths[-1] if widths else lanes) // RADIX))
    values = np.full((len(widths), lanes), NONE, dtype=np.int64)
    return Nodes(np.array(widths), values, np.zeros_like(values))


class Chosen(NamedTuple):
    """State of a selector.

    kept : int64[k] the list, NONE first; entered : int64[run]; busy_until : int64[stages] the cycle
    in which a merge stage may give its next run; known_at, known : int64[16] a ring of thresholds
    and their cycles; numbers : int64[NUMBERS]: candidates that entered, the cycle in which the
    keeper may merge, thresholds merged and out, the one that is out.
    """

    kept: Ints
    entered: Ints
    busy_until: Ints
    known_at: Ints
    known: Ints
    numbers: Ints


def new_chosen(k: int, levels: int, stages: int) -> Chosen:
    """Return a selector of `stages` stages in which a query of `k` has begun."""
    sizes = (stages, 16, 16, NUMBERS)
    zeros = [np.zeros(size, dtype=np.int64) for size in sizes]
    zeros[-1][SELECTED] = NONE
    kept, entered = (np.full(size, NONE, dtype=np.int64) for size in (k, 1 << levels))
    return Chosen(kept, entered, *zeros)
