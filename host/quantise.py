"""Float ranker to int8 ranker, calibrated on training records.

Every tensor of activations has one scale where vectors meet (bottom output, embedding tables) and
may have one per channel elsewhere, because PARAM and PAIR rescale each channel apart and the next
layer's weight rows absorb the difference. Layers are quantised in order, each on the integer
activations that the layers before really give (see `fit_layer`). Several ways to choose the scales
are tried; the one whose integer logits are closest to the float logits is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rpaccel.golden import dlrm, vector_unit
from rpaccel.golden.gather import gather_feature
from rpaccel.golden.interaction import interact
from rpaccel.golden.lane import rank
from rpaccel.golden.quantised import QuantisedFeature, QuantisedLayer, QuantisedRanker
from rpaccel.host.calibrate import (
    METHODS,
    Method,
    calibrate_edges,
    channel_scales,
    fixed_point,
    fixed_points,
    quantise_array,
    tensor_scale,
)
from rpaccel.host.fit_layer import fit_layer
from rpaccel.host.records import build_records, feature_words
from rpaccel.spec.isa import BINS, LOGIT_FRACTION_BITS, Pooling
from rpaccel.spec.records import DENSE_SCALE, WORD_BYTES, FeatureData, Side

Array = npt.NDArray[np.float64]
Candidates = Callable[[int], npt.NDArray[np.integer]]
FloatLayer = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
TABLE_METHODS: tuple[Method, ...] = ("max", "error")
LOGIT_STEP = 2.0**-LOGIT_FRACTION_BITS
LOGIT_LIMIT = 32767 * LOGIT_STEP
SATURATED_SHARE = 0.001  # of calibration logits: equal logits at the limit lose their order
NO_FILTER_EDGES = np.full(BINS - 1, -32768, dtype=np.int16)


@dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """Records to calibrate on: users int64[u], and for each its candidates, items int64[u, m]."""

    users: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How scales are chosen: for activations, for tables, and how far channels differ."""

    activations: Method
    tables: Method
    spread: float


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """A quantised ranker, the recipe that won, and its error on the calibration records.

    logit_rms : root mean square of (integer - float) logits; float_std : spread of the latter.
    """

    ranker: QuantisedRanker
    recipe: Recipe
    logit_rms: float
    float_std: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Records and float activations to calibrate on, one row per (user, item).

    dense : int8 inputs of the bottom MLP; words : side -> (uint32[distinct records, words],
    the record of each row).
    bottom, top : each layer's output before its ReLU; pooled : feature -> vectors.
    """

    queries: int
    dense: npt.NDArray[np.int64]
    words: dict[str, tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]]
    bottom: tuple[Array, ...]
    pooled: dict[str, Array]
    pairs: Array
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
    i, j = np.tril_indices(vectors.shape[1], k=-1)
    pairs = (vectors @ vectors.transpose(0, 2, 1))[:, i, j]
    top = _float_mlp(parameters.top, np.concatenate([vector0, pairs], axis=1))
    return Calibration(
        queries=len(chosen.users),
        dense=dense.astype(np.int64),
        words=words,
        bottom=bottom,
        pooled=pooled,
        pairs=pairs,
        top=top,
    )


def _float_mlp(layers: Sequence[FloatLayer], x: Array) -> tuple[Array, ...]:
    """Return every layer's output before its ReLU; ReLU between the layers."""
    outputs: list[Array] = []
    for weights, bias in layers:
        x = np.maximum(outputs[-1], 0.0) if outputs else x
        outputs.append(x @ weights.astype(np.float64) + bias)
    return tuple(outputs)


def _quantise_features(
    parameters: dlrm.RankerParameters, calibration: Calibration, recipe: Recipe
) -> tuple[tuple[QuantisedFeature, ...], list[float]]:
    """Return the features, and the scale of each pooled vector."""
    words = feature_words(parameters.schema, "user") | feature_words(parameters.schema, "item")
    features, vector_scales = [], []
    for feature in parameters.config.sparse(parameters.schema):
        table = parameters.tables[feature.name]
        scale = out = tensor_scale(table, recipe.tables)
        multiplier, shift = 0, 0
        is_sum = feature.multi_hot and feature.pooling == "sum"
        if is_sum:
            out = tensor_scale(calibration.pooled[feature.name], recipe.activations)
            multiplier, shift = fixed_point(scale / out)
        features.append(
            QuantisedFeature(
                name=feature.name,
                side=feature.side,
                table=quantise_array(table, scale),
                word=words[feature.name],
                multi_hot=feature.multi_hot,
                max_ids=feature.max_ids,
                pooling=Pooling.SUM if is_sum else Pooling.MEAN,
                multiplier=multiplier,
                shift=shift,
            )
        )
        vector_scales.append(out)
    return tuple(features), vector_scales


def _quantise_mlp(
    layers: Sequence[FloatLayer],
    x: npt.NDArray[np.int64],
    in_scale: npt.ArrayLike,
    targets: Sequence[Array],
    out_scales: Sequence[npt.ArrayLike],
    *,
    relu_last: bool,
) -> tuple[tuple[QuantisedLayer, ...], npt.NDArray[np.int64]]:
    """Return the int8 layers, and the integer input of the last one."""
    quantised: list[QuantisedLayer] = []
    for index, (layer, target, out_scale) in enumerate(
        zip(layers, targets, out_scales, strict=True)
    ):
        x = vector_unit.layer(x, quantised[-1]) if quantised else x
        relu = relu_last or index < len(layers) - 1
        quantised.append(fit_layer(layer, x, in_scale, target, out_scale, relu=relu))
        in_scale = out_scale
    return tuple(quantised), x


