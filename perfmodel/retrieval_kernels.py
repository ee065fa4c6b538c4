"""The parts of the score filter, a cycle at a time, as compiled code.

Every register has its value of this cycle until the cycle's end. Names are those of the parts of
rtl.retrieval_filter. The selector goes by events: when a run is merged, what the threshold is then.
All compiled code is in this file: the compiler's cache looks at a function's own file only.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from rpaccel.perfmodel.retrieval_state import (
    ACCEPTED,
    FREE,
    KNOWN,
    MERGED,
    NONE,
    RADIX,
    SELECTED,
    Chosen,
    Counters,
    Flags,
    Ints,
    Nodes,
    Query,
    Queues,
    Sweep,
    Trial,
)

MARGIN = 4  # free places of a queue that is almost full: rtl.retrieval_fifo
STAGE_CYCLES = 3  # of a merge stage: rtl.retrieval_merge latency_cycles
MERGE_CYCLES = 1  # rtl.retrieval_keeper merge_cycles
ANSWER_CYCLES = 2  # first read, output register
BEGIN, READ, END0, END1, END2 = range(5)
TRY, COUNT, LEAVE = range(3)


@njit(cache=True)
def first_sweep() -> Sweep:
    """Return the registers after a start."""
    return Sweep(BEGIN, 0, 0, 0, False, 0, 0, False, 0, 0, NONE)


@njit(cache=True)
def first_trial() -> Trial:
    """Return the registers after a start."""
    return Trial(TRY, 0, 0, 0, 0, 0, False, NONE)


@njit(cache=True)
def sweep_step(now: Sweep, query: Query, top: int, counts: Ints) -> Sweep:
    """Return the next cycle's registers. counts : int64[lanes, 256]."""
    state, at, edge = now.state, now.at, now.edge
    so_far = now.total + now.bucket_sum
    found = now.summed and so_far >= query.k
    total = so_far if now.summed else now.total
    if state == BEGIN:
        at, total = top, 0
        if top > edge:
            state = READ
    elif state == READ:
        at = now.at - 1
        if now.at == edge + 1:
            state = END0
        if found:
            edge, state = now.sum_bucket, END1
    else:
        if found and now.sum_bucket > edge:
            edge = now.sum_bucket
        state = BEGIN if state == END2 else state + 1
    return Sweep(
        state,
        at,
        edge,
        total,
        now.state == READ,
        now.at,
        counts[:, now.at].sum(),
        now.read,
        now.read_bucket,
        now.read_sum,
        query.edges[now.edge] if now.edge else NONE,
    )


@njit(cache=True)
def half_over(now: Trial, query: Query) -> bool:
    """Return whether half of a trial is over."""
    return now.total >= query.k >> 1 or now.rows >= query.k


@njit(cache=True)
def trial_step(now: Trial, query: Query, row: int, may_begin: bool) -> Trial:
    """Return the next cycle's registers. row : the set in the rows register, -1 for none."""
    state, score, total, rows = now.state, now.score, now.total, now.rows
    enough = now.total >= query.k
    if not enough:
        total += now.reached
        rows += query.lanes if now.came else 0
    reach, came, bound = 0, False, NONE
    last = (row + 1) * query.lanes - 1
    if now.state == COUNT and row >= 0:
        for place in range(last + 1 - query.lanes, last + 1):
            if query.valid[place]:
                came = True
                reach += query.scores[place] >= now.score
    if state == TRY:
        total, rows = 0, 0
        if row >= 0:
            score = query.scores[last]
            if query.valid[last] and may_begin and query.trials:
                state = COUNT
    elif state == COUNT:
        if enough:
            bound = now.score
        if enough or now.rows >= 2 * query.k:
            state = LEAVE
    else:
        state = TRY
    return Trial(state, score, reach, now.reach, total, rows, came, bound)


@njit(cache=True)
def counters_step(counters: Counters, query: Query, row: int) -> None:
    """Count what has come through; take the set in the rows register, -1 for none."""
    piped, lanes = counters.piped, query.lanes
    for lane in range(lanes):
        bucket = piped[2, lane]
        if bucket >= 0:
            counters.counts[lane, bucket] += 1
            counters.lane_top[lane] = max(counters.lane_top[lane], bucket)
        piped[2, lane], piped[1, lane] = piped[1, lane], piped[0, lane]
        place = row * lanes + lane
        piped[0, lane] = query.buckets[place] if row >= 0 and query.valid[place] else -1


