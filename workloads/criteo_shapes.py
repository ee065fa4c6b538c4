"""What Criteo-shaped records hold, and the two rankers that read them.

CRITEO is RecPipe's. SIXTEENTH brings an array of 1/16 of the MACs to the same cycles per item: its
rankers take as many weight tiles of 32 x 32, of its quarters and of its blocks, as RMsmall and
RMlarge take of 128 x 128 and its own; MLPs are a quarter as wide, and an item names 1/16 of the
rows, as a lane gathers 1/16 as many per cycle.

Ref: U. Gupta et al., "RecPipe", MICRO 2021, table 1 (both rankers).
"""

from __future__ import annotations

from dataclasses import dataclass

from rpaccel.spec.ranker import InteractionName, RankerConfig
from rpaccel.workloads.criteo_trace import ALL_TABLES

__all__ = ["CRITEO", "SHAPES", "SIXTEENTH", "CriteoShape"]


@dataclass(frozen=True, kw_only=True)
class CriteoShape:
    """Records and rankers. tables : of `criteo_trace`, one id each. dense : values of an item."""

    tables: tuple[int, ...]
    dense: int
    small: RankerConfig
    large: RankerConfig

    @property
    def table_names(self) -> tuple[str, ...]:
        """Names of the tables."""
        return _names(self.tables)


def _names(tables: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(f"table{table:02d}" for table in tables)


def _ranker(
    name: str,
    tables: tuple[int, ...],
    dense: int,
    bottom: tuple[int, ...],
    top: tuple[int, ...],
    interaction: InteractionName = "dot",
) -> RankerConfig:
    return RankerConfig(
        name=name,
        dim=bottom[-1],
        user_dense=0,
        item_dense=dense,
        user_features=(),
        item_features=_names(tables),
        bottom=bottom,
        top=top,
        interaction=interaction,
    )


CRITEO = CriteoShape(
    tables=ALL_TABLES,
    dense=13,
    small=_ranker("rmsmall", ALL_TABLES, 13, (64, 4), (64, 1)),
    large=_ranker("rmlarge", ALL_TABLES, 13, (512, 256, 128, 64, 32), (96, 1)),
)
_TWO = (2, 11)  # the largest: 26 / 16 rows of an item, rounded up
SIXTEENTH = CriteoShape(
    tables=_TWO,
    dense=3,
    small=_ranker("rmsmall", _TWO, 3, (16, 8), (32, 16, 16, 1), "concat"),
    large=_ranker("rmlarge", _TWO, 3, (128, 64, 32, 16, 32), (24, 1), "concat"),
)
SHAPES = {"criteo": CRITEO, "sixteenth": SIXTEENTH}
