"""Users' training rows as lists and matrices, cut into a past to read and items to ask for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from rpaccel.golden.baselines import interaction_matrix
from rpaccel.workloads.features import history_lists
from rpaccel.workloads.split import RELEVANT_RATING

HISTORIES = ("liked", "other", "recent")  # features that hold a user's own items


class Past:
    """Every user's training rows as lists, most recent first, and as matrices."""

    def __init__(self, train: pl.DataFrame, shape: tuple[int, int]) -> None:
        good = pl.col("rating") >= RELEVANT_RATING
        parts = {"liked": train.filter(good), "other": train.filter(~good), "recent": train}
        self.lists = {
            name: history_lists(rows, shape[0], max(1, _longest(rows)))
            for name, rows in parts.items()
        }
        self.liked = _matrix(parts["liked"], shape)
        self.seen = _matrix(train, shape)
        self.length = self.seen.sum(axis=1)
        self.order = np.full(shape, -1)  # 0 = the user's oldest rating, -1 = not rated
        order = train.with_columns(pl.int_range(pl.len()).over("user").alias("rank"))
        self.order[order["user"].to_numpy(), order["item"].to_numpy()] = order["rank"].to_numpy()

    def after(
        self, batch: npt.NDArray[np.int64], start: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.bool_]:
        """Return bool[users, items]: rated after the first `start` of the user's rows.

        start : float64[users]  Share of each user's rows that stays in the past.
        """
        first = start[:, None] * self.length[batch][:, None]
        return np.asarray(self.order[batch] >= np.maximum(first, 0))

    def list_ids(
        self, name: str, batch: npt.NDArray[np.int64], hidden: npt.NDArray[np.bool_], max_ids: int
    ) -> npt.NDArray[np.int64]:
        """Return int64[users, max_ids]: the most recent ids that are not hidden, then -1."""
        ids = self.lists[name][batch]
        gone = (ids < 0) | hidden[np.arange(len(batch))[:, None], ids]
        first = np.argsort(gone, axis=1, kind="stable")[:, :max_ids]
        kept = np.take_along_axis(np.where(gone, -1, ids), first, axis=1)
        return kept.astype(np.int64)


def _matrix(rows: pl.DataFrame, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    matrix = interaction_matrix(rows["user"].to_numpy(), rows["item"].to_numpy(), shape)
    return np.asarray(matrix > 0)


def _longest(rows: pl.DataFrame) -> int:
    return int(np.bincount(rows["user"].to_numpy(), minlength=1).max())
