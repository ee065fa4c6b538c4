"""Hit rates on all 26 tables of the Criteo-like trace: reported, not fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rpaccel.golden.cache_sim import (
    LINE_BYTES,
    CacheConfig,
    Event,
    by_frequency,
    rows_of,
    simulate,
)
from rpaccel.golden.look_ahead import LookAheadConfig, read_window
from rpaccel.main_job.cache_study import (
    CANDIDATES,
    FP32_ROW_BYTES,
    HIT_CYCLES,
    INT8_ROW_BYTES,
    MEBIBYTE,
    MISS_CYCLES,
    VARIANTS,
    Ints,
    StageStream,
)
from rpaccel.workloads.criteo_trace import criteo_trace

RATIO = 8
STATIC_MB, LOOK_AHEAD_MB = 12, 4  # RecPipe O.4: 16 MB
WAYS = 8
OUTSTANDING = 64  # rows that a stage holds at once


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """Both stages under one cache, the memory split in halves.

    rows : str  "fp32" or "int8"; front, back : share of accesses that read no memory;
    refused : share of accesses that found every way of their set held.
    """

    rows: str
    cache: str
    front: float
    back: float
    amat_cycles: float
    refused: float = 0.0


def table_study(samples: int, seed: int) -> list[TableRow]:
    """Return hit rates of every variant, and of a pinned set with a look-ahead cache behind it.

    samples : candidates of the front end; the back end reads one in 8, the first of them.
    Accesses of 26 tables each; AMAT is weighted by bytes, which are equal for both stages.
    """
    keys, profile = criteo_trace(samples, seed=seed), criteo_trace(samples, seed=seed + 1)
    back, frequent = keys[: samples // RATIO], by_frequency(profile)
    streams = (
        StageStream(keys, frequent, CANDIDATES, warm_up=profile),
        StageStream(back, frequent, CANDIDATES // RATIO, warm_up=profile),
    )
    found = []
    for name, row_bytes, variants in (
        ("fp32", FP32_ROW_BYTES, VARIANTS),
        ("int8", INT8_ROW_BYTES, [v for v in VARIANTS if v.packed and v.pinned]),
    ):
        for variant in variants:
            sizes = [_rows(own if variant.packed else LINE_BYTES) for own in row_bytes]
            pairs = list(zip(streams, sizes, strict=True))
            rates = [s.hit_rate(n, pinned=variant.pinned, merged=variant.merged) for s, n in pairs]
            found.append(_row(name, variant.name, rates))
        both = zip((keys, back), row_bytes, strict=True)
        behind = [_with_look_ahead(k, profile, frequent, own) for k, own in both]
        refused = max(part for _, part in behind)
        found.append(
            _row(name, "packed, pinned, 4 MB look-ahead", [hit for hit, _ in behind], refused)
        )
    return found


def _rows(row_bytes: int) -> int:
    """Return the rows in a stage's half of the static memory."""
    return rows_of(STATIC_MB * MEBIBYTE, row_bytes, 0.5)


def _with_look_ahead(
    keys: Ints, profile: Ints, frequent: Ints, row_bytes: int
) -> tuple[float, float]:
    """Return (share that reads no memory, share refused) of a pinned set and a look-ahead cache."""
    config = CacheConfig(policy="pinned", rows=_rows(row_bytes))
    pinned = frequent[: config.rows]
    warm_up, missed = (_missed(config, part.ravel(), pinned) for part in (profile, keys))
    sets = rows_of(LOOK_AHEAD_MB * MEBIBYTE, row_bytes, 0.5) // WAYS
    ahead = read_window(LookAheadConfig(sets=sets, ways=WAYS), missed, OUTSTANDING, warm_up=warm_up)
    return 1 - ahead.reads / keys.size, ahead.refused / keys.size


def _missed(config: CacheConfig, stream: Ints, pinned: Ints) -> Ints:
    events = simulate(config, stream, pinned=pinned, record=True).events
    assert events is not None
    return stream[events != Event.HIT]


def _row(rows: str, cache: str, rates: list[float], refused: float = 0.0) -> TableRow:
    amat = MISS_CYCLES - (MISS_CYCLES - HIT_CYCLES) * float(np.mean(rates))
    return TableRow(
        rows=rows, cache=cache, front=rates[0], back=rates[1], amat_cycles=amat, refused=refused
    )
