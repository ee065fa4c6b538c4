"""Queries of a sweep's sessions as `perfmodel.traced_machine` is told them: with their records."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from rpaccel.golden.lane import run_query
from rpaccel.host.arena import Arena
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.compile import CompiledModels
from rpaccel.host.memory_layout import MemoryLayout, lay_out
from rpaccel.host.pinned_traces import PinLoads, pinned_rows
from rpaccel.host.row_memory import row_memory
from rpaccel.host.row_simulator import loads_of
from rpaccel.main_job.query_load import query_load
from rpaccel.main_job.sweep_session import DEPTH, MEMORY_BYTES, Asked, SweepSession
from rpaccel.perfmodel.dispatcher_state import SubmissionRing
from rpaccel.perfmodel.machine_load import Machine
from rpaccel.perfmodel.machine_report import MachineReport
from rpaccel.perfmodel.row_banks import PinnedRows
from rpaccel.perfmodel.shapes import ModelShape
from rpaccel.perfmodel.traced_machine import TracedMachine, TracedQuery
from rpaccel.scheduler.shapes import compiled_shape, gather_stage
from rpaccel.spec.isa import Target
from rpaccel.spec.platform import MemoryTiming as ModelTiming
from rpaccel.spec.registers import ROW_COUNTERS

__all__ = ["SessionTraces", "TracedRun", "image_lanes", "traced_session"]

REGISTER_CYCLES = 3  # host.verilated_device: of an access
DOORBELL_CYCLES = 2  # from the beginning of a write until the device sees it


class TracedRun(NamedTuple):
    """What became of a load, and the time that it took [s], of one core, without the golden one."""

    report: MachineReport
    seconds: float


class SessionTraces:
    """A session's machine, which gets the queries in the order in which the device gets them.

    The addresses are those that `host.driver.Driver` gives them: a block of the inputs for each
    descriptor in turn, and feature tables that are given back after each. Between a completion and
    the next doorbell `main_job.sweep_session` reads and writes registers: the interrupt's status
    twice, one of each ring, and the row banks' counters twice.

    `reports` are those of all loads, with every sub-batch if `sub_batches`.
    """

    def __init__(
        self, session: SweepSession, machine: TracedMachine, *, sub_batches: bool = False
    ) -> None:
        self.session, self.machine = session, machine
        self.reports: list[MachineReport] = []
        self._sub_batches = sub_batches
        self._layout = _layout(session)
        accesses = 4 + 2 * session.config.row_banks * len(ROW_COUNTERS)
        self._host_cycles = REGISTER_CYCLES * accesses + DOORBELL_CYCLES
        self._features = Arena("features", *self._layout.regions["features"])
        self._blocks = deque(range(DEPTH))
        self._blocks.rotate(-len(session.pinned_images))  # one for each LOAD

    def run(self, load: Sequence[Asked]) -> TracedRun:
        """Return what becomes of queries that are asked at once."""
        found, tables = [], []
        for number, asked in enumerate(load):
            features = asked.query.features
            tables.append(self._features.allocate(features.size, max(64, features.shape[1])))
            block = self._blocks[number]
            found.append(self._query(asked, tables[-1], block))
        self._blocks.rotate(-len(load))
        for address in tables:
            self._features.release(address)
        begin = time.process_time()
        report = self.machine.run(found, after=self._host_cycles, sub_batches=self._sub_batches)
        seconds = time.process_time() - begin
        self.reports.append(report)
        return TracedRun(report, seconds)

    def _query(self, asked: Asked, features: int, block: int) -> TracedQuery:
        """Return a query. features : of its table [bytes]. block : of the inputs."""
        session, query = self.session, asked.query
        golden = run_query(query, session.rankers.both, session.config)
        load = query_load(
            query,
            golden,
            session.rankers.both,
            [tuple(_stage_place(session, index)[1]) for index in range(len(query.stages))],
            sub_batch=asked.dealing.sub_batch,
        )
        base = self._layout.inputs(block)
        gathers = tuple(
            gather_stage(
                _stage_place(session, index)[0],
                load.stages[index].model,
                index,
                user_record=query.user_record,
                user_address=base,
                features=query.features,
                features_address=features,
                list_address=base + self._layout.candidate_offset,
                ids=scores.ids,
                sub_batch=asked.dealing.sub_batch,
            )
            for index, scores in enumerate(golden.stages)
        )
        return TracedQuery(load=load, gathers=gathers)


def _layout(session: SweepSession) -> MemoryLayout:
    """Return where the session's driver has its rings, inputs and feature tables."""
    return lay_out(
        session.config, MEMORY_BYTES, depth=DEPTH, update_depth=0, task_log_entries=0,
        feature_bytes=MEMORY_BYTES // 4, corpus_bytes=0,
    )  # fmt: skip


def image_lanes(session: SweepSession) -> list[tuple[CompiledModels, range]]:
    """Return the images that a session's device is loaded with, in order, and their lanes."""
    lanes, back = len(session.machine.partition), session.machine.back_lane
    places = [range(back), range(back, lanes)] if back else [range(lanes)]
    return list(zip(session.pinned_images, places, strict=True))


def _stage_place(session: SweepSession, index: int) -> tuple[CompiledModels, range]:
    """Return the image and the lanes of a stage."""
    places = image_lanes(session)
    return places[min(index, len(places) - 1)]


def _pinned(session: SweepSession) -> PinnedRows | None:
    """Return what the static caches hold; the last image that is loaded says so."""
    if not session.config.static_cache_lines:
        return None
    image = session.pinned_images[-1]
    pins = [s for s in image.sections if s.target in (Target.PIN_LINE, Target.PIN_ENTRY)]
    loads = PinLoads(loads=loads_of(pins), split=image.static_split)
    return pinned_rows(session.config, loads)


@contextmanager
def traced_session(session: SweepSession, *, sub_batches: bool = False) -> Iterator[SessionTraces]:
    """Yield the queries of a session and a machine whose caches are as after a LOAD."""
    config = session.config
    lanes: dict[int, dict[str, ModelShape]] = {}
    for index, ranker in enumerate(session.rankers.both):
        image, places = _stage_place(session, index)
        for lane in places:
            lanes.setdefault(lane, {})[ranker.name] = compiled_shape(image, ranker.name)
    machine = Machine(
        config=config,
        memory=ModelTiming(latency_cycles=session.latency, source="the simulated memory"),
        lanes=lanes,
    )
    with row_memory(config, MemoryTiming(read_latency_cycles=session.latency)) as memory:
        ring = SubmissionRing(
            base=_layout(session).regions["submissions"][0],
            entries=DEPTH,
            taken=len(session.pinned_images),  # a LOAD each
        )
        traced = TracedMachine(machine, memory, pinned=_pinned(session), ring=ring)
        yield SessionTraces(session, traced, sub_batches=sub_batches)
