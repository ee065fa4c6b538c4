"""Cycles of a lane's gather for the real records of a query: equal to the netlist's.

The unit's registers a cycle at a time, in compiled code, with list reader, row banks and memory
fabric of a machine whose other lanes are idle. What banks hold stays from query to query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rpaccel.perfmodel.gather_unit_kernels import run_gather
from rpaccel.perfmodel.gather_unit_state import (
    COUNT,
    DENSE,
    ROW,
    ZERO,
    GatherSizes,
    GatherTrace,
    new_gather_state,
    new_order_state,
)
from rpaccel.perfmodel.row_bank_state import TOLD, RowTrace, new_row_state
from rpaccel.perfmodel.row_banks import PinnedRows, RowMemory, row_sizes, row_trace
from rpaccel.spec.accelerator import BURST_BEATS, AcceleratorConfig

__all__ = ["GatherStage", "TracedFeature", "TracedGather", "TracedRecords", "rows_named"]

LIST_SLOTS, RECORD_SLOTS = 4, 16  # rtl.memory_fabric: bursts in flight
RECORDS_AHEAD = 16  # rtl.record_reader: item records of the largest size in its ring
WORD_BYTES = 4
NEVER = 1 << 50
SETTLE_CYCLES = 64  # after a stage nothing moves any more

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]


@dataclass(frozen=True, kw_only=True)
class TracedFeature:
    """A categorical feature as records name it.

    word : of the record, 32 bits: its id, or its count and then its ids. rows : of its table, whose
    first one lies at `address` [bytes].
    """

    word: int
    rows: int
    address: int
    multi_hot: bool = False
    max_ids: int = 1


@dataclass(frozen=True, kw_only=True)
class TracedRecords:
    """Records of one side of a query, and what a model reads of them.

    words : uint32[records, words]. addresses : int64[records]  in memory [bytes].
    dense_beats : of a record's head. features : in vector order.
    """

    words: Words
    addresses: Ints
    dense_beats: int
    features: tuple[TracedFeature, ...]


@dataclass(frozen=True, kw_only=True)
class GatherStage:
    """What a stage gathers.

    user : one record. items : in their order. row_bytes : of an embedding row. sub_batch : items.
    banks : of items, that sub-batches take turns at (perfmodel.sequencer.item_banks).
    list_address : of the candidate list [bytes]; None: a later stage, whose ids are there.
    number : 0 the front end, 1 later ones, for the static caches.
    """

    user: TracedRecords
    items: TracedRecords
    row_bytes: int
    sub_batch: int
    banks: int
    list_address: int | None
    number: int = 0


@dataclass(frozen=True, kw_only=True)
class _Walk:
    """Steps of records, and the rows that they read: begin, rows_begin : int64[records + 1]."""

    steps: Ints
    begin: Ints
    rows: Ints
    rows_begin: Ints


def rows_named(stage: GatherStage) -> Ints:
    """Return the first bytes of all rows that a stage's records name, in order: int64[rows]."""
    sides = (stage.user, stage.items)
    return np.concatenate([_walk(records, stage.row_bytes).rows for records in sides])


def _walk(records: TracedRecords, row_bytes: int) -> _Walk:
    """Return the steps and row addresses of all records, in order."""
    count, features = len(records.words), records.features
    lengths = np.zeros((count, len(features) + 1), np.int64)
    lengths[:, 0] = records.dense_beats
    ids = np.zeros((count, len(features)), np.int64)
    for f, feature in enumerate(features):
        if feature.multi_hot:
            named = records.words[:, feature.word].astype(np.int64)
            ids[:, f] = np.where(named > feature.max_ids, 0, named)
            lengths[:, 1 + f] = 1 + np.maximum(1, ids[:, f])
        else:
            ids[:, f] = lengths[:, 1 + f] = 1
    ends = lengths.reshape(-1).cumsum().reshape(lengths.shape)
    starts = ends - lengths
    steps = np.full(int(ends[-1, -1]) if count else 0, ROW, np.int64)
    for beat in range(records.dense_beats):
        steps[starts[:, 0] + beat] = DENSE
    for f, feature in enumerate(features):
        if feature.multi_hot:
            steps[starts[:, 1 + f]] = COUNT
            steps[starts[ids[:, f] == 0, 1 + f] + 1] = ZERO

    # the id of every row step, record by record
    owner = np.repeat(np.arange(ids.size), ids.reshape(-1))
    first = ids.reshape(-1).cumsum() - ids.reshape(-1)
    place = np.arange(len(owner)) - first[owner]
    record, which = owner // max(1, len(features)), owner % max(1, len(features))
    word = np.array([x.word + x.multi_hot for x in features], np.int64)[which] + place
    named = records.words[record, word].astype(np.int64)
    base = np.array([x.address for x in features], np.int64)[which]
    outside = named >= np.array([x.rows for x in features], np.int64)[which]
    steps[np.flatnonzero(steps == ROW)[outside]] = ZERO
    rows_of_record = np.bincount(record[~outside], minlength=count)
    return _Walk(
        steps=steps,
        begin=np.concatenate([[0], ends[:, -1]]),
        rows=(base + named * row_bytes)[~outside],
        rows_begin=np.concatenate([[0], rows_of_record.cumsum()]),
    )


