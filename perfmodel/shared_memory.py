"""Memory that several lanes read at once: how long a task's reads take beside those of others.

Its cycles are counted out window by window; who asks first is served first. A task takes its reads
at an even rate, that of its gather alone. Where a window is taken it gets what is left and goes on,
at that rate, in the next one. Also compiled by `perfmodel.machine_lane_kernels`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WINDOW_CYCLES = 512  # in which shares are counted: well below the cycles of a task
LEAST = 1e-6  # [cycles] of memory that count as nothing
NO_ROOM = -1.0


def reserve(
    used: NDArray[np.float64], first: int, window: int, start: int, cycles: int, work: float
) -> float:
    """Return when reads of `work` memory cycles end that take `cycles` from `start` on alone.

    The end is never before start + cycles, however free the memory is. NO_ROOM if it is in a window
    that `used` has no place for; then the reads are counted in part.

    used : float64[a power of two], cycles taken of each window from `first` on, a ring.
    window : its cycles.
    """
    if work <= LEAST or cycles <= 0:
        return float(start + max(cycles, 0))
    rate = min(1.0, work / cycles)
    at, left = start, work
    index = at // window
    while index < first + len(used):
        limit = (index + 1) * window
        place = index & (len(used) - 1)
        taken = used[place]
        share = min(left, rate * (limit - at), window - taken)
        if share > 0:
            used[place] = taken + share
            left -= share
            if left <= LEAST:
                return max(float(start + cycles), at + share / rate)
        at = limit
        index += 1
    return NO_ROOM
