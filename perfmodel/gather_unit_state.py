"""What lanes' gathers hold in a cycle: registers and queues of `gather_unit_kernels`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rpaccel.perfmodel.row_bank_state import RowSizes, RowState, RowTrace

__all__ = [
    "BATCH",
    "BATCH_ENDED",
    "COUNT",
    "DENSE",
    "IDS_TAKEN",
    "NEVER",
    "NOTHING",
    "RELEASES",
    "ROW",
    "SHARE_TRACE",
    "STAGE_TRACE",
    "TASK_TRACE",
    "UNIT",
    "ZERO",
    "GatherSizes",
    "GatherState",
    "GatherTrace",
    "Network",
    "OrderState",
    "Traces",
    "new_gather_state",
    "new_order_state",
]

Ints = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

NONE = -1
BUFFER_PLACES = 2  # of a StreamBuffer
MOST_BATCHES = 4  # ends of sub-batches on their way through a pooler
RELEASES = 8  # places for those to come, of which there are at most QUARTERS
NEVER = 1 << 50
BATCH_ENDED, IDS_TAKEN = 1, 2

# What a step of the walk makes: nothing, a dense beat, a row that is read, a row of zeros, the
# count of a list, the end of a sub-batch.
NOTHING, DENSE, ROW, ZERO, COUNT, BATCH = range(6)


class GatherSizes(NamedTuple):
    """Sizes that all gather units of a machine share.

    words : ids per beat of a candidate list. boundary_beats : that no burst crosses. ports,
    stripe_shift, bank_bits, bank_slices : the map of addresses to memory ports, spec.stripe.
    """

    words: int
    beat_bytes: int
    boundary_beats: int
    ports: int
    stripe_shift: int
    bank_bits: int
    bank_slices: int


class GatherTrace(NamedTuple):
    """What records make of the walk, of all tasks: one share's records of one after the other's.

    steps : int64[steps]  NOTHING..COUNT, of all records. begin : int64[records + 1]  first step of
    each. address : int64[records]  in memory [bytes]; of a share's first record, the user's.
    bad : uint8[records]  without data. first, last : of a sub-batch.
    shares : SHARE_TRACE[tasks and their shares]. tasks : TASK_TRACE[tasks]. stages :
    STAGE_TRACE[stages].
    """

    steps: Ints
    begin: Ints
    address: Ints
    bad: npt.NDArray[np.uint8]
    first: npt.NDArray[np.uint8]
    last: npt.NDArray[np.uint8]
    shares: Records
    tasks: Records
    stages: Records


def _record(names: str) -> np.dtype[np.void]:
    return np.dtype([(name, np.int64) for name in names.split()])


# A ReadOrder of the memory fabric. asks : a burst is offered in this cycle. full : an answer waits.
ORDER = _record(
    "asks port address beats granted slots slot_beats used newest oldest index full ends "
    "chosen last"
)
BEAT = _record("owner place ends id")

# A share's part of a task: its first record, the user's, and the one after its last; its first row.
SHARE_TRACE = _record("begin end row")
# stage : of STAGE_TRACE. list_beats : of its candidates' list, 0 for a later stage; address : of
# that [bytes]. share : of SHARE_TRACE, its first.
TASK_TRACE = _record("stage items list_beats address share")
# user_beats, item_beats : of a record. row_beats : of a row. sub_batch : items. item_banks : of its
# sub-batches.
STAGE_TRACE = _record("user_beats item_beats row_beats sub_batch item_banks")

# walk: the walker's state; step: its next one; record: that it walks or takes next; begin, end: the
# task's first one, and the one after its last. banks: in use, of `item_banks` as of the sub-batch
# before. one, two: the resolver's registers, and whether they are the user's. rows_room: a row may
# be asked for. state: the record reader's; left: beats of the user's record to ask for. waiting:
# records that have been asked for. buffered: bursts before the fabric. due: beats of the next
# record.
SHARE = _record(
    "walk step record begin end banks item_banks rows_room one one_user two two_user "
    "tickets_inner tickets_out tickets_head beat batches batches_head "
    "state left address asked_record pushed reading room waiting_inner waiting_out "
    "buffered buffered_head due complete"
)
TICKET = _record("kind user")
BURST = _record("address beats")
# One lane's. share, shares : its first one, and how many. order : of its list, before those of its
# records. ids : that wait before it. tickets, records : that queues hold. in_flight : bursts of a
# reader of records. ring_beats : of records. record_burst : beats of the longest burst of them.
# Of the task at work: as in STAGE_TRACE and TASK_TRACE. on : one is, from `since` on.
# beats, words, word : of the list: left to ask for, to take, in the beat. ids_left : that a later
# stage still gets, the last `ids_late` of them one a cycle from `ids_from` on. deal_left,
# deal_place : of rtl.gather_deal. pooled: the user's rows are. released: of RELEASES, the next one.
# batches : of the task, to end. tells : when the last id of a later stage is taken. ended:
# BATCH_ENDED or IDS_TAKEN, in the last cycle.
UNIT = _record(
    "share shares order ids tickets records in_flight ring_beats record_burst "
    "user_beats item_beats row_beats sub_batch item_banks listed on since "
    "beats words word address ids_left ids_late ids_from ids_inner ids_out deal_left deal_place "
    "pooled dense_turn dense_last released batches tells ended"
)


class OrderState(NamedTuple):
    """Readers of the memory fabric besides the row banks, and the beats that wait at the ports.

    orders : ORDER[readers]. lengths : int64[readers, slots]. there : uint8[readers, places].
    beats : BEAT[ports, 2]. held : int64[ports]  of them.
    """

    orders: Records
    lengths: Ints
    there: npt.NDArray[np.uint8]
    beats: Records
    held: Ints


class GatherState(NamedTuple):
    """All that changes in gather units. First dimension: share, those of lanes in their order.

    units : UNIT[lanes]. batches : int64[shares, MOST_BATCHES]  cycles in which the last ends of
    sub-batches leave. releases : int64[lanes, RELEASES]  cycles in which banks become free, a ring;
    `units.released` is the place of the next one. share_words, unit_words : the same memory as
    shares and units, int64[n, fields]; share_seen, unit_seen : what was there a cycle ago.
    """

    shares: Records
    tickets: Records
    batches: Ints
    bursts: Records
    units: Records
    releases: Ints
    share_words: Ints
    unit_words: Ints
    share_seen: Ints
    unit_seen: Ints


class Network(NamedTuple):
    """Gather units, row network and memory fabric. memories : uint64[ports], what `book` is given.

    fetch : FETCH[1] of dispatcher_state.

    clock : int64[3], the next cycle, the one after the last in which a unit was at work, and for
    how many nothing has moved outside the units.
    """

    sizes: GatherSizes
    row_sizes: RowSizes
    gathers: GatherState
    rows: RowState
    fabric: OrderState
    fetch: Records
    memories: npt.NDArray[np.uint64]
    clock: Ints


class Traces(NamedTuple):
    """What tasks gather: steps, and the rows that they read."""

    walk: GatherTrace
    rows: RowTrace


def new_order_state(readers: list[tuple[int, int]], ports: int) -> OrderState:
    """Return the orders of a fabric after reset. readers : (slots, beats of a slot) of each."""
    orders = np.zeros(len(readers), ORDER)
    orders["last"] = orders["chosen"] = NONE
    for order, (slots, beats) in zip(orders, readers, strict=True):
        order["slots"], order["slot_beats"] = slots, beats
    most = max((slots for slots, _ in readers), default=1)
    places = max((slots * beats for slots, beats in readers), default=1)
    return OrderState(
        orders=orders,
        lengths=np.zeros((len(readers), most), np.int64),
        there=np.zeros((len(readers), places), np.uint8),
        beats=np.zeros((ports, BUFFER_PLACES), BEAT),
        held=np.zeros(ports, np.int64),
    )


def new_gather_state(units: Records) -> GatherState:
    """Return gather units after reset. units : UNIT[lanes], with their sizes."""
    units["dense_turn"] = units["dense_last"] = NONE
    count = int(units["shares"].sum())
    shares = np.zeros(count, SHARE)
    words = [each.view(np.int64).reshape(len(each), -1) for each in (shares, units)]
    return GatherState(
        shares=shares,
        tickets=np.zeros((count, int(units["tickets"].max()) + 1), TICKET),
        batches=np.zeros((count, MOST_BATCHES), np.int64),
        bursts=np.zeros((count, BUFFER_PLACES), BURST),
        units=units,
        releases=np.full((len(units), RELEASES), NEVER),
        share_words=words[0],
        unit_words=words[1],
        share_seen=np.zeros_like(words[0]),
        unit_seen=np.zeros_like(words[1]),
    )
