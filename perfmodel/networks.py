"""Networks and queries of the sweeps: MovieLens-like and Criteo-shaped two-stage rankers.

Ref: U. Gupta et al., "RecPipe", MICRO 2021, table 1 (Criteo rankers), with dot interaction as
they were trained; one lookup per table.
"""

from __future__ import annotations

from dataclasses import dataclass

from rpaccel.perfmodel.shapes import FeatureShape, NetworkShape

ONE = FeatureShape()
CRITEO_TABLES = 26
CRITEO_DENSE = 13


@dataclass(frozen=True, kw_only=True)
class SweepWorkload:
    """A two-stage query: (network, items) per stage, and the served items."""

    name: str
    stages: tuple[tuple[NetworkShape, int], ...]
    top_n: int


def _criteo(name: str, dim: int, bottom: tuple[int, ...], top: tuple[int, ...]) -> NetworkShape:
    # Criteo's rows are unrelated: everything lies in the item record.
    return NetworkShape(
        name=name,
        dim=dim,
        user_dense=0,
        item_dense=CRITEO_DENSE,
        user_features=(),
        item_features=(ONE,) * CRITEO_TABLES,
        bottom=bottom,
        top=top,
    )


RM_SMALL = _criteo("rmsmall", 4, (64, 4), (64, 1))  # RecPipe table 1
RM_MED = _criteo("rmmed", 16, (64, 16), (64, 1))  # RecPipe table 1
RM_LARGE = _criteo("rmlarge", 32, (512, 256, 128, 64, 32), (96, 1))  # RecPipe table 1

# The shipped MovieLens-100K rankers (spec/models/), with the mean list lengths of its users.
GENRES = FeatureShape(multi_hot=True, max_ids=6, ids=1.72)
LIKED = FeatureShape(multi_hot=True, max_ids=128, ids=45.6)
OTHER = FeatureShape(multi_hot=True, max_ids=96, ids=31.7, empty=0.007)
RECENT = FeatureShape(multi_hot=True, max_ids=16, ids=16.0)
FILM_SMALL = NetworkShape(
    name="small",
    dim=16,
    user_dense=5,
    item_dense=5,
    user_features=(ONE,) * 4,
    item_features=(ONE, ONE, GENRES),
    bottom=(32, 16),
    top=(64, 1),
)
FILM_LARGE = NetworkShape(
    name="large",
    dim=32,
    user_dense=5,
    item_dense=5,
    user_features=(ONE, ONE, LIKED, OTHER, RECENT),
    item_features=(*(ONE,) * 4, GENRES),
    bottom=(32, 32),
    top=(64, 1),
)

WORKLOADS = (
    SweepWorkload(name="movielens", stages=((FILM_SMALL, 1600), (FILM_LARGE, 256)), top_n=10),
    SweepWorkload(name="criteo", stages=((RM_SMALL, 4096), (RM_LARGE, 512)), top_n=64),
)
