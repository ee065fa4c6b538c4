"""Points of a sweep beside the counters of the netlist: random machine, model, query, dealing.

A query alone is compared on the levels `analytic` and `event`, stage by stage, and on `event` unit
by unit; queries at once on `event`. All of them are compared with `perfmodel.traced_machine`, too,
which is told their records.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rpaccel.host.verilated_device import build_simulator
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job.sweep_hits import CountedHits, SampledHits, workload_of
from rpaccel.main_job.sweep_machines import BASE, SWEEP_MACHINES, sweep_machine
from rpaccel.main_job.sweep_session import (
    SESSION_QUERIES,
    Asked,
    Dealing,
    Measured,
    SweepSession,
    measured_session,
)
from rpaccel.main_job.sweep_trace import trace_session
from rpaccel.main_job.sweep_traced import SessionTraces, traced_session
from rpaccel.main_job.sweep_units import event_units
from rpaccel.perfmodel.analytic import evaluate
from rpaccel.perfmodel.design_space import DesignPoint, DesignSpace
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.machine_cycles import ACCEPT_CYCLES
from rpaccel.perfmodel.machine_load import Machine, QueryLoad
from rpaccel.perfmodel.point_events import point_machine, point_query
from rpaccel.spec.program_plan import row_bytes_of
from rpaccel.spec.sweep import SweepSpec, load_sweep

__all__ = [
    "LEVELS",
    "OWN",
    "TOLD",
    "LoadPoint",
    "SweepPoint",
    "sweep_rates",
    "table_addresses",
    "validate_sweep",
    "validate_sweeps",
]

LEVELS = ("analytic", "event")
TOLD = "told"  # perfmodel.traced_machine, which is told the records
OWN = {level: f"{level}_own" for level in LEVELS}  # told the query's own share of hits
RATE_SWEEP, RATE_POINTS = "criteo_10m", 500_000


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """A query that is alone on its machine, what its counters say and what the models say [cycles].

    k : items that entered the second stage. front_task, back_task : items of a task, 0: one task.
    measured, analytic, event : of the query. analytic_own, event_own : if they are told the share
    of its beats that hit. front, back : of the stages, (measured, analytic, event). units : of each
    of UNIT_FIELDS, of both stages, (measured, event).
    hits : of both stages, as the models were told. shares : of the rows' beats that hit, as the
    banks counted and as the models were told. event_s : of one core. traced : told the records,
    (query, front, back). read : beats of rows from memory, (measured, traced). traced_s : of one
    core, in which it went through so many sub-batches: traced_steps, three of each.
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
    analytic_own: int
    event_own: int
    front: tuple[int, int, int]
    back: tuple[int, int, int]
    units: Mapping[str, Sequence[tuple[int, int]]]
    hits: tuple[float, float]
    shares: tuple[float, float]
    event_s: float
    traced: tuple[int, int, int]
    read: tuple[int, int]
    traced_s: float
    traced_steps: int

    @property
    def told(self) -> int:
        """What is said of the query by who is told its records."""
        return self.traced[0]


@dataclass(frozen=True, kw_only=True)
class LoadPoint:
    """Queries at once: cycles from the first one's arrival to the last one's end, and each one's.

    totals : (measured, event) of each query, without its time in the queue. ends : the same of
    when it ended, from the first one's arrival on. traced, traced_totals : told the records, of
    all and of each.
    """

    machine: str
    session: int
    latency: int
    measured: int
    event: int
    totals: tuple[tuple[int, int], ...]
    ends: tuple[tuple[int, int], ...]
    traced: int
    traced_totals: tuple[int, ...]


def table_addresses(session: SweepSession) -> tuple[dict[str, int], dict[str, int]]:
    """Return where each stage's tables lie: feature -> first byte."""
    images = session.images[0], session.images[-1]
    front, back = (
        {table.feature: table.address for table in image.tables if table.model == ranker.name}
        for image, ranker in zip(images, session.rankers.both, strict=True)
    )
    return front, back


def _space(session: SweepSession, dealing: Dealing, entered: int) -> DesignSpace:
    """Return the design space of the one point that a query is. entered : items of stage 1."""
    front, back = session.sub_batches(dealing)
    spec = SweepSpec.model_validate(
        {
            "name": "validation",
            "base": BASE,
            "blocks": session.machine.blocks,
            "axes": {
                **session.machine.axes,
                "memory_latency_cycles": session.latency,
                "front_sub_batch": front,
                "back_sub_batch": back,
                "front_task_items": dealing.front_task,
                "back_task_items": dealing.back_task,
                "k": entered,
            },
        }
    )
    workload = workload_of(session.rankers, dealing.items, entered, session.top_n)
    kept = dealing.items, entered
    hits = SampledHits(
        session.rankers, session.samples, session.profiles, session.config, kept,
        table_addresses(session),
    )  # fmt: skip
    return DesignSpace(spec, workload=workload, hits=hits)


