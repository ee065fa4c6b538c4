"""What merging, caching and pinning of rows save on real traces, in the netlist and by the model.

Rows as the gather unit asks for them: a stage's user rows once, then item after item
(docs/decisions/0003-user-side-once.md). Nothing is between two queries of a reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rpaccel.golden.cache_sim import CacheConfig, Event, simulate
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.pinned_traces import NO_PINS, pin_popular
from rpaccel.host.row_model import compare_rows, machine
from rpaccel.host.row_simulator import RowRun, build_rows, rows_of, run_rows
from rpaccel.main_job.inputs import JobInputs, load_inputs
from rpaccel.main_job.netlist import STAGES, TOP_N
from rpaccel.main_job.rankers import CompiledJob, compile_job
from rpaccel.perfmodel.networks import RM_LARGE, RM_SMALL
from rpaccel.perfmodel.row_banks import RowReport, row_slots
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.program_plan import row_bytes_of
from rpaccel.workloads.criteo_trace import KEYS, criteo_trace
from rpaccel.workloads.log_trace import RowKeys

__all__ = ["MEMORIES", "TrafficRow", "criteo_rows", "log_rows", "row_traffic"]

Ints = NDArray[np.int64]
Rows = NDArray[np.void]  # ROW of host.row_simulator

MEMORIES = ("simple", "ddr4", "hbm2")
CRITEO_ITEMS = (4096, 512)  # of the two stages: RecPipe section 5.1
PROFILE_QUERIES = 16  # others of the log, or of the Criteo-like trace: what is popular
NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class TrafficRow:
    """A trace on a machine and a memory.

    asked, in_flight : beats read without merging and cache; if equal rows in flight are read once
    rtl, model : with the look-ahead caches, and, in static caches, `pins` beats
    """

    trace: str
    machine: str
    memory: str
    rows: int
    asked: int
    in_flight: int
    pins: int
    rtl: RowRun
    model: RowReport

    @property
    def read(self) -> int:
        """Beats that the netlist read from memory."""
        return sum(self.rtl.port_beats)


def merged_in_flight(config: AcceleratorConfig, traces: Sequence[Rows]) -> int:
    """Return the beats read if only equal rows in flight are read once: counted in the traces.

    In flight: as many rows as the readers may have asked for, the last ones read; readers in turn.
    """
    turn = np.concatenate([np.arange(len(rows)) for rows in traces])
    order = np.argsort(turn, kind="stable")
    rows = np.concatenate(traces)[order]
    addresses = (rows["address"] // config.beat_bytes).astype(np.int64)
    beats = rows["beats"]
    window = CacheConfig(policy="pinned", rows=0, outstanding=row_slots(config) * len(traces))
    events = simulate(window, addresses, pinned=NOTHING, record=True).events
    assert events is not None
    return int(beats[events != Event.MERGED].sum())


def log_rows(job: CompiledJob, users: Sequence[int]) -> Rows:
    """Return the rows that the two-stage queries of the main job ask for, one query after another.

    Addresses are those of the compiled image.
    """
    inputs = job.inputs
    keys = RowKeys(inputs.features, [ranker.config for ranker in inputs.rankers.values()])
    tables = {(table.model, table.feature): table for table in job.compiled.tables}
    places = [
        tables[ranker.config.name, feature.name]
        for ranker in inputs.rankers.values()
        for feature in ranker.config.sparse(inputs.features.schema)
    ]
    sizes = np.concatenate([np.full(place.rows, place.row_bytes) for place in places])
    address = np.concatenate(
        [place.address + np.arange(place.rows) * place.row_bytes for place in places]
    )
    asked, stages = [], []
    for user in users:
        scored = job.golden(user, STAGES, TOP_N).stages
        for stage, ((name, _), each) in enumerate(zip(STAGES, scored, strict=True)):
            asked.append(keys.stage(name, user, each.ids).user_once)
            stages.append(np.full(len(asked[-1]), stage))
    key = np.concatenate(asked)
    return _rows(job.config, address[key], sizes[key], np.concatenate(stages))


def criteo_rows(config: AcceleratorConfig, reader: int, items: Sequence[int], seed: int) -> Rows:
    """Return the rows of a query of RecPipe's two rankers, all 26 tables, int8, tables packed.

    items : of each stage; the second stage's are the first ones of the first stage.
    """
    keys = criteo_trace(items[0], seed=seed + reader)
    base, asked = 0, []
    for stage, (network, count) in enumerate(zip((RM_SMALL, RM_LARGE), items, strict=True)):
        size, named = row_bytes_of(network.dim), keys[:count].reshape(-1)
        asked.append(
            _rows(
                config, base + named * size, np.full(named.size, size), np.full(named.size, stage)
            )
        )
        base += -(-KEYS * size // config.beat_bytes) * config.beat_bytes
    return np.concatenate(asked)


def _rows(config: AcceleratorConfig, addresses: Ints, row_bytes: Ints, stages: Ints) -> Rows:
    rows = rows_of(addresses, np.maximum(1, row_bytes // config.beat_bytes))
    rows["bytes"], rows["stage"] = row_bytes, stages
    return rows


def row_traffic(
    data: str,
    *,
    queries: int = 4,
    items: Sequence[int] = CRITEO_ITEMS,
    memories: Sequence[str] = MEMORIES,
    seed: int = 1,
    progress: Callable[[str], None] = print,
) -> Iterator[TrafficRow]:
    """Yield the rows of both traces on every memory, without pinned rows and with them.

    data : the click log, on `edge`, its queries one after another. Criteo-like: on `default`, a
    query of `items` for each of its readers. Pinned: what other queries name most often, half of
    the lines for each stage. Raises RowError if an answer of a netlist is wrong.
    """
    inputs = load_inputs(data)
    job = compile_job(inputs, load_accelerator("edge"))
    users = [int(user) for user in inputs.some_users(queries + PROFILE_QUERIES, seed)]
    progress(f"{data}: {queries} queries ...")
    traces, profile = [log_rows(job, users[:queries])], [log_rows(job, users[queries:])]
    for name in ("edge", "edge, pins"):
        yield from _runs(_log_name(inputs, queries), name, traces, profile, memories, progress)
    config, readers = machine("default")
    progress(f"Criteo-like: {readers} queries ...")
    traces, profile = (
        [criteo_rows(config, reader, items, seed) for reader in numbers]
        for numbers in (range(readers), range(readers, readers + PROFILE_QUERIES))
    )
    title = f"Criteo-like, {readers} x {' and '.join(map(str, items))} items"
    for name in ("default", "default, pins"):
        yield from _runs(title, name, traces, profile, memories, progress)


def _log_name(inputs: JobInputs, queries: int) -> str:
    return f"{inputs.log.name}, {queries} queries"


def _runs(
    name: str,
    machine_name: str,
    traces: Sequence[Rows],
    profile: Sequence[Rows],
    memories: Sequence[str],
    progress: Callable[[str], None],
) -> Iterator[TrafficRow]:
    config, readers = machine(machine_name)
    program = build_rows(config, readers, checks=False, progress=progress)
    end = max(int((rows["address"] + rows["beats"] * config.beat_bytes).max()) for rows in traces)
    lines = config.static_cache_lines
    pins = pin_popular(config, profile, lines // 2) if lines else NO_PINS
    run = partial(run_rows, program, memory_bytes=-(-end // 4096) * 4096)
    for memory in memories:
        rtl, model = compare_rows(config, run, traces, MemoryTiming.of(memory), pins=pins)
        yield TrafficRow(
            trace=name,
            machine=machine_name,
            memory=memory,
            rows=rtl.rows,
            asked=rtl.beats,
            in_flight=merged_in_flight(config, traces),
            pins=pins.beats,
            rtl=rtl,
            model=model,
        )
