"""A seeded click log with power-law item ids, and the rankers whose parameters planted it.

Every item has a latent vector, every user a taste. A user draws items by popularity (power law)
times exp(affinity) and rates them by affinity. The large ranker holds the item vectors and sums
them over the user's liked items; the small one holds tastes and items cut to a few dimensions. So
nothing has to be trained, and nothing downloaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from rpaccel.golden.dlrm import Float, RankerParameters
from rpaccel.spec.ranker import RankerConfig
from rpaccel.spec.records import FeatureData
from rpaccel.workloads.features import build_features
from rpaccel.workloads.log import ClickLog
from rpaccel.workloads.rankers import large_ranker, small_ranker
from rpaccel.workloads.split import Split, split_log

LATENT = 8  # dimensions of taste
SMALL_LATENT = 2  # of them seen by the small ranker
SHARPNESS = 3.0  # assumed: weight of affinity against popularity when a user picks items
RATING_SHARES = (0.1, 0.2, 0.45, 0.75)  # of a user's items rated 1; up to 2; 3; 4. The rest: 5
NOISE = 0.01  # of every parameter that is not planted, so that no vector is all zero


class SyntheticConfig(BaseModel):
    """Size and seed of a synthetic log."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seed: int = Field(default=0, ge=0)
    users: int = Field(default=60, ge=1)
    items: int = Field(default=400, ge=40)
    ratings_per_user: int = Field(default=40, ge=5)
    exponent: float = Field(default=0.8, ge=0)  # popularity of rank r is r**-exponent


@dataclass(frozen=True, kw_only=True)
class SyntheticWorkload:
    """A synthetic log with everything made from it."""

    log: ClickLog
    split: Split
    features: FeatureData
    small: RankerParameters
    large: RankerParameters


def synthetic_workload(
    config: SyntheticConfig | None = None, *, seed: int = 0
) -> SyntheticWorkload:
    """Return a log, its split and records, and the two planted rankers; the same for one config.

    seed : of the default config, where none is given.
    """
    config = config or SyntheticConfig(seed=seed)
    if config.ratings_per_user * 2 > config.items:
        raise ValueError(
            f"ratings_per_user must be at most half of items {config.items}, "
            f"not {config.ratings_per_user}"
        )
    rng = np.random.default_rng(config.seed)
    spread = 0.8 ** np.arange(LATENT)
    vectors = rng.normal(size=(config.items, LATENT)) * spread
    tastes = rng.normal(size=(config.users, LATENT)) * spread
    tastes /= np.linalg.norm(tastes, axis=1, keepdims=True)
    log = _log(config, tastes @ vectors.T, vectors, rng)
    split = split_log(log)
    data = build_features(log, split.train)
    provenance = {"planted": config.model_dump(mode="json")}
    cut = np.arange(LATENT) < SMALL_LATENT
    small = _planted(
        small_ranker(data.schema), data, {"user": tastes * cut, "item": vectors * cut},
        [("item", "user", 1.0)], rng, provenance,
    )  # fmt: skip
    large = _planted(
        large_ranker(data.schema), data,
        {"liked": vectors / 8, "other": vectors / 8, "item": vectors, "item_other": vectors},
        [("item", "liked", 1.0), ("item_other", "other", -0.5)], rng, provenance,
    )  # fmt: skip
    return SyntheticWorkload(log=log, split=split, features=data, small=small, large=large)


def _log(
    config: SyntheticConfig,
    affinity: npt.NDArray[np.float64],
    vectors: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> ClickLog:
    popularity = np.arange(1, config.items + 1) ** -config.exponent
    popularity = popularity[rng.permutation(config.items)]
    n = config.ratings_per_user
    rows = []
    for user in range(config.users):
        weight = popularity * np.exp(SHARPNESS * affinity[user])
        chosen = rng.choice(config.items, size=n, replace=False, p=weight / weight.sum())
        rank = np.argsort(np.argsort(affinity[user, chosen])) / n
        rating = 1.0 + np.searchsorted(RATING_SHARES, rank, side="right")
        rows.append(
            pl.DataFrame({
                "user": np.full(n, user, dtype=np.int32),
                "item": chosen.astype(np.int32),
                "rating": rating.astype(np.float32),
                "timestamp": np.arange(n, dtype=np.int64) * 60,
            })
        )  # fmt: skip
    genre = np.argmax(np.abs(vectors), axis=1)
    items = pl.DataFrame({
        "item_id": [str(i) for i in range(config.items)],
        "title": [f"Item {i}" for i in range(config.items)],
        "year": [str(y) for y in rng.integers(1970, 2000, config.items)],
        "genres": [[f"genre{g}"] for g in genre],
    })  # fmt: skip
    users = pl.DataFrame({
        "user_id": [str(u) for u in range(config.users)],
        "age": rng.integers(16, 70, config.users),
        "gender": [("F", "M")[g] for g in rng.integers(0, 2, config.users)],
        "occupation": [f"job{j}" for j in rng.integers(0, 5, config.users)],
    })  # fmt: skip
    digest = hashlib.sha256(config.model_dump_json().encode()).hexdigest()
    return ClickLog(name="synthetic", digest=digest, interactions=pl.concat(rows), items=items,
                    users=users)  # fmt: skip


def _planted(
    config: RankerConfig,
    data: FeatureData,
    tables: dict[str, npt.NDArray[np.float64]],
    gains: Sequence[tuple[str, str, float]],
    rng: np.random.Generator,
    provenance: Mapping[str, object],
) -> RankerParameters:
    """Return a ranker whose logit is the sum of gain * dot(item feature, user feature)."""

    def noise(*shape: int) -> Float:
        return (NOISE * rng.normal(size=shape)).astype(np.float32)

    values = {f.name: noise(f.rows, config.dim) for f in config.sparse(data.schema)}
    for name, table in tables.items():
        values[name][:, : table.shape[1]] = table
    bottom = tuple((noise(*shape), np.abs(noise(shape[1]))) for shape in config.bottom_shapes)
    top = [(noise(*shape), np.abs(noise(shape[1]))) for shape in config.top_shapes]
    place = {name: 1 + i for i, name in enumerate(config.features)}
    first, last = top[0][0], top[-1][0]
    first[:, :2] = 0.0  # ReLU(x) - ReLU(-x) = x carries the planted score through the layers
    for item_feature, user_feature, gain in gains:
        column = config.dim + config.pairs.index((place[item_feature], place[user_feature]))
        first[column, :2] = gain, -gain
    for weights, _ in top[1:-1]:
        weights[:2] = 0.0
        weights[0, 0] = weights[1, 1] = 1.0
    last[:2, 0] = 1.0, -1.0
    return RankerParameters(
        config=config, schema=data.schema, tables=values, bottom=bottom, top=tuple(top),
        provenance=dict(provenance),
    ).rounded()  # fmt: skip
