"""Records to vectors: dense bytes, embedding rows, pooling, and the errors found on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rpaccel.golden.quantised import QuantisedFeature, QuantisedRanker
from rpaccel.golden.requantise import INT8_HIGH, INT8_LOW, clamp8, requantise, round_shift
from rpaccel.spec.isa import RECIPROCAL_SHIFT, Pooling, Status

Array = np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Gathered:
    """What a stage computes on.

    dense : int64[n, dense]; vectors : int64[n, features, dim]; errors : int64[n], the first
    Status of each record (0: none).
    """

    dense: Array
    vectors: Array
    errors: Array


def records_of(raw: bytes | Array, record_bytes: int) -> Array:
    """Return raw records as uint8[n, record_bytes]."""
    flat = np.frombuffer(raw, dtype=np.uint8) if not isinstance(raw, np.ndarray) else raw
    if flat.size % record_bytes:
        raise ValueError(f"records must be a multiple of {record_bytes} bytes, not {flat.size}")
    return flat.reshape(-1, record_bytes)


def reciprocal(count: Array) -> Array:
    """Return round(2**16 / count), the multiplier of a mean; 0 for a count of 0."""
    count = np.asarray(count, dtype=np.int64)
    safe = np.maximum(count, 1)
    return np.where(count > 0, ((1 << (RECIPROCAL_SHIFT + 1)) // safe + 1) >> 1, 0)


def pool(rows: Array, count: Array, feature: QuantisedFeature) -> Array:
    """Return pooled vectors int64[n, d] of int8 rows[n, max_ids, d].

    count : int64[n]; rows past a record's count must be zero.
    """
    total = np.asarray(rows, dtype=np.int64).sum(axis=1)
    if feature.pooling is Pooling.MEAN:
        return clamp8(round_shift(total * reciprocal(count)[:, None], RECIPROCAL_SHIFT))
    return requantise(total, feature.multiplier, feature.shift, INT8_LOW, INT8_HIGH)


def gather_feature(feature: QuantisedFeature, words: Array) -> tuple[Array, Array]:
    """Return (vectors int64[n, dim], errors int64[n]) of one feature.

    words : uint32[n, record words]. An id outside the table gives a zero row and BAD_ID; a count
    above max_ids gives BAD_COUNT and is taken as 0.
    """
    if feature.word + feature.words > words.shape[1]:
        raise ValueError(
            f"{feature.name} must end at word {words.shape[1]} of its record, "
            f"not {feature.word + feature.words}"
        )
    if not feature.multi_hot:
        ids = words[:, feature.word].astype(np.int64)
        bad = ids >= feature.rows
        vectors = feature.table[np.where(bad, 0, ids)].astype(np.int64)
        vectors[bad] = 0
        return vectors, np.where(bad, int(Status.BAD_ID), 0)
    count = words[:, feature.word].astype(np.int64)
    bad_count = count > feature.max_ids
    count = np.where(bad_count, 0, count)
    ids = words[:, feature.word + 1 : feature.word + 1 + feature.max_ids].astype(np.int64)
    used = np.arange(feature.max_ids)[None, :] < count[:, None]
    bad_id = used & (ids >= feature.rows)
    readable = used & ~bad_id
    rows = feature.table[np.where(readable, ids, 0)] * readable[:, :, None].astype(np.int8)
    errors = np.where(bad_id.any(axis=1), int(Status.BAD_ID), 0)
    return pool(rows, count, feature), np.where(bad_count, int(Status.BAD_COUNT), errors)


def gather_side(
    ranker: QuantisedRanker, side: str, records: Array, errors: Array | None = None
) -> Gathered:
    """Return the dense bytes and vectors of one side for uint8 records[n, record_bytes].

    errors : int64[n]  Errors found earlier: such a record gives zeros and no further error.
    """
    features = ranker.user_features if side == "user" else ranker.item_features
    dense = ranker.user_dense if side == "user" else ranker.item_dense
    records = np.ascontiguousarray(records)
    words = records.view("<u4")
    n = records.shape[0]
    first = np.zeros(n, dtype=np.int64) if errors is None else np.array(errors, dtype=np.int64)
    vectors = np.zeros((n, len(features), ranker.dim), dtype=np.int64)
    for index, feature in enumerate(features):
        vectors[:, index], found = gather_feature(feature, words)
        first = np.where(first != 0, first, found)
    if errors is not None:
        vectors[np.asarray(errors) != 0] = 0
    return Gathered(
        dense=records[:, :dense].view(np.int8).astype(np.int64), vectors=vectors, errors=first
    )


def item_records(table: Array, ids: Array) -> tuple[Array, Array]:
    """Return (records uint8[n, record_bytes], errors) of candidate ids.

    table : uint8[rows, record_bytes]. An id outside it gives a record of zeros and BAD_ID.
    """
    ids = np.asarray(ids, dtype=np.int64)
    bad = ids >= table.shape[0]
    if not table.shape[0]:
        return np.zeros((ids.size, table.shape[1]), np.uint8), np.where(bad, Status.BAD_ID, 0)
    records = table[np.where(bad, 0, ids)]
    records[bad] = 0
    return records, np.where(bad, int(Status.BAD_ID), 0)
