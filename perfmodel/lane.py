"""A query whose stages are a task each, on one lane: cycles per unit, per stage, and in total.

predict_query is the event level: it places every sub-batch of every stage on a timeline. The
formulas of the units come from the modules of the same names. Compute is exact; gather is exact
in the mean where records name different numbers of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rpaccel.perfmodel import bucket_filter, ordered_top_n
from rpaccel.perfmodel.costs import GatherMachine, gather_cost
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.perfmodel.report import QueryReport, StageReport, SubBatchReport
from rpaccel.perfmodel.sequencer import SCORE_CYCLES, ProgramShape, core_times, item_banks
from rpaccel.perfmodel.shapes import ModelShape
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import BINS, MAX_STAGES
from rpaccel.spec.platform import MemoryTiming

OPEN_CYCLES = 1  # Funnel: the first stage gets its sink
GRANT_CYCLES = 3  # Funnel, TaskGrant: offer, choice, grant, before every stage
TAKE_CYCLES = 2  # Lane: MODEL, FETCH, before the gather's start
END_CYCLES = 1  # Funnel: from the end of the last stage to the completion


@dataclass(frozen=True, kw_only=True)
class StageInput:
    """One stage of a query: a ranker over `items` candidates.

    sub_batch : of the descriptor; 0 takes the slot's.
    bins_scanned : bins that the filter looks at before it has k, 1..BINS.
    row_hits : share of the rows' beats that read no memory. bank_skew : see costs.GatherMachine.
    """

    shape: ModelShape
    items: int
    sub_batch: int = 0
    bins_scanned: int = BINS
    row_hits: float = 0.0
    bank_skew: float = 1.0

    @property
    def batch_items(self) -> int:
        """Items per full sub-batch."""
        most = self.shape.slot["sub_batch"]
        return min(self.sub_batch or most, most)


def predict_query(
    config: AcceleratorConfig,
    stages: Sequence[StageInput],
    memory: MemoryTiming,
    records: RecordSizes,
    top_n: int,
) -> QueryReport:
    """Return the cycles of one query on an idle lane with a memory port of its own, stage by stage.

    stages : with the items that really enter each of them (a filter may keep more than k).
    records : sizes of the user record and of an item record.
    """
    if not 1 <= len(stages) <= MAX_STAGES:
        raise ValueError(f"stages must be in 1..{MAX_STAGES}, not {len(stages)}")
    if not 1 <= top_n <= config.max_top_n:
        raise ValueError(f"top_n must be in 1..{config.max_top_n}, not {top_n}")
    return QueryReport(
        stages=tuple(
            _stage(config, stage, memory, records, index == 0, index == len(stages) - 1)
            for index, stage in enumerate(stages)
        ),
        start_cycles=OPEN_CYCLES + GRANT_CYCLES,
        control_cycles=OPEN_CYCLES + GRANT_CYCLES * len(stages) + END_CYCLES,
    )


def split_items(items: int, sub_batch: int) -> list[int]:
    """Return the sizes of the sub-batches: full ones, then the rest."""
    if items < 1 or sub_batch < 1:
        raise ValueError(f"items and sub_batch must be at least 1, not {items}, {sub_batch}")
    full, rest = divmod(items, sub_batch)
    return [sub_batch] * full + ([rest] if rest else [])


def stage_tail_cycles(*, last: bool, bins_scanned: int) -> int:
    """Return the cycles from the last logit to the end of the stage.

    The stage ends in the cycle in which the filter has counted, or in which the list of the best
    is closed.
    """
    if last:
        return SCORE_CYCLES + ordered_top_n.LATENCY_CYCLES + 1
    return SCORE_CYCLES + bucket_filter.first_survivor_cycles(bins_scanned)


def _stage(
    config: AcceleratorConfig,
    stage: StageInput,
    memory: MemoryTiming,
    records: RecordSizes,
    first: bool,
    last: bool,
) -> StageReport:
    sizes = split_items(stage.items, stage.batch_items)
    program = ProgramShape.of(stage.shape.program, stage.shape.slot["row_bytes"])
    machine = GatherMachine.of(
        config, memory.latency_cycles, row_hits=stage.row_hits, bank_skew=stage.bank_skew
    )
    gather = gather_cost(machine, stage.shape, records, stage.items, first)

    # Ends of the walker's sub-batches are rounded, not their lengths: no drift.
    ends = np.rint(np.cumsum([gather.sub_batch(size) for size in sizes])).astype(np.int64)
    walks = np.diff(ends, prepend=0)
    start = TAKE_CYCLES + round(gather.record + gather.user)
    drain = round(gather.drain)
    banks = item_banks(stage.shape.slot, stage.batch_items)
    line = core_times(config, program, sizes, walks, start, drain, banks)
    alone = {size: int(core_times(config, program, [size]).logit[0, 0]) + 1 for size in set(sizes)}

    end = int(line.logit[-1, 0])
    cycles = end + stage_tail_cycles(last=last, bins_scanned=stage.bins_scanned)
    if last:
        selecting = stage.items + ordered_top_n.LATENCY_CYCLES - 1
    else:
        selecting = stage.items + bucket_filter.SETTLE_CYCLES - 1 + stage.bins_scanned
    return StageReport(
        model=stage.shape.name,
        items=stage.items,
        stage_cycles=cycles,
        gather_cycles=int(line.transfer[-1, 0]) - TAKE_CYCLES,
        array_cycles=int(line.array_busy[0]),
        interaction_cycles=int(line.interaction_busy[0]),
        filter_cycles=selecting,
        overhead_cycles=start + drain * len(sizes) + cycles - end,
        sub_batches=tuple(
            SubBatchReport(
                items=size,
                gather_start=int(line.gather_start[j, 0]),
                gather_end=int(line.gathered[j, 0]),
                compute_start=int(line.transfer[j, 0]),
                released=int(line.released[j, 0]),
                compute_end=int(line.logit[j, 0]) + 1,
                alone_cycles=alone[size],
            )
            for j, size in enumerate(sizes)
        ),
    )
