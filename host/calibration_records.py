"""Records to calibrate a quantisation on, and what the float ranker makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rpaccel.golden import dlrm
from rpaccel.host.records import build_records
from rpaccel.spec.records import DENSE_SCALE, WORD_BYTES, FeatureData, Side

Array = npt.NDArray[np.float64]
Candidates = Callable[[int], npt.NDArray[np.integer]]
FloatLayer = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """Records to calibrate on: users int64[u], and for each its candidates, items int64[u, m]."""

    users: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Records and float activations to calibrate on, one row per (user, item).

    dense : int8 inputs of the bottom MLP; words : side -> (uint32[distinct records, words],
    the record of each row).
    bottom, top : each layer's output before its ReLU; pooled : feature -> vectors.
    crossed : what the interaction gives behind vector 0.
    """

    queries: int
    dense: npt.NDArray[np.int64]
    words: dict[str, tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]]
    bottom: tuple[Array, ...]
    pooled: dict[str, Array]
    crossed: Array
    top: tuple[Array, ...]

    @property
    def logits(self) -> Array:
        """Float logits."""
        return self.top[-1][:, 0]


def calibration_set(
    parameters: dlrm.RankerParameters,
    data: FeatureData,
    candidates: Candidates | None = None,
    *,
    users: int = 96,
    best: int = 48,
    others: int = 48,
    seed: int = 0,
) -> CalibrationSet:
    """Return random users, each with its best candidates by the float ranker and random others.

    The best ones have the widest activations, and it is their order that is served.
    candidates : items that may be ranked for a user; default all items.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(data.users, size=min(users, data.users), replace=False))
    pooled, rows = dlrm.item_vectors(parameters, data), []
    for user in chosen.tolist():
        free = np.arange(data.items) if candidates is None else np.asarray(candidates(user))
        logits = dlrm.logits(parameters, data, user, free, pooled)
        order = np.argsort(-logits, kind="stable")
        rest = rng.permutation(order[best:])[:others]
        rows.append(free[np.resize(np.concatenate([order[:best], rest]), best + others)])
    return CalibrationSet(users=chosen.astype(np.int64), items=np.stack(rows).astype(np.int64))


def calibrate(
    parameters: dlrm.RankerParameters, data: FeatureData, chosen: CalibrationSet
) -> Calibration:
    """Run the float ranker over the calibration records and keep every activation."""
    config, per_user = parameters.config, chosen.items.shape[1]
    user, item = np.repeat(chosen.users, per_user), chosen.items.ravel()
    dense = np.concatenate([data.user_dense[user], data.item_dense[item]], axis=1)
    bottom = _float_mlp(parameters.bottom, dense * DENSE_SCALE)
    pooled: dict[str, Array] = {}
    words: dict[str, tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]] = {}
    for feature in config.sparse(parameters.schema):
        rows = user if feature.side == "user" else item
        table, ids = parameters.tables[feature.name], data.ids[feature.name]
        distinct, row_of = np.unique(rows, return_inverse=True)
        vectors = dlrm.pool(table, ids[distinct], feature.pooling).astype(np.float64)
        pooled[feature.name] = vectors[row_of]
    sides: tuple[tuple[Side, npt.NDArray[np.int64]], ...] = (("user", user), ("item", item))
    for side, rows in sides:
        size = max(WORD_BYTES, data.schema.record_bytes(side))
        distinct, row_of = np.unique(rows, return_inverse=True)
        words[side] = (
            build_records(data, side, size).view("<u4")[distinct],
            row_of.astype(np.int64),
        )
    vector0 = np.maximum(bottom[-1], 0.0)
    vectors = np.stack([vector0, *(pooled[name] for name in config.features)], axis=1)
    crossed = dlrm.interact(vectors, config.interaction, len(config.user_features))
    top = _float_mlp(parameters.top, np.concatenate([vector0, crossed], axis=1))
    return Calibration(
        queries=len(chosen.users),
        dense=dense.astype(np.int64),
        words=words,
        bottom=bottom,
        pooled=pooled,
        crossed=crossed,
        top=top,
    )


def _float_mlp(layers: Sequence[FloatLayer], x: Array) -> tuple[Array, ...]:
    """Return every layer's output before its ReLU; ReLU between the layers."""
    outputs: list[Array] = []
    for weights, bias in layers:
        x = np.maximum(outputs[-1], 0.0) if outputs else x
        outputs.append(x @ weights.astype(np.float64) + bias)
    return tuple(outputs)
