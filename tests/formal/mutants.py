"""Designs with a planted bug: a module of rtl/ with one piece of its text exchanged."""

from __future__ import annotations

import inspect
from types import ModuleType


def mutant(module: ModuleType, old: str, new: str) -> ModuleType:
    """Return a copy of `module` in which `old`, found once in its source, reads `new`."""
    source = inspect.getsource(module)
    if source.count(old) != 1:
        raise ValueError(
            f"{old!r} must be once in {module.__name__}, not {source.count(old)} times"
        )
    copy = ModuleType(module.__name__)
    copy.__file__ = module.__file__
    exec(compile(source.replace(old, new), module.__file__, "exec"), copy.__dict__)
    return copy
