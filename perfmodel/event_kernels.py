"""Events that wait for their time, compiled: a heap, and queries that come by themselves."""

from __future__ import annotations

from rpaccel.perfmodel.compiled import fast
from rpaccel.perfmodel.machine_state import EVENT_FIELDS, MachineState
from rpaccel.perfmodel.sequencer import NEVER

__all__ = [
    "ANSWERED", "ARRIVE", "CHAIN", "CHOOSE", "COMPUTED", "COUNTED", "ENDED", "EVENT_KIND",
    "EVENT_ONE", "EVENT_OTHER", "FETCHED", "FREE", "GATHER", "GATHERED", "HANDED", "NOTE", "OFFER",
    "TAKEN", "WAKE", "WRITE", "WRITTEN", "drop_event", "next_time", "push_event",
]  # fmt: skip

ARRIVE, OFFER, WAKE, COUNTED, FREE, GATHER, GATHERED, CHAIN, HANDED, COMPUTED, ANSWERED = range(11)
FETCHED, TAKEN, CHOOSE, NOTE, ENDED, WRITE, WRITTEN = range(11, 18)  # of the dispatcher
EVENT_TIME, EVENT_SEQUENCE, EVENT_KIND, EVENT_ONE, EVENT_OTHER = range(EVENT_FIELDS)


@fast
def push_event(state: MachineState, time: int, kind: int, one: int, other: int) -> None:
    """Let an event be at `time`."""
    run, heap = state.run[0], state.heap
    if run.heap == len(heap):
        run.small = 1
        return
    place = run.heap
    run.heap += 1
    run.sequence += 1
    while place:
        above = (place - 1) >> 1
        if heap[above, EVENT_TIME] <= time:  # of one cycle, the one that is there goes first
            break
        for field in range(EVENT_FIELDS):
            heap[place, field] = heap[above, field]
        place = above
    heap[place, EVENT_TIME], heap[place, EVENT_SEQUENCE] = time, run.sequence
    heap[place, EVENT_KIND], heap[place, EVENT_ONE], heap[place, EVENT_OTHER] = kind, one, other


@fast
def drop_event(state: MachineState) -> None:
    """Drop the next event."""
    run, heap = state.run[0], state.heap
    run.heap -= 1
    last, place = run.heap, 0
    time, sequence = heap[last, EVENT_TIME], heap[last, EVENT_SEQUENCE]
    while True:
        below = 2 * place + 1
        if below >= last:
            break
        if below + 1 < last and (
            heap[below + 1, EVENT_TIME] < heap[below, EVENT_TIME]
            or (
                heap[below + 1, EVENT_TIME] == heap[below, EVENT_TIME]
                and heap[below + 1, EVENT_SEQUENCE] < heap[below, EVENT_SEQUENCE]
            )
        ):
            below += 1
        if time < heap[below, EVENT_TIME] or (
            time == heap[below, EVENT_TIME] and sequence < heap[below, EVENT_SEQUENCE]
        ):
            break
        for field in range(EVENT_FIELDS):
            heap[place, field] = heap[below, field]
        place = below
    for field in range(EVENT_FIELDS):
        heap[place, field] = heap[last, field]


@fast
def next_time(state: MachineState) -> int:
    """Return the time of the next event, or NEVER."""
    run, time = state.run[0], NEVER
    if run.heap:
        time = state.heap[0, EVENT_TIME]
    if run.arrivals < len(state.arrivals):
        time = min(time, state.queries[state.arrivals[run.arrivals]].arrival)
    return time
