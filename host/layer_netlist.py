"""Layer engines on the array that they share, Verilated: which results leave it, and when.

Loads and gathered data are left out: weights are 0, cycles do not depend on values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rpaccel.host.flat_netlist import Drive, FlatNetlist, PortPath
from rpaccel.host.layer_array import JOBS_MAX, NAME, QUEUE_CYCLES, LayerArray
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import INSTRUCTION

__all__ = ["Corner", "LaneEvents", "LayerJob", "LayerNetlist"]

Corner = tuple[int, int]  # block row and column


@dataclass(frozen=True, kw_only=True)
class LayerJob:
    """A LAYER over `items` items that is offered to a lane from cycle `offered` on.

    fields : of spec.isa.INSTRUCTION; those left out are 0.
    """

    fields: Mapping[str, int]
    items: int
    offered: int


@dataclass(frozen=True, kw_only=True, eq=False)
class LaneEvents:
    """Cycles of a lane, int64[...] each, ascending.

    taken : of each job. rows : a row is read. done : a chain has ended. results : of each tile of
    the rectangle, (block row, block column): a result leaves it. Cycles are those of
    LayerJob.offered.
    """

    taken: np.ndarray
    rows: np.ndarray
    done: np.ndarray
    results: dict[Corner, np.ndarray]


class LayerNetlist:
    """The built simulator of the lanes of `config` and their array."""

    def __init__(
        self,
        config: AcceleratorConfig,
        *,
        build_dir: Path = BUILD_DIR,
        progress: Callable[[str], None] = print,
    ) -> None:
        self.config = config
        self._netlist = FlatNetlist(
            lambda: LayerArray(config), config, NAME, build_dir=build_dir, progress=progress
        )

    def run(
        self,
        partition: Mapping[int, Corner],
        jobs: Mapping[int, Sequence[LayerJob]],
        cycles: int,
    ) -> dict[int, LaneEvents]:
        """Run the jobs of all lanes at the same time; return what each lane did.

        partition : corner of the rectangle of each lane that has one. jobs : by lane, offered one
        after another, at most JOBS_MAX. cycles : of the run; later events are not seen.
        Raises RuntimeError if a check of the netlist fails, ValueError if jobs break a rule.
        """
        always: dict[PortPath, int] = {}
        for lane, (row, col) in partition.items():
            rows, cols = self.config.lane_shape(lane)
            values = {"row": row, "col": col, "rows": rows, "cols": cols}
            always |= {("partition", lane, name): value for name, value in values.items()}
        words = self._netlist.run(_pushes(jobs), cycles, always)
        return {lane: self._events(words, lane) for lane in jobs}

    def _events(self, words: np.ndarray, lane: int) -> LaneEvents:
        """Return the cycles of a lane; cycle 0 is when a job pushed in the first is offered."""

        def cycles(column: np.ndarray, bit: int) -> np.ndarray:
            return np.flatnonzero(column >> np.uint64(bit) & np.uint64(1)) - QUEUE_CYCLES

        taken, rows, done = (
            cycles(self._netlist.column(words, (name,)), lane) for name in ("taken", "row", "done")
        )
        tiles = self._netlist.column(words, ("results", lane))
        shape = self.config.lane_shape(lane)
        results = {(r, c): cycles(tiles, r * shape[1] + c) for r, c in np.ndindex(shape)}
        return LaneEvents(taken=taken, rows=rows, done=done, results=results)


def _pushes(jobs: Mapping[int, Sequence[LayerJob]]) -> Mapping[int, Drive]:
    """Return what is driven in which cycle of the bench."""
    pushes: dict[int, dict[PortPath, int]] = defaultdict(dict)
    for lane, each in jobs.items():
        cycles = [job.offered for job in each]
        if not 1 <= len(cycles) <= JOBS_MAX:
            raise ValueError(f"jobs of lane {lane} must be 1..{JOBS_MAX}, not {len(cycles)}")
        if cycles[0] < 0 or cycles != sorted(set(cycles)):
            raise ValueError(
                f"jobs of lane {lane} must be offered in ascending cycles from 0 on, not {cycles}"
            )
        for job in each:
            code = INSTRUCTION.pack(job.fields)
            pushes[job.offered] |= {
                ("push", lane): 1,
                ("job", lane, "code"): code,
                ("job", lane, "items"): job.items,
            }
    return pushes
