"""Feature arrays to record bytes: what the gather unit reads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.records import WORD_BYTES, FeatureData, FeatureSchema, Side

Bytes = npt.NDArray[np.uint8]


def feature_words(schema: FeatureSchema, side: Side) -> dict[str, int]:
    """Return the first 32-bit word of every sparse feature of `side` in its record."""
    words, offset = {}, schema.dense_bytes(side) // WORD_BYTES
    for feature in schema.side(side):
        words[feature.name] = offset
        offset += feature.record_bytes // WORD_BYTES
    return words


def padded_bytes(needed: int, side: Side, config: AcceleratorConfig) -> int:
    """Return the size in memory of a record that `needed` bytes are read of [B].

    USER: a multiple of the beat. ITEM: a power of two, at least a beat.
    Raises ValueError if the machine's records are smaller.
    """
    beat = config.beat_bytes
    if side == "user":
        padded, limit = -(-needed // beat) * beat, config.user_record_bytes
    else:
        padded, limit = max(beat, 1 << (needed - 1).bit_length()), config.item_record_bytes
    if padded > limit:
        raise ValueError(
            f"{config.name}: {side}_record_bytes must be at least {padded}, not {limit} "
            f"({padded - limit} B too few)"
        )
    return padded


def padded_record_bytes(schema: FeatureSchema, side: Side, config: AcceleratorConfig) -> int:
    """Return `padded_bytes` of a schema's records."""
    return padded_bytes(max(schema.record_bytes(side), WORD_BYTES), side, config)


def build_records(data: FeatureData, side: Side, record_bytes: int) -> Bytes:
    """Return uint8[users or items, record_bytes], padded with zeros."""
    dense = data.dense(side)
    needed = data.schema.record_bytes(side)
    if record_bytes < needed or record_bytes % WORD_BYTES:
        raise ValueError(
            f"{side} record_bytes must be a multiple of {WORD_BYTES} and at least {needed}, "
            f"not {record_bytes}"
        )
    records = np.zeros((dense.shape[0], record_bytes), dtype=np.uint8)
    records[:, : dense.shape[1]] = dense.view(np.uint8)
    words = records.view("<u4")
    offsets = feature_words(data.schema, side)
    for feature in data.schema.side(side):
        word, ids = offsets[feature.name], data.ids[feature.name]
        if feature.multi_hot:
            words[:, word] = data.counts[feature.name]
            word += 1
        words[:, word : word + feature.max_ids] = np.maximum(ids, 0)
    return records


def user_records(data: FeatureData, config: AcceleratorConfig) -> Bytes:
    """Return uint8[users, padded bytes]: one row is a query's user record."""
    return build_records(data, "user", padded_record_bytes(data.schema, "user", config))


def feature_table(data: FeatureData, config: AcceleratorConfig) -> Bytes:
    """Return uint8[items, padded bytes]: the feature table, row = candidate id."""
    return build_records(data, "item", padded_record_bytes(data.schema, "item", config))
