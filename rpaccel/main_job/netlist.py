"""Step 4 of the main job: real users' queries through the generated netlist, bit for bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rpaccel.golden.lane import QueryResult
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.bus import Bus
from rpaccel.host.driver import Completion, Driver, Request
from rpaccel.host.query import FeatureTable
from rpaccel.host.timeline import device_events
from rpaccel.host.verilated_device import VerilatedDevice
from rpaccel.main_job.rankers import KEEP, CompiledJob
from rpaccel.perfmodel.trace_events import Event

MEMORY_BYTES = 1 << 24
TOP_N = 10
DEPTH = 1  # one query at a time: its cycles then do not depend on its neighbours
OVERLAPPED = 8  # queries in flight where they may overlap
LOG_ENTRIES = 1024
STAGES = (("small", KEEP), ("large", TOP_N))


@dataclass(frozen=True, kw_only=True)
class NetlistRun:
    """Completions of the queries, the golden answers, and how fast the simulation went.

    places : where the driver put user record, candidates and feature table [bytes].
    """

    users: tuple[int, ...]
    completions: tuple[Completion, ...]
    golden: tuple[QueryResult, ...]
    places: tuple[int, int, int]
    cycles: int
    seconds: float
    overlapped: tuple[Completion, ...]  # of the same queries with 8 in flight
    events: tuple[Event, ...]  # what lanes and queries did then

    @property
    def fetched(self) -> tuple[int, ...]:
        """Cycles at which the overlapped queries were fetched."""
        return tuple(c.ended_at - c.total_cycles - c.queue_cycles for c in self.overlapped)

    @property
    def overlapped_cycles(self) -> int:
        """From the first overlapped query's fetch to the last one's end."""
        return max(c.ended_at for c in self.overlapped) - min(self.fetched)

    @property
    def cycles_per_second(self) -> float:
        """Simulated cycles per second of wall time."""
        return self.cycles / self.seconds


def difference(query: str, got: Completion, want: QueryResult) -> str | None:
    """Return what differs between a device's answer to `query` and the golden one, or None."""
    pairs = (
        ("status", int(got.status), int(want.status)),
        ("flags", int(got.flags), int(want.flags)),
        ("items", tuple(got.items), tuple(want.items)),
        ("overshoot", got.overshoot, want.overshoot),
        ("ids", [int(x) for x in got.ids], [int(x) for x in want.ids]),
        ("logits", [int(x) for x in got.logits], [int(x) for x in want.logits]),
        ("ctr", [int(x) for x in got.ctr], [int(x) for x in want.ctr]),
    )
    for name, found, expected in pairs:
        if found != expected:
            return f"{query}: {name} must be {expected} (golden), not {found} (netlist)"
    return None


def answers(job: CompiledJob, device: Bus, users: Sequence[int]) -> Iterator[Completion]:
    """Yield the device's answer to every user's two-stage query, one after the other."""
    driver = Driver(device, job.config, MEMORY_BYTES, depth=DEPTH)
    yield from _ask(job, driver, _load(job, driver), users)


def user_request(job: CompiledJob, table: FeatureTable, user: int) -> Request:
    """Return the request of a user's two-stage query. table : of all items."""
    return Request(
        user_record=job.user_records[user].tobytes(),
        candidates=job.inputs.split.candidates(user).astype(np.uint32),
        features=table,
        stages=STAGES,
        top_n=TOP_N,
    )


def _load(job: CompiledJob, driver: Driver) -> FeatureTable:
    driver.load_models(job.compiled)
    return driver.register_feature_table(job.feature_table)


def _ask(
    job: CompiledJob, driver: Driver, table: FeatureTable, users: Sequence[int]
) -> Iterator[Completion]:
    yield from driver.run(user_request(job, table, user) for user in users)


def run_queries(
    job: CompiledJob,
    library: Path,
    users: Sequence[int],
    timing: MemoryTiming,
    count: Callable[[int, int], None],
) -> NetlistRun:
    """Run a two-stage query of each user on the netlist and compare it with the golden model.

    Raises RuntimeError with the first difference: nothing less than equal bits passes.
    """
    start = time.monotonic()
    completions: list[Completion] = []
    golden: list[QueryResult] = []
    with VerilatedDevice(job.config, timing, memory_bytes=MEMORY_BYTES, library=library) as device:
        driver = Driver(device, job.config, MEMORY_BYTES, depth=DEPTH)
        table = _load(job, driver)
        for user, completion in zip(users, _ask(job, driver, table, users), strict=True):
            want = job.golden(user, STAGES, TOP_N)
            wrong = difference(f"user {user}", completion, want)
            if wrong is not None:
                raise RuntimeError(f"the netlist is not bit-exact: {wrong}")
            completions.append(completion)
            golden.append(want)
            count(len(completions), len(users))
        cycles, seconds = device.cycles, time.monotonic() - start
        overlapped, events = _overlap(job, device, users, golden)
    return NetlistRun(
        users=tuple(users),
        completions=tuple(completions),
        golden=tuple(golden),
        places=(*driver.input_addresses(0), table.address),
        cycles=cycles,
        seconds=seconds,
        overlapped=overlapped,
        events=events,
    )


def _overlap(
    job: CompiledJob, device: Bus, users: Sequence[int], golden: Sequence[QueryResult]
) -> tuple[tuple[Completion, ...], tuple[Event, ...]]:
    """Ask the same queries again, several in flight; return completions and trace events."""
    driver = Driver(
        device, job.config, MEMORY_BYTES, depth=OVERLAPPED, task_log_entries=LOG_ENTRIES
    )
    completions = list(_ask(job, driver, _load(job, driver), users))
    for user, completion, want in zip(users, completions, golden, strict=True):
        wrong = difference(f"user {user}, with others in flight", completion, want)
        if wrong is not None:
            raise RuntimeError(f"the netlist is not bit-exact: {wrong}")
    log = driver.task_log.take() if driver.task_log else []
    return tuple(completions), tuple(device_events(log, completions))


def completion_json(user: int, completion: Completion) -> dict[str, Any]:
    """Return one query's answer and counters as JSON data."""
    stages = sum(1 for items in completion.items if items)
    return {
        "user": user,
        "status": completion.status.name,
        "ids": completion.ids.tolist(),
        "logits": completion.logits.tolist(),
        "ctr": completion.ctr.tolist(),
        "total_cycles": completion.total_cycles,
        "stages": [
            {
                "items": completion.items[s],
                "stage_cycles": completion.stage_cycles[s],
                "gather_cycles": completion.gather_cycles[s],
                "array_cycles": completion.array_cycles[s],
                "interaction_cycles": completion.interaction_cycles[s],
                "filter_cycles": completion.filter_cycles[s],
            }
            for s in range(stages)
        ],
    }
