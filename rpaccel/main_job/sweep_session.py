"""Random queries on a machine of a sweep, alone and several at once: the netlist's counters.

What is measured depends on no model of performance: it is kept, by content, under `build_dir`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rpaccel.cache import cached, source_digest
from rpaccel.golden.lane import Query, run_query
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.compile import CompiledModels, compile_models
from rpaccel.host.driver import Completion, Driver, Request
from rpaccel.host.query import fetched_after
from rpaccel.host.row_pins import Pins, profile_rows
from rpaccel.host.verilated_device import VerilatedDevice
from rpaccel.main_job.netlist import difference
from rpaccel.main_job.sweep_machines import SWEEP_MACHINES, SweepMachine
from rpaccel.main_job.sweep_queries import (
    PROFILES,
    SAMPLES,
    SweepRankers,
    draw_query,
    draw_sweep_rankers,
)
from rpaccel.perfmodel.design_space import dealt
from rpaccel.perfmodel.report import UNIT_FIELDS
from rpaccel.spec.isa import StageMode
from rpaccel.spec.stage_tasks import StageTasks
from rpaccel.workloads.random_models import record_sizes

__all__ = ["Asked", "Dealing", "Measured", "SweepSession", "measured_session"]

Ints = npt.NDArray[np.int64]

MEMORY_BYTES = 1 << 26
FAR = 0x100_0000  # where the second image and its tables lie
SESSION_QUERIES = 6  # of one set of rankers and one latency of the memory, after one that warms
LOAD_QUERIES = 5  # at once, after those
ATTEMPTS = 50
LATENCIES = (8, 200)  # [cycles], least and most
ITEMS = (96, 1536)
KEPT = (0.05, 0.5)  # share of the candidates that the filter is asked for
FRONT_TASKS, BACK_TASKS = (0, 64, 128, 256), (0, 32, 64, 128)  # items of a task
SUB_BATCHES = (0, 8, 16, 32, 64)  # 0: as the compiler chooses
TOP_N = (4, 32)
DEPTH = 8
LIMIT_CYCLES = 20_000_000


@dataclass(frozen=True, kw_only=True)
class Dealing:
    """How a query is dealt out: sub-batch of the descriptor, items of tasks, 0: one task."""

    items: int
    k: int
    sub_batch: int
    front_task: int
    back_task: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """A query and how it is dealt out."""

    dealing: Dealing
    query: Query


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the device says of a query [cycles].

    entered : items of the second stage. total, front, back : of the query, of its stages. units :
    busy cycles of each of UNIT_FIELDS, by stage. beats, merged, read : of rows, asked for, found on
    their way already, and read from memory; busiest : read by the bank that reads most; of all
    queries at once in the first of a load. arrival : when its descriptor was fetched, from the
    load's first one on. queue : from then until it was begun.
    """

    entered: int
    total: int
    front: int
    back: int
    units: Mapping[str, Sequence[int]]
    beats: int = 0
    merged: int = 0
    read: int = 0
    busiest: int = 0
    arrival: int = 0
    queue: int = 0


def draw_dealing(rng: np.random.Generator, top_n: int) -> Dealing:
    """Return the sizes of a random query; items and k log-uniform."""
    items = int(np.exp(rng.uniform(*np.log(ITEMS))))
    share = float(np.exp(rng.uniform(*np.log(KEPT))))
    return Dealing(
        items=items,
        k=max(top_n, round(items * share)),
        sub_batch=int(rng.choice(SUB_BATCHES)),
        front_task=int(rng.choice(FRONT_TASKS)),
        back_task=int(rng.choice(BACK_TASKS)),
    )


