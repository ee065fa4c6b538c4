"""Seeded random records and float rankers, and small changes of a ranker, for tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rpaccel.golden.dlrm import RankerParameters
from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.scheduler.cpu_profile import CpuProfile, ModelProfile, ProfilePoint
from rpaccel.spec.ranker import InteractionName, RankerConfig
from rpaccel.spec.records import FeatureData, FeatureSchema, SparseFeature
from rpaccel.workloads.random_models import int8

Array = np.ndarray
Rng = np.random.Generator


def random_feature_data(rng: Rng, *, users: int = 30, items: int = 60) -> FeatureData:
    """Return records with dense values, single ids and pooled lists on both sides."""
    features = (
        SparseFeature(name="user", side="user", rows=users),
        SparseFeature(name="liked", side="user", rows=items, max_ids=12, pooling="sum"),
        SparseFeature(name="item", side="item", rows=items),
        SparseFeature(name="genres", side="item", rows=9, max_ids=3, pooling="mean"),
    )
    schema = FeatureSchema(
        user_dense=("u0", "u1", "u2"), item_dense=("i0", "i1"), features=features
    )
    ids, counts = {}, {}
    for feature in features:
        height = users if feature.side == "user" else items
        count = rng.integers(0 if feature.multi_hot else 1, feature.max_ids + 1, size=height)
        drawn = rng.integers(0, feature.rows, size=(height, feature.max_ids))
        used = np.arange(feature.max_ids)[None, :] < count[:, None]
        ids[feature.name] = np.where(used, drawn, -1).astype(np.int32)
        counts[feature.name] = count.astype(np.int32)
    ids["user"][:, 0], ids["item"][:, 0] = np.arange(users), np.arange(items)
    return FeatureData(
        schema=schema,
        user_dense=int8(rng, (users, 3)),
        item_dense=int8(rng, (items, 2)),
        ids=ids,
        counts=counts,
    )


def random_parameters(
    rng: Rng,
    schema: FeatureSchema,
    *,
    name: str,
    dim: int = 8,
    bottom: tuple[int, ...] = (16,),
    top: tuple[int, ...] = (24, 12),
    interaction: InteractionName = "dot",
    without: tuple[str, ...] = (),
) -> RankerParameters:
    """Return a float ranker over all features of `schema`; logits stay within +-16.

    without : features that it leaves out.
    """
    config = RankerConfig(
        name=name,
        dim=dim,
        user_dense=len(schema.user_dense),
        item_dense=len(schema.item_dense),
        user_features=tuple(f.name for f in schema.side("user") if f.name not in without),
        item_features=tuple(f.name for f in schema.side("item") if f.name not in without),
        bottom=(*bottom, dim),
        top=(*top, 1),
        interaction=interaction,
    )

    def layers(shapes: tuple[tuple[int, int], ...]) -> tuple[tuple[Array, Array], ...]:
        return tuple(
            (
                (rng.normal(size=shape) * np.sqrt(2.0 / shape[0])).astype(np.float32),
                (rng.normal(size=shape[1]) * 0.1).astype(np.float32),
            )
            for shape in shapes
        )

    top_layers = layers(config.top_shapes)
    top_layers[-1][0][:] *= 0.25
    return RankerParameters(
        config=config,
        schema=schema,
        tables={
            f.name: (rng.normal(size=(f.rows, dim)) * 0.4).astype(np.float32)
            for f in config.sparse(schema)
        },
        bottom=layers(config.bottom_shapes),
        top=top_layers,
        provenance={"seed": "test"},
    )


def replace_filter(ranker: QuantisedRanker, *, threshold: int) -> QuantisedRanker:
    """Return `ranker` with another threshold."""
    return replace(ranker, threshold=threshold)


def replace_table(ranker: QuantisedRanker, index: int) -> QuantisedRanker:
    """Return `ranker` with zeros in the table of feature `index`."""
    features = list(ranker.features)
    features[index] = replace(features[index], table=np.zeros_like(features[index].table))
    return replace(ranker, features=tuple(features))


def cpu_profile(small_s=2e-6, large_s=10e-6):
    """Return a CPU whose rankers take so long per item, without spread."""

    def model(per_item_s):
        point = ProfilePoint(items=100, repeats=1, median_s=1e-3, low_s=1e-3, high_s=1e-3)
        return ModelProfile(
            fixed_s=1e-4, per_item_s=per_item_s, worst_fit_error=0.0, ratios=(1.0,), points=(point,)
        )

    return CpuProfile(
        command="none", machine={}, models={"small": model(small_s), "large": model(large_s)}
    )
