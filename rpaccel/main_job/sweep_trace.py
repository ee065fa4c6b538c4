"""A session of a sweep as a timeline for Perfetto: the device, the model, and who is told records.

What is measured of a session is kept without its device's tasks: it is asked once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rpaccel.golden.lane import run_query
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.bus import Bus
from rpaccel.host.driver import Driver
from rpaccel.host.verilated_device import VerilatedDevice
from rpaccel.main_job.netlist import difference
from rpaccel.main_job.run_trace import LOG_ENTRIES, Answered, DeviceTrace
from rpaccel.main_job.session import request_of
from rpaccel.main_job.sweep_session import (
    DEPTH,
    LIMIT_CYCLES,
    MEMORY_BYTES,
    Asked,
    SweepSession,
)
from rpaccel.main_job.sweep_traced import image_lanes
from rpaccel.perfmodel.machine_report import MachineReport

__all__ = ["session_timeline", "trace_session"]


def trace_session(
    session: SweepSession, library: Path, told: Sequence[MachineReport], path: Path
) -> None:
    """Write a session's timeline; library : simulator of its machine. See `session_timeline`."""
    timing = MemoryTiming(read_latency_cycles=session.latency)
    with VerilatedDevice(
        session.config, timing, memory_bytes=MEMORY_BYTES, library=library
    ) as device:
        session_timeline(session, device, told).write(path)


def session_timeline(
    session: SweepSession, device: Bus, told: Sequence[MachineReport]
) -> DeviceTrace:
    """Ask a session's queries as `sweep_session` does, and return what became of them.

    told : what a model that is told their records says, of the query that warms the caches, of each
    one alone, of those at once. Raises RuntimeError if an answer is not golden.
    """
    driver = Driver(
        device, session.config, MEMORY_BYTES, depth=DEPTH, limit_cycles=LIMIT_CYCLES,
        task_log_entries=LOG_ENTRIES,
    )  # fmt: skip
    driver.partition(session.machine.partition)
    images = image_lanes(session)
    for image, lanes in images:
        driver.load_models(image, lanes)
    timing = MemoryTiming(read_latency_cycles=session.latency)
    timeline = DeviceTrace(driver, session.rankers.both, timing, images)
    loads = [[session.warming], *([asked] for asked in session.alone), session.load]
    for load, report in zip(loads, told, strict=True):
        timeline.take(_ask(session, driver, load), report)
    return timeline


def _ask(session: SweepSession, driver: Driver, load: Sequence[Asked]) -> list[Answered]:
    """Ask queries at once and check every answer."""
    rankers, answered = session.rankers.both, []
    requests = [
        request_of(asked.query, rankers, driver, sub_batch=asked.dealing.sub_batch)
        for asked in load
    ]
    tags = [driver.submit(request) for request in requests]
    for asked, tag in zip(load, tags, strict=True):
        completion = driver.wait(tag)
        golden = run_query(asked.query, rankers, session.config)
        name = f"{session.machine.name}, session {session.number}, query {tag}"
        wrong = difference(name, completion, golden)
        if wrong is not None:
            raise RuntimeError(f"the device is not bit-exact: {wrong}")
        answered.append(
            Answered(
                query=asked.query, golden=golden, completion=completion,
                sub_batch=asked.dealing.sub_batch,
            )
        )  # fmt: skip
    for request in requests:
        driver.release_feature_table(request.features)
    return answered
