"""A chunk of a sweep, as a worker evaluates it: points in, a Parquet file's bytes out."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from numpy.typing import NDArray

from rpaccel.perfmodel import point_kernels as kernels
from rpaccel.perfmodel.analytic import evaluate
from rpaccel.perfmodel.design_space import DesignSpace, HitKey, HitRates
from rpaccel.perfmodel.gemm_space import GemmSpace
from rpaccel.perfmodel.sweep_front import front_mask
from rpaccel.spec.sweep import SweepSpec

__all__ = ["CHUNK_FRONT", "ChunkResult", "chunk_bounds", "hit_rates", "run_chunk", "space_of"]

CHUNK_POINTS = 1 << 18
CHUNK_FRONT = "chunk_front"  # column: the point is in its chunk's front


class Space(Protocol):
    """Numbered points. family : of points that belong together and lie in one chunk."""

    points: int

    @property
    def family(self) -> int:
        """Neighbours that belong into one chunk."""


@dataclass(frozen=True, kw_only=True)
class ChunkResult:
    """What became of a chunk.

    table : a Parquet file, rows ascending by `number`. points : that can be, its rows. pairs,
    slower, worst : see analytic.Evaluation.
    """

    number: int
    table: bytes
    points: int
    pairs: int
    slower: int
    worst: float


@lru_cache(maxsize=4)
def space_of(spec_json: str) -> DesignSpace | GemmSpace:
    """Return the space of a spec, as SweepSpec.model_dump_json gives it."""
    spec = SweepSpec.model_validate_json(spec_json)
    return GemmSpace(spec) if spec.is_gemm else DesignSpace(spec)


def chunk_bounds(space: Space, chunk_points: int = CHUNK_POINTS) -> list[tuple[int, int]]:
    """Return (first, stop) of every chunk: about `chunk_points`, whole families."""
    if chunk_points < 1:
        raise ValueError(f"chunk_points must be at least 1, not {chunk_points}")
    size = -(-chunk_points // space.family) * space.family
    return [(first, min(first + size, space.points)) for first in range(0, space.points, size)]


def hit_rates(spec_json: str, beat_bytes: int) -> list[tuple[HitKey, HitRates]]:
    """Return the hit rates of all machines with this beat: seconds, for a chunk's milliseconds."""
    space = space_of(spec_json)
    if isinstance(space, GemmSpace):
        return []
    return [(key, space.hits.rates(key)) for key in space.hit_keys(beat_bytes)]


def run_chunk(
    spec_json: str,
    hits: Sequence[tuple[HitKey, HitRates]],
    number: int,
    first: int,
    stop: int,
) -> ChunkResult:
    """Evaluate the points first..stop - 1 of a sweep. Raises what analytic.evaluate does.

    hits : of `hit_rates`; those that are left out are found here.
    """
    space = space_of(spec_json)
    if isinstance(space, DesignSpace):
        space.hits.learn(hits)
    found = space.evaluate(first, stop) if isinstance(space, GemmSpace) else evaluate(
        space, first, stop
    )  # fmt: skip
    columns = found.columns
    columns[CHUNK_FRONT] = front_mask(columns, space.spec.front)
    return ChunkResult(
        number=number,
        table=_parquet(space, columns),
        points=len(columns["number"]),
        pairs=found.pairs,
        slower=found.slower,
        worst=found.worst,
    )


def _parquet(space: DesignSpace | GemmSpace, columns: dict[str, NDArray[Any]]) -> bytes:
    import polars as pl  # noqa: PLC0415  (slow import)

    names = {"split": [str(split) for split in space.axes.split], "bound": list(kernels.BOUNDS)}
    table = pl.DataFrame(columns)
    table = table.with_columns(
        pl.col(name).cast(pl.UInt32).cat.to(pl.Enum(values)) for name, values in names.items()
    )
    file = io.BytesIO()
    table.write_parquet(file, compression="zstd", compression_level=1)
    return file.getvalue()
