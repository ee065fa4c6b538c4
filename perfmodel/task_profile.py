"""What a task costs a lane: its gather, its computing, its share of what all lanes use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rpaccel.perfmodel.costs import GatherMachine, bank_cycles, gather_cost
from rpaccel.perfmodel.lane import TAKE_CYCLES, split_items
from rpaccel.perfmodel.lane_core import SubBatchWork, sub_batch_work
from rpaccel.perfmodel.memory import Number, RecordSizes, list_beats, traffic_of
from rpaccel.perfmodel.sequencer import ProgramShape, item_banks
from rpaccel.perfmodel.shapes import ModelShape
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.platform import MemoryTiming


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskProfile:
    """A task on a lane.

    start : cycles from its first one until the walker takes the first item.
    batches : (work, cycles of its walk, cycles of the shared memory, no more than those) of each
    sub-batch.
    handover : from the end of a walk to the first possible transfer [cycles].
    array : cycles in which a row enters.
    banks : of gathered items, that its sub-batches take turns at. wait : per item, for what all
    lanes use: costs.GatherCost.
    """

    start: int
    batches: tuple[tuple[SubBatchWork, int, float], ...]
    handover: int
    array: int
    banks: int
    wait: float = 0.0


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
    bank_skew: float = 1.0,
) -> TaskProfile:
    """Return the profile of a task of `items`.

    config : of the lane. sub_batch : of the descriptor; 0 takes the slot's. first : of the first
    stage, which reads the list. row_hits : share of rows' beats that read no memory.
    bank_skew : see costs.GatherMachine.
    """
    most = shape.slot["sub_batch"]
    size = min(sub_batch or most, most)
    sizes = split_items(items, size)
    program = ProgramShape.of(shape.program, shape.slot["row_bytes"])
    machine = GatherMachine.of(
        config, memory.latency_cycles, row_hits=row_hits, bank_skew=bank_skew
    )
    gather = gather_cost(machine, shape, records, items, first)
    ends = np.rint(np.cumsum([gather.sub_batch(size) for size in sizes])).astype(np.int64)
    walks = np.diff(ends, prepend=0)
    shared = float(memory_cycles(machine, shape, items, records, first=first))
    return TaskProfile(
        start=TAKE_CYCLES + round(gather.record + gather.user),
        batches=tuple(
            (
                sub_batch_work(config, program, size),
                int(walk),
                min(shared * size / items, float(walk)),
            )
            for size, walk in zip(sizes, walks, strict=True)
        ),
        handover=round(gather.drain),
        array=program.tiles * items,
        banks=item_banks(shape.slot, size),
        wait=float(gather.wait),
    )


def told_profile(
    config: AcceleratorConfig, shape: ModelShape, items: int, sub_batch: int, handover: int
) -> TaskProfile:
    """Return the profile of a task whose gathers others tell; see `task_profile`.

    handover : from a sub-batch's end to the first possible transfer [cycles].
    """
    most = shape.slot["sub_batch"]
    size = min(sub_batch or most, most)
    program = ProgramShape.of(shape.program, shape.slot["row_bytes"])
    return TaskProfile(
        start=TAKE_CYCLES,
        batches=tuple(
            (sub_batch_work(config, program, size), 0, 0.0) for size in split_items(items, size)
        ),
        handover=handover,
        array=program.tiles * items,
        banks=item_banks(shape.slot, size),
    )


def memory_cycles(
    machine: GatherMachine, shape: ModelShape, items: int, records: RecordSizes, *, first: bool
) -> Number:
    """Return the cycles that a task takes of what all lanes share: ports, or row banks."""
    traffic = traffic_of(machine.beat_bytes, shape, records)
    named = traffic.user_rows + items * traffic.item_rows
    listed = list_beats(machine.beat_bytes, items) if first else 0
    read = listed + traffic.user_record_beats + items * traffic.item_record_beats
    misses = 1 - machine.row_hits
    port = (read + named * traffic.row_beats * misses) / machine.memory_ports
    return np.maximum(port, named * bank_cycles(machine, traffic.row_beats))
