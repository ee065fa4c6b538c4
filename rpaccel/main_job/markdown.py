"""Tables of the pages in docs/generated/."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["markdown_table"]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; all columns to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        for row in (head, *rows)
    ]
    lines.insert(1, [f"{'-' * (width - 1)}:" for width in widths])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
