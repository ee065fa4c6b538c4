"""What a query asks of memory: bursts and beats per user record and per candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rpaccel.perfmodel.shapes import ModelShape

BURST_BEATS = 16
ID_BYTES = 4
Number = Any  # int or float, or a NumPy array of one per design point


@dataclass(frozen=True, kw_only=True)
class RecordSizes:
    """Bytes of a query's records in memory, as its descriptor says them; integers or arrays."""

    user_bytes: Number
    item_bytes: Number


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Beats; a row or an item record is one burst. Means where records name different rows."""

    user_record_beats: Number
    user_rows: float
    item_record_beats: Number
    item_rows: float  # per item
    row_beats: Number

    @property
    def item_beats(self) -> Number:
        """Beats per item, without its share of the candidate list."""
        return self.item_record_beats + self.item_rows * self.row_beats


def padded_records(user_bytes: int, item_bytes: int, beat_bytes: Number) -> RecordSizes:
    """Return the sizes in memory of records that need so many bytes; see host.records."""
    power = 1 << (item_bytes - 1).bit_length()
    return RecordSizes(
        user_bytes=np.maximum(1, -(-user_bytes // beat_bytes)) * beat_bytes,
        item_bytes=np.maximum(beat_bytes, power),
    )


def traffic_of(beat_bytes: Number, shape: ModelShape, records: RecordSizes) -> Traffic:
    """Return what one stage with `shape` reads."""
    return Traffic(
        user_record_beats=-(-records.user_bytes // beat_bytes),
        user_rows=sum(feature.ids for feature in shape.user_features),
        item_record_beats=-(-records.item_bytes // beat_bytes),
        item_rows=sum(feature.ids for feature in shape.item_features),
        row_beats=-(-shape.slot["row_bytes"] // beat_bytes),
    )


def list_beats(beat_bytes: Number, items: int) -> Number:
    """Return the beats of a candidate list of `items` ids."""
    return -(-items * ID_BYTES // beat_bytes)


def stage_read_beats(
    beat_bytes: Number, shape: ModelShape, records: RecordSizes, items: int, first: bool
) -> Number:
    """Return the beats that a stage of `items` reads; only the first reads the candidate list."""
    traffic = traffic_of(beat_bytes, shape, records)
    user = traffic.user_record_beats + traffic.user_rows * traffic.row_beats
    listed = list_beats(beat_bytes, items) if first else 0
    return user + items * traffic.item_beats + listed
