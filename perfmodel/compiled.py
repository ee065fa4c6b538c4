"""How the kernels that cross files are compiled, and the rings and rounds that they share.

The compiler's cache looks at the file of the cached function only. So parts are never cached by
themselves, and the function that is has an argument `_sources` whose default is `sources` of its
module: the values of defaults are in the cache's key, so a change in anything that the module
imports is compiled anew.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from zlib import crc32

from numba import njit

__all__ = ["ENTRY", "distance", "fast", "sources", "wrap"]

# No array is made or kept in kernels: without counting references it is four times as fast.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
ENTRY = _OPTIONS | {"cache": True}
fast = njit(**_OPTIONS, forceinline=True)
_PROJECT = Path(__file__).parent.parent  # the package


def sources(*modules: ModuleType) -> int:
    """Return a number that says what the modules and all project modules that they import hold."""
    found, left = set[str](), [module.__name__ for module in modules]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += _imported(name)
    number = 0
    for name in sorted(found):
        number = crc32(_file(name).read_bytes(), number)
    return number


def _file(name: str) -> Path:
    """Return the file of a project module; there may be none."""
    path = _PROJECT.joinpath(*name.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _imported(name: str) -> frozenset[str]:
    """Return the project modules that a project module names in its imports, wherever they are."""
    found = set[str]()
    for node in ast.walk(ast.parse(_file(name).read_bytes())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    project = f"{_PROJECT.name}."
    return frozenset(each for each in found if each.startswith(project) and _file(each).is_file())


@fast
def wrap(place: int, places: int) -> int:
    """Return a ring's place, which is at most `places` too far."""
    return place - places if place >= places else place


@fast
def distance(number: int, last: int, count: int) -> int:
    """Return how far after the round's last choice `number` comes."""
    steps = number - last - 1
    return steps if steps >= 0 else steps + count
