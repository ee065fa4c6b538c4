"""What every verb shares: its options, JSON for machines, pages, errors in one line."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

Preset = Annotated[str, typer.Option(help="Preset in spec/presets/, or a YAML file.")]
Data = Annotated[str, typer.Option(help="ml-100k, synthetic, or a folder with a log of your own.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0)]
TraceFolder = Annotated[
    Path | None, typer.Option(help="Folder of timelines, device and model, for Perfetto.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def print_json(value: object) -> None:
    """Print `value` as the results folders store it."""
    from rpaccel.results import to_json  # noqa: PLC0415

    print(to_json(value), end="")


def only_json(wanted: bool) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which progress goes to standard error, if JSON is `wanted`."""
    return contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext()


def integers(name: str, text: str) -> list[int]:
    """Return the whole numbers of option `name`, divided by commas; ValueError if they are not."""
    try:
        return [int(each) for each in text.split(",")]
    except ValueError:
        raise ValueError(f"{name} must be whole numbers, like 1,16,256, not {text!r}") from None


def show_page(path: Path | None, text: str, values: object | None) -> None:
    """Print a page of docs/generated/, or `values` as JSON if there are any; write it to `path`."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    print(text) if values is None else print_json(values)


def explain(error: Exception) -> str:
    """Return one line a person can act on."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ValidationError):
        parts = []
        for item in error.errors():
            where = ".".join(str(part) for part in item["loc"])
            message = item["msg"].removeprefix("Value error, ")
            parts.append(f"{where}: {message}" if where else message)
        return "; ".join(parts)
    return str(error)
