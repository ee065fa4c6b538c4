"""A query whose records are known, on one lane of a machine at rest: equal to the netlist's counts.

As `perfmodel.lane.predict_query`, with gathers by `perfmodel.traced_gather` instead of means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rpaccel.perfmodel import bucket_filter, ordered_top_n
from rpaccel.perfmodel.core_kernels import (
    CHAIN_TIMES,
    new_cores,
    next_chain,
    set_gathered,
    take_chain,
    work_row,
)
from rpaccel.perfmodel.gather_traces import GatherStage
from rpaccel.perfmodel.lane import (
    END_CYCLES,
    GRANT_CYCLES,
    OPEN_CYCLES,
    TAKE_CYCLES,
    StageInput,
    split_items,
    stage_tail_cycles,
)
from rpaccel.perfmodel.lane_core import SubBatchWork, sub_batch_work
from rpaccel.perfmodel.report import QueryReport, StageReport, SubBatchReport
from rpaccel.perfmodel.row_banks import PinnedRows, RowMemory
from rpaccel.perfmodel.sequencer import ProgramShape
from rpaccel.perfmodel.traced_gather import TracedGather
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import MAX_STAGES

__all__ = ["TracedLane", "TracedStage"]

HANDOVER_CYCLES = 1  # Gather: a sub-batch that is whole waits in a queue


@dataclass(frozen=True, kw_only=True)
class TracedStage:
    """One stage of a query: `StageInput` with the records that it gathers."""

    stage: StageInput
    gather: GatherStage


class TracedLane:
    """A lane that runs query after query, each when the one before is done.

    Parameters
    ----------
    config : AcceleratorConfig  Of the lane.
    memory : RowMemory
    machine : AcceleratorConfig  That the lane is of; None: it is all of it.
    pinned : PinnedRows  What the static caches hold; None: nothing.
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        memory: RowMemory,
        *,
        machine: AcceleratorConfig | None = None,
        pinned: PinnedRows | None = None,
    ) -> None:
        self._config = config
        self._gather = TracedGather(config, machine or config, memory, pinned)
        self._now = 1
        self.row_hits: tuple[float, ...] = ()
        """Of each stage of the last query: share of the rows' beats that read no memory."""

    def query(self, stages: Sequence[TracedStage], *, goes_on: bool = False) -> QueryReport:
        """Return the cycles of the next query. Raises ValueError for too many stages.

        goes_on : there is a stage behind `stages` that nothing reached.
        """
        if not 1 <= len(stages) <= MAX_STAGES:
            raise ValueError(f"stages must be in 1..{MAX_STAGES}, not {len(stages)}")
        self._now += OPEN_CYCLES
        reports, hits = [], []
        for number, stage in enumerate(stages):
            self._now += GRANT_CYCLES
            last = number == len(stages) - 1 and not goes_on
            before = self._gather.row_beats()
            reports.append(self._stage(stage, last=last))
            self._now += reports[-1].stage_cycles
            asked, read = np.subtract(self._gather.row_beats(), before)
            hits.append(1.0 - float(read) / max(1, int(asked)))
        self.row_hits = tuple(hits)
        self._now += END_CYCLES
        return QueryReport(
            stages=tuple(reports),
            start_cycles=OPEN_CYCLES + GRANT_CYCLES,
            control_cycles=OPEN_CYCLES + GRANT_CYCLES * len(stages) + END_CYCLES,
        )

    def _stage(self, traced: TracedStage, *, last: bool) -> StageReport:
        stage, begin = traced.stage, self._now
        sizes = split_items(stage.items, stage.batch_items)
        program = ProgramShape.of(stage.shape.program, stage.shape.slot["row_bytes"])
        works = [sub_batch_work(self._config, program, size) for size in sizes]
        ends, times = self._run(works, traced.gather, begin)
        end = int(times["logit"][-1]) - begin
        cycles = end + stage_tail_cycles(last=last, bins_scanned=stage.bins_scanned)
        selecting = stage.items + (
            ordered_top_n.LATENCY_CYCLES - 1
            if last
            else bucket_filter.SETTLE_CYCLES - 1 + stage.bins_scanned
        )
        starts = [begin + TAKE_CYCLES, *ends[:-1]]
        reports = [
            SubBatchReport(
                items=size,
                gather_start=start - begin,
                gather_end=gathered - begin,
                compute_start=taken - begin,
                released=crossed - 1 - begin,
                compute_end=logit + 1 - begin,
                alone_cycles=0,
            )
            for size, start, gathered, (taken, crossed, logit) in zip(
                sizes, starts, ends, times.tolist(), strict=True
            )
        ]
        return StageReport(
            model=stage.shape.name,
            items=stage.items,
            stage_cycles=cycles,
            gather_cycles=int(times["taken"][-1]) - begin - TAKE_CYCLES,
            array_cycles=program.tiles * stage.items,
            interaction_cycles=sum(work.crossing for work in works),
            filter_cycles=selecting,
            overhead_cycles=cycles - end,
            sub_batches=tuple(reports),
        )

    def _run(
        self, works: Sequence[SubBatchWork], stage: GatherStage, begin: int
    ) -> tuple[list[int], NDArray[np.void]]:
        """Gather and compute the sub-batches of a stage, side by side.

        Return when each is gathered, and its CHAIN_TIMES.
        """
        cores, gather = new_cores([self._config]), self._gather
        table = np.array([work_row(work) for work in works])
        rows, times = np.arange(len(works)), np.zeros(len(works), CHAIN_TIMES)
        gather.start(stage, begin + TAKE_CYCLES)
        gathered: list[int] = []
        while cores["scored"][0] < len(works):
            due = next_chain(cores, HANDOVER_CYCLES)
            if len(gathered) < len(works):
                end = gather.next_end(due)
                if end is not None:
                    set_gathered(cores, end)
                    gathered.append(end)
                    continue
            bottom = take_chain(cores, table, rows, HANDOVER_CYCLES, due, times)
            if bottom:
                gather.release(int(times["crossed"][cores["taken"][0] - 1]) - 1)
        return gathered, times
