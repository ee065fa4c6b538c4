"""Rows per cycle that all gather ports of `paper`'s whole array get out of its banked caches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rpaccel.perfmodel.gather_traces import GatherStage, TracedFeature, TracedRecords, rows_named
from rpaccel.perfmodel.row_banks import PinnedRows, constant_memory
from rpaccel.perfmodel.traced_gather import SETTLE_CYCLES, TracedGather
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator

__all__ = ["GatherRate", "gather_rates"]

TABLES, DENSE_WORDS, ITEMS, SUB_BATCH, BANKS = 26, 13, 4096, 64, 4
LATENCY_CYCLES = 32
TABLE_BYTES, FIRST_TABLE, FIRST_RECORD = 1 << 22, 1 << 30, 1 << 20
RECORD_WORDS, FIRST_ID = 64, 32  # dense words, then ids
MOST_CYCLES = 10_000_000


@dataclass(frozen=True, kw_only=True)
class GatherRate:
    """What a stage of ITEMS items gathers in its second half.

    rows : of each table, any of them with equal probability. pinned : in the static caches; else in
    the look-ahead caches, which a stage with the same ids has filled. read_share : of the rows'
    beats, from memory.
    """

    row_bytes: int
    rows: int
    pinned: bool
    ports: int
    rows_per_cycle: float
    read_share: float


def _stage(config: AcceleratorConfig, ids: npt.NDArray[np.int64], row_bytes: int) -> GatherStage:
    """Return a stage whose records name these rows, int64[items, tables]; there is no user."""
    words = np.zeros((len(ids), RECORD_WORDS), np.uint32)
    words[:, FIRST_ID : FIRST_ID + TABLES] = ids
    features = tuple(
        TracedFeature(word=FIRST_ID + n, rows=int(ids.max()) + 1,
                      address=FIRST_TABLE + n * TABLE_BYTES)
        for n in range(TABLES)
    )  # fmt: skip
    nobody = TracedRecords(
        words=np.zeros((1, 0), np.uint32), addresses=np.zeros(1, np.int64), dense_beats=0,
        features=(),
    )  # fmt: skip
    record_bytes = 4 * RECORD_WORDS
    items = TracedRecords(
        words=words,
        addresses=FIRST_RECORD + record_bytes * np.arange(len(ids)),
        dense_beats=config.beats_per_word * -(-DENSE_WORDS // config.array_size),
        features=features,
    )
    return GatherStage(
        user=nobody, items=items, row_bytes=row_bytes, sub_batch=SUB_BATCH, banks=BANKS,
        list_address=None,
    )  # fmt: skip


def _ends(gather: TracedGather, stage: GatherStage, now: int) -> list[int]:
    """Return the cycles in which sub-batches are whole; each is taken at once."""
    gather.start(stage, now)
    ends = []
    for _ in range(ITEMS // SUB_BATCH):
        end = gather.next_end(now + MOST_CYCLES)
        assert end is not None, "the stage does not end"
        gather.release(end + 1)
        ends.append(end)
    return ends


def gather_rates(
    row_bytes: tuple[int, ...] = (32, 4),
    rows: tuple[int, ...] = (512, 4096),
    *,
    banks: int | None = None,
    seed: int = 0,
) -> Iterator[GatherRate]:
    """Yield rates of 26 single-hot tables and 13 dense values, which come from memory.

    banks : row banks, a power of two; None: the preset's.
    """
    machine = load_accelerator("paper")
    if banks is not None:
        machine = machine.model_copy(update={"row_banks": banks})
    lane, memory = machine.lane(0), constant_memory(machine, LATENCY_CYCLES)
    for size in row_bytes:
        for count in rows:
            ids = np.random.default_rng(seed).integers(0, count, (ITEMS, TABLES))
            stage = _stage(lane, ids, size)
            named = np.unique(rows_named(stage))
            for pinned in (False, True):
                held = PinnedRows(addresses=(named, named[:0])) if pinned else None
                gather = TracedGather(lane, machine, memory, held)
                filled = _ends(gather, stage, 0)
                asked, read = gather.row_beats()
                ends = _ends(gather, stage, filled[-1] + 2 * SETTLE_CYCLES)
                asked_now, read_now = gather.row_beats()
                half = len(ends) // 2
                done = TABLES * SUB_BATCH * (len(ends) - 1 - half)
                yield GatherRate(
                    row_bytes=size,
                    rows=count,
                    pinned=pinned,
                    ports=lane.gather_ports,
                    rows_per_cycle=done / (ends[-1] - ends[half]),
                    read_share=(read_now - read) / (asked_now - asked),
                )
