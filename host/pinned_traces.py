"""Rows of traces in static caches: what to load, and what lookups find then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rpaccel.host.row_pins import pin_sections
from rpaccel.host.row_simulator import loads_of, memory_bytes_of
from rpaccel.perfmodel.row_banks import PinnedRows
from rpaccel.rtl.row_front import WORD_BITS, bank_pins
from rpaccel.rtl.static_cache import STAGES, entry_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Target
from rpaccel.spec.stripe import bank_of

Ints = NDArray[np.int64]

__all__ = ["NO_PINS", "PinLoads", "pin_popular", "pinned_rows"]


@dataclass(frozen=True, kw_only=True)
class PinLoads:
    """Loads of the static caches, (target, index, entry) each, one a cycle, and their split.

    beats : that got a place. moves : (edge, split) each, of `run_rows`.
    """

    loads: Sequence[tuple[Target, int, int]] = ()
    split: int = 0
    beats: int = 0
    moves: tuple[tuple[int, int], ...] = ()


NO_PINS = PinLoads()


def pin_popular(
    config: AcceleratorConfig, traces: Iterable[NDArray[np.void]], split: int
) -> PinLoads:
    """Return the loads that pin the rows that traces name most often, per stage.

    traces : ROW of host.row_simulator; the bytes are those of its memory. split : of pin_sections.
    """
    counts: list[Counter[tuple[int, int]]] = [Counter() for _ in range(STAGES)]
    for rows in traces:
        sizes = np.where(rows["bytes"] > 0, rows["bytes"], rows["beats"] * config.beat_bytes)
        columns = (rows["stage"], rows["address"], sizes)
        for stage, address, size in zip(*(column.tolist() for column in columns), strict=True):
            counts[stage][address, size] += 1
    popular = [
        {address: _memory_row(address, size) for (address, size), _ in each.most_common()}
        for each in counts
    ]
    pinned = pin_sections(config, split, popular)
    return PinLoads(loads=loads_of(pinned.sections), split=split, beats=sum(pinned.pinned))


def _memory_row(address: int, size: int) -> bytes:
    offset = address % 8
    return memory_bytes_of(address - offset, offset + size)[offset:]


def pinned_rows(config: AcceleratorConfig, pins: PinLoads) -> PinnedRows:
    """Return what lookups find when the static caches have been loaded."""
    first, *others = (_found(config, pins, split) for split in _splits(pins))
    edges = (edge for edge, _ in pins.moves)
    return PinnedRows(
        addresses=first,
        load_cycles=len(pins.loads),
        moves=tuple(zip(edges, others, strict=True)),
    )


def _splits(pins: PinLoads) -> list[int]:
    return [pins.split, *(split for _, split in pins.moves)]


def _found(config: AcceleratorConfig, pins: PinLoads, split: int) -> tuple[Ints, Ints]:
    """Return the addresses that lookups of each stage find under a split."""
    cache = bank_pins(config)
    layout = entry_layout(cache)
    found: tuple[list[int], ...] = tuple([] for _ in range(STAGES))
    for target, index, bits in pins.loads:
        if target != Target.PIN_ENTRY or not bits:
            continue
        entry = layout.from_bits(bits & ((1 << layout.size) - 1))
        bank, place = divmod(index, cache.entries)
        way, at = divmod(place, cache.sets)
        tag = int(entry.tag) << cache.set_bits
        key = tag | (cache.index(tag, way) - way * cache.sets) ^ at
        its_own = (entry.line >= split) == entry.stage
        if entry.valid and its_own and bank_of(config, key << WORD_BITS) == bank:
            found[entry.stage].append(key << WORD_BITS)
    front, back = (np.array(addresses, np.int64) for addresses in found)
    return front, back
