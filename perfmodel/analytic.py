"""The same prediction for many machines at once: NumPy arrays over design points.

One array size at a time (it decides the program); sub-batch, beat and memory latency are arrays.
Equal to perfmodel.lane.predict_query at every point; see tests/perfmodel/test_analytic.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rpaccel.perfmodel.costs import GatherMachine, gather_cost
from rpaccel.perfmodel.lane import (
    END_CYCLES,
    GRANT_CYCLES,
    OPEN_CYCLES,
    TAKE_CYCLES,
    stage_tail_cycles,
)
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.perfmodel.sequencer import ProgramShape, core_times
from rpaccel.perfmodel.shapes import ModelShape
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import BINS

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class PointsReport:
    """Cycles of one query at every design point; arrays int64[points] or int64[stages, points].

    macs : MACs on real rows, padding of folds included.
    """

    total_cycles: Integers
    stage_cycles: Integers
    gather_cycles: Integers
    array_cycles: Integers
    interaction_cycles: Integers
    macs: Integers


def predict_points(
    config: AcceleratorConfig,
    stages: Sequence[tuple[ModelShape, int]],
    *,
    sub_batch: Integers,
    beat_bytes: Integers,
    latency_cycles: Integers,
    records: RecordSizes,
    row_hits: Sequence[float] | None = None,
) -> PointsReport:
    """Return the cycles of one query on `config` with these sizes replaced, point by point.

    stages : (shape, items). sub_batch, beat_bytes, latency_cycles : int64[points].
    records : integers, or int64[points]. Every filter scans all bins.
    row_hits : of each stage, as of GatherMachine; None: all rows miss.
    """
    machine = GatherMachine.of(config, latency_cycles, beat_bytes)
    hits = [0.0] * len(stages) if row_hits is None else row_hits
    columns = [
        _stage(
            config,
            replace(machine, row_hits=share),
            shape,
            items,
            sub_batch,
            records,
            index,
            len(stages),
        )
        for index, ((shape, items), share) in enumerate(zip(stages, hits, strict=True))
    ]
    fields = {name: np.stack([column[name] for column in columns]) for name in columns[0]}
    control = OPEN_CYCLES + GRANT_CYCLES * len(stages) + END_CYCLES
    macs = fields.pop("macs").sum(axis=0)
    return PointsReport(
        total_cycles=fields["stage_cycles"].sum(axis=0) + control, macs=macs, **fields
    )


def _sizes(items: int, sub_batch: Integers) -> Integers:
    """Return int64[most sub-batches, points]: full ones, the rest, then zeros."""
    starts = np.arange(-(-items // int(sub_batch.min())))[:, None] * sub_batch
    return np.clip(items - starts, 0, sub_batch)


def _stage(
    config: AcceleratorConfig,
    machine: GatherMachine,
    shape: ModelShape,
    items: int,
    sub_batch: Integers,
    records: RecordSizes,
    index: int,
    stages: int,
) -> dict[str, Integers]:
    sizes = _sizes(items, np.minimum(sub_batch, shape.slot["sub_batch"]))
    gather = gather_cost(machine, shape, records, items, index == 0)
    ends = np.rint(np.cumsum(gather.sub_batch(sizes), axis=0)).astype(np.int64)
    start = TAKE_CYCLES + np.rint(gather.record + gather.user).astype(np.int64)
    drain = np.rint(gather.drain).astype(np.int64)
    walks = np.diff(ends, axis=0, prepend=0)
    program = ProgramShape.of(shape.program, shape.slot["row_bytes"])
    line = core_times(config, program, sizes, walks, start, drain)
    real = sizes > 0
    end = np.where(real, line.logit, 0).max(axis=0)
    return {
        "stage_cycles": end + stage_tail_cycles(last=index == stages - 1, bins_scanned=BINS),
        "gather_cycles": np.where(real, line.transfer, 0).max(axis=0) - TAKE_CYCLES,
        "array_cycles": line.array_busy,
        "interaction_cycles": line.interaction_busy,
        "macs": np.full(sub_batch.shape, items * program.tiles * config.array_macs),
    }