@njit(cache=True)
def queues_empty(queues: Queues) -> bool:
    """Return whether no row is in a lane."""
    waits = (queues.tail != queues.head).any() or (queues.incoming != NONE).any()
    return not waits and not (queues.outgoing != NONE).any()


@njit(cache=True)
def queues_step(
    queues: Queues, query: Query, row: int, threshold: int, floor: int, granted: Flags
) -> int:
    """Step all lanes; return the entries of the longest queue. granted : keys that are taken."""
    lanes, depth = queues.memory.shape
    peak = 0
    for lane in range(lanes):
        used = queues.tail[lane] - queues.head[lane]
        peak = max(peak, used)
        space = queues.outgoing[lane] == NONE or granted[lane]
        value = queues.memory[lane, queues.head[lane] % depth]
        stale = value <= threshold
        if space:
            leaves = queues.head_valid[lane] and not stale
            queues.outgoing[lane] = value if leaves else NONE
        queues.almost_full[lane] = used > depth - MARGIN
        queues.head[lane] += queues.head_valid[lane] and (stale or space)
        queues.head_valid[lane] = queues.head[lane] != queues.tail[lane]
        if queues.incoming[lane] != NONE:
            queues.memory[lane, queues.tail[lane] % depth] = queues.incoming[lane]
            queues.tail[lane] += 1
        place = row * lanes + lane
        queues.incoming[lane] = NONE
        if row >= 0 and query.valid[place] and query.scores[place] >= floor:
            queues.incoming[lane] = (query.scores[place] << 32) + (2**32 - 1 - place)
    return peak


@njit(cache=True)
def nodes_step(nodes: Nodes, sources: Ints) -> Flags:
    """Step the arbiter, whose root is always taken; return which sources it takes, bool[lanes]."""
    takes = np.zeros(len(sources), dtype=np.bool_)
    takes[0] = True
    for level in range(len(nodes.widths) - 1, -1, -1):
        below = sources if level == 0 else nodes.values[level - 1]
        count_below = len(sources) if level == 0 else nodes.widths[level - 1]
        taken = np.zeros(len(sources), dtype=np.bool_)
        for node in range(nodes.widths[level]):
            if nodes.values[level, node] != NONE and not takes[node]:
                continue
            first = node * RADIX
            count = min(RADIX, count_below - first)
            nodes.values[level, node] = NONE
            for step in range(count):
                source = (nodes.turns[level, node] + step) % count
                if below[first + source] != NONE:
                    nodes.values[level, node] = below[first + source]
                    nodes.turns[level, node] = (source + 1) % count
                    taken[first + source] = True
                    break
        takes = taken
    return takes


@njit(cache=True)
def enter(chosen: Chosen, key: int, cycle: int) -> bool:
    """Offer a candidate; return whether it enters the sorter."""
    numbers, run, k = chosen.numbers, len(chosen.entered), len(chosen.kept)
    if key <= numbers[SELECTED]:
        return False
    chosen.entered[numbers[ACCEPTED] % run] = key
    numbers[ACCEPTED] += 1
    whole = _sorted_at(cycle, numbers[ACCEPTED], run, chosen.busy_until)
    if whole:
        chosen.kept[:] = np.sort(np.concatenate((chosen.kept, chosen.entered)))[run:]
        size = min(k, numbers[ACCEPTED])
        numbers[FREE] = max(whole, numbers[FREE]) + MERGE_CYCLES + size
        if size == k:
            place = numbers[MERGED] % 16
            chosen.known_at[place], chosen.known[place] = numbers[FREE], chosen.kept[0]
            numbers[MERGED] += 1
    return True


@njit(cache=True)
def know(chosen: Chosen, cycle: int) -> None:
    """Put out the thresholds that are there in `cycle`."""
    numbers = chosen.numbers
    while numbers[KNOWN] < numbers[MERGED] and chosen.known_at[numbers[KNOWN] % 16] <= cycle:
        numbers[SELECTED] = chosen.known[numbers[KNOWN] % 16]
        numbers[KNOWN] += 1


