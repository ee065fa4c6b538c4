"""What every verb prints with: JSON for machines, errors in one line."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from pydantic import ValidationError


def print_json(value: object) -> None:
    """Print `value` as the results folders store it."""
    from rpaccel.results import to_json  # noqa: PLC0415

    print(to_json(value), end="")


def only_json(wanted: bool) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which progress goes to standard error, if JSON is `wanted`."""
    return contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext()


def explain(error: Exception) -> str:
    """Return one line a person can act on."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ValidationError):
        parts = []
        for item in error.errors():
            where = ".".join(str(part) for part in item["loc"])
            parts.append(f"{where}: {item['msg']}" if where else item["msg"])
        return "; ".join(parts)
    return str(error)
