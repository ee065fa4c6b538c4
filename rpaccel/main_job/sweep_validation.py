"""Points of a sweep beside the counters of the netlist: random machine, model, query, dealing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rpaccel.golden.lane import Query, run_query
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.compile import CompiledModels, compile_models
from rpaccel.host.driver import Completion, Driver, Request
from rpaccel.host.row_pins import Pins, profile_rows
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job.netlist import difference
from rpaccel.main_job.sweep_machines import BASE, SWEEP_MACHINES, SweepMachine, sweep_machine
from rpaccel.main_job.sweep_queries import (
    PROFILES,
    SAMPLES,
    SampledHits,
    SweepRankers,
    draw_query,
    draw_sweep_rankers,
    workload_of,
)
from rpaccel.perfmodel.analytic import evaluate
from rpaccel.perfmodel.design_space import DesignSpace, dealt
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.point_events import point_machine, point_query
from rpaccel.spec.isa import StageMode
from rpaccel.spec.program_plan import row_bytes_of
from rpaccel.spec.stage_tasks import StageTasks
from rpaccel.spec.sweep import SweepSpec

__all__ = ["LEVELS", "SweepPoint", "SweepSession", "validate_sweep"]

MEMORY_BYTES = 1 << 26
FAR = 0x100_0000  # where the second image and its tables lie
SESSION_QUERIES = 5  # of one set of rankers and one latency of the memory, after one that warms
ATTEMPTS = 50
LATENCIES = (8, 200)  # [cycles], least and most
ITEMS = (96, 1536)
KEPT = (0.05, 0.5)  # share of the candidates that the filter is asked for
FRONT_TASKS, BACK_TASKS = (0, 64, 128, 256), (0, 32, 64, 128)  # items of a task
SUB_BATCHES = (0, 8, 16, 32, 64)  # 0: as the compiler chooses
LIMIT_CYCLES = 20_000_000
LEVELS = ("analytic", "event")


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """A query that is alone on its machine, what its counters say and what the models say [cycles].

    k : items that entered the second stage. front_task, back_task : items of a task, 0: one task.
    measured, analytic, event : of the query. front, back : of the stages, (measured, analytic).
    hits : of both stages, as the models were told. shares : of the rows' beats that hit, as
    the banks counted and as the models were told. analytic_s, event_s : of one core.
    """

    machine: str
    session: int
    query: int
    latency: int
    items: int
    k: int
    front_sub_batch: int
    back_sub_batch: int
    front_task: int
    back_task: int
    measured: int
    analytic: int
    event: int
    front: tuple[int, int]
    back: tuple[int, int]
    hits: tuple[float, float]
    shares: tuple[float, float]
    analytic_s: float
    event_s: float


@dataclass(frozen=True, kw_only=True)
class Dealing:
    """How a query is dealt out: sub-batch of the descriptor, items of tasks."""

    items: int
    k: int
    sub_batch: int
    front_task: int
    back_task: int


def draw_dealing(rng: np.random.Generator, top_n: int, beat_bytes: int) -> Dealing:
    """Return the sizes of a random query."""
    low, high = np.log(ITEMS)
    items = int(np.exp(rng.uniform(low, high)))
    k = max(top_n, round(items * float(np.exp(rng.uniform(*np.log(KEPT))))))
    front, back = int(rng.choice(FRONT_TASKS)), int(rng.choice(BACK_TASKS))
    return Dealing(
        items=items, k=k, sub_batch=int(rng.choice(SUB_BATCHES)), front_task=front, back_task=back
    )


class SweepSession:
    """A device of a machine of a sweep with two random rankers.

    Parameters
    ----------
    device : VerilatedDevice
    machine : SweepMachine
    rng : Generator  Of rankers and queries.
    top_n : served items.
    depth : entries of the rings.
    """

    def __init__(
        self,
        device: VerilatedDevice,
        machine: SweepMachine,
        rng: np.random.Generator,
        *,
        top_n: int,
        depth: int = 2,
    ) -> None:
        self.machine, self.rng, self.top_n = machine, rng, top_n
        self.config = machine.config
        self.rankers, self.images = self._draw()
        self.driver = Driver(
            device, self.config, MEMORY_BYTES, depth=depth, limit_cycles=LIMIT_CYCLES
        )
        self.driver.partition(machine.partition)
        lanes = sorted(machine.partition)
        back = machine.back_lane
        if len(self.images) == 1:
            self.driver.load_models(self.images[0], lanes)
        else:
            self.driver.load_models(self.images[0], lanes[:back])
            self.driver.load_models(self.images[1], lanes[back:])

    def _sample(self, count: int) -> list[Query]:
        """Return queries of the law; sizes in the middle of the range."""
        return [self.draw(items=512, k=128) for _ in range(count)]

    def _draw(self) -> tuple[SweepRankers, list[CompiledModels]]:
        """Draw rankers until they fit; compile them, with pinned rows where there is room."""
        config = self.config
        for _ in range(ATTEMPTS):
            rankers = draw_sweep_rankers(self.rng, self.machine)
            try:
                images = self._compile(rankers, None)
            except ValueError:  # too large for one of the on-chip memories
                continue
            self.rankers = rankers
            self.profiles, self.samples = self._sample(PROFILES), self._sample(SAMPLES)
            if config.static_cache_lines:
                split = config.static_cache_lines * self.machine.static_front_percent // 100
                counts = profile_rows(rankers.both, self.profiles)
                rows = tuple([name for name, _ in each.most_common()] for each in counts)
                images = self._compile(rankers, Pins(split=split, rows=rows))
            return rankers, images
        raise RuntimeError(f"random rankers must fit {self.machine.name} within {ATTEMPTS} draws")

    def _compile(self, rankers: SweepRankers, pins: Pins | None) -> list[CompiledModels]:
        """Return an image of both rankers, or one of each if their lanes differ."""
        config = self.config
        if not self.machine.split.back:
            return [compile_models(rankers.both, config.lane(0), pins=pins)]
        back = config.lane(self.machine.back_lane)
        return [
            compile_models([rankers.front], config.lane(0), pins=pins),
            compile_models(rankers.both, back, base=FAR),  # bin edges of a slot are all lanes'
        ]

    def draw(self, *, items: int, k: int) -> Query:
        """Return a query."""
        return draw_query(
            self.rng, self.machine, self.rankers, items=items, k=k, top_n=self.top_n
        )

    def request(self, query: Query, dealing: Dealing) -> tuple[Query, Request]:
        """Return a query dealt out, and its request; registers its feature table."""
        tasks = StageTasks()
        count, size, _ = dealt(dealing.items, dealing.front_task)
        if count > 1:
            tasks = StageTasks.shared(size, dealing.k, dealing.items, StageMode.PROPORTIONAL)
        both = tasks, StageTasks(task_items=dealing.back_task)
        names = ("front", "back")
        request = Request(
            user_record=query.user_record,
            candidates=query.candidates,
            features=self.driver.register_feature_table(query.features),
            stages=[(name, k) for name, (_, k) in zip(names, query.stages, strict=True)],
            top_n=query.top_n,
            tasks=both,
            sub_batch=dealing.sub_batch,
        )
        return (
            Query(
                user_record=query.user_record, candidates=query.candidates,
                features=query.features, stages=query.stages, top_n=query.top_n, tasks=both,
            ),
            request,
        )  # fmt: skip

    def check(self, completion: Completion, query: Query, name: str) -> None:
        """Raise RuntimeError unless the answer is golden."""
        wrong = difference(name, completion, run_query(query, self.rankers.both, self.config))
        if wrong is not None:
            raise RuntimeError(f"the device is not bit-exact: {wrong}")

    def beats(self) -> tuple[int, int]:
        """Return the beats of rows so far: asked for, and read from memory."""
        counts = self.driver.row_counters()
        found = {name: sum(each[name] for each in counts) for name in counts[0]}
        read = found["misses"] + found["refused"]
        return found["pinned"] + found["hits"] + found["merged"] + read, read

    def sub_batches(self, dealing: Dealing) -> tuple[int, int]:
        """Return the items per sub-batch of both stages: of the descriptor, or fewer."""
        found = []
        for stage, image in enumerate((self.images[0], self.images[-1])):
            most = image.layouts[stage].sub_batch
            found.append(min(dealing.sub_batch or most, most))
        return found[0], found[1]

    def space(self, dealing: Dealing, entered: int, latency: int) -> DesignSpace:
        """Return the design space of one point that a query is. entered : items of stage 1."""
        front, back = self.sub_batches(dealing)
        spec = SweepSpec.model_validate(
            {
                "name": "validation",
                "base": BASE,
                "blocks": self.machine.blocks,
                "axes": {
                    **self.machine.axes,
                    "memory_latency_cycles": latency,
                    "front_sub_batch": front,
                    "back_sub_batch": back,
                    "front_task_items": dealing.front_task,
                    "back_task_items": dealing.back_task,
                    "k": entered,
                },
            }
        )
        workload = workload_of(self.rankers, dealing.items, entered, self.top_n)
        hits = SampledHits(self.rankers, self.samples, self.profiles, (dealing.items, entered))
        return DesignSpace(spec, workload=workload, hits=hits)


def validate_sweep(
    name: str,
    points: int,
    seed: int,
    *,
    build_dir: Path = BUILD_DIR,
    say: Callable[[str], None] = print,
) -> Iterator[SweepPoint]:
    """Yield `points` random points on one of SWEEP_MACHINES.

    Raises RuntimeError if an answer is not golden.
    """
    machine = sweep_machine(name)
    library = build_simulator(machine.config, build_dir=build_dir, progress=say)
    begin = time.monotonic()
    for session, first in enumerate(range(0, points, SESSION_QUERIES)):
        rng = np.random.default_rng([seed, list(SWEEP_MACHINES).index(name), session])
        latency = int(rng.integers(*LATENCIES))
        count = min(SESSION_QUERIES, points - first)
        timing = MemoryTiming(read_latency_cycles=latency)
        with VerilatedDevice(
            machine.config, timing, memory_bytes=MEMORY_BYTES, library=library
        ) as device:
            top_n = int(rng.integers(4, 33))
            asked = SweepSession(device, machine, rng, top_n=top_n)
            _ask(asked, "warming")
            for index in range(count):
                yield _point(asked, session, index, latency)
        say(f"{name}: {first + count} of {points} points, {time.monotonic() - begin:.0f} s")


def _told(space: DesignSpace, hits: tuple[float, float]) -> float:
    """Return the share of all beats of rows that hit, of what the models were told."""
    beats = []
    for network, items in space.workload.stages:
        rows = sum(f.ids for f in network.user_features)
        rows += items * sum(f.ids for f in network.item_features)
        beats.append(rows * -(-row_bytes_of(network.dim) // space.axes.beat_bytes[0]))
    return float(np.average(hits, weights=beats))


def _ask(session: SweepSession, where: str) -> tuple[Dealing, float, Completion]:
    dealing = draw_dealing(session.rng, session.top_n, session.config.beat_bytes)
    query = session.draw(items=dealing.items, k=dealing.k)
    query, request = session.request(query, dealing)
    driver = session.driver
    before = session.beats()
    completion = driver.wait(driver.submit(request))
    asked, read = (now - then for now, then in zip(session.beats(), before, strict=True))
    session.check(completion, query, where)
    driver.release_feature_table(request.features)
    return dealing, 1 - read / max(1, asked), completion


def _point(session: SweepSession, number: int, index: int, latency: int) -> SweepPoint:
    where = f"{session.machine.name}, session {number}, query {index}"
    dealing, share, completion = _ask(session, where)
    entered = completion.items[1]
    space = session.space(dealing, entered, latency)
    hits = space.row_hits(space.point(0))
    begin = time.process_time()
    row = {name: values[0] for name, values in evaluate(space, 0, 1).columns.items()}
    middle = time.process_time()
    event = simulate(point_machine(space, space.point(0)), [point_query(space, space.point(0))])
    end = time.process_time()
    front, back = session.sub_batches(dealing)
    return SweepPoint(
        machine=session.machine.name,
        session=number,
        query=index,
        latency=latency,
        items=dealing.items,
        k=entered,
        front_sub_batch=front,
        back_sub_batch=back,
        front_task=dealing.front_task,
        back_task=dealing.back_task,
        measured=completion.total_cycles,
        analytic=int(row["latency_cycles"]),
        event=event.queries[0].total_cycles,
        front=(completion.stage_cycles[0], int(row["front_cycles"])),
        back=(completion.stage_cycles[1], int(row["back_cycles"])),
        hits=hits,
        shares=(share, _told(space, hits)),
        analytic_s=middle - begin,
        event_s=end - middle,
    )