class TracedGather:
    """A lane's gather unit on a machine at rest, query after query.

    Parameters
    ----------
    config : AcceleratorConfig  Of the lane.
    machine : AcceleratorConfig  That the lane is of: banks, ports, memory.
    memory : RowMemory
    pinned : PinnedRows  What the static caches hold; None: nothing.
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        machine: AcceleratorConfig,
        memory: RowMemory,
        pinned: PinnedRows | None = None,
    ) -> None:
        self._config, self._machine, self._memory = config, machine, memory
        self._pinned = pinned
        shares = config.gather_ports
        in_flight = config.reads_in_flight
        slots = [
            1 << (min(most, in_flight).bit_length() - 1) for most in (LIST_SLOTS, RECORD_SLOTS)
        ]
        readers = [(slots[0], BURST_BEATS), *[(slots[1], config.record_burst_beats)] * shares]
        self._fabric = new_order_state(readers, machine.memory_ports)
        self._row_sizes = row_sizes(machine, shares, 0, memory.first_edge, pinned)._replace(
            clear_cycles=0, wait_per_mille=TOLD, others=len(readers)
        )
        self._rows = new_row_state(
            self._row_sizes, machine.row_cache_sets, 1 << machine.axi_id_bits,
            [0] * shares, [0] * shares,
        )  # fmt: skip
        self._tickets = 1 << (in_flight - 1).bit_length()
        self._memories = np.array(memory.memories, np.uint64)
        self._now = 0

    def row_beats(self) -> tuple[int, int]:
        """Return the beats of rows so far: asked for, and read from memory."""
        found = self._rows.counters[0]
        read = int(found["misses"] + found["refused"])
        return int(found["pinned"] + found["hits"] + found["merged"]) + read, read

    def start(self, stage: GatherStage, now: int) -> None:
        """Begin a stage: cycle `now` is that in which the unit takes its start.

        The last sub-batch of the stage before has ended.
        """
        if self._now:
            self._run(min(now, self._now + SETTLE_CYCLES))
        sizes, share_items = self._sizes(stage), self._deal(stage)
        user, items = _walk(stage.user, stage.row_bytes), _walk(stage.items, stage.row_bytes)
        self._trace = self._join(stage, user, items, share_items)
        self._row_trace = self._trace_rows(stage, user, items, share_items)
        self._gather_sizes = sizes
        self._releases = np.full(len(stage.items.words) // sizes.sub_batch + 3, NEVER)
        self._freed = 0
        state = self._state = new_gather_state(sizes.shares, self._tickets)
        unit = state.unit[0]
        unit["beats"] = sizes.list_beats
        unit["words"] = sizes.items if sizes.list_beats else 0
        unit["address"] = stage.list_address or 0
        unit["ids_left"] = 0 if sizes.list_beats else sizes.items
        unit["deal_left"] = sizes.items
        shares = state.shares
        shares["walk"] = shares["state"] = 1
        shares["record"] = self._trace.share_begin[:-1]
        shares["left"][0] = sizes.user_beats
        shares["address"][0] = stage.user.addresses[0]
        shares["room"] = sizes.ring_beats
        shares["due"] = sizes.item_beats
        if sizes.user_beats:
            shares["due"][0] = sizes.user_beats
        self._now = now + 1

    def next_end(self, until: int) -> int | None:
        """Return the cycle in which the next sub-batch is whole; None: not before `until`."""
        self._run(until)
        return self._now - 1 if self._state.unit[0]["ended"] else None

    def release(self, cycle: int) -> None:
        """Free the oldest sub-batch's bank in `cycle`, which has not been."""
        assert cycle >= self._now, "a bank was freed in the past"
        self._releases[self._freed] = cycle
        self._freed += 1

    def _run(self, until: int) -> None:
        self._now = int(
            run_gather(
                self._gather_sizes, self._row_sizes, self._trace, self._row_trace, self._state,
                self._rows, self._fabric, self._memory.book, self._memories, self._releases,
                self._now, until,
            )
        )  # fmt: skip

    def _sizes(self, stage: GatherStage) -> GatherSizes:
        config, machine = self._config, self._machine
        beat = config.beat_bytes
        items = len(stage.items.words)
        ring = max(2 * config.user_record_bytes, RECORDS_AHEAD * config.item_record_bytes) // beat
        shift = (machine.stripe_bytes - 1).bit_length()
        bits = (machine.banks - 1).bit_length()
        return GatherSizes(
            shares=config.gather_ports,
            ids=config.sub_batch_max,
            tickets=self._tickets - 1,
            records=ring - 1,
            in_flight=config.reads_in_flight,
            ring_beats=ring,
            user_beats=stage.user.words.shape[1] * WORD_BYTES // beat,
            item_beats=stage.items.words.shape[1] * WORD_BYTES // beat,
            record_burst=config.record_burst_beats,
            row_beats=max(1, stage.row_bytes // beat),
            boundary_beats=machine.burst_boundary_bytes // beat,
            beat_bytes=beat,
            list_beats=0 if stage.list_address is None else -(-items * WORD_BYTES // beat),
            words=beat // WORD_BYTES,
            items=items,
            sub_batch=stage.sub_batch,
            item_banks=stage.banks,
            ports=machine.memory_ports,
            stripe_shift=shift,
            bank_bits=bits,
            bank_slices=-(-(machine.axi_address_bits - shift) // bits) if bits else 0,
        )

    def _deal(self, stage: GatherStage) -> list[Ints]:
        """Return each share's items, NONE where a sub-batch has none for it: rtl.gather_deal."""
        shares, items = self._config.gather_ports, len(stage.items.words)
        dealt: list[list[int]] = [[] for _ in range(shares)]
        for first in range(0, items, stage.sub_batch):
            count = min(stage.sub_batch, items - first)
            for share in range(shares):
                mine = range(first + share, first + count, shares)
                dealt[share] += mine if mine else [-1]
        return [np.array(each, np.int64) for each in dealt]

    def _join(
        self, stage: GatherStage, user: _Walk, items: _Walk, dealt: Sequence[Ints]
    ) -> GatherTrace:
        """Return all shares' records, each share's behind the user's."""
        steps, lengths, address, bad, first, last = [], [], [], [], [], []
        batch = np.arange(len(stage.items.words)) // stage.sub_batch
        for share, mine in enumerate(dealt):
            real = mine[mine >= 0]
            if share == 0:
                steps.append(user.steps)
            steps += [items.steps[items.begin[n] : items.begin[n + 1]] for n in real]
            length = np.zeros(len(mine), np.int64)
            length[mine >= 0] = np.diff(items.begin)[real]
            lengths.append(np.concatenate([[len(user.steps) if share == 0 else 0], length]))
            place = np.zeros(len(mine), np.int64)
            place[mine >= 0] = stage.items.addresses[real]
            address.append(np.concatenate([stage.user.addresses, place]))
            no_user = share > 0 or stage.user.words.shape[1] == 0
            bad.append(np.concatenate([[no_user], mine < 0]))
            # an absent item is alone in its sub-batch: between the numbers of its neighbours
            owner = np.where(mine >= 0, batch[np.maximum(mine, 0)], -1 - np.arange(len(mine)))
            opens = np.concatenate([[True], owner[1:] != owner[:-1]])
            first.append(np.concatenate([[False], opens]))
            last.append(np.concatenate([[False], opens[1:], [True]]))
        counts = [len(each) for each in lengths]
        return GatherTrace(
            steps=np.concatenate(steps),
            begin=np.concatenate([[0], np.concatenate(lengths).cumsum()]),
            address=np.concatenate(address),
            bad=np.concatenate(bad).astype(np.uint8),
            first=np.concatenate(first).astype(np.uint8),
            last=np.concatenate(last).astype(np.uint8),
            share_begin=np.concatenate([[0], np.cumsum(counts)]),
        )

    def _trace_rows(
        self, stage: GatherStage, user: _Walk, items: _Walk, dealt: Sequence[Ints]
    ) -> RowTrace:
        """Return all shares' rows; the readers' counters begin anew."""
        rows, counts = [], []
        for share, mine in enumerate(dealt):
            asked = [user.rows] if share == 0 else []
            asked += [
                items.rows[items.rows_begin[n] : items.rows_begin[n + 1]] for n in mine[mine >= 0]
            ]
            rows.append(np.concatenate(asked) if asked else np.zeros(0, np.int64))
            counts.append(len(rows[-1]))
        readers = self._rows.readers
        readers["first"] = np.cumsum([0, *counts[:-1]])
        for name in ("rows", "asked", "answered", "next"):
            readers[name] = 0
        beats = max(1, stage.row_bytes // self._config.beat_bytes)
        return row_trace(self._machine, np.concatenate(rows), beats, stage.number, self._pinned)
