"""The evaluation protocol: a temporal hold-out per user.

Each user's last 20 % of ratings by timestamp are held out, ties broken by a fixed seeded order.
It is per user: another user's later ratings may be in the training part. Relevant = a held-out
rating of at least 4. Users with none are excluded and counted. Candidates = every item without an
interaction in the user's training part. Nothing but training rows may enter features or training.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from rpaccel.workloads.log import ClickLog

HELD_OUT_SHARE = 0.2
RELEVANT_RATING = 4.0
TIE_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Split:
    """Training rows and held-out rows of a log, both ordered by (user, time).

    Members
    -------
    train, held_out : user int32, item int32, rating float32, timestamp int64
    user_count, item_count : int
    """

    train: pl.DataFrame
    held_out: pl.DataFrame
    user_count: int
    item_count: int

    @cached_property
    def relevant(self) -> dict[int, npt.NDArray[np.int32]]:
        """User -> int32[m] relevant held-out items, ascending; m >= 1, other users are absent."""
        liked = self.held_out.filter(pl.col("rating") >= RELEVANT_RATING)
        return {u: np.unique(items) for u, items in _by_user(liked).items()}

    @cached_property
    def seen(self) -> dict[int, npt.NDArray[np.int32]]:
        """User -> int32[m] items of the training part, ascending."""
        return {u: np.unique(items) for u, items in _by_user(self.train).items()}

    @property
    def test_users(self) -> npt.NDArray[np.int32]:
        """int32[n] users with at least one relevant held-out item, ascending."""
        return np.array(sorted(self.relevant), dtype=np.int32)

    @property
    def excluded_users(self) -> int:
        """Number of users without a relevant held-out item."""
        return self.user_count - len(self.relevant)

    def candidates(self, user: int) -> npt.NDArray[np.int32]:
        """Return int32[n], ascending: every item that is not in the user's training part."""
        free = np.ones(self.item_count, dtype=bool)
        if user in self.seen:
            free[self.seen[user]] = False
        return np.flatnonzero(free).astype(np.int32)


def split_log(log: ClickLog, seed: int = TIE_SEED) -> Split:
    """Hold out the last 20 % of each user's ratings (rounded up)."""
    return split_rows(log.interactions, log.user_count, log.item_count, seed=seed)


def split_rows(
    rows: pl.DataFrame,
    user_count: int,
    item_count: int,
    *,
    share: float = HELD_OUT_SHARE,
    seed: int = TIE_SEED,
) -> Split:
    """Hold out the last `share` of each user's rows by timestamp.

    rows : user, item, rating, timestamp.  The rank of a row among equal timestamps of its user is
    drawn once from `seed` over the rows in the order given.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must be in 0..1 (both excluded), not {share}")
    order = np.random.default_rng(seed).permutation(rows.height)
    ranked = (
        rows.with_columns(pl.Series("tie", order))
        .sort("user", "timestamp", "tie")
        .with_columns(
            pl.int_range(pl.len()).over("user").alias("rank"),
            pl.len().over("user").alias("rows"),
        )
    )
    kept = pl.col("rank") < pl.col("rows") - (pl.col("rows") * share).ceil()
    columns = ["user", "item", "rating", "timestamp"]
    return Split(
        train=ranked.filter(kept).select(columns),
        held_out=ranked.filter(~kept).select(columns),
        user_count=user_count,
        item_count=item_count,
    )


def _by_user(rows: pl.DataFrame) -> dict[int, npt.NDArray[np.int32]]:
    groups = rows.group_by("user", maintain_order=True).agg("item")
    return {
        int(user): np.asarray(items, dtype=np.int32)
        for user, items in zip(groups["user"], groups["item"].to_list(), strict=True)
    }
