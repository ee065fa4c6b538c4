"""What lanes gather for the records of queries, as tables for `perfmodel.gather_unit_kernels`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rpaccel.perfmodel.gather_unit_state import (
    COUNT,
    DENSE,
    ROW,
    SHARE_TRACE,
    STAGE_TRACE,
    TASK_TRACE,
    ZERO,
    GatherTrace,
    Traces,
)
from rpaccel.perfmodel.row_banks import PinnedRows, row_trace
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = [
    "GatherStage",
    "GatherTasks",
    "TracedFeature",
    "TracedRecords",
    "gather_traces",
    "rows_named",
]

WORD_BYTES = 4
USER, NO_USER, ABSENT = 0, 1, 2  # records of a stage before its items
ITEMS = 3

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


class GatherTasks(NamedTuple):
    """A stage, the lane that it runs on or one like it, and the items of its tasks in order."""

    stage: GatherStage
    config: AcceleratorConfig
    sizes: Sequence[int]


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


class _Dealt(NamedTuple):
    """Records of one share of a task in its order, see USER and ITEMS: int64[n], uint8[n] each."""

    record: Ints
    first: npt.NDArray[np.uint8]
    last: npt.NDArray[np.uint8]


def _deal(first_item: int, items: int, stage: GatherStage, share: int, shares: int) -> _Dealt:
    """Return a share's records; a sub-batch without an item for it has an absent one.

    See rtl.gather_deal.
    """
    size = stage.sub_batch
    batches = np.arange(-(-items // size))[:, None]
    place = np.arange(share, max(size, share + 1), shares)[None, :]
    counts = np.minimum(size, items - batches * size)
    real = place < counts
    used = real.copy()
    used[:, 0] = True
    records = np.where(real, ITEMS + first_item + batches * size + place, ABSENT)
    ends = np.zeros_like(used)
    ends[np.arange(len(used)), used.sum(axis=1) - 1] = True
    begins = np.zeros_like(used)
    begins[:, 0] = True
    user = USER if share == 0 and stage.user.words.shape[1] else NO_USER
    return _Dealt(
        record=np.concatenate([[user], records[used]]),
        first=np.concatenate([[0], begins[used]]).astype(np.uint8),
        last=np.concatenate([[0], ends[used]]).astype(np.uint8),
    )


class _Pieces:
    """Traces of tasks, one after the other."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Ints]] = {
            name: [] for name in ("steps", "address", "rows", "row_beats", "number", "lengths")
        }
        self.dealt: list[_Dealt] = []
        self.shares: list[tuple[int, int, int]] = []
        self.tasks: list[tuple[int, ...]] = []
        self.stages: list[tuple[int, ...]] = []
        self.records = self.rows = 0

    def add_stage(self, asked: GatherTasks) -> None:
        """Add a stage's tasks."""
        stage, config = asked.stage, asked.config
        beat, sides = config.beat_bytes, (stage.user, stage.items)
        walks = [_walk(records, stage.row_bytes) for records in sides]
        # the steps and the rows of USER, NO_USER, ABSENT, then of the items
        steps, rows = (
            np.concatenate([getattr(walk, name) for walk in walks]) for name in ("steps", "rows")
        )
        begin = _behind(walks[0].begin, walks[1].begin)
        row_begin = _behind(walks[0].rows_begin, walks[1].rows_begin)
        nowhere = np.zeros(1, np.int64)
        address = np.concatenate(
            [stage.user.addresses, stage.user.addresses, nowhere, stage.items.addresses]
        )
        row_beats = max(1, stage.row_bytes // beat)
        first = 0
        for items in asked.sizes:
            listed = stage.list_address is not None
            self.tasks.append(
                (
                    len(self.stages),
                    items,
                    -(-items * WORD_BYTES // beat) if listed else 0,
                    (stage.list_address or 0) + first * WORD_BYTES,
                    len(self.shares),
                )
            )
            for share in range(config.gather_ports):
                dealt = _deal(first, items, stage, share, config.gather_ports)
                self.shares.append((self.records, self.records + len(dealt.record), self.rows))
                self.dealt.append(dealt)
                counts = (begin[1] - begin[0])[dealt.record]
                taken = rows[_ranges(row_begin[0][dealt.record], row_begin[1][dealt.record])]
                for name, column in (
                    ("steps", steps[_ranges(begin[0][dealt.record], begin[1][dealt.record])]),
                    ("lengths", counts),
                    ("address", address[dealt.record]),
                    ("rows", taken),
                    ("row_beats", np.full(len(taken), row_beats)),
                    ("number", np.full(len(taken), stage.number)),
                ):
                    self.columns[name].append(column)
                self.records += len(dealt.record)
                self.rows += len(taken)
            first += items
        self.stages.append(
            (
                stage.user.words.shape[1] * WORD_BYTES // beat,
                stage.items.words.shape[1] * WORD_BYTES // beat,
                row_beats,
                stage.sub_batch,
                stage.banks,
            )
        )

    def whole(self, name: str) -> Ints:
        """Return a column."""
        return np.concatenate(self.columns[name])


def _behind(user: Ints, items: Ints) -> tuple[Ints, Ints]:
    """Return begin and end of USER, NO_USER, ABSENT and all items; NO_USER and ABSENT are empty."""
    begin = np.concatenate([[0, 0, 0], user[1] + items[:-1]])
    end = np.concatenate([[user[1], 0, 0], user[1] + items[1:]])
    return begin, end


def _ranges(begin: Ints, end: Ints) -> Ints:
    """Return begin[0]..end[0] - 1, begin[1]..end[1] - 1, and so on."""
    counts = end - begin
    before = counts.cumsum() - counts
    return np.arange(counts.sum()) + np.repeat(begin - before, counts)


def gather_traces(
    machine: AcceleratorConfig, stages: Sequence[GatherTasks], pinned: PinnedRows | None = None
) -> Traces:
    """Return the traces of stages' tasks, in their order; a share's rows lie one after the other.

    machine : that the lanes are of. stages : at least one. pinned : what the static caches hold.
    """
    pieces = _Pieces()
    for asked in stages:
        pieces.add_stage(asked)
    record, first, last = (np.concatenate(column) for column in zip(*pieces.dealt, strict=True))
    trace = GatherTrace(
        steps=pieces.whole("steps"),
        begin=np.concatenate([[0], pieces.whole("lengths").cumsum()]),
        address=pieces.whole("address"),
        bad=np.isin(record, (NO_USER, ABSENT)).astype(np.uint8),
        first=first,
        last=last,
        shares=np.array(pieces.shares, SHARE_TRACE),
        tasks=np.array(pieces.tasks, TASK_TRACE),
        stages=np.array(pieces.stages, STAGE_TRACE),
    )
    rows = row_trace(
        machine, pieces.whole("rows"), pieces.whole("row_beats"), pieces.whole("number"), pinned
    )
    return Traces(trace, rows)
