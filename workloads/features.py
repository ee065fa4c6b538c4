"""Feature records of every user and item of a log, computed from training rows only.

Attributes (age, gender, occupation, title, genres, year) are known at any time; everything that
comes from ratings is read from the training part of a split.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from rpaccel.spec.records import (
    DENSE_CLIP,
    DENSE_SCALE,
    FeatureData,
    FeatureSchema,
    SparseFeature,
)
from rpaccel.workloads.log import ClickLog
from rpaccel.workloads.split import RELEVANT_RATING

__all__ = ["FeatureData", "FeatureSchema", "SparseFeature", "build_features", "history_lists"]

LIKED_IDS = 128  # most recent items rated >= 4
OTHER_IDS = 96  # most recent items rated lower
RECENT_IDS = 16  # last items whatever their rating; the user record ends at 996 bytes
MAX_GENRES = 6  # the most any film of ML-100K has
AGE_EDGES = (18, 25, 35, 45, 50, 56)  # [years] the age groups of MovieLens-1M
YEAR_EDGES = (1940, 1950, 1960, 1970, 1980, 1985, 1990, 1993, 1994, 1995, 1996, 1997, 1998)
RECENT_SHARE = 0.25  # of the training period, for the popularity of late
PRIOR_RATINGS = 5.0  # assumed: ratings at the global mean added to each mean rating

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Column = tuple[SparseFeature, Ints]


def build_features(log: ClickLog, train: pl.DataFrame) -> FeatureData:
    """Return the records of all users and items of `log`.

    train : user, item, rating, timestamp rows that may be used.
    """
    columns = _user_columns(log, train) + _item_columns(log)
    user_dense, item_dense = _user_dense(log, train), _item_dense(log, train)
    schema = FeatureSchema(
        user_dense=tuple(user_dense),
        item_dense=tuple(item_dense),
        features=tuple(feature for feature, _ in columns),
    )
    return FeatureData(
        schema=schema,
        user_dense=_quantise(user_dense),
        item_dense=_quantise(item_dense),
        ids={feature.name: ids for feature, ids in columns},
        counts={feature.name: (ids >= 0).sum(axis=1, dtype=np.int32) for feature, ids in columns},
    )


def history_lists(train: pl.DataFrame, users: int, max_ids: int) -> Ints:
    """Return int32[users, max_ids]: each user's items, most recent first, padded with -1."""
    ids = np.full((users, max_ids), -1, dtype=np.int32)
    recent = (
        train.with_row_index("row")
        .sort(["user", "timestamp", "row"], descending=[False, True, True])
        .with_columns(pl.int_range(pl.len()).over("user").alias("rank"))
        .filter(pl.col("rank") < max_ids)
    )
    ids[recent["user"].to_numpy(), recent["rank"].to_numpy()] = recent["item"].to_numpy()
    return ids


def _user_columns(log: ClickLog, train: pl.DataFrame) -> list[Column]:
    users = log.users
    ages = users["age"].to_numpy().astype(np.float64)
    known = ~np.isnan(ages)
    age = np.where(known, np.searchsorted(AGE_EDGES, ages, side="right"), len(AGE_EDGES) + 1)
    columns = [
        _single("user", "user", np.arange(log.user_count), log.user_count),
        _single("age", "user", age, len(AGE_EDGES) + 2),
        _category("gender", "user", users["gender"]),
        _category("occupation", "user", users["occupation"]),
    ]
    liked = pl.col("rating") >= RELEVANT_RATING
    for name, rows, max_ids in (
        ("liked", train.filter(liked), LIKED_IDS),
        ("other", train.filter(~liked), OTHER_IDS),
        ("recent", train, RECENT_IDS),
    ):
        feature = SparseFeature(
            name=name, side="user", rows=log.item_count, max_ids=max_ids, pooling="sum"
        )
        columns.append((feature, history_lists(rows, log.user_count, max_ids)))
    return columns