class SweepSession:
    """Two random rankers on a machine of a sweep, a latency of the memory, and queries.

    Parameters
    ----------
    machine : SweepMachine
    seed, number : int  Of the random draws.
    """

    def __init__(self, machine: SweepMachine, seed: int, number: int) -> None:
        self.machine, self.number, self.config = machine, number, machine.config
        place = list(SWEEP_MACHINES).index(machine.name)
        self.rng = np.random.default_rng([seed, place, number])
        self.latency = int(self.rng.integers(*LATENCIES))
        self.top_n = int(self.rng.integers(TOP_N[0], TOP_N[1] + 1))
        self.rankers = self._draw()
        self.profiles, self.samples = self._sample(PROFILES), self._sample(SAMPLES)
        drawn = [self._ask() for _ in range(1 + SESSION_QUERIES + LOAD_QUERIES)]
        self.warming, self.alone = drawn[0], drawn[1 : 1 + SESSION_QUERIES]
        self.load = drawn[1 + SESSION_QUERIES :]

    def _sample(self, count: int) -> list[Query]:
        """Return other queries of the law; sizes in the middle of the range."""
        return [self._query(512, 128) for _ in range(count)]

    def _query(self, items: int, k: int) -> Query:
        return draw_query(self.rng, self.machine, self.rankers, items=items, k=k, top_n=self.top_n)

    def _draw(self) -> SweepRankers:
        """Draw rankers until they fit, and keep their images."""
        for _ in range(ATTEMPTS):
            rankers = draw_sweep_rankers(self.rng, self.machine)
            if record_sizes(self.config, rankers.both)[1] > self.config.item_record_bytes:
                continue
            try:
                self.images = self._compile(rankers, None)
            except ValueError:  # too large for one of the on-chip memories
                continue
            return rankers
        raise RuntimeError(f"random rankers must fit {self.machine.name} within {ATTEMPTS} draws")

    def _compile(self, rankers: SweepRankers, pins: Pins | None) -> list[CompiledModels]:
        """Return an image of both rankers, or one for each stage if its lanes differ."""
        config = self.config
        if not self.machine.split.back:
            return [compile_models(rankers.both, config.lane(0), pins=pins)]
        back = config.lane(self.machine.back_lane)
        return [
            compile_models([rankers.front], config.lane(0), pins=pins),
            compile_models(rankers.both, back, base=FAR),  # a slot's bin edges are all lanes'
        ]

    def _ask(self) -> Asked:
        """Draw a query."""
        dealing = draw_dealing(self.rng, self.top_n)
        tasks = StageTasks()
        count, size, _ = dealt(dealing.items, dealing.front_task)
        if count > 1:
            tasks = StageTasks.shared(size, dealing.k, dealing.items, StageMode.PROPORTIONAL)
        query = self._query(dealing.items, dealing.k)
        both = tasks, StageTasks(task_items=dealing.back_task)
        return Asked(dealing=dealing, query=replace(query, tasks=both))

    def sub_batches(self, dealing: Dealing) -> tuple[int, int]:
        """Return the items per sub-batch of both stages: of the descriptor, or fewer."""
        most = (self.images[0].layouts[0].sub_batch, self.images[-1].layouts[1].sub_batch)
        front, back = (min(dealing.sub_batch or each, each) for each in most)
        return front, back

    def digest(self) -> str:
        """SHA-256 over all that the device is told: machine, latency, images, queries."""
        sha = hashlib.sha256()

        def take(part: bytes) -> None:
            sha.update(len(part).to_bytes(8, "little") + part)

        lanes = [(lane, asdict(place)) for lane, place in sorted(self.machine.partition.items())]
        take(json.dumps([lanes, self.machine.back_lane, self.latency]).encode())
        take(self.config.model_dump_json().encode())
        for image in self.pinned_images:
            take(json.dumps([image.names, image.limit, image.static_split]).encode())
            for address, content in image.segments():
                take(address.to_bytes(8, "little"))
                take(content)
        for asked in (self.warming, *self.alone, *self.load):
            query = asked.query
            rest = asked.dealing.sub_batch, query.stages, query.top_n, query.tasks
            take(repr(rest).encode())
            take(query.user_record)
            take(np.ascontiguousarray(query.candidates).tobytes())
            take(repr(query.features.shape).encode())
            take(np.ascontiguousarray(query.features).tobytes())
        return sha.hexdigest()

    @cached_property
    def pinned_images(self) -> list[CompiledModels]:
        """Return the images, with the rows that the profiles name most where there is room."""
        lines = self.config.static_cache_lines
        if not lines:
            return self.images
        counts = profile_rows(self.rankers.both, self.profiles)
        rows = tuple([name for name, _ in each.most_common()] for each in counts)
        split = lines * self.machine.static_front_percent // 100
        return self._compile(self.rankers, Pins(split=split, rows=rows))


