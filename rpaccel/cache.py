"""Keep what took long, keyed by the content of everything it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rpaccel.results import to_json

PACKAGE = Path(__file__).parent


def source_digest(rooms: Iterable[str]) -> str:
    """SHA-256 over the Python and C++ sources of the named rooms of the package."""
    sha = hashlib.sha256()
    for room in sorted(rooms):
        for path in sorted((PACKAGE / room).rglob("*")):
            if path.suffix in {".py", ".cpp", ".hpp", ".yaml"}:
                sha.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0")
                sha.update(path.read_bytes())
    return sha.hexdigest()


def cached(
    folder: Path, name: str, key: Iterable[str | bytes], compute: Callable[[], Any]
) -> tuple[Any, bool]:
    """Return `compute()` as JSON data, from `folder` if it was computed for the same `key`.

    Returns (value, hit). The key is hashed; a changed part computes again.
    """
    sha = hashlib.sha256()
    for part in key:
        raw = part.encode() if isinstance(part, str) else part
        sha.update(len(raw).to_bytes(8, "little") + raw)
    path = folder / f"{name}-{sha.hexdigest()[:16]}.json"
    if path.exists():
        return json.loads(path.read_text()), True
    text = to_json(compute())
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return json.loads(text), False
