"""SCALE-Sim's GEMM topologies as workloads of a sweep.

A layer's M rows are dealt out to all lanes alike, and are read from memory (K int8 values a row, in
beats) in sub-batches, one ahead of the array; its weights lie on chip, as those of rankers do. A
layer begins when the one before is through. Chains of one layer are placed by the rules of
`perfmodel.layer_engine`: nothing but the array, without the interaction of rankers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rpaccel.perfmodel import point_kernels as kernels
from rpaccel.perfmodel.analytic import Evaluation
from rpaccel.perfmodel.design_space import AxisSpace, machine_config
from rpaccel.perfmodel.layer_engine import (
    ArrayState,
    LayerShape,
    LayerTimes,
    place_layer,
    row_cycles,
)
from rpaccel.perfmodel.memory_fabric import read_cycles
from rpaccel.perfmodel.sequencer import BANKS, FETCH_CYCLES
from rpaccel.perfmodel.sram import sram_bytes
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.gemm_topology import GemmLayer
from rpaccel.spec.program_plan import stack_of
from rpaccel.spec.sweep import SweepAxes, SweepSpec

__all__ = ["GemmSpace", "gemm_layer_cycles"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

USED_AXES = ("array_size", "split", "memory_latency_cycles", "front_sub_batch", "memory_ports",
             "beat_bytes")  # fmt: skip


def gemm_layer_cycles(
    lane: AcceleratorConfig, layer: GemmLayer, rows: int, sub_batch: int, walk: Floats, start: Ints
) -> Ints:
    """Return the cycles of a layer on a lane that computes `rows` of it, int64[machines].

    walk : float64[machines], cycles that a row takes to read. start : int64[machines], until the
    first row may be there.
    """
    words = -(-layer.outputs // lane.array_size)
    folds = -(-layer.inputs // lane.array_size)
    stack = stack_of(folds, layer.inputs, words, lane)
    steps = -(-words // (lane.groups_across << stack))
    shape = LayerShape(k_folds=folds, n_steps=steps, stack=stack, reads_act=False)
    state = ArrayState.idle(len(walk))
    times: LayerTimes | None = None
    taken: list[Ints] = []  # the last row of a sub-batch is read: its bank is free
    read = start.astype(float)
    for first in range(0, rows, sub_batch):
        items = np.full(len(walk), min(sub_batch, rows - first), np.int64)
        if len(taken) >= BANKS:
            read = np.maximum(read, taken[-BANKS])
        read = read + items * walk
        offered = np.ceil(read).astype(np.int64)
        if times is not None:
            offered = np.maximum(offered, times.taken + FETCH_CYCLES)
        times = place_layer(lane, shape, items, offered, state)
        state = times.after
        taken.append(state.row + items)
    return state.row + state.items - 1 + row_cycles(lane) + 1


class GemmSpace(AxisSpace):
    """The points of a sweep of a GEMM topology.

    Axes are `USED_AXES`; a split has one term: its lanes share every layer's rows.

    Parameters
    ----------
    spec : SweepSpec  Raises ValueError, with the path of the key, for what cannot be.
    """

    def __init__(self, spec: SweepSpec) -> None:
        super().__init__(spec)
        self.layers = spec.layers
        if not self.layers:
            raise ValueError(
                "layers: must be those of the topology; spec.sweep.load_sweep reads it"
            )
        for name, field in SweepAxes.model_fields.items():
            if name not in USED_AXES and getattr(spec.axes, name) != field.default:
                raise ValueError(f"axes.{name}: must be left out for a GEMM topology")
        for split in spec.axes.split:
            if split.back is not None:
                raise ValueError(f"axes.split: must have one term for a GEMM topology, not {split}")

    def evaluate(self, first: int, stop: int) -> Evaluation:
        """Return the points first..stop - 1; see analytic.Evaluation for the columns.

        A query is the whole topology; all of it is `front_cycles`. Raises RuntimeError as there.
        """
        columns = self.columns(first, stop)
        columns["number"] = np.arange(first, stop)
        results = np.full((6, stop - first), -1.0)
        keys = np.stack(
            [columns[n] for n in ("array_size", "split", "front_sub_batch", "beat_bytes")]
        )
        for key in np.unique(keys, axis=1).T:
            where = np.flatnonzero((keys == key[:, None]).all(axis=0))
            ports, latency = (
                columns[name][where].astype(np.int64)
                for name in ("memory_ports", "memory_latency_cycles")
            )
            size, split, batch, beat = (int(value) for value in key)
            found = self._group(size, split, batch, beat, ports, latency)
            if found is not None:
                results[:, where] = found
        kept = results[0] >= 0
        columns = {name: column[kept] for name, column in columns.items()}
        latency, memory, bound, macs, array, sram = results[:, kept]
        if (memory > latency).any() or (results[:, kept] < 0).any():
            raise RuntimeError(kernels.FAULTS[2])
        return Evaluation(
            columns=columns | {
                "latency_cycles": latency.astype(np.int64),
                "front_cycles": latency.astype(np.int64),
                "back_cycles": np.zeros(len(latency), np.int64),
                "memory_cycles": memory.astype(np.int64),
                "interval_cycles": latency.astype(np.float32),
                "bound": bound.astype(np.uint8),
                "query_macs": macs.astype(np.int64),
                "array_macs": array.astype(np.int32),
                "sram_bytes": sram.astype(np.int64),
            },
            pairs=0,
            slower=0,
            worst=1.0,
        )  # fmt: skip

    def _group(
        self, array: int, split: int, batch: int, beat: int, ports: Ints, latency: Ints
    ) -> Floats | None:
        """Return latency, memory, bound, MACs, cells, bytes of machines; None if they cannot be."""
        lanes = self.axes.split[split]
        try:
            config = machine_config(
                self.spec.base, self.spec.blocks, array, lanes, int(ports.max()), beat
            )
        except ValueError:
            return None
        lane, count = config.lane(0), lanes.front[0]
        weights = max(layer.inputs * layer.outputs for layer in self.layers)
        held = lane.tile_weight_rows * lane.block_size * lane.block_rows * lane.block_cols
        if weights > held or batch > lane.sub_batch_max:
            return None
        total, memory, alone, macs = (np.zeros(len(ports)) for _ in range(4))
        for layer in self.layers:
            rows = -(-layer.rows // count)
            beats = -(-layer.inputs // beat)
            start = read_cycles(0) + latency
            walk = np.maximum(1.0, beats * min(count, layer.rows) / ports)
            total += gemm_layer_cycles(lane, layer, rows, batch, walk, start)
            alone += gemm_layer_cycles(lane, layer, rows, batch, 0 * walk, 0 * start)
            memory += layer.rows * beats / ports
            words = -(-layer.inputs // lane.array_size) * -(-layer.outputs // lane.channels_across)
            macs += layer.rows * words * lane.array_macs
        bound = np.where(memory > alone, kernels.BOUNDS.index("memory"), 0)
        machine = (np.full(len(ports), float(x)) for x in (config.array_macs, sram_bytes(config)))
        return np.stack([total, memory, bound, macs, *machine])