class _Device:
    """A driver with the session's rankers loaded."""

    def __init__(self, device: VerilatedDevice, session: SweepSession) -> None:
        self.session, self.config = session, session.config
        self.driver = Driver(
            device, self.config, MEMORY_BYTES, depth=DEPTH, limit_cycles=LIMIT_CYCLES
        )
        machine, images = session.machine, session.pinned_images
        self.driver.partition(machine.partition)
        lanes, back = sorted(machine.partition), machine.back_lane
        if len(images) == 1:
            self.driver.load_models(images[0], lanes)
        else:
            self.driver.load_models(images[0], lanes[:back])
            self.driver.load_models(images[1], lanes[back:])

    def _request(self, asked: Asked) -> Request:
        query = asked.query
        return Request(
            user_record=query.user_record,
            candidates=query.candidates,
            features=self.driver.register_feature_table(query.features),
            stages=[
                (ranker.name, k)
                for ranker, (_, k) in zip(self.session.rankers.both, query.stages, strict=True)
            ],
            top_n=query.top_n,
            tasks=query.tasks,
            sub_batch=asked.dealing.sub_batch,
        )

    def _beats(self) -> Ints:
        """Return int64[3, banks], beats of rows so far: asked for, merged, read from memory."""
        found = []
        for counts in self.driver.row_counters():
            read = counts["misses"] + counts["refused"]
            beats = counts["pinned"] + counts["hits"] + counts["merged"] + read
            found.append((beats, counts["merged"], read))
        return np.array(found, np.int64).T

    def ask(self, load: list[Asked], name: str) -> list[Measured]:
        """Ask queries at once. Raises RuntimeError unless each answer is golden."""
        driver, before = self.driver, self._beats()
        requests = [self._request(asked) for asked in load]
        tags = [driver.submit(request) for request in requests]
        completions = [driver.wait(tag) for tag in tags]
        arrivals = fetched_after(completions)
        banks = self._beats() - before
        beats, merged, read = (int(each) for each in banks.sum(axis=1))
        rows = {"beats": beats, "merged": merged, "read": read, "busiest": int(banks[2].max())}
        found = []
        for number, (asked, completion) in enumerate(zip(load, completions, strict=True)):
            self._check(completion, asked.query, f"{name}, query {number}")
            found.append(
                Measured(
                    entered=completion.items[1],
                    total=completion.total_cycles,
                    front=completion.stage_cycles[0],
                    back=completion.stage_cycles[1],
                    units={name: getattr(completion, name)[:2] for name in UNIT_FIELDS},
                    arrival=arrivals[number],
                    queue=completion.queue_cycles,
                    **(rows if number == 0 else {}),
                )
            )
        for request in requests:
            driver.release_feature_table(request.features)
        return found

    def _check(self, completion: Completion, query: Query, name: str) -> None:
        golden = run_query(query, self.session.rankers.both, self.config)
        wrong = difference(name, completion, golden)
        if wrong is not None:
            raise RuntimeError(f"the device is not bit-exact: {wrong}")


def _measure(session: SweepSession, library: Path) -> list[dict[str, Any]]:
    name = f"{session.machine.name}, session {session.number}"
    timing = MemoryTiming(read_latency_cycles=session.latency)
    with VerilatedDevice(
        session.config, timing, memory_bytes=MEMORY_BYTES, library=library
    ) as device:
        machine = _Device(device, session)
        machine.ask([session.warming], name)
        found = [machine.ask([asked], name)[0] for asked in session.alone]
        found += machine.ask(session.load, f"{name}, load")
    return [asdict(each) for each in found]


def measured_session(
    session: SweepSession, library: Path, build_dir: Path
) -> tuple[list[Measured], list[Measured]]:
    """Return what was measured of the queries alone, and of the load.

    library : simulator of the machine, in a folder named by its content. Kept by all that the
    device is told, `SweepSession.digest`, and by what drives it and checks it. Raises RuntimeError
    if an answer is not golden.
    """
    found, _ = cached(
        build_dir / "sweep_validation",
        f"{session.machine.name}{session.number}",
        [
            library.parent.name,
            session.digest(),
            source_digest(["golden", "host", "spec"]),
            Path(__file__).read_bytes(),
        ],
        lambda: _measure(session, library),
    )
    points = [Measured(**each) for each in found]
    return points[:SESSION_QUERIES], points[SESSION_QUERIES:]
