"""A session of `rpaccel validate` as a timeline for Perfetto: the device and both models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.main_job.query_load import query_load
from rpaccel.main_job.run_trace import Answered
from rpaccel.main_job.session import Session
from rpaccel.perfmodel.machine_load import Machine
from rpaccel.perfmodel.row_banks import RowMemory
from rpaccel.perfmodel.traced_machine import TracedMachine, TracedQuery
from rpaccel.perfmodel.traced_query import TracedStage
from rpaccel.scheduler.shapes import compiled_shape
from rpaccel.spec.platform import MemoryTiming as ModelTiming

__all__ = ["ValidationTrace"]


class ValidationTrace:
    """Queries of a session on one lane, one after another.

    Parameters
    ----------
    session : Session  Whose device logs its tasks; nothing has been asked yet.
    timing : of the device's memory. memory : RowMemory  The same, for the model that is told the
        records, which nobody else uses.
    """

    def __init__(self, session: Session, timing: MemoryTiming, memory: RowMemory) -> None:
        self._timeline, self._rankers = session.timeline(timing), session.rankers
        machine = Machine(
            config=session.config,
            memory=ModelTiming(
                latency_cycles=timing.read_latency_cycles, source="the simulated memory"
            ),
            lanes={
                0: {
                    ranker.name: compiled_shape(session.compiled, ranker.name)
                    for ranker in session.rankers
                }
            },
        )
        self._told = TracedMachine(machine, memory)

    def take(self, answered: Answered, stages: Sequence[TracedStage]) -> None:
        """Add a query. stages : what each of its stages gathers; none that nothing has reached."""
        lanes = [(0,)] * len(answered.query.stages)
        load = query_load(answered.query, answered.golden, self._rankers, lanes)
        gathers = tuple(stage.gather for stage in stages)
        told = self._told.run([TracedQuery(load=load, gathers=gathers)], sub_batches=True)
        self._timeline.take([answered], told)

    def write(self, path: Path) -> None:
        """Write the picture of all that was taken."""
        self._timeline.write(path)