@njit(cache=True)
def close(chosen: Chosen, cycle: int) -> int:
    """Close the query in `cycle`; return the cycle in which the end of its answer leaves."""
    accepted, k, run = chosen.numbers[ACCEPTED], len(chosen.kept), len(chosen.entered)
    whole = _closed_at(cycle, accepted, run, chosen.busy_until)
    return max(whole, chosen.numbers[FREE]) + ANSWER_CYCLES + min(k, accepted)


@njit(cache=True)
def _sorted_at(cycle: int, accepted: int, run: int, busy_until: Ints) -> int:
    """Return the cycle after the last one of a run that is sorted, 0 if no run is complete.

    The candidate that enters in `cycle` is number `accepted`, from 1 on.
    """
    first = cycle
    for stage in range(len(busy_until)):
        size = min(2 << stage, run)
        if accepted % size:
            return 0
        first = max(first + STAGE_CYCLES, busy_until[stage])
        busy_until[stage] = first + size
    return busy_until[-1]


@njit(cache=True)
def _closed_at(cycle: int, accepted: int, run: int, busy_until: Ints) -> int:
    """Return the cycle after the one in which a mark that enters in `cycle` leaves the sorter.

    A stage begins with a last run that has no partner when its mark has come.
    """
    first, tail = cycle, accepted % run
    for stage in range(len(busy_until)):
        alone = 1 << stage < run and not tail >> stage & 1
        waits = tail & ((1 << stage) - 1) if alone else 0
        first = max(first + STAGE_CYCLES + waits, busy_until[stage])
        busy_until[stage] = first + tail % min(2 << stage, run) + 1
    return busy_until[-1]


@njit(cache=True)
def _all_through(queues: Queues, nodes: Nodes, counters: Counters) -> bool:
    """Return whether nothing is on its way to the selector or into a histogram."""
    waits = (nodes.values != NONE).any() or (counters.piped >= 0).any()
    return not waits and queues_empty(queues)


@njit(cache=True)
def scan_cycles(
    query: Query, queues: Queues, nodes: Nodes, counters: Counters, chosen: Chosen
) -> tuple[int, ...]:
    """Return the numbers of a ScanReport after `sets`. All arrays are as after a reset."""
    sets = len(query.scores) // query.lanes
    sweep, first, second, recent = first_sweep(), first_trial(), first_trial(), NONE
    threshold, floor, top = NONE, NONE, 0
    stalls, passes, peak, following, cycle, scanned = 0, 0, 0, 0, 0, 0
    queued, sweeps = 0, 0
    row = -1  # the set in the rows register

    while True:
        candidate = nodes.values[-1, 0]
        if candidate != NONE:
            passes += enter(chosen, candidate, cycle)
        if following == sets and row < 0 and _all_through(queues, nodes, counters):
            end = close(chosen, cycle)
            return scanned, stalls, passes, cycle, end, peak, queued, sweeps

        full = queues.almost_full.any()
        granted = nodes_step(nodes, queues.outgoing)
        peak = max(peak, queues_step(queues, query, row, threshold, floor, granted))
        queued += (queues.incoming != NONE).sum()

        # one bound per cycle
        turn, selected = cycle % 3, chosen.numbers[SELECTED]
        bound, score = selected, selected >> 32
        if turn:
            score = sweep.bound if turn == 1 else recent
            bound = NONE if score in (NONE, query.lowest) else (score << 32) - 1
        if bound > threshold:
            threshold, floor = bound, score

        first_may = second.state != COUNT or half_over(second, query)
        second_may = first.state == COUNT and half_over(first, query)
        first = trial_step(first, query, row, first_may)
        second = trial_step(second, query, row, second_may)
        for trial in (first, second):
            if trial.bound != NONE:
                recent = trial.bound
        sweeps += sweep.state == END2
        sweep = sweep_step(sweep, query, top, counters.counts)
        top = max(top, counters.lane_top[cycle % query.lanes])
        counters_step(counters, query, row)
        know(chosen, cycle + 1)

        row = -1
        if following < sets and not full:
            row, scanned = following, cycle + 1
            following += 1
        elif following < sets:
            stalls += 1
        cycle += 1
