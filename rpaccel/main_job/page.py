"""index.html of a run: one page, no scripts, pictures beside it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: .6rem 0; font-size: .92rem; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .7rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; } .two { display: flex; gap: 3rem; flex-wrap: wrap; }
.good { color: #1a7f37; font-weight: 600; } .bad { color: #b42318; font-weight: 600; }
small, .small { color: #666; font-size: .85rem; }
pre { background: #f6f6f6; padding: .7rem; overflow-x: auto; }
"""


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return an HTML table; the first column is left-aligned."""
    head = "".join(f"<th>{html.escape(str(cell))}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def section(title: str, *parts: str) -> str:
    """Return a titled section of ready HTML parts."""
    return f"<h2>{html.escape(title)}</h2>" + "".join(parts)


def paragraph(text: str, css: str = "") -> str:
    """Return an escaped paragraph."""
    attribute = f' class="{css}"' if css else ""
    return f"<p{attribute}>{html.escape(text)}</p>"


def picture(name: str, text: str) -> str:
    """Return an image that lies beside the page, with its alternative text."""
    return f'<img src="{html.escape(name)}" alt="{html.escape(text)}">'


def titles(heading: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return an ordered list of films: {"title", "note"}."""
    items = "".join(
        f"<li>{html.escape(row['title'])} <small>{html.escape(row['note'])}</small></li>"
        for row in rows
    )
    return f"<div><h3>{html.escape(heading)}</h3><ol>{items}</ol></div>"


def write_page(path: Path, title: str, sections: Sequence[str]) -> None:
    """Write the page."""
    path.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}'
        f"</title><style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>"
        + "".join(sections)
        + "</body></html>\n"
    )