def quantise_with(
    parameters: dlrm.RankerParameters, calibration: Calibration, recipe: Recipe
) -> tuple[QuantisedRanker, Array]:
    """Return the int8 ranker of one recipe, with a filter that drops nothing, and its logits."""
    config = parameters.config
    features, vector_scales = _quantise_features(parameters, calibration, recipe)
    bottom_out = [np.maximum(x, 0.0) for x in calibration.bottom]
    hidden = [channel_scales(x, recipe.activations, recipe.spread) for x in bottom_out[:-1]]
    scale0 = tensor_scale(bottom_out[-1], recipe.activations)
    bottom, x = _quantise_mlp(
        parameters.bottom,
        calibration.dense,
        DENSE_SCALE,
        calibration.bottom,
        [*hidden, scale0],
        relu_last=True,
    )
    pooled = []
    for feature in features:
        words, row_of = calibration.words[feature.side]
        pooled.append(gather_feature(feature, words)[0][row_of])
    vectors = np.stack([vector_unit.layer(x, bottom[-1]), *pooled], axis=1)
    scales = np.array([scale0, *vector_scales])
    i, j = np.tril_indices(len(scales), k=-1)
    pair_scale = channel_scales(calibration.pairs, recipe.activations, recipe.spread)
    pair_multiplier, pair_shift = fixed_points(scales[i] * scales[j] / pair_scale)
    top_scales = [
        channel_scales(np.maximum(x, 0.0), recipe.activations, recipe.spread)
        for x in calibration.top[:-1]
    ]
    top, x = _quantise_mlp(
        parameters.top,
        interact(vectors, pair_multiplier, pair_shift),
        np.concatenate([np.full(config.dim, scale0), pair_scale]),
        calibration.top,
        [*top_scales, LOGIT_STEP],
        relu_last=False,
    )
    ranker = QuantisedRanker(
        name=config.name,
        dim=config.dim,
        user_dense=config.user_dense,
        item_dense=config.item_dense,
        features=features,
        bottom=bottom,
        pair_multiplier=pair_multiplier,
        pair_shift=pair_shift,
        top=top,
        edges=NO_FILTER_EDGES,
        threshold=-32768,
    )
    return ranker, vector_unit.score_layer(x, top[-1]) * LOGIT_STEP


def integer_logits(
    ranker: QuantisedRanker,
    data: FeatureData,
    users: npt.NDArray[np.int64],
    items: Sequence[npt.NDArray[np.int64]] | npt.NDArray[np.int64],
) -> list[npt.NDArray[np.int64]]:
    """Return the int16 logits of each user's candidates, from the golden model of a stage."""
    user_rows = build_records(data, "user", max(4, data.schema.record_bytes("user")))
    item_rows = build_records(data, "item", max(4, data.schema.record_bytes("item")))
    return [
        rank(ranker, user_rows[user].tobytes(), item_rows, candidates).logits
        for user, candidates in zip(users, items, strict=True)
    ]


def recipes() -> list[Recipe]:
    """Return every recipe that `quantise` tries. Others were never seen to be the best."""
    return [
        Recipe(activations=activations, tables=tables, spread=1.0)
        for activations in METHODS
        for tables in TABLE_METHODS
    ]


def quantise(
    parameters: dlrm.RankerParameters,
    data: FeatureData,
    chosen: CalibrationSet | None = None,
    tried: Sequence[Recipe] | None = None,
) -> Quantisation:
    """Return the int8 ranker whose logits follow the float ranker best on the chosen records.

    Pass training users and items only. Raises ValueError if no recipe can be represented.
    """
    if parameters.schema != data.schema:
        raise ValueError(
            f"data must have the schema that {parameters.config.name!r} was trained on: build the "
            "features again, or train again"
        )
    chosen = calibration_set(parameters, data) if chosen is None else chosen
    calibration = calibrate(parameters, data, chosen)
    outside = float((np.abs(calibration.logits) > LOGIT_LIMIT).mean())
    if outside > SATURATED_SHARE:
        raise ValueError(
            f"{parameters.config.name}: logits must lie within +-{LOGIT_LIMIT:g} for all but "
            f"{100 * SATURATED_SHARE:g} % of the calibration records, not all but "
            f"{100 * outside:.1f} %: train with weight decay, or scale the last layer"
        )
    shape = (calibration.queries, -1)
    best: Quantisation | None = None
    for recipe in recipes() if tried is None else tried:
        ranker, logits = quantise_with(parameters, calibration, recipe)
        # Order is what counts: an offset common to all candidates of a query is no error.
        error = (logits - calibration.logits).reshape(shape)
        rms = float(np.sqrt(((error - error.mean(axis=1, keepdims=True)) ** 2).mean()))
        if best is None or rms < best.logit_rms:
            std = float(calibration.logits.reshape(shape).std(axis=1).mean())
            best = Quantisation(ranker=ranker, recipe=recipe, logit_rms=rms, float_std=std)
    if best is None:
        raise ValueError("tried must hold at least one recipe, not 0")
    return best


def with_filter(
    ranker: QuantisedRanker,
    data: FeatureData,
    users: npt.NDArray[np.int64],
    items: Sequence[npt.NDArray[np.int64]] | npt.NDArray[np.int64],
    k: int,
) -> QuantisedRanker:
    """Return `ranker` with bin edges and threshold for keeping `k` of each user's candidates."""
    edges, threshold = calibrate_edges(integer_logits(ranker, data, users, items), k)
    return replace(ranker, edges=edges, threshold=threshold)
