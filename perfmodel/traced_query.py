"""A query whose records are known, on one lane of a machine at rest: equal to the netlist's counts.

As `perfmodel.lane.predict_query`, with gathers by `perfmodel.traced_gather` instead of means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rpaccel.perfmodel import bucket_filter, ordered_top_n
from rpaccel.perfmodel.lane import (
    END_CYCLES,
    GRANT_CYCLES,
    OPEN_CYCLES,
    TAKE_CYCLES,
    StageInput,
    split_items,
    stage_tail_cycles,
)
from rpaccel.perfmodel.lane_core import LaneCore, SubBatch, sub_batch_work
from rpaccel.perfmodel.report import QueryReport, StageReport, SubBatchReport
from rpaccel.perfmodel.row_banks import PinnedRows, RowMemory
from rpaccel.perfmodel.sequencer import ProgramShape
from rpaccel.perfmodel.traced_gather import GatherStage, TracedGather
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

    def query(self, stages: Sequence[TracedStage], *, goes_on: bool = False) -> QueryReport:
        """Return the cycles of the next query. Raises ValueError for too many stages.

        goes_on : there is a stage behind `stages` that nothing reached.
        """
        if not 1 <= len(stages) <= MAX_STAGES:
            raise ValueError(f"stages must be in 1..{MAX_STAGES}, not {len(stages)}")
        self._now += OPEN_CYCLES
        reports = []
        for number, stage in enumerate(stages):
            self._now += GRANT_CYCLES
            last = number == len(stages) - 1 and not goes_on
            reports.append(self._stage(stage, last=last))
            self._now += reports[-1].stage_cycles
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
        batches = self._run(program, sizes, traced.gather, begin)
        end = batches[-1].logit - begin
        cycles = end + stage_tail_cycles(last=last, bins_scanned=stage.bins_scanned)
        selecting = stage.items + (
            ordered_top_n.LATENCY_CYCLES - 1
            if last
            else bucket_filter.SETTLE_CYCLES - 1 + stage.bins_scanned
        )
        gathered = begin + TAKE_CYCLES
        reports = []
        for batch in batches:
            reports.append(
                SubBatchReport(
                    items=batch.work.items,
                    gather_start=gathered - begin,
                    gather_end=batch.gathered - begin,
                    compute_start=batch.transfer - begin,
                    released=batch.crossed - 1 - begin,
                    compute_end=batch.logit + 1 - begin,
                    alone_cycles=0,
                )
            )
            gathered = batch.gathered
        return StageReport(
            model=stage.shape.name,
            items=stage.items,
            stage_cycles=cycles,
            gather_cycles=batches[-1].transfer - begin - TAKE_CYCLES,
            array_cycles=program.tiles * stage.items,
            interaction_cycles=sum(batch.work.crossing for batch in batches),
            filter_cycles=selecting,
            overhead_cycles=cycles - end,
            sub_batches=tuple(reports),
        )

    def _run(
        self, program: ProgramShape, sizes: Sequence[int], stage: GatherStage, begin: int
    ) -> list[SubBatch]:
        """Gather and compute the sub-batches of a stage, side by side."""
        core, gather = LaneCore(self._config), self._gather
        batches = [
            SubBatch(
                None, sub_batch_work(self._config, program, size), walk=0,
                handover=HANDOVER_CYCLES, memory=0, start=None, last=number == len(sizes),
            )
            for number, size in enumerate(sizes, start=1)
        ]  # fmt: skip
        gather.start(stage, begin + TAKE_CYCLES)
        core.batches += batches
        gathered = tops = 0
        while tops < len(sizes):
            due = core.next_choice()
            if gathered < len(sizes):
                end = gather.next_end(due)
                if end is not None:
                    batches[gathered].gathered = end
                    gathered += 1
                    continue
            batch, is_top = core.choose(due)
            tops += is_top
            if not is_top and gathered < len(sizes):
                gather.release(batch.crossed - 1)
        return batches
