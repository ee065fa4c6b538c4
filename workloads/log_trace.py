"""Which embedding rows the queries of a click log read, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rpaccel.spec.ranker import RankerConfig
from rpaccel.spec.records import FeatureData

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class StageRows:
    """Rows that one stage reads for one query.

    user : int64[u]  keys of the user's features, in record order
    items : int64[m]  keys of the items' features, item after item
    counts : int64[n]  keys of each item
    """

    user: Ints
    items: Ints
    counts: Ints

    @property
    def user_once(self) -> Ints:
        """int64[u + m]: the device's order, the user's rows once per stage."""
        return np.concatenate([self.user, self.items])

    @property
    def user_each_time(self) -> Ints:
        """int64[n * u + m]: every item's sample on its own, the user's rows again for each."""
        parts = np.split(self.items, np.cumsum(self.counts)[:-1])
        return np.concatenate([key for part in parts for key in (self.user, part)])


class RowKeys:
    """Numbers of all embedding rows of some rankers: each ranker's tables are its own.

    Parameters
    ----------
    data : FeatureData
    rankers : Sequence[RankerConfig]  Named differently.
    """

    def __init__(self, data: FeatureData, rankers: Sequence[RankerConfig]) -> None:
        self._data = data
        self._rankers = {ranker.name: ranker for ranker in rankers}
        if len(self._rankers) != len(rankers):
            raise ValueError(f"rankers must have different names, not {[r.name for r in rankers]}")
        self._first: dict[tuple[str, str], int] = {}
        rows = 0
        for ranker in rankers:
            for feature in ranker.sparse(data.schema):
                self._first[ranker.name, feature.name] = rows
                rows += feature.rows
        self.rows = rows

    def stage(self, ranker: str, user: int, items: npt.NDArray[np.integer]) -> StageRows:
        """Return the rows that `ranker` reads for `user` and the candidates `items` int[n]."""
        config = self._rankers[ranker]
        chosen = np.asarray(items, dtype=np.int64)
        ids, keys = self._keys(config, config.user_features, np.array([user]))
        user_keys = keys[ids >= 0]
        ids, keys = self._keys(config, config.item_features, chosen)
        return StageRows(
            user=user_keys, items=keys[ids >= 0], counts=(ids >= 0).sum(axis=1, dtype=np.int64)
        )

    def _keys(self, config: RankerConfig, features: Sequence[str], who: Ints) -> tuple[Ints, Ints]:
        """Return (ids, keys) int64[n, all ids], ids -1 where a list ends."""
        none = np.zeros((who.size, 0), dtype=np.int64)
        ids = [self._data.ids[name][who].astype(np.int64) for name in features]
        keys = [part + self._first[config.name, n] for part, n in zip(ids, features, strict=True)]
        return np.concatenate([none, *ids], axis=1), np.concatenate([none, *keys], axis=1)
