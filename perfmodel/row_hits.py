"""How many of the rows' beats read no memory, on a Criteo-like trace, with the caches of a machine.

Ref: RecPipe (MICRO'21), O.4. The trace: workloads.criteo_trace, all 26 tables. The second stage
ranks the first candidates of the first stage, as in the artifact's cache study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from rpaccel.golden.cache_sim import (
    LINE_BYTES,
    CacheConfig,
    Event,
    by_frequency,
    pinned_rows,
    simulate,
)
from rpaccel.golden.look_ahead import LookAheadConfig, read_window
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.program_plan import row_bytes_of
from rpaccel.spec.stripe import bank_of
from rpaccel.workloads.criteo_trace import KEYS, criteo_trace

__all__ = [
    "bank_skew", "cache_bytes", "machine_hits", "split_hits", "static_hits", "stream_hits",
    "stream_reads",
]  # fmt: skip

Ints = npt.NDArray[np.int64]
Stage = tuple[str, int, int]  # name, dim, items of a query

QUERIES = 12  # of the trace; the first third warms the look-ahead caches
PROFILE_QUERIES = 24  # of the trace that the pinned rows come from


def cache_bytes(config: AcceleratorConfig) -> tuple[int, int]:
    """Return the bytes of all static caches and of all look-ahead caches."""
    beat = config.beat_bytes * config.banks
    return (
        config.static_cache_lines * beat,
        config.row_cache_sets * config.row_cache_ways * beat,
    )


def bank_skew(config: AcceleratorConfig, addresses: Ints) -> float:
    """Return the skew of the banks' reads at these addresses [B]; see costs.GatherMachine.

    1 if there are none.
    """
    reads = np.bincount(bank_of(config, addresses), minlength=config.banks)
    return config.banks * int(reads.max()) / len(addresses) if len(addresses) else 1.0


def static_hits(
    stages: Sequence[Stage], capacity_bytes: int, *, seed: int = 0
) -> Mapping[str, float]:
    """Return hit rates of pinned vectors, one per line of LINE_BYTES, as published.

    The stages share the lines equally.
    """
    lines = capacity_bytes // LINE_BYTES // len(stages)
    rates = {}
    for name, _, items in stages:
        profile = _keys(PROFILE_QUERIES, items, stages[0][2], seed + 1)
        pinned = pinned_rows(profile, lines)
        keys = _keys(QUERIES, items, stages[0][2], seed)
        rates[name] = simulate(
            CacheConfig(policy="pinned", rows=lines), keys, pinned=pinned
        ).hit_rate
    return rates


def machine_hits(
    config: AcceleratorConfig, stages: Sequence[Stage], *, seed: int = 0
) -> Mapping[str, float]:
    """Return hit rates of `config`'s caches: pinned beats, then look-ahead.

    The look-ahead caches are taken to be one, fully associative. Rows are packed into beats. The
    stages share the pinned beats equally and compete for the rest.
    """
    static_bytes, ahead_bytes = cache_bytes(config)
    beat = config.beat_bytes
    places = static_bytes // beat // len(stages)
    rates = split_hits(stages, beat, [places] * len(stages), ahead_bytes // beat, seed=seed)
    return {name: rate for (name, _, _), rate in zip(stages, rates, strict=True)}


def split_hits(
    stages: Sequence[Stage],
    beat_bytes: int,
    pinned_beats: Sequence[int],
    ahead_beats: int,
    *,
    ways: int | None = None,
    seed: int = 0,
) -> list[float]:
    """Return the hit rate of each stage, of which so many beats are pinned.

    The rest competes for one look-ahead cache of `ahead_beats`; see `machine_hits`. ways : as in
    `stream_reads`; the netlist's four in place of a full one cost 0.1 to 0.4 points.
    """
    parts, labels, base = [], [], 0
    for number, ((_, dim, items), places) in enumerate(zip(stages, pinned_beats, strict=True)):
        size = row_bytes_of(dim)
        keys, ranks = _ranked_beats(items, stages[0][2], size, beat_bytes, seed)
        missed = np.where(ranks < places, -1, base + keys)
        parts.append(missed.reshape(QUERIES, -1))
        labels.append(np.full(parts[-1].shape, number))
        base += KEYS * size // beat_bytes + 1
    stream, label = np.hstack(parts).ravel(), np.hstack(labels).ravel()
    counted = np.repeat(np.arange(QUERIES) >= QUERIES // 3, stream.size // QUERIES)
    return stream_hits(stream, label, counted, ahead_beats, ways)


def stream_hits(
    stream: Ints,
    label: Ints,
    counted: npt.NDArray[np.bool_],
    ahead_beats: int,
    ways: int | None = None,
    reads_in_flight: int = 1,
) -> list[float]:
    """Return the hit rate of each stage in a stream of beats that compete for one cache.

    label : int64[n], stage of each. counted : bool[n]; the others warm the cache. The rest is as in
    `stream_reads`.
    """
    read = stream_reads(stream, ahead_beats, ways, reads_in_flight)
    stages = range(int(label.max()) + 1)
    return [float(1 - read[counted & (label == number)].mean()) for number in stages]


def stream_reads(
    stream: Ints, ahead_beats: int, ways: int | None = None, reads_in_flight: int = 1
) -> npt.NDArray[np.bool_]:
    """Return which beats of a stream read memory.

    stream : int64[n], beats in the order in which they are asked for; -1: pinned, a hit.
    ways : of a cache as the netlist has it, golden.look_ahead; None: one that is fully associative
    and replaces what was not used for longest. reads_in_flight : of the one reader in whose order
    the stream is, with `ways`: a read that misses fills its line so many reads later.
    """
    asks = stream >= 0
    if ways is None or ahead_beats < ways:
        ahead = CacheConfig(policy="lru", rows=ahead_beats)
        events = simulate(ahead, stream[asks], record=True).events
    else:
        cache = LookAheadConfig(sets=ahead_beats // ways, ways=ways)
        events = read_window(cache, stream[asks], reads_in_flight, record=True).events
    assert events is not None
    read = np.zeros(stream.size, bool)
    read[asks] = (events == Event.MISS) | (events == Event.REFUSED)
    return read


@lru_cache(maxsize=32)
def _ranked_beats(
    items: int, candidates: int, row_bytes: int, beat_bytes: int, seed: int
) -> tuple[Ints, Ints]:
    """Return the beats that the trace asks for, and each one's place by frequency in another."""
    asked = _keys(PROFILE_QUERIES, items, candidates, seed + 1) * row_bytes // beat_bytes
    order = by_frequency(asked)
    known = np.argsort(order)
    keys = _keys(QUERIES, items, candidates, seed) * row_bytes // beat_bytes
    place = np.minimum(np.searchsorted(order, keys, sorter=known), len(order) - 1)
    ranks = known[place]
    return keys, np.where(order[ranks] == keys, ranks, np.iinfo(np.int64).max)


@lru_cache(maxsize=8)
def _keys(queries: int, items: int, candidates: int, seed: int) -> Ints:
    """Return the keys of the first `items` candidates of each query, one after another."""
    keys = criteo_trace(queries * candidates, seed=seed)
    return keys.reshape(queries, candidates, -1)[:, :items].ravel()
