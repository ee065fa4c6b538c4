"""What a machine holds at a time: tables and state of `perfmodel.machine_kernels`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BATCH", "BATCH_LOG", "DRAINS", "EVENT_FIELDS", "FLYING", "LANE", "NONE", "PROFILE", "QUERY",
    "RUN", "STAGE", "STAGE_KIND", "TASK", "TASKS", "TASK_LOG", "MachineState", "MachineTables",
]  # fmt: skip

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Records = NDArray[np.void]

NONE = -1
TASKS = 4  # rtl.lane: tasks given and not done


def _record(names: str, floats: str = "") -> np.dtype[np.void]:
    return np.dtype(
        [(name, np.int64) for name in names.split()]
        + [(name, np.float64) for name in floats.split()]
    )


# A stage as it is asked. lanes : mask of those that may run it. release, releases : place of the
# first of those that are given, and how many.
STAGE_KIND = _record("lanes task_items task_k mode k release releases")
# A task's profile, see perfmodel.task_profile. batch, batches : place of the first sub-batch, and
# how many. next : profile of the same kind with other items, or NONE. memory : cycles of all.
# wait : of an item.
PROFILE = _record("items batch batches start handover array banks next", "memory wait")
BATCH = _record("work walk", "memory")


class MachineTables(NamedTuple):
    """What does not change while queries are served, but for profiles that are added.

    stage_kinds : STAGE_KIND[kinds]. releases : int64[n, 3], ids, cycles and those to cut a bin.
    profile_kinds, models : int64[kinds, lanes]  place in `newest` of a stage kind's profiles on a
    lane, and number of its model; NONE where the lane may not run it.
    newest : int64[profile kinds]  the profile of a kind that was added last, or NONE.
    profiles : PROFILE[n]. batches : BATCH[n]. works : int64[n, WORK_FIELDS].
    """

    stage_kinds: Records
    releases: Ints
    profile_kinds: Ints
    models: Ints
    newest: Ints
    profiles: Records
    batches: Records
    works: Ints


# The run, one. now : of the events at work; chosen : the grant has looked in this cycle. heap,
# sequence : events that wait, and all so far. arrivals : queries that have come by themselves.
# waiting, accepted : queries that have come, and those of them that have been taken. free :
# funnels. working : queries at work. ready : mask of lanes. next_choice : of the grant. tasks,
# batches : in their logs. small : something has no room; full : the log of tasks has none; past :
# an event is before those of now. asks : of a profile that lacks: stage, lane, items. steps :
# sub-batches gathered, through the bottom chain, and through the top chain. read_due : of the event
# of the next gather that is over; NONE. dispatched : `perfmodel.dispatcher_kernels` write what is
# answered. memory : cycles of what all lanes share. since : up to then
# it is accounted for.
RUN = _record(
    "now chosen heap sequence arrivals waiting accepted free working ready next_choice tasks "
    "batches small full past asks_stage asks_lane asks_items steps read_due dispatched",
    "memory since",
)
# A query. follower : first of those that are made at its end, sibling : the next of those; NONE.
# stage, stages : place of the first one, and how many. offer : stage of the task that the grant
# sees from `valid` on, or NONE; offer_items, final : of it. late : cycles that its end waits for
# those of other queries' tasks.
QUERY = _record(
    "arrival items top_n stage stages follower sibling accepted end offer offer_items final valid "
    "late"
)
# A stage of a query. there, given : items so far, and dealt out. known : there are no more.
# receiving : until then the lane of the last task takes its ids. first, last : task of those whose
# scores are taken, from the cycle after `open` on, in turn; or NONE. start : first cycle; NONE
# before. end : the filter has counted, or the list is whole; NONE before. scored, tasks : items and
# tasks whose scores have been taken. left : ids that have left the filter; releases : how often.
# counted : of those whose ids have been counted. leaves : cycle in which the first id of the last
# of them can be given to a lane; before : ids of those before.
STAGE = _record(
    "kind query number there given known receiving open first last start end scored tasks left "
    "releases counted leaves before"
)
# A lane. given, computed, answered, scored : tasks so far. handing : one is gathered.
# pending : the last one waits for its model. model : of the last one begun. score : last one taken.
# placed : scores that have, or will have, a place in the queue, so far. held : those of them whose
# task's turn has not come. drained : all others are taken then. drains : runs of those so far, in
# which one is taken every cycle. due : of the event of its next chain. array : cycles in which a
# row enters. batches : sub-batches of tasks begun. gathering : one is gathered, or will be.
# gathered : end of the last gather. x_task, x_batch : the next sub-batch to be gathered, to be
# taken by the array and to be scored: number of its task, and in the task.
LANE = _record(
    "given computed answered scored handing pending model score placed held drained drains due "
    "array batches gathering gathered gather_task gather_batch bottom_task bottom_batch top_task "
    "top_batch"
)
# A task that a lane has been given, see `perfmodel.machine_report`; times NEVER until known.
# begin : its first own cycle, after those that it waits for its model. held : its scores that wait
# in the lane. flows : they are taken as they come. next : task after it in its stage's turns.
# first : items of the stage before its own. wait : cycles for ids that have not left the filter.
TASK = _record(
    "stage lane final first wait items model profile start begin gathered computing end held flows "
    "next"
)
# A sub-batch, see machine_report.BatchRecord.
BATCH_LOG = _record("query stage lane items gathering gathered taken crossed chosen logit")
FLYING = 8  # sub-batches of a lane that are gathered and not scored, at most 6
DRAINS = 8  # runs of a lane's scores of which more may be in its queue
TASK_LOG = _record("query stage lane items start begin gathered computing end scored")
EVENT_FIELDS = 5  # time, sequence, kind, one, other


class MachineState(NamedTuple):
    """All that changes.

    run : RUN[1]. heap : int64[events, EVENT_FIELDS], the next one first. arrivals : int64[n],
    queries in the order in which they come by themselves. waiting : int64[queries], in the order in
    which they came. working : int64[funnels], queries at work, the oldest first.
    lanes : LANE[lanes], cores : CORE[lanes], tasks : TASK[lanes * TASKS], lanes by rising number.
    log : TASK_LOG[n], in the order in which tasks are scored. batch_log : BATCH_LOG[n], in that of
    the gathers; empty: none is kept. flying : int64[lanes, FLYING], places there of the last ones.
    drains : int64[lanes, DRAINS, 2], of the last runs the cycle before the first score is taken,
    and the scores before. reads : float64[lanes, READ_FIELDS], of the memory, see shared_memory.
    turns : int64[n], scratch.
    """

    run: Records
    heap: Ints
    arrivals: Ints
    waiting: Ints
    working: Ints
    queries: Records
    stages: Records
    lanes: Records
    cores: Records
    tasks: Records
    log: Records
    batch_log: Records
    flying: Ints
    drains: Ints
    reads: Floats
    turns: Ints
