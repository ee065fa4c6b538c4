"""Exact fronts of a sweep: of a chunk, and of all chunks from theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rpaccel.spec.sweep import FrontSpec

__all__ = ["front_mask"]


def front_mask(columns: Mapping[str, NDArray[Any]], front: FrontSpec) -> NDArray[np.bool_]:
    """Return which points no other beats: bool[points].

    A point is beaten by one that is alike in `within`, no worse in any objective and better in one;
    equal points stay. The front of a union is the front of the union of fronts, so chunks may be
    reduced first.
    Ref: the kernel is moocore.is_nondominated.
    """
    import moocore  # noqa: PLC0415  (slow import)

    objectives = [columns[name].astype(float) for name in front.minimise]
    objectives += [-columns[name].astype(float) for name in front.maximise]
    points = np.stack(objectives, axis=1)
    keep = np.zeros(len(points), bool)
    if not len(points):
        return keep
    groups = np.zeros(len(points), np.int64)
    for name in front.within:
        distinct, places = np.unique(columns[name], return_inverse=True)
        groups = groups * len(distinct) + places
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        keep[members] = moocore.is_nondominated(points[members], keep_weakly=True)
    return keep
