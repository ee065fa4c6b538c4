"""A whole machine under a load whose records are known: funnels, tasks, lanes, shared memory.

As `perfmodel.machine`, with gathers by `perfmodel.gather_unit_kernels` instead of means: the
registers of all lanes' gather units, of row banks, memory fabric and memory, a cycle at a time.
Descriptors are fetched and completions written as by `perfmodel.dispatcher_kernels`. What the banks
hold stays from load to load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rpaccel.perfmodel.dispatcher_state import SubmissionRing, new_dispatch
from rpaccel.perfmodel.gather_network import GatherNetwork
from rpaccel.perfmodel.gather_traces import GatherStage, GatherTasks, gather_traces
from rpaccel.perfmodel.machine import finish_run
from rpaccel.perfmodel.machine_kernels import NO_PROFILE
from rpaccel.perfmodel.machine_load import Machine, QueryLoad
from rpaccel.perfmodel.machine_plan import MachinePlan
from rpaccel.perfmodel.machine_report import MachineReport
from rpaccel.perfmodel.row_banks import PinnedRows, RowMemory
from rpaccel.perfmodel.traced_machine_kernels import SETTLE_CYCLES, STUCK, run_traced_machine
from rpaccel.perfmodel.traced_query import HANDOVER_CYCLES
from rpaccel.spec.accelerator import BURST_BEATS

__all__ = ["QUIET_CYCLES", "TracedMachine", "TracedQuery"]

EVENTS = 1 << 12  # places: of a lane a few, of a query a few
WRITE_CYCLES = 16  # of memory, assumed: that of host.axi_memory
QUIET_CYCLES = SETTLE_CYCLES + 8  # between loads: nothing moves any more


@dataclass(frozen=True, kw_only=True)
class TracedQuery:
    """A query, and what each of its stages gathers; a stage that nothing reaches has nothing."""

    load: QueryLoad
    gathers: tuple[GatherStage, ...]


class TracedMachine:
    """A machine that runs load after load, each when the one before is done.

    Lanes that may run one stage are alike, and compiled for the same sub-batches.

    Parameters
    ----------
    machine : Machine
    memory : RowMemory
    pinned : PinnedRows  What the static caches hold; None: nothing.
    ring : SubmissionRing  Queries arrive when they are in it, and in reports when their descriptors
        have been fetched. None: they come to the funnels by themselves.
    write_cycles : of memory, from the last beat of a write to its response.
    """

    def __init__(
        self,
        machine: Machine,
        memory: RowMemory,
        *,
        pinned: PinnedRows | None = None,
        ring: SubmissionRing | None = None,
        write_cycles: int = WRITE_CYCLES,
    ) -> None:
        self._machine, self._pinned = machine, pinned
        self._ring, self._write_cycles = ring, write_cycles
        self._turn = 0, 0  # of completions, and since when
        self._lanes = sorted(machine.lanes)
        configs = [machine.config.lane(lane) for lane in self._lanes]
        self._network = GatherNetwork(machine.config, configs, memory, pinned)
        if ring is not None:
            fetch = self._network.parts.fetch
            fetch["base"], fetch["size"], fetch["head"] = ring.base, ring.entries, ring.taken

    def row_beats(self) -> tuple[int, int]:
        """Return the beats of rows so far: asked for, and read from memory."""
        return self._network.row_beats()

    def run(
        self,
        queries: Sequence[TracedQuery],
        *,
        after: int = QUIET_CYCLES,
        sub_batches: bool = False,
    ) -> MachineReport:
        """Return what becomes of a load, its cycles counted on from those of the loads before.

        after : of arrival 0, from the last completion of the load before on. sub_batches : every
        one of them is in the report. Raises as `perfmodel.machine.simulate`, and ValueError if a
        stage's lanes are not alike or `after` is below QUIET_CYCLES.
        """
        network = self._network
        if after < QUIET_CYCLES:
            raise ValueError(f"after must be at least {QUIET_CYCLES}, not {after}")
        begin = self._turn[1] + after
        assert begin > network.parts.clock[0], "a load began before the one before was quiet"
        loads = [
            query.load
            if query.load.after is not None
            else replace(query.load, arrival=query.load.arrival + begin)
            for query in queries
        ]
        plan = MachinePlan(self._machine, loads, HANDOVER_CYCLES)
        tasks, first_tasks = self._tasks(queries)
        traces = gather_traces(self._machine.config, tasks, self._pinned)
        batches = sum(-(-size // each.stage.sub_batch) for each in tasks for size in each.sizes)
        state = plan.new_state(EVENTS + 8 * len(queries), batches if sub_batches else 0)
        state.run["dispatched"] = 1
        dispatch = new_dispatch(self._machine.config, len(queries), self._write_cycles, BURST_BEATS)
        dispatch.run["rings"] = self._ring is not None
        dispatch.run["turn"], dispatch.run["turn_at"] = self._turn
        before, why = network.port_beats(), NO_PROFILE
        while why == NO_PROFILE:
            why = int(
                run_traced_machine(
                    plan.tables, state, network.parts, traces, network.book, dispatch, first_tasks
                )
            )
            if why == NO_PROFILE:
                plan.add_asked(state)
        self._turn = int(dispatch.run["turn"][0]), int(dispatch.run["turn_at"][0])
        assert why != STUCK, "a gather waits and nothing moves"
        beats = network.port_beats() - before
        state.run["memory"] = beats / self._machine.config.memory_ports
        return finish_run(plan, state, why)

    def _tasks(
        self, queries: Sequence[TracedQuery]
    ) -> tuple[list[GatherTasks], npt.NDArray[np.int64]]:
        """Return all stages' tasks, and the number of the first task of each stage."""
        found, firsts, count = [], [], 0
        for query in queries:
            for number, stage in enumerate(query.load.stages):
                firsts.append(count)
                if number >= len(query.gathers):  # nothing reaches it
                    continue
                gather = query.gathers[number]
                lanes = self._machine.lanes_of(stage)
                configs = {self._machine.config.lane(lane) for lane in lanes}
                if len(configs) > 1:
                    raise ValueError(f"lanes of {stage.model} must be alike, not {lanes}")
                sizes = stage.tasks.sizes(len(gather.items.words))
                found.append(GatherTasks(gather, next(iter(configs)), sizes))
                count += len(sizes)
        return found, np.array(firsts, np.int64)
