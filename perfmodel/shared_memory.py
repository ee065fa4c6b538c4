"""Memory that several lanes read at once: it serves them by turns.

A gather that has all memory to itself takes its reads at an even rate. Those at work at a time get
what they ask for if that is no more than memory gives; else all get the same, but who asks for less
gets that, and the others share what is left (max-min fair, as turns of equal length are: D.
Bertsekas and R. Gallager, "Data Networks", 1992, 6.5.2). A gather goes on as much slower as its
reads come. Compiled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rpaccel.perfmodel.compiled import fast

LEAST = 1e-6  # [cycles] of memory that count as nothing
# A row of reads. RATE : cycles of memory per cycle of the gather alone, 0..1. LEFT : cycles alone
# that it still takes. SPEED : at which it goes on, of 1 alone; 0: nothing is gathered.
READ_FIELDS = 3
RATE, LEFT, SPEED = range(READ_FIELDS)


@fast
def begin_read(reads: NDArray[np.float64], place: int, cycles: float, work: float) -> None:
    """Let a gather begin that takes `cycles` alone, of them `work` of memory. Speeds are not set.

    reads : float64[places, READ_FIELDS].
    """
    reads[place, RATE] = min(1.0, work / cycles) if work > LEAST else 0.0
    reads[place, LEFT], reads[place, SPEED] = cycles, 1.0


@fast
def end_read(reads: NDArray[np.float64], place: int) -> None:
    """Let a gather be over. Speeds are not set."""
    reads[place, RATE] = reads[place, LEFT] = reads[place, SPEED] = 0.0


@fast
def share_out(reads: NDArray[np.float64], places: int) -> None:
    """Set the speeds of the gathers in the first `places`."""
    asked, asking = 0.0, 0
    for place in range(places):
        if reads[place, RATE] > 0:
            asked += reads[place, RATE]
            asking += 1
    level = 1.0
    if asked > 1:
        level, below, least = 1 / asking, 0, 0.0
        while below < asking:
            count, least = 0, 0.0
            for place in range(places):
                if 0 < reads[place, RATE] <= level:
                    count += 1
                    least += reads[place, RATE]
            if count in (below, asking):
                break
            below, level = count, (1 - least) / (asking - count)
    for place in range(places):
        if reads[place, SPEED] > 0:
            rate = reads[place, RATE]
            reads[place, SPEED] = 1.0 if rate <= level else level / rate


@fast
def next_read_end(reads: NDArray[np.float64], places: int) -> tuple[float, int]:
    """Return (cycles until the next gather of the first `places` is over, its place), or (inf, -1).

    Of several, the lowest place.
    """
    least, chosen = np.inf, -1
    for place in range(places):
        if reads[place, SPEED] > 0:
            cycles = max(0.0, reads[place, LEFT] / reads[place, SPEED])
            if cycles < least:
                least, chosen = cycles, place
    return least, chosen


@fast
def pass_cycles(reads: NDArray[np.float64], places: int, cycles: float) -> None:
    """Let so many cycles pass, no more than until the next gather is over."""
    for place in range(places):
        reads[place, LEFT] -= reads[place, SPEED] * cycles
