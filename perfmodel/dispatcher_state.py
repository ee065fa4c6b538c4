"""What the query dispatcher holds: rings, descriptors on their way, completions that wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import COMPLETION, DESCRIPTOR, RESULT

__all__ = ["ASKED", "DISPATCH", "FETCH", "Dispatch", "SubmissionRing", "new_dispatch", "new_fetch"]

Ints = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

NONE = -1


def _record(names: str) -> np.dtype[np.void]:
    return np.dtype([(name, np.int64) for name in names.split()])


# The fetch of descriptors, rtl.submission_queue. state : of FETCH_IDLE and so on. order : its
# reader of the fabric. beats, bytes : of a descriptor. base [bytes], size : of the ring. head :
# descriptors fetched so far. waiting : in the ring, of which `entries` are in the queue or on their
# way there, at most `most`. ended : one is there since the last cycle.
FETCH = _record("state order beats bytes base size head waiting entries most ended")
# The dispatcher. turns : that completions take: a funnel's each, then its own. rings : queries come
# through the ring. arrived, fetched, taken : of them, so far. last_taken : when the last one left
# the queue. busy : one waits for a funnel, or is on its way there. idle_from : when the one before
# had left. idle : mask of funnels. done : mask of those whose completion waits. writing : one is
# written. turn : in cycle `turn_at`, the next one in the next cycle while none is written. due,
# due_funnel : of the next one that is to be written. note_due : of the next end of a task that
# funnels are told, noted_at : of the last one. descriptor_beats, completion_beats,
# beat_results, burst_beats : of the writer. write_cycles : of memory.
DISPATCH = _record(
    "turns rings arrived fetched taken last_taken busy idle_from idle done writing turn turn_at "
    "due due_funnel note_due noted_at descriptor_beats completion_beats beat_results burst_beats "
    "write_cycles"
)
# A query: when its descriptor was fetched, its funnel, when that was told of a task's end last.
ASKED = _record("fetched funnel noted")


class Dispatch(NamedTuple):
    """All that changes. run : DISPATCH[1]. queries : ASKED[queries].

    order : int64[queries], as they come. of_funnel : int64[funnels], the query that is in each.
    notes : int64[lanes], ends of tasks that funnels have not been told.
    """

    run: Records
    queries: Records
    order: Ints
    of_funnel: Ints
    notes: Ints


@dataclass(frozen=True, kw_only=True)
class SubmissionRing:
    """Where descriptors are, never more than `entries` at once, a power of two.

    base : [bytes]. taken : before the first.
    """

    base: int
    entries: int
    taken: int = 0

    def __post_init__(self) -> None:
        if self.entries < 1 or self.entries & (self.entries - 1):
            raise ValueError(f"entries must be a power of two, not {self.entries}")


def new_fetch(config: AcceleratorConfig, order: int) -> Records:
    """Return FETCH[1] of an empty ring. order : its reader of the fabric."""
    fetch = np.zeros(1, FETCH)
    fetch["order"], fetch["most"], fetch["size"] = order, config.queue_entries, 1
    fetch["bytes"], fetch["beats"] = DESCRIPTOR.bytes, DESCRIPTOR.bytes // config.beat_bytes
    return fetch


def new_dispatch(
    config: AcceleratorConfig, queries: int, write_cycles: int, burst: int
) -> Dispatch:
    """Return the dispatcher before the first of so many queries.

    write_cycles : of memory, from the last beat to its response. burst : beats, at most.
    """
    run = np.zeros(1, DISPATCH)
    run["turns"] = config.funnels + 1 + (config.retrieval_queries > 0)
    run["idle"] = (1 << config.funnels) - 1
    for name in ("last_taken", "due", "note_due", "noted_at"):
        run[name] = NONE
    run["descriptor_beats"] = DESCRIPTOR.bytes // config.beat_bytes
    run["completion_beats"] = COMPLETION.bytes // config.beat_bytes
    run["beat_results"] = config.beat_bytes // RESULT.bytes
    run["burst_beats"], run["write_cycles"] = burst, write_cycles
    return Dispatch(
        run=run,
        queries=np.zeros(queries, ASKED),
        order=np.zeros(queries, np.int64),
        of_funnel=np.zeros(config.funnels, np.int64),
        notes=np.zeros(config.lanes, np.int64),
    )