def _item_columns(log: ClickLog) -> list[Column]:
    ids = np.arange(log.item_count)
    years = log.items["year"].cast(pl.Int64, strict=False).to_numpy().astype(np.float64)
    year = np.searchsorted(YEAR_EDGES, years, side="right")
    year = np.where(np.isnan(years), len(YEAR_EDGES) + 1, year)
    genres = sorted({genre for row in log.items["genres"].to_list() for genre in row})
    number = {genre: i for i, genre in enumerate(genres)}
    lists = np.full((log.item_count, MAX_GENRES), -1, dtype=np.int32)
    for item, row in enumerate(log.items["genres"].to_list()):
        kept = [number[genre] for genre in row][:MAX_GENRES]
        lists[item, : len(kept)] = kept
    genre = SparseFeature(
        name="genres", side="item", rows=max(1, len(genres)), max_ids=MAX_GENRES, pooling="mean"
    )
    return [
        _single("item", "item", ids, log.item_count),
        _single("item_other", "item", ids, log.item_count),
        _single("item_recent", "item", ids, log.item_count),
        _single("year", "item", year, len(YEAR_EDGES) + 2),
        (genre, lists),
    ]


def _single(name: str, side: str, ids: npt.NDArray[np.generic], rows: int) -> Column:
    feature = SparseFeature.model_validate({"name": name, "side": side, "rows": rows})
    return feature, ids.astype(np.int32)[:, None]


def _category(name: str, side: str, values: pl.Series) -> Column:
    """Number the distinct texts in sorted order; a missing value is one more category."""
    known = sorted(set(values.drop_nulls().to_list()))
    number = {value: i for i, value in enumerate(known)}
    ids = np.array([number.get(value, len(known)) for value in values.to_list()])
    return _single(name, side, ids, len(known) + 1)


def _user_dense(log: ClickLog, train: pl.DataFrame) -> dict[str, Floats]:
    count, liked, mean = _rating_sums(train, "user", log.user_count)
    popularity = np.log1p(np.bincount(train["item"].to_numpy(), minlength=log.item_count))
    rated = np.bincount(
        train["user"].to_numpy(),
        weights=popularity[train["item"].to_numpy()],
        minlength=log.user_count,
    )
    return {
        "log_ratings": np.log1p(count),
        "mean_rating": mean,
        "liked_share": (liked + 1) / (count + 2),
        "mean_popularity": rated / np.maximum(count, 1),
        "age": np.nan_to_num(log.users["age"].to_numpy().astype(np.float64), nan=35.0),
    }


def _item_dense(log: ClickLog, train: pl.DataFrame) -> dict[str, Floats]:
    count, liked, mean = _rating_sums(train, "item", log.item_count)
    times = train["timestamp"].to_numpy()
    start = times.max() - RECENT_SHARE * (times.max() - times.min())
    late = np.bincount(train["item"].to_numpy()[times >= start], minlength=log.item_count)
    years = log.items["year"].cast(pl.Int64, strict=False).to_numpy().astype(np.float64)
    middle = np.nanmedian(years) if np.isfinite(years).any() else 0.0
    return {
        "log_ratings": np.log1p(count),
        "log_liked": np.log1p(liked),
        "mean_rating": mean,
        "late_share": (late + 1) / (count + 4),
        "year": np.nan_to_num(years, nan=float(middle)),
    }


def _rating_sums(train: pl.DataFrame, side: str, rows: int) -> tuple[Floats, Floats, Floats]:
    """Return ratings, ratings >= 4 and the shrunk mean rating of each user or item."""
    index, rating = train[side].to_numpy(), train["rating"].to_numpy().astype(np.float64)
    good = rating >= RELEVANT_RATING
    count = np.bincount(index, minlength=rows).astype(np.float64)
    liked = np.bincount(index, weights=good, minlength=rows).astype(np.float64)
    total = np.bincount(index, weights=rating, minlength=rows)
    mean = (total + PRIOR_RATINGS * rating.mean()) / (count + PRIOR_RATINGS)
    return count, liked, mean


def _quantise(columns: dict[str, Floats]) -> npt.NDArray[np.int8]:
    """Standardise, clip to +-DENSE_CLIP and round to int8[rows, columns]."""
    values = np.stack(list(columns.values()), axis=1)
    spread = values.std(axis=0)
    standard = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.rint(np.clip(standard, -DENSE_CLIP, DENSE_CLIP) / DENSE_SCALE).astype(np.int8)
