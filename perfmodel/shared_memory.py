"""Memory that several lanes read at once: what they wait for it.

A gather that has all memory to itself takes its reads at an even rate, and waits for what it asked
for before: costs.queued. Others make it wait longer. Memory that is busy for the share r makes each
wait r / (1 - r) times its own wait; who waits longer reads less; and r is the sum of what all read.
So nobody is late where others read little, and all together never read more than there is: the
memory serves in the order in which it is asked, so that who has more on its way gets more. A gather
goes on as much slower as its reads come. Compiled.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rpaccel.perfmodel.compiled import fast

LEAST = 1e-6  # [cycles] of memory that count as nothing
MOST_STEPS, EXACT = 64, 1e-6  # of a search, to where busy memory and what is read are this close
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
    """Set the speeds of the gathers in the first `places`.

    How long the memory is busy, as a multiple of the time in which it is free, is found from below:
    what late gathers ask for is taken to fall as one's would, as steeply as theirs does here. That
    is right for gathers that are alike and too little for others, so that no step goes past the
    solution, unless one more gather becomes late on the way: there the next step begins.
    """
    asking, asked, busy = 0, 0.0, np.inf
    for place in range(places):
        if reads[place, RATE] > 0:
            asking += 1
            asked += reads[place, RATE]
            busy = min(busy, reads[place, FROM])
        if reads[place, SPEED] > 0:
            reads[place, SPEED] = 1.0
    if asking < 2 or asked <= (1 - asked) * busy:  # nobody is late
        return
    for _ in range(MOST_STEPS):
        free = 1 / (1 + busy)
        in_time, late, fall, late_from = 0.0, 0.0, 0.0, np.inf
        for place in range(places):
            rate, over = reads[place, RATE], busy - reads[place, FROM]
            if rate > 0 and over >= 0:
                wait = reads[place, WAIT]
                speed = 1 / (1 + wait * over)
                reads[place, SPEED] = speed
                late += rate * speed
                fall += rate * wait * speed * speed
            elif rate > 0:
                in_time += rate
                late_from = min(late_from, reads[place, FROM])
        gap = in_time + late + free - 1
        if gap < EXACT:
            break
        # late / (1 + fall / late x) + in_time = 1 - free / (1 + free x), of x = the step
        rest, fall = 1 - in_time, fall / late
        square, slope = rest * fall * free, rest * (fall + free) - free * (late + fall)
        root = math.sqrt(slope * slope + 4 * square * gap)
        step = 2 * gap / (slope + root) if slope > 0 else (root - slope) / (2 * square)
        busy = min(late_from, busy + step) if rest > 0 else late_from


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