def validate_sweep(
    name: str,
    sessions: int,
    seed: int,
    *,
    build_dir: Path = BUILD_DIR,
    say: Callable[[str], None] = print,
    trace: Path | None = None,
) -> Iterator[SweepPoint | LoadPoint]:
    """Yield random points on one of SWEEP_MACHINES: SESSION_QUERIES and a load of each session.

    trace : folder of a timeline of each session, which is asked again for it, on a device that logs
    its tasks; the points stay as they are. Raises RuntimeError if an answer is not golden.
    """
    machine = sweep_machine(name)
    library = build_simulator(machine.config, build_dir=build_dir, progress=say)
    begin = time.monotonic()
    for number in range(sessions):
        session = SweepSession(machine, seed, number)
        alone, load = measured_session(session, library, build_dir)
        with traced_session(session, sub_batches=trace is not None) as traces:
            traces.run([session.warming])
            for index, (asked, measured) in enumerate(zip(session.alone, alone, strict=True)):
                yield _point(session, index, asked, measured, traces)
            yield _load(session, load, traces)
        if trace is not None:
            trace_session(session, library, traces.reports, trace / f"sweep_{name}_{number}.json")
        done = (number + 1) * SESSION_QUERIES
        say(f"{name}: {done} points, {time.monotonic() - begin:.0f} s")


def validate_sweeps(
    sessions: int, seed: int, *, say: Callable[[str], None] = print, trace: Path | None = None
) -> list[SweepPoint | LoadPoint]:
    """Return the points of `sessions` sessions on each of SWEEP_MACHINES; see `validate_sweep`."""
    names = SWEEP_MACHINES if sessions else ()
    return [
        point
        for name in names
        for point in validate_sweep(name, sessions, seed, say=say, trace=trace)
    ]


def sweep_rates(points: Sequence[SweepPoint | LoadPoint]) -> dict[str, float]:
    """Return points per second of one core: `analytic` in a sweep, the others one by one, in all.

    `told` : who is told the records; "told steps", "told cycles" : sub-batches, three of each, and
    cycles per second of it. The first point is left out: code is compiled, or loaded, then.
    """
    alone = [point for point in points if isinstance(point, SweepPoint)]
    if not alone:
        return {}
    space = DesignSpace(load_sweep(RATE_SWEEP))
    evaluate(space, 0, RATE_POINTS)  # code is compiled, hit rates are found
    begin = time.process_time()
    evaluate(space, 0, RATE_POINTS)
    analytic = RATE_POINTS / max(time.process_time() - begin, 1e-9)
    later = alone[1:] or alone
    event = len(later) / max(sum(point.event_s for point in later), 1e-9)
    told_s = max(sum(point.traced_s for point in later), 1e-9)
    return {
        "analytic": analytic,
        "event": event,
        TOLD: len(later) / told_s,
        f"{TOLD} steps": sum(point.traced_steps for point in later) / told_s,
        f"{TOLD} cycles": sum(point.told for point in later) / told_s,
    }


