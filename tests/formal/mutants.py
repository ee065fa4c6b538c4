"""Designs with a planted bug: a module of rtl/ with one piece of its text exchanged."""

from __future__ import annotations

import inspect
from types import ModuleType


def mutant(module: ModuleType, *texts: str) -> ModuleType:
    """Return a copy of `module` in which a text, found once in its source, reads as the next one.

    texts : old, new, and so on in pairs.
    """
    source = inspect.getsource(module)
    for old, new in zip(texts[::2], texts[1::2], strict=True):
        if source.count(old) != 1:
            raise ValueError(
                f"{old!r} must be once in {module.__name__}, not {source.count(old)} times"
            )
        source = source.replace(old, new)
    copy = ModuleType(module.__name__)
    copy.__file__ = module.__file__
    exec(compile(source, module.__file__, "exec"), copy.__dict__)
    return copy
