"""A lane's part of the array."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Rectangle"]


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """Blocks row..row+rows-1 by col..col+cols-1 of the grid; no rows or no columns: nothing."""

    row: int
    col: int
    rows: int
    cols: int

    @classmethod
    def square(cls, row: int, col: int, side: int) -> Rectangle:
        """Return a square of `side` blocks."""
        return cls(row=row, col=col, rows=side, cols=side)

    @property
    def tiles(self) -> frozenset[tuple[int, int]]:
        """(row, column) of every block inside."""
        rows = range(self.row, self.row + self.rows)
        return frozenset((r, c) for r in rows for c in range(self.col, self.col + self.cols))
