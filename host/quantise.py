"""Float ranker to int8 ranker, calibrated on training records.

Every tensor of activations has one scale where vectors meet (bottom output, embedding tables) and
may have one per channel elsewhere, because PARAM and PAIR rescale each channel apart (PAIR of a
PRODUCT: each vector) and the next layer's weight rows absorb the difference. Layers are quantised
in order, each on the integer activations that the layers before really give (see `fit_layer`).
Several ways to choose the scales are tried; the one whose integer logits are closest to the float
logits is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from rpaccel.host.calibration_records import (
    Array,
    Calibration,
    CalibrationSet,
    FloatLayer,
    calibrate,
    calibration_set,
)
from rpaccel.host.fit_layer import fit_layer
from rpaccel.host.records import build_records, feature_words
from rpaccel.spec.isa import BINS, LOGIT_FRACTION_BITS, Interaction, Pooling
from rpaccel.spec.records import DENSE_SCALE, FeatureData

__all__ = [
    "CalibrationSet", "MethodLoss", "Quantisation", "Recipe", "calibrate", "calibration_report",
    "calibration_set", "integer_logits", "quantise", "quantise_with", "recipes", "with_filter",
]  # fmt: skip

TABLE_METHODS: tuple[Method, ...] = ("max", "error")
LOGIT_STEP = 2.0**-LOGIT_FRACTION_BITS
LOGIT_LIMIT = 32767 * LOGIT_STEP
SATURATED_SHARE = 0.001  # of calibration logits: equal logits at the limit lose their order
NO_FILTER_EDGES = np.full(BINS - 1, -32768, dtype=np.int16)


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
class MethodLoss:
    """What quantisation by one method of choosing activation scales costs, with its best tables.

    ranker : calibrated so, with a filter that drops nothing.
    logit_rms, held_out_rms : of (integer - float) logits about each query's mean, on the
        calibration records and on others; float_std : spread of the float logits.
    """

    method: Method
    tables: Method
    ranker: QuantisedRanker
    logit_rms: float
    held_out_rms: float
    float_std: float


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


def _scale_interaction(
    parameters: dlrm.RankerParameters, calibration: Calibration, recipe: Recipe, scales: Array
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8], Array]:
    """Return (multiplier, shift, scale of each value behind vector 0) of the interaction.

    scales : of vector 0 and the gathered vectors.
    """
    config = parameters.config
    users, dim = len(config.user_features), config.dim
    if config.kind is Interaction.DOT:
        i, j = np.tril_indices(len(scales), k=-1)
        out = channel_scales(calibration.crossed, recipe.activations, recipe.spread)
        return *fixed_points(scales[i] * scales[j] / out), out
    user, item = scales[1 : 1 + users], scales[1 + users :]
    common = min(len(user), len(item)) if config.kind is Interaction.PRODUCT else 0
    step = user[:common] * item[:common]
    products = [calibration.crossed[:, n * dim : (n + 1) * dim] for n in range(common)]
    out = np.array([tensor_scale(product, recipe.activations) for product in products])
    out = np.maximum(out, step)  # a finer step than the integer products' own adds nothing
    copied = np.concatenate([user[common:], item[common:]])
    return *fixed_points(step / out), np.repeat(np.concatenate([out, copied]), dim)


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
    multiplier, shift, crossed_scale = _scale_interaction(
        parameters, calibration, recipe, np.array([scale0, *vector_scales])
    )
    top_scales = [
        channel_scales(np.maximum(x, 0.0), recipe.activations, recipe.spread)
        for x in calibration.top[:-1]
    ]
    top, x = _quantise_mlp(
        parameters.top,
        interact(vectors, multiplier, shift, config.kind, len(config.user_features)),
        np.concatenate([np.full(config.dim, scale0), crossed_scale]),
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
        interaction=config.kind,
        pair_multiplier=multiplier,
        pair_shift=shift,
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
    calibration = _calibrated(parameters, data, chosen)
    tried = recipes() if tried is None else tried
    if not tried:
        raise ValueError("tried must hold at least one recipe, not 0")
    return _best(parameters, calibration, tried)


def _calibrated(
    parameters: dlrm.RankerParameters, data: FeatureData, chosen: CalibrationSet | None
) -> Calibration:
    """Return the float activations on the chosen records; ValueError if int16 cannot hold them."""
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
    return calibration


def _best(
    parameters: dlrm.RankerParameters, calibration: Calibration, tried: Sequence[Recipe]
) -> Quantisation:
    """Return the recipe with the least error; the first among equals."""
    std = float(calibration.logits.reshape(calibration.queries, -1).std(axis=1).mean())
    results = []
    for recipe in tried:
        ranker, logits = quantise_with(parameters, calibration, recipe)
        rms = _order_rms(logits - calibration.logits, calibration.queries)
        results.append(Quantisation(ranker=ranker, recipe=recipe, logit_rms=rms, float_std=std))
    return min(results, key=lambda result: result.logit_rms)


def _order_rms(error: Array, queries: int) -> float:
    """Return the root mean square of `error` about each query's mean.

    Order is what counts: an offset common to all candidates of a query is no error.
    """
    by_query = error.reshape(queries, -1)
    return float(np.sqrt(((by_query - by_query.mean(axis=1, keepdims=True)) ** 2).mean()))


def calibration_report(
    parameters: dlrm.RankerParameters,
    data: FeatureData,
    chosen: CalibrationSet | None = None,
    held_out: CalibrationSet | None = None,
    *,
    seed: int = 0,
) -> tuple[MethodLoss, ...]:
    """Return what each calibration method loses, in the order of `METHODS`.

    chosen : calibrates; held_out : judges; by default the two halves of one draw of users by
    `seed`. Raises ValueError if int16 cannot hold the float logits.
    """
    drawn = calibration_set(parameters, data, seed=seed)
    halves = [CalibrationSet(users=drawn.users[i::2], items=drawn.items[i::2]) for i in (0, 1)]
    calibration = _calibrated(parameters, data, halves[0] if chosen is None else chosen)
    judged = halves[1] if held_out is None else held_out
    expected = calibrate(parameters, data, judged).logits
    losses = []
    for method in METHODS:
        tried = [recipe for recipe in recipes() if recipe.activations == method]
        best = _best(parameters, calibration, tried)
        got = np.concatenate(integer_logits(best.ranker, data, judged.users, judged.items))
        losses.append(
            MethodLoss(
                method=method,
                tables=best.recipe.tables,
                ranker=best.ranker,
                logit_rms=best.logit_rms,
                held_out_rms=_order_rms(got * LOGIT_STEP - expected, len(judged.users)),
                float_std=best.float_std,
            )
        )
    return tuple(losses)


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
