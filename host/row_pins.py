"""Rows for the static caches of a machine, and the image sections that put them there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rpaccel.golden.lane import Query
from rpaccel.golden.quantised import QuantisedFeature, QuantisedRanker
from rpaccel.host.image import Section
from rpaccel.host.pinned_table import pinned_table
from rpaccel.rtl.row_front import bank_pins
from rpaccel.rtl.static_cache import STAGES
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import PIN_ENTRY_BITS, PIN_LINE_BITS, Target
from rpaccel.spec.stripe import bank_of

__all__ = ["PinSections", "Pins", "RowName", "pin_sections", "profile_rows"]

RowName = tuple[str, str, int]  # model, feature, row


@dataclass(frozen=True, kw_only=True)
class Pins:
    """Rows to pin, most popular first, for the front end and for later stages.

    split : int  lines of every bank's static cache that are the front end's.
    banks : int  whose static caches are loaded, from bank 0 up; None: all. A bank's whole table is
    loaded or none of it, so this is what a LOAD grows with.
    """

    split: int
    banks: int | None = None
    rows: tuple[Sequence[RowName], ...] = field(default=((),) * STAGES)


@dataclass(frozen=True, kw_only=True)
class PinSections:
    """Sections of an image, and per stage how many beats of rows got a place, and how many not."""

    sections: tuple[Section, ...]
    pinned: tuple[int, ...]
    left_out: tuple[int, ...]


def pin_sections(
    config: AcceleratorConfig,
    split: int,
    rows: Sequence[Mapping[int, bytes]],
    banks: int | None = None,
) -> PinSections:
    """Return the sections that pin rows in the banks that they belong to.

    rows : per stage the address of a row to its bytes, most popular first. A row longer than a beat
    is pinned beat by beat; in a stage a row takes the room of the stage's largest one.
    banks : whose static caches are loaded, from bank 0 up; None: all. The others hold nothing, as
    LOAD forgets what they held: beats of their rows count as left out.
    Raises ValueError for a machine without static caches, or a split, row or number of banks that
    does not fit.
    """
    if not config.static_cache_lines:
        raise ValueError(f"{config.name}: static_cache_lines must be at least 1 to pin rows, not 0")
    if not 0 <= split <= config.static_cache_lines:
        raise ValueError(f"split must be in 0..{config.static_cache_lines}, not {split}")
    loaded = config.banks if banks is None else banks
    if not 1 <= loaded <= config.banks:
        raise ValueError(f"banks must be in 1..{config.banks}, not {loaded}")
    pins, beat_bytes = bank_pins(config), config.beat_bytes
    sizes = [max((min(len(r), beat_bytes) for r in each.values()), default=4) for each in rows]
    parts: list[list[dict[int, bytes]]] = [[{} for _ in range(STAGES)] for _ in range(config.banks)]
    for stage, each in enumerate(rows):
        for address, row in each.items():
            for offset in range(0, len(row), beat_bytes):
                part = row[offset : offset + beat_bytes]
                part += bytes(sizes[stage] - len(part))
                at = address + offset
                parts[bank_of(config, at)][stage][at // 4] = part
    entries, lines = bytearray(), bytearray()
    pinned, left_out = [0] * STAGES, [0] * STAGES
    for bank in parts[loaded:]:
        for stage in range(STAGES):
            left_out[stage] += len(bank[stage])
    for bank in parts[:loaded]:
        table = pinned_table(pins, split, sizes, bank)
        for entry in table.entries:
            entries += entry.to_bytes(PIN_ENTRY_BITS // 8, "little")
        for line in table.lines:
            lines += line.to_bytes(max(beat_bytes, PIN_LINE_BITS // 8), "little")
        for stage in range(STAGES):
            pinned[stage] += len(table.pinned[stage])
            left_out[stage] += len(table.left_out[stage])
    return PinSections(
        sections=(
            Section(target=Target.PIN_LINE, start=0, payload=bytes(lines)),
            Section(target=Target.PIN_ENTRY, start=0, payload=bytes(entries)),
        ),
        pinned=tuple(pinned),
        left_out=tuple(left_out),
    )


def profile_rows(
    rankers: Sequence[QuantisedRanker], queries: Iterable[Query]
) -> tuple[Counter[RowName], ...]:
    """Count the rows that queries name, for the front end and for later stages.

    The survivors of the front end are not known: later stages count all candidates.
    """
    counts: tuple[Counter[RowName], ...] = tuple(Counter() for _ in range(STAGES))
    for query in queries:
        user = np.frombuffer(query.user_record, np.uint8)[None, :]
        items = query.features[query.candidates[query.candidates < len(query.features)]]
        for number, (slot, _) in enumerate(query.stages):
            ranker, stage = rankers[slot], min(number, STAGES - 1)
            for features, records in (
                (ranker.user_features, user),
                (ranker.item_features, items),
            ):
                for feature in features:
                    rows, times = np.unique(_ids(feature, records), return_counts=True)
                    named = zip(rows.tolist(), times.tolist(), strict=True)
                    counts[stage].update(
                        {(ranker.name, feature.name, row): count for row, count in named}
                    )
    return counts


def _ids(feature: QuantisedFeature, records: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return the rows that records name, those outside the table left out."""
    words = np.ascontiguousarray(records).view("<u4").astype(np.int64)
    ids = words[:, feature.word]
    if feature.multi_hot:
        listed = words[:, feature.word + 1 : feature.word + 1 + feature.max_ids]
        ids = listed[np.arange(feature.max_ids)[None, :] < ids[:, None]]
    return ids[ids < feature.rows]
