"""What a task costs a lane: its gather, its computing alone and in a row, its share of memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rpaccel.perfmodel.costs import HIT_CYCLES, MISS_CYCLES, GatherMachine, gather_cost
from rpaccel.perfmodel.lane import TAKE_CYCLES, split_items
from rpaccel.perfmodel.memory import RecordSizes, list_beats, traffic_of
from rpaccel.perfmodel.sequencer import ProgramShape, core_times
from rpaccel.perfmodel.shapes import ModelShape
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.platform import MemoryTiming


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskProfile:
    """A task on a lane, times from its first cycle (the one after it was given) [cycles].

    gather : until everything is gathered. handed_over : until the core takes the last sub-batch.
    first, end : until the first sub-batch's last logit, and the task's; all on an idle lane.
    interval : from the last logit of the task before, of the same kind, if its data are there.
    drain : from the last sub-batch's transfer to the last logit, in a row of such tasks.
    last_items : of the last sub-batch, largest : of the largest one.
    array, memory : cycles of the array, and of all memory ports and row banks.
    """

    items: int
    gather: int
    handed_over: int
    first: int
    end: int
    interval: int
    drain: int
    largest: int
    array: int
    memory: float


def task_profile(
    config: AcceleratorConfig,
    shape: ModelShape,
    items: int,
    sub_batch: int,
    memory: MemoryTiming,
    records: RecordSizes,
    *,
    first: bool,
    row_hits: float = 0.0,
) -> TaskProfile:
    """Return the profile of a task of `items`.

    config : of the lane. sub_batch : of the descriptor; 0 takes the slot's. first : of the first
    stage, which reads the list. row_hits : share of rows' beats that read no memory.
    """
    most = shape.slot["sub_batch"]
    sizes = split_items(items, min(sub_batch or most, most))
    program = ProgramShape.of(shape.program, shape.slot["row_bytes"])
    machine = GatherMachine.of(config, memory.latency_cycles, row_hits=row_hits)
    gather = gather_cost(machine, shape, records, items, first)
    ends = np.rint(np.cumsum([gather.sub_batch(size) for size in sizes])).astype(np.int64)
    walks = np.diff(ends, prepend=0)
    start = TAKE_CYCLES + round(gather.record + gather.user)
    alone = core_times(config, program, sizes, walks, start, round(gather.drain))
    # Three such tasks with all their data there: the last one is in step.
    row = core_times(config, program, sizes * 3)
    before = 2 * len(sizes) - 1
    return TaskProfile(
        items=items,
        gather=int(alone.gathered[-1, 0]),
        handed_over=int(alone.transfer[-1, 0]),
        first=int(alone.logit[0, 0]),
        end=int(alone.logit[-1, 0]),
        interval=int(row.logit[-1, 0] - row.logit[before, 0]),
        drain=int(row.logit[-1, 0] - row.transfer[-1, 0]),
        largest=max(sizes),
        array=int(alone.array_busy[0]),
        memory=memory_cycles(config, shape, items, records, first=first, row_hits=row_hits),
    )


def memory_cycles(
    config: AcceleratorConfig,
    shape: ModelShape,
    items: int,
    records: RecordSizes,
    *,
    first: bool,
    row_hits: float = 0.0,
) -> float:
    """Return the cycles that a task takes of what all lanes share: ports or row banks."""
    traffic = traffic_of(config.beat_bytes, shape, records)
    rows = (traffic.user_rows + items * traffic.item_rows) * traffic.row_beats
    listed = list_beats(config.beat_bytes, items) if first else 0
    read = listed + traffic.user_record_beats + items * traffic.item_record_beats
    port = (read + rows * (1 - row_hits)) / config.memory_ports
    bank = rows * (HIT_CYCLES * row_hits + MISS_CYCLES * (1 - row_hits)) / config.banks
    return float(max(port, bank))
