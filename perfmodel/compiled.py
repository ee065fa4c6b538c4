"""How the kernels that cross files are compiled, and the rings and rounds that they share.

The compiler's cache looks at the file of the cached function only. So parts are never cached by
themselves, and the function that is has an argument with the default `sources` of all parts: the
values of defaults are in the cache's key, so a changed part is compiled anew.
"""

from __future__ import annotations

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


def sources(*modules: ModuleType) -> int:
    """Return a number that says what the modules' files hold."""
    found = 0
    for module in modules:
        found = crc32(Path(str(module.__file__)).read_bytes(), found)
    return found


@fast
def wrap(place: int, places: int) -> int:
    """Return a ring's place, which is at most `places` too far."""
    return place - places if place >= places else place


@fast
def distance(number: int, last: int, count: int) -> int:
    """Return how far after the round's last choice `number` comes."""
    steps = number - last - 1
    return steps if steps >= 0 else steps + count
