"""Cycles of a lane's gather for the real records of a query: equal to the netlist's.

The unit's registers a cycle at a time, in compiled code, with list reader, row banks and memory
fabric of a machine whose other lanes are idle. What banks hold stays from query to query.
"""

from __future__ import annotations

from rpaccel.perfmodel.gather_network import GatherNetwork
from rpaccel.perfmodel.gather_traces import GatherStage, GatherTasks, gather_traces
from rpaccel.perfmodel.gather_unit_kernels import begin_gather, release_gather, run_gather
from rpaccel.perfmodel.row_banks import PinnedRows, RowMemory
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["TracedGather"]

SETTLE_CYCLES = 64  # after a stage nothing moves any more


class TracedGather:
    """A lane's gather unit on a machine at rest, query after query.

    Parameters
    ----------
    config : AcceleratorConfig  Of the lane.
    machine : AcceleratorConfig  That the lane is of: banks, ports, memory.
    memory : RowMemory
    pinned : PinnedRows  What the static caches hold; None: nothing.
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        machine: AcceleratorConfig,
        memory: RowMemory,
        pinned: PinnedRows | None = None,
    ) -> None:
        self._config, self._machine, self._pinned = config, machine, pinned
        self._network = GatherNetwork(machine, [config], memory, pinned)

    def row_beats(self) -> tuple[int, int]:
        """Return the beats of rows so far: asked for, and read from memory."""
        return self._network.row_beats()

    def start(self, stage: GatherStage, now: int) -> None:
        """Begin a stage: cycle `now` is that in which the unit takes its start.

        The last sub-batch of the stage before has ended.
        """
        clock = self._network.parts.clock
        if clock[0]:
            self._run(min(now, int(clock[0]) + SETTLE_CYCLES))
        tasks = GatherTasks(stage, self._config, [len(stage.items.words)])
        self._traces = gather_traces(self._machine, [tasks], self._pinned)
        begin_gather(self._network.parts, self._traces, 0, now)
        clock[0] = now + 1

    def next_end(self, until: int) -> int | None:
        """Return the cycle in which the next sub-batch is whole; None: not before `until`."""
        return int(self._network.parts.clock[0]) - 1 if self._run(until) else None

    def release(self, cycle: int) -> None:
        """Free the oldest sub-batch's bank in `cycle`, which has not been."""
        assert cycle >= self._network.parts.clock[0], "a bank was freed in the past"
        release_gather(self._network.parts, cycle)

    def _run(self, until: int) -> bool:
        network = self._network
        return bool(run_gather(network.parts, self._traces, network.book, until))