def _told(space: DesignSpace, hits: tuple[float, float]) -> float:
    """Return the share of all beats of rows that hit, of what the models were told."""
    beats = []
    for network, items in space.workload.stages:
        rows = sum(f.ids for f in network.user_features)
        rows += items * sum(f.ids for f in network.item_features)
        beats.append(rows * -(-row_bytes_of(network.dim) // space.axes.beat_bytes[0]))
    return float(np.average(hits, weights=beats))


def _point(
    session: SweepSession, index: int, asked: Asked, measured: Measured, traces: SessionTraces
) -> SweepPoint:
    before = traces.machine.row_beats()[1]
    told, seconds = traces.run([asked])
    traced = told.queries[0]
    dealing = asked.dealing
    space = _space(session, dealing, measured.entered)
    point = space.point(0)
    hits = space.row_hits(point)
    begin = time.process_time()
    event = simulate(point_machine(space, point), [point_query(space, point)])
    end = time.process_time()
    row, first = _cycles(space), event.queries[0]
    shares = 1 - measured.read / max(1, measured.beats), _told(space, hits)
    counted = CountedHits(space.hits, (1 - shares[0]) / max(1e-9, 1 - shares[1]))
    own = DesignSpace(space.spec, workload=space.workload, hits=counted)
    return SweepPoint(
        machine=session.machine.name,
        session=session.number,
        query=index,
        latency=session.latency,
        items=dealing.items,
        k=measured.entered,
        front_sub_batch=point.front_sub_batch,
        back_sub_batch=point.back_sub_batch,
        front_task=dealing.front_task,
        back_task=dealing.back_task,
        measured=measured.total,
        analytic=row["latency_cycles"],
        event=first.total_cycles,
        analytic_own=_cycles(own)["latency_cycles"],
        event_own=simulate(point_machine(own, point), [point_query(own, point)])
        .queries[0]
        .total_cycles,
        front=(measured.front, row["front_cycles"], first.stages[0].cycles),
        back=(measured.back, row["back_cycles"], first.stages[1].cycles),
        units=_units(space, point, measured),
        hits=hits,
        shares=shares,
        event_s=end - begin,
        traced=(traced.total_cycles, traced.stages[0].cycles, traced.stages[1].cycles),
        read=(measured.read, traces.machine.row_beats()[1] - before),
        traced_s=seconds,
        traced_steps=told.steps,
    )


def _cycles(space: DesignSpace) -> dict[str, int]:
    """Return the columns of `analytic` of a space of one point."""
    return {name: int(values[0]) for name, values in evaluate(space, 0, 1).columns.items()}


def _units(
    space: DesignSpace, point: DesignPoint, measured: Measured
) -> dict[str, tuple[tuple[int, int], ...]]:
    """Return (measured, event) of both stages, of each of UNIT_FIELDS.

    A run of its own: `event_s` is that of a run without sub-batches, as a sweep's are.
    """
    machine = point_machine(space, point)
    report = simulate(machine, [point_query(space, point)], sub_batches=True)
    said = event_units(space, point, machine, report)
    return {
        name: tuple(zip(measured.units[name], cycles, strict=True)) for name, cycles in said.items()
    }


def _named(space: DesignSpace, point: DesignPoint, number: int) -> tuple[Machine, QueryLoad]:
    """Return machine and query of a point with model names of its own: sub-batches differ."""
    machine, query = point_machine(space, point), point_query(space, point)
    lanes = {
        lane: {f"{number}.{name}": shape for name, shape in shapes.items()}
        for lane, shapes in machine.lanes.items()
    }
    hits, skews = (
        {f"{number}.{name}": share for name, share in each.items()}
        for each in (machine.row_hits, machine.bank_skews)
    )
    stages = tuple(replace(stage, model=f"{number}.{stage.model}") for stage in query.stages)
    told = replace(machine, lanes=lanes, row_hits=hits, bank_skews=skews)
    return told, replace(query, stages=stages)


def _load(session: SweepSession, measured: list[Measured], traces: SessionTraces) -> LoadPoint:
    lanes: dict[int, dict[str, object]] = {}
    hits: dict[str, float] = {}
    skews: dict[str, float] = {}
    queries = []
    for number, (asked, found) in enumerate(zip(session.load, measured, strict=True)):
        space = _space(session, asked.dealing, found.entered)
        machine, query = _named(space, space.point(0), number)
        for lane, shapes in machine.lanes.items():
            lanes.setdefault(lane, {}).update(shapes)
        hits |= machine.row_hits
        skews |= machine.bank_skews
        queries.append(replace(query, arrival=found.arrival))
    whole = replace(machine, lanes=lanes, row_hits=hits, bank_skews=skews)  # type: ignore[arg-type]
    report = simulate(whole, queries)
    told = traces.run(session.load).report
    fetched = told.queries[0].arrival - measured[0].arrival
    return LoadPoint(
        machine=session.machine.name,
        session=session.number,
        latency=session.latency,
        measured=max(each.arrival + each.queue + each.total for each in measured),
        event=max(record.end for record in report.queries),
        totals=tuple(
            (found.total, record.total_cycles)
            for found, record in zip(measured, report.queries, strict=True)
        ),
        ends=tuple(
            (found.arrival + found.queue + found.total, record.end)
            for found, record in zip(measured, report.queries, strict=True)
        ),
        traced=told.cycles - fetched - ACCEPT_CYCLES,
        traced_totals=tuple(record.total_cycles for record in told.queries),
    )
