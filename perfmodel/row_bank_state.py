"""Registers and queues of `perfmodel.row_network_kernels`: what a row network holds in a cycle."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rpaccel.perfmodel import memory_fabric as fabric

__all__ = ["EPOCHS", "RowSizes", "RowState", "RowTrace", "new_row_state"]

Ints = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

NONE = -1
PLACES = 2  # of a StreamBuffer
EPOCHS = 4  # that a mark tells apart
TOLD = -1


class RowSizes(NamedTuple):
    """Sizes and latencies, passed so that compiled code never holds an old one.

    readers : with prefetchers, which come last; answering : without them. free_ways : of a set,
    that marks of prefetches leave.
    row_places : rows that wait before a bank, besides the one that is looked at. slots : rows of a
    reader in flight. lookup_cycles, look_cycles : of the static cache, 0 without one; of the
    look-ahead cache. id_cycles : an id's last beat given to the bank until the id can be sent
    again. clear_cycles : until the look-ahead caches are empty. A reader does not take its beat in
    wait_per_mille of 1000 cycles; TOLD: it says when it does. others : requesters of the memory
    fabric that come before the banks.
    """

    banks: int
    ports: int
    readers: int
    answering: int
    ways: int
    free_ways: int
    reads: int
    row_beats: int
    beat_bytes: int
    slots: int
    row_places: int
    lookup_cycles: int
    look_cycles: int
    id_cycles: int
    clear_cycles: int
    first_edge: int
    wait_per_mille: int
    wait_seed: int
    others: int = 0


class RowTrace(NamedTuple):
    """Rows of all readers, one reader after the other: int64[rows] and, of beats, int64[beats].

    epoch : of a prefetcher, while it offers the row or has it next.

    first : number of a row's first beat. bank : of a row. after : cycles between the row before and
    the offer of this one. key : of a beat; at : its set; pinned : bit n: found after n moves of
    the static caches' split. moves : int64[moves]  their cycles.
    """

    beats: Ints
    first: Ints
    bank: Ints
    after: Ints
    epoch: Ints
    key: Ints
    at: Ints
    pinned: Ints
    moves: Ints


def _record(names: str) -> np.dtype[np.void]:
    return np.dtype([(name, np.int64) for name in names.split()])


# chosen: by the crossbar in this cycle. last: choice of the round before.
READER = _record(
    "first rows asked answered used newest oldest index chosen last "
    "next full end takes"  # next: cycle of the next offer; full: a beat waits to be taken
)
BANK = _record(
    "active chosen last "
    # rows in their queue: behind the register, in it; the beat that is looked at
    "rows_inner rows_out rows_head row_leaves pushed beat inside "
    "front_head answered looked turn "  # of the front's oldest beat; turn: of pinned beats
    "row_credits waiter_credits reads_back waiter_back "
    "arrived_inner arrived_out arrived_head arrives fill "  # fill: read that is to be entered
    "next_op found "  # found: op to resolve
    "answers answers_head answer_leaves asked asked_head ask_leaves "
    "run misses run_key run_read walking waiter free_waiter groups groups_head"
)
OP = _record(
    "valid fill pinned event reader place key at beat last read line "  # line: NONE is not kept
    "fresh"  # its entry of the static cache is not compared yet
)
OWNER = _record("reader place next")
ROW = _record("row reader place")
# owner: of the memory fabric's requesters. place: of its first beat there, of a bank the read.
BURST = _record("due id owner place beats address")
ID = _record("id free_at")
PORT = _record(
    "last first_valid second_valid fresh ids_back ids_head pending pending_head "
    "left id owner place beats"
)
COUNTER_NAMES = (
    "pinned", "hits", "merged", "misses", "refused", "evictions",
    "prefetches", "dropped", "used", "late", "unused",
)  # fmt: skip
COUNTERS = _record(" ".join(COUNTER_NAMES))


class RowState(NamedTuple):
    """All that changes. First dimension: reader, bank or port.

    there : uint8[readers, places]  beats that wait for their turn
    tags, flying : int64, uint8[banks, lines]  a set's ways are neighbours
    marks : int64[banks, lines]  EPOCHS * prefetcher + epoch, or NONE; unread : uint8[banks, lines]
    epochs : int64[prefetchers]  of now. split : int64[1]  moves so far
    next_way : int64[banks, sets]
    front : OP[banks, lookup_cycles]  beats on their way through the static cache: a ring
    pipe : int64[banks, look_cycles]  ops on their way through the cache, newest first
    read_line : int64[banks, reads]  line that a read fills; line_read : the read of a line
    owners : OWNER[banks, reads]  first of each read, `next` its chain; joined : OWNER[banks, reads]
    left : int64[banks, groups]  reads of a group that are on their way; groups : those free
    stages : BURST[ports, 2]  of the region check; returned : ID[ports, ids]  ids given back
    """

    readers: Records
    there: npt.NDArray[np.uint8]
    banks: Records
    waiting: Records
    arrived: Ints
    front: Records
    ops: Records
    pipe: Ints
    tags: Ints
    flying: npt.NDArray[np.uint8]
    marks: Ints
    unread: npt.NDArray[np.uint8]
    epochs: Ints
    split: Ints
    next_way: Ints
    read_line: Ints
    line_read: Ints
    owners: Records
    joined: Records
    left: Ints
    groups: Ints
    answers: Records
    asked: Records
    ports: Records
    stages: Records
    pending: Records
    returned: Records
    counters: Records


def new_row_state(
    sizes: RowSizes, sets: int, ids: int, rows: list[int], offers: list[int]
) -> RowState:
    """Return a row network after reset. rows, offers : of each reader: how many; first cycle."""
    banks, ports, reads, ways = sizes.banks, sizes.ports, sizes.reads, sizes.ways
    groups = reads // sizes.row_beats
    readers = np.zeros(sizes.readers, READER)
    readers["rows"] = rows
    readers["first"] = np.cumsum([0, *rows[:-1]])
    readers["chosen"] = readers["last"] = NONE
    readers["next"] = offers
    bank = np.zeros(banks, BANK)
    for name in ("chosen", "last", "fill", "found"):
        bank[name] = NONE
    bank["row_credits"], bank["waiter_credits"], bank["groups"] = groups, reads, groups
    joined = np.zeros((banks, reads), OWNER)
    joined["next"] = [*range(1, reads), NONE]  # free ones are chained
    port = np.zeros(ports, PORT)
    port["last"], port["fresh"] = NONE, ids
    return RowState(
        readers=readers,
        there=np.zeros((sizes.answering, sizes.slots * sizes.row_beats), np.uint8),
        banks=bank,
        waiting=np.zeros((banks, sizes.row_places + 1), ROW),
        arrived=np.zeros((banks, reads + 1), np.int64),
        front=np.zeros((banks, max(1, sizes.lookup_cycles)), OP),
        ops=np.zeros((banks, sizes.look_cycles + 2), OP),
        pipe=np.full((banks, sizes.look_cycles), NONE),
        tags=np.full((banks, sets * ways), NONE),
        flying=np.zeros((banks, sets * ways), np.uint8),
        marks=np.full((banks, sets * ways), NONE),
        unread=np.zeros((banks, sets * ways), np.uint8),
        epochs=np.zeros(sizes.readers - sizes.answering, np.int64),
        split=np.zeros(1, np.int64),
        next_way=np.zeros((banks, sets), np.int64),
        read_line=np.zeros((banks, reads), np.int64),
        line_read=np.zeros((banks, sets * ways), np.int64),
        owners=np.zeros((banks, reads), OWNER),
        joined=joined,
        left=np.zeros((banks, groups), np.int64),
        groups=np.tile(np.arange(groups), (banks, 1)),
        answers=np.zeros((banks, PLACES), OWNER),
        asked=np.zeros((banks, PLACES), BURST),
        ports=port,
        stages=np.zeros((ports, fabric.REGION_CHECK_CYCLES), BURST),
        pending=np.zeros((ports, ids), BURST),
        returned=np.zeros((ports, ids), ID),
        counters=np.zeros(1, COUNTERS),
    )
