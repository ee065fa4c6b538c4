"""Memory that several lanes read at once: what they wait for it.

A gather that has all memory to itself takes its reads at an even rate, and waits for what it asked
for before: costs.queued. Others make it wait longer. Memory that is busy for the share r makes each
wait r / (1 - r) times its own wait; who waits longer reads less; and r is the sum of what all read.
So nobody is late where others read little, and all together never read more than there is: the
memory serves in the order in which it is asked, so that who has more on its way gets more. A gather
goes on as much slower as its reads come. Compiled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rpaccel.perfmodel.compiled import fast

LEAST = 1e-6  # [cycles] of memory that count as nothing
MOST_STEPS, EXACT = 64, 1e-6  # Newton's steps, to where busy memory and what is read are this close
FULL = 1 - 1e-6  # share of the time that a gather alone keeps the memory busy, at most
# A row of reads. RATE : cycles of memory per cycle of the gather alone, 0..1. LEFT : cycles alone
# that it still takes. SPEED : at which it goes on, of 1 alone; 0: nothing is gathered. WAIT : for
# the memory, if that is as long busy as it is free, in cycles per cycle alone. FROM : it is late if
# the memory is busy for more than this, as a multiple of the time in which it is free.
READ_FIELDS = 5
RATE, LEFT, SPEED, WAIT, FROM = range(READ_FIELDS)


@fast
def begin_read(
    reads: NDArray[np.float64], place: int, cycles: float, work: float, walk: float, wait: float
) -> None:
    """Let a gather begin that takes `cycles` alone, of them `work` of memory. Speeds are not set.

    walk : cycles in which it could read alone, if nothing else held it up: no more than `cycles`.
    wait : for the memory meanwhile, if that is as long busy as it is free.
    reads : float64[places, READ_FIELDS].
    """
    reads[place, LEFT], reads[place, SPEED] = cycles, 1.0
    reads[place, RATE] = reads[place, WAIT] = reads[place, FROM] = 0.0
    if work > LEAST:
        reads[place, RATE] = min(FULL, work / cycles)
        wait = max(wait, LEAST * cycles)
        reads[place, WAIT] = wait / cycles
        rate = min(FULL, work / walk)
        reads[place, FROM] = rate / (1 - rate) + max(0.0, cycles - walk) / wait


@fast
def end_read(reads: NDArray[np.float64], place: int) -> None:
    """Let a gather be over. Speeds are not set."""
    for field in range(READ_FIELDS):
        reads[place, field] = 0.0


@fast
def lateness(read: NDArray[np.float64], busy: float) -> float:
    """Return in how many cycles a gather does what takes one alone.

    busy : the memory is busy, as a multiple of the time in which it is free.
    """
    return 1.0 + read[WAIT] * max(0.0, busy - read[FROM])


@fast
def share_out(reads: NDArray[np.float64], places: int) -> None:
    """Set the speeds of the gathers in the first `places`."""
    busy, asking, asked, queue = 0.0, 0, 0.0, 0.0
    for place in range(places):
        rate = reads[place, RATE]
        if rate > 0:
            asking += 1
            asked += rate
            busy = max(busy, rate / (1 - rate))
            queue += rate / reads[place, WAIT]
    # Of the share of the time in which the memory is free; what it is if nobody, or everybody, is
    # late comes first.
    low, high = max(0.0, 1 - asked), 1 / (1 + busy)
    free = low if low > 0 else min(high, 1 / (1 + queue))
    for _ in range(MOST_STEPS if asking > 1 else 0):
        busy = 1 / free - 1
        asked, slope = 0.0, 1.0
        for place in range(places):
            rate = reads[place, RATE]
            if rate > 0:
                late = lateness(reads[place], busy)
                asked += rate / late
                if busy > reads[place, FROM]:
                    slope += rate * reads[place, WAIT] / (free * late) ** 2
        gap = asked - (1 - free)
        if abs(gap) < EXACT:
            break
        low, high = (low, free) if gap > 0 else (free, high)
        free -= gap / slope
        if not low < free < high:  # a step over a place from which on another gather is late
            free = (low + high) / 2
    for place in range(places):
        if reads[place, SPEED] > 0:
            late = 1.0
            if asking > 1 and reads[place, RATE] > 0:
                late = lateness(reads[place], busy)
            reads[place, SPEED] = 1.0 / late


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
