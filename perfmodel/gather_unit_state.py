"""What a lane's gather holds in a cycle: registers and queues of `gather_unit_kernels`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "BATCH",
    "COUNT",
    "DENSE",
    "NOTHING",
    "ROW",
    "ZERO",
    "GatherSizes",
    "GatherState",
    "GatherTrace",
    "OrderState",
    "new_gather_state",
    "new_order_state",
]

Ints = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

NONE = -1
BUFFER_PLACES = 2  # of a StreamBuffer
MOST_BATCHES = 4  # ends of sub-batches on their way through a pooler

# What a step of the walk makes: nothing, a dense beat, a row that is read, a row of zeros, the
# count of a list, the end of a sub-batch.
NOTHING, DENSE, ROW, ZERO, COUNT, BATCH = range(6)


class GatherSizes(NamedTuple):
    """Sizes of a gather unit and of the stage that it works on.

    shares : gather ports. ids : that wait before it. tickets, records : that their queues hold.
    in_flight : bursts of a reader of records. ring_beats : of records. user_beats, item_beats : of
    a record. record_burst : beats of the longest burst of records. row_beats : of a row.
    boundary_beats : that no burst crosses. list_beats : of the candidate list, 0 for a later stage.
    words : ids per beat of it. items, sub_batch : of the stage. item_banks : of its
    sub-batches. ports, stripe_shift, bank_bits, bank_slices : the map of addresses
    to memory ports, spec.stripe.
    """

    shares: int
    ids: int
    tickets: int
    records: int
    in_flight: int
    ring_beats: int
    user_beats: int
    item_beats: int
    record_burst: int
    row_beats: int
    boundary_beats: int
    beat_bytes: int
    list_beats: int
    words: int
    items: int
    sub_batch: int
    item_banks: int
    ports: int
    stripe_shift: int
    bank_bits: int
    bank_slices: int


class GatherTrace(NamedTuple):
    """What a stage's records make of the walk: one share's records after the other's.

    steps : int64[steps]  NOTHING..COUNT, of all records. begin : int64[records + 1]  first step of
    each. address : int64[records]  in memory [bytes]; of a share's first record, the user's.
    bad : uint8[records]  without data. first, last : of a sub-batch.
    share_begin : int64[shares + 1]  first record of each share, the user's.
    """

    steps: Ints
    begin: Ints
    address: Ints
    bad: npt.NDArray[np.uint8]
    first: npt.NDArray[np.uint8]
    last: npt.NDArray[np.uint8]
    share_begin: Ints


def _record(names: str) -> np.dtype[np.void]:
    return np.dtype([(name, np.int64) for name in names.split()])


# A ReadOrder of the memory fabric. asks : a burst is offered in this cycle. full : an answer waits.
ORDER = _record(
    "asks port address beats granted slots slot_beats used newest oldest index full ends "
    "chosen last"
)
BEAT = _record("owner place ends id")

# walk: the walker's state; step: its next one; record: that it walks or takes next. one, two: the
# resolver's registers, and whether they are the user's. rows_room: a row may be asked for.
# state: the record reader's; left: beats of the user's record to ask for. waiting: records that
# have been asked for. buffered: bursts before the fabric. due: beats of the next record.
SHARE = _record(
    "walk step record banks rows_room one one_user two two_user "
    "tickets_inner tickets_out tickets_head beat batches batches_head "
    "state left address asked_record pushed reading room waiting_inner waiting_out "
    "buffered buffered_head due complete"
)
TICKET = _record("kind user")
BURST = _record("address beats")
# One. beats, words, word : of the list: left to ask for, to take, in the beat. ids : their queue;
# ids_left : that a later stage still gets. deal_left, deal_place : of rtl.gather_deal.
# pooled: the user's rows are. released: banks so far. ended: a sub-batch, in the last cycle.
UNIT = _record(
    "beats words word address ids_left ids_inner ids_out deal_left deal_place begun "
    "pooled dense_turn dense_last released ended"
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
    """All that changes in a gather unit. First dimension: share.

    batches : int64[shares, MOST_BATCHES]  cycles in which the last ends of sub-batches leave.
    """

    shares: Records
    tickets: Records
    batches: Ints
    bursts: Records
    unit: Records


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


def new_gather_state(shares: int, tickets: int) -> GatherState:
    """Return a gather unit after reset. tickets : that wait for their rows, of a share."""
    unit = np.zeros(1, UNIT)
    unit["dense_turn"] = unit["dense_last"] = NONE
    return GatherState(
        shares=np.zeros(shares, SHARE),
        tickets=np.zeros((shares, tickets), TICKET),
        batches=np.zeros((shares, MOST_BATCHES), np.int64),
        bursts=np.zeros((shares, BUFFER_PLACES), BURST),
        unit=unit,
    )
