"""The two records the accelerator reads: one user record per query, one item record per candidate.

A record is its int8 dense values (padded to 4 bytes), then its sparse features in schema order:
a single id is one 32-bit word, a multi-hot is a 32-bit count and `max_ids` 32-bit ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rpaccel.spec.isa import MAX_IDS

USER_RECORD_MAX_BYTES = 1024
ITEM_RECORD_MAX_BYTES = 256
WORD_BYTES = 4
DENSE_CLIP = 4.0  # standardised dense values are clipped to +-4 ...
DENSE_SCALE = DENSE_CLIP / 127  # ... and stored as int8 of this step, the same for every value

Side = Literal["user", "item"]


class SparseFeature(BaseModel):
    """One categorical feature: a single id (`max_ids` 1) or a pooled multi-hot list of ids."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1)
    side: Side
    rows: int = Field(ge=1)  # rows of the embedding table; ids are 0..rows-1
    max_ids: int = Field(default=1, ge=1, le=MAX_IDS)
    pooling: Literal["sum", "mean"] = "sum"

    @property
    def multi_hot(self) -> bool:
        """Whether the record holds a count and a list."""
        return self.max_ids > 1

    @property
    def record_bytes(self) -> int:
        """Bytes of this feature in its record [B]."""
        return WORD_BYTES * (1 + self.max_ids) if self.multi_hot else WORD_BYTES


class FeatureSchema(BaseModel):
    """What the user record and the item record hold, in record order."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    user_dense: tuple[str, ...]
    item_dense: tuple[str, ...]
    features: tuple[SparseFeature, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [feature.name for feature in self.features]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"feature names must differ, not repeat {repeated[0]!r}")
        limits: tuple[tuple[Side, int], ...] = (
            ("user", USER_RECORD_MAX_BYTES),
            ("item", ITEM_RECORD_MAX_BYTES),
        )
        for side, limit in limits:
            if self.record_bytes(side) > limit:
                raise ValueError(
                    f"{side} record must be at most {limit} bytes, not {self.record_bytes(side)}"
                )
        return self

    def side(self, side: Side) -> tuple[SparseFeature, ...]:
        """Return the sparse features of one side, in record order."""
        return tuple(feature for feature in self.features if feature.side == side)

    def dense(self, side: Side) -> tuple[str, ...]:
        """Return the names of one side's dense values, in record order."""
        return self.user_dense if side == "user" else self.item_dense

    def dense_bytes(self, side: Side) -> int:
        """Return the bytes of one side's dense values with padding to 4 bytes [B]."""
        return -(-len(self.dense(side)) // WORD_BYTES) * WORD_BYTES

    def record_bytes(self, side: Side) -> int:
        """Return the bytes used by one record of `side` [B]."""
        return self.dense_bytes(side) + sum(f.record_bytes for f in self.side(side))

    def feature(self, name: str) -> SparseFeature:
        """Return a sparse feature by name. Raises ValueError if there is none."""
        for feature in self.features:
            if feature.name == name:
                return feature
        known = ", ".join(feature.name for feature in self.features)
        raise ValueError(f"feature must be one of {known}, not {name!r}")


@dataclass(frozen=True, kw_only=True)
class FeatureData:
    """Every user's and every item's record as arrays.

    Members
    -------
    schema : FeatureSchema
    user_dense : int8[users, len(schema.user_dense)]   value = int * DENSE_SCALE
    item_dense : int8[items, len(schema.item_dense)]
    ids : feature name -> int32[users or items, max_ids], padded with -1 after the last id
    counts : feature name -> int32[users or items], ids in use; always 1 for a single id
    """

    schema: FeatureSchema
    user_dense: npt.NDArray[np.int8]
    item_dense: npt.NDArray[np.int8]
    ids: dict[str, npt.NDArray[np.int32]]
    counts: dict[str, npt.NDArray[np.int32]]

    def __post_init__(self) -> None:
        for feature in self.schema.features:
            ids, counts = self.ids[feature.name], self.counts[feature.name]
            height = self.users if feature.side == "user" else self.items
            if ids.shape != (height, feature.max_ids):
                raise ValueError(
                    f"ids of {feature.name} must have shape {(height, feature.max_ids)}, "
                    f"not {ids.shape}"
                )
            used = np.arange(feature.max_ids) < counts[:, None]
            if not ((ids >= 0) == used).all():
                raise ValueError(f"{feature.name}: ids must be -1 exactly after the count")
            if ids.max(initial=-1) >= feature.rows:
                raise ValueError(
                    f"ids of {feature.name} must be in 0..{feature.rows - 1}, not {ids.max()}"
                )

    @property
    def users(self) -> int:
        """Number of user records."""
        return int(self.user_dense.shape[0])

    @property
    def items(self) -> int:
        """Number of item records."""
        return int(self.item_dense.shape[0])

    def dense(self, side: Side) -> npt.NDArray[np.int8]:
        """Return int8[users or items, Du or Di]."""
        return self.user_dense if side == "user" else self.item_dense
