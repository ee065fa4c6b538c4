"""Random machines, models and queries: the performance model beside the netlist's own counters."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rpaccel.golden.lane import Query, QueryResult
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.driver import Completion, Request
from rpaccel.host.row_memory import row_memory
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job.error_cells import relative_errors
from rpaccel.main_job.random_queries import Sizes, draw_rankers, draw_sizes
from rpaccel.main_job.run_trace import LOG_ENTRIES, Answered
from rpaccel.main_job.session import Session
from rpaccel.main_job.validation_trace import ValidationTrace
from rpaccel.perfmodel.gather_traces import rows_named
from rpaccel.perfmodel.report import UNIT_FIELDS, QueryReport
from rpaccel.perfmodel.row_hits import bank_skew
from rpaccel.perfmodel.traced_query import TracedLane, TracedStage
from rpaccel.scheduler.shapes import bins_scanned, predict_request, traced_request
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.platform import MemoryTiming as ModelTiming

__all__ = [
    "MACHINES",
    "MODELS",
    "UNITS",
    "ValidationPoint",
    "errors",
    "pairs_of",
    "rates",
    "validate_machine",
    "validation_config",
]

Floats = npt.NDArray[np.float64]

MEMORY_BYTES = 1 << 24
SESSION_QUERIES = 6  # of one set of rankers and one latency of the memory
MOST_MODELS = 3
LATENCIES = (8, 120)  # [cycles], least and most
UNITS = ("query", "stage", "gather", "array", "interaction", "filter")
MODELS = ("records", "means")

# Name -> preset, and what differs from it.
MACHINES: dict[str, tuple[str, dict[str, int]]] = {
    "tiny": ("tiny", {}),
    "few reads": (
        "tiny",
        {"reads_in_flight": 4, "row_cache_sets": 1, "row_cache_ways": 1, "row_reads": 2,
         "static_cache_lines": 0, "axi_id_bits": 3, "sub_batch_max": 8},
    ),
    "two ports": (
        "tiny",
        {"array_size": 16, "block_size": 8, "memory_ports": 2, "row_banks": 4,
         "row_cache_sets": 16, "axi_data_bits": 128, "max_dim": 64, "item_record_bytes": 128,
         "sub_batch_max": 32, "max_items": 256},
    ),
    "16 x 16 cells": (
        "tiny",
        {"array_size": 16, "block_size": 16, "axi_data_bits": 64, "row_banks": 2,
         "reads_in_flight": 32, "row_reads": 16, "max_dim": 32, "sub_batch_max": 64,
         "max_items": 512},
    ),
    "four gather ports": (
        "tiny",
        {"array_size": 64, "block_size": 32, "axi_data_bits": 128, "feature_words": 256,
         "param_entries": 1024, "row_banks": 4, "max_dim": 32},
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ValidationPoint:
    """A counter of one query, and what the models say of it [cycles].

    machine, session, query : where. unit : of UNITS; stage : of the query, 0 for the query itself.
    items : that enter the stage. latency : of the memory [cycles].
    records : `perfmodel.traced_query`, which knows the query's records. means :
    `perfmodel.lane`, which knows how many rows they name on average and how many hit; None
    where a query ends early. records_s, means_s : of one core, of the whole query, in its own row.
    """

    machine: str
    session: int
    query: int
    unit: str
    stage: int
    items: int
    latency: int
    measured: int
    records: int
    means: int | None
    records_s: float = 0.0
    means_s: float = 0.0


def validation_config(name: str) -> AcceleratorConfig:
    """Return one of MACHINES. Raises ValueError for another name."""
    if name not in MACHINES:
        raise ValueError(f"machine must be one of {', '.join(MACHINES)}, not {name!r}")
    preset, changes = MACHINES[name]
    return AcceleratorConfig.model_validate(
        load_accelerator(preset).model_dump() | {"name": name.replace(" ", "_")} | changes
    )


def validate_machine(
    name: str,
    queries: int,
    seed: int,
    *,
    build_dir: Path = BUILD_DIR,
    say: Callable[[str], None] = print,
    trace: Path | None = None,
) -> Iterator[ValidationPoint]:
    """Yield the counters of `queries` random queries, one after another, on one of MACHINES.

    A set of rankers and a latency of the memory for SESSION_QUERIES of them. trace : folder of a
    timeline of each such session; the devices then log their tasks, which no counter of a query
    that is alone shows. Raises RuntimeError if an answer is not golden.
    """
    config = validation_config(name)
    library = build_simulator(config, build_dir=build_dir, progress=say)
    begin = time.monotonic()
    for session, first in enumerate(range(0, queries, SESSION_QUERIES)):
        rng = np.random.default_rng([seed, list(MACHINES).index(name), session])
        count = min(SESSION_QUERIES, queries - first)
        picture = trace and trace / f"{config.name}_{session}.json"
        yield from _session(config, library, rng, count, (name, session), picture)
        say(f"{name}: {first + count} of {queries} queries, {time.monotonic() - begin:.0f} s")


def _session(
    config: AcceleratorConfig,
    library: Path,
    rng: np.random.Generator,
    count: int,
    where: tuple[str, int],
    trace: Path | None,
) -> Iterator[ValidationPoint]:
    models = int(rng.integers(1, min(MOST_MODELS, config.model_slots) + 1))
    rankers = draw_rankers(rng, config, models)
    sizes = draw_sizes(rng, config, models, count)
    timing = MemoryTiming(read_latency_cycles=int(rng.integers(*LATENCIES)))
    with (
        VerilatedDevice(config, timing, memory_bytes=MEMORY_BYTES, library=library) as device,
        row_memory(config, timing) as memory,
        row_memory(config, timing) as told_memory,
    ):
        session = Session(
            device, config, int(rng.integers(1 << 31)), depth=1, rankers=rankers,
            memory_bytes=MEMORY_BYTES, task_log_entries=LOG_ENTRIES if trace else 0,
        )  # fmt: skip
        lane = TracedLane(config, memory)
        timeline = ValidationTrace(session, timing, told_memory) if trace else None
        for index, size in enumerate(sizes):
            yield from _points(session, lane, size, timing, (*where, index), timeline)
        if trace and timeline:
            timeline.write(trace)


def _points(
    session: Session,
    lane: TracedLane,
    size: Sizes,
    timing: MemoryTiming,
    where: tuple[str, int, int],
    timeline: ValidationTrace | None,
) -> Iterator[ValidationPoint]:
    machine, number, index = where
    query, request = session.query(**size)
    completion = session.ask(request)
    golden = session.check(completion, query, f"{machine}, session {number}, query {index}")
    asked = _by_records(session, query, request, golden)
    if timeline:
        timeline.take(Answered(query=query, golden=golden, completion=completion), asked)
    begin = time.process_time()
    records = lane.query(asked, goes_on=len(golden.stages) < len(query.stages))
    middle = time.process_time()
    means = None
    if len(golden.stages) == len(query.stages):
        named = [np.unique(rows_named(stage.gather)) for stage in asked]
        skews = [bank_skew(session.config, rows) for rows in named]
        means = _by_means(session, query, golden, timing, lane.row_hits, skews)
    seconds = middle - begin, time.process_time() - middle
    said = (_counts(completion, len(golden.stages)), _counted(records), _counted(means))
    for key, measured in said[0].items():
        unit, stage = key
        yield ValidationPoint(
            machine=machine,
            session=number,
            query=index,
            unit=unit,
            stage=stage,
            items=len(golden.stages[stage].ids),
            latency=timing.read_latency_cycles,
            measured=measured,
            records=said[1][key],
            means=said[2].get(key),
            records_s=seconds[0] if unit == "query" else 0.0,
            means_s=seconds[1] if unit == "query" else 0.0,
        )


def _scans(session: Session, query: Query, golden: QueryResult) -> list[int]:
    """Return the bins that each filter looked at."""
    scans = []
    for scores, (slot, k) in zip(golden.stages, query.stages, strict=False):
        ranker = session.rankers[slot]
        passed = scores.logits[scores.logits >= ranker.threshold]
        scans.append(bins_scanned(passed, ranker.edges, k))
    return scans


def _names(session: Session, query: Query, golden: QueryResult) -> list[str]:
    stages = query.stages[: len(golden.stages)]
    return [session.rankers[slot].name for slot, _ in stages]


def _by_records(
    session: Session, query: Query, request: Request, golden: QueryResult
) -> list[TracedStage]:
    user_address, list_address = session.driver.input_addresses(0)
    return traced_request(
        session.compiled,
        user_record=query.user_record,
        user_address=user_address,
        features=query.features,
        features_address=request.features.address,
        list_address=list_address,
        candidates=[scores.ids for scores in golden.stages],
        models=_names(session, query, golden),
        sub_batch=request.sub_batch,
        scans=_scans(session, query, golden),
    )


def _by_means(
    session: Session,
    query: Query,
    golden: QueryResult,
    timing: MemoryTiming,
    row_hits: Sequence[float],
    bank_skews: Sequence[float],
) -> QueryReport:
    return predict_request(
        session.compiled,
        ModelTiming(latency_cycles=timing.read_latency_cycles, source="the simulated memory"),
        user_record=query.user_record,
        features=query.features,
        candidates=[scores.ids for scores in golden.stages],
        models=_names(session, query, golden),
        top_n=query.top_n,
        scans=_scans(session, query, golden),
        row_hits=row_hits,
        bank_skews=bank_skews,
    )


def _counts(completion: Completion, stages: int) -> dict[tuple[str, int], int]:
    """Return the counters of a completion by (unit, stage)."""
    found = {("query", 0): completion.total_cycles}
    for stage in range(stages):
        for name in ("stage_cycles", *UNIT_FIELDS):
            found[name.removesuffix("_cycles"), stage] = getattr(completion, name)[stage]
    return found


def _counted(report: QueryReport | None) -> dict[tuple[str, int], int]:
    """Return what a model says of them."""
    if report is None:
        return {}
    found = {("query", 0): report.total_cycles}
    for number, stage in enumerate(report.stages):
        for name in ("stage_cycles", *UNIT_FIELDS):
            found[name.removesuffix("_cycles"), number] = getattr(stage, name)
    return found


def rates(points: Sequence[ValidationPoint]) -> dict[str, float]:
    """Return queries per second of each model, and of *records* the "cycles" per second.

    The first query of a machine is left out: code is compiled, or loaded, then.
    """
    later = [p for p in points if p.unit == "query" and (p.session, p.query) != (0, 0)]
    known = [point for point in later if point.means is not None]
    records_s = sum(point.records_s for point in later)
    return {
        "records": len(later) / max(records_s, 1e-9),
        "means": len(known) / max(sum(point.means_s for point in known), 1e-9),
        "cycles": sum(point.measured for point in later) / max(records_s, 1e-9),
    }


def pairs_of(
    points: Sequence[ValidationPoint], model: str, unit: str
) -> tuple[list[int], list[int]]:
    """Return (predicted, measured) of one of MODELS for one of UNITS, where it says something."""
    known = [
        point for point in points if point.unit == unit and getattr(point, model) is not None
    ]  # fmt: skip
    return [getattr(point, model) for point in known], [point.measured for point in known]


def errors(points: Sequence[ValidationPoint], model: str, unit: str) -> Floats:
    """Return predicted / measured - 1 of one of MODELS for one of UNITS, float64[n]."""
    return relative_errors(*pairs_of(points, model, unit))
