"""The model of the row banks beside their netlists: points, and how far they are apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.pinned_traces import NO_PINS, PinLoads, pin_popular, pinned_rows
from rpaccel.host.row_memory import row_memory
from rpaccel.host.row_simulator import RowRun, build_rows, rows_of, run_rows
from rpaccel.perfmodel.row_bank_state import EPOCHS
from rpaccel.perfmodel.row_banks import (
    AskedRows,
    PrefetchedRows,
    ReaderStalls,
    RowReport,
    constant_memory,
    exposed_cycles,
    predict_rows,
)
from rpaccel.rtl.static_cache import STAGES
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator

__all__ = [
    "KINDS",
    "MACHINES",
    "METRICS",
    "PREFETCHERS",
    "ModelPoint",
    "compare_rows",
    "machine",
    "model_points",
    "model_rate",
]

MEMORY_BYTES = 1 << 20
KINDS = ("uniform", "zipf", "sequential", "repeats")
LATENCIES = (8, 200)  # [cycles], least and most
DRAMS = ("ddr4", "hbm2")
ZIPF_EXPONENT = 1.2
NEW_EPOCH_SHARE = 0.02  # of the rows that are prefetched
LONGEST_RUN = 8  # of equal rows, in `repeats`
METRICS = ("found", "read", "port beats", "cycles", "exposed")
EXPOSED_SHARE = 0.05  # of the cycles; less is not compared

# Name -> preset, readers, and what differs from the preset; one lane, as the lists and records of
# other lanes only widen the crossbar.
MACHINES: dict[str, tuple[str, int, dict[str, int]]] = {
    "edge": ("edge", 1, {}),
    "default": ("default", 4, {}),
    "one bank": (
        "tiny", 2,
        {"row_banks": 1, "memory_ports": 1, "row_cache_sets": 1, "row_cache_ways": 1,
         "row_reads": 4, "axi_data_bits": 64, "max_dim": 16, "axi_id_bits": 2},
    ),
    "two ports": (
        "tiny", 3,
        {"row_banks": 4, "memory_ports": 2, "row_cache_sets": 8, "row_cache_ways": 4,
         "row_reads": 16, "axi_data_bits": 128, "max_dim": 64, "axi_id_bits": 4},
    ),
    "four ports": (
        "tiny", 4,
        {"row_banks": 8, "memory_ports": 4, "row_cache_sets": 32, "row_cache_ways": 1,
         "row_reads": 32, "axi_data_bits": 512, "max_dim": 64, "stripe_bytes": 1024},
    ),
    "16 banks": (
        "tiny", 4,
        {"row_banks": 16, "memory_ports": 1, "row_cache_sets": 4, "row_cache_ways": 2,
         "row_reads": 8, "axi_data_bits": 64, "max_dim": 32, "stripe_bytes": 128},
    ),
    "edge, pins": ("edge", 1, {"static_cache_lines": 128}),
    "default, pins": ("default", 4, {"static_cache_lines": 1024}),
    "four banks, pins": (
        "tiny", 3,
        {"row_banks": 4, "memory_ports": 2, "row_cache_sets": 8, "row_cache_ways": 2,
         "row_reads": 8, "axi_data_bits": 128, "max_dim": 64, "axi_id_bits": 4,
         "static_cache_lines": 24, "static_cache_sets": 32, "static_cache_ways": 3},
    ),
    "two banks, ahead": (
        "tiny", 3,
        {"row_banks": 2, "memory_ports": 1, "row_cache_sets": 16, "row_cache_ways": 4,
         "row_reads": 16, "axi_data_bits": 64, "max_dim": 32, "axi_id_bits": 5,
         "static_cache_lines": 16, "static_cache_sets": 32},
    ),
}  # fmt: skip


PREFETCHERS = {"two banks, ahead": 2}  # other machines have none


def machine(name: str) -> tuple[AcceleratorConfig, int]:
    """Return (config, readers) of one of MACHINES."""
    if name not in MACHINES:
        raise ValueError(f"machine must be one of {', '.join(MACHINES)}, not {name!r}")
    preset, readers, changes = MACHINES[name]
    update = {"name": "rows", "lanes": 1, "lane_blocks": (), **changes}
    update = {"static_cache_lines": 0} | update
    return load_accelerator(preset).model_copy(update=update), readers


@dataclass(frozen=True, kw_only=True)
class ModelPoint:
    """A trace on a memory: what the netlist and the model made of it.

    memory : "ddr4", "hbm2", or a latency [cycles]. row_beats : of every row. rtl_exposed_cycles :
    as perfmodel.row_banks.exposed_cycles.
    """

    machine: str
    kind: str
    readers: int
    row_beats: int
    memory: str
    rtl: RowRun
    model: RowReport
    rtl_exposed_cycles: int

    @property
    def errors(self) -> dict[str, float]:
        """Relative error of each of METRICS that is compared; of ports, the worst."""
        rtl, model = self.rtl, self.model
        pairs = {
            "found": [(rtl.hits + rtl.merged, model.hits + model.merged)],
            "read": [(rtl.misses + rtl.refused, model.misses + model.refused)],
            "port beats": list(zip(rtl.port_beats, model.port_beats, strict=True)),
            "cycles": [(rtl.cycles, model.cycles)],
        }
        if self.rtl_exposed_cycles > EXPOSED_SHARE * rtl.cycles:
            pairs["exposed"] = [(self.rtl_exposed_cycles, model.exposed_cycles)]
        return {
            name: max(abs(want - got) / max(1, want) for want, got in both)
            for name, both in pairs.items()
        }


def trace(rng: np.random.Generator, kind: str, row_bytes: int, rows: int) -> NDArray[np.int64]:
    """Return the addresses of `rows` rows of one of KINDS in MEMORY_BYTES."""
    places = MEMORY_BYTES // row_bytes
    if kind == "uniform":
        numbers = rng.integers(0, places, rows)
    elif kind == "zipf":
        numbers = rng.zipf(ZIPF_EXPONENT, rows) % places
    elif kind == "sequential":
        numbers = (rng.integers(0, places) + np.arange(rows)) % places
    elif kind == "repeats":
        runs = rng.integers(1, LONGEST_RUN + 1, rows)
        numbers = np.repeat(rng.integers(0, places, rows), runs)[:rows]
    else:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    return numbers.astype(np.int64) * row_bytes


def compare_rows(
    config: AcceleratorConfig,
    run: Callable[..., RowRun],
    traces: Sequence[NDArray[np.void]],
    timing: MemoryTiming,
    *,
    pins: PinLoads = NO_PINS,
    stalls: ReaderStalls | None = None,
    prefetches: Sequence[NDArray[np.void]] = (),
) -> tuple[RowRun, RowReport]:
    """Return what netlist and model make of a trace per reader.

    run : run_rows of the machine's program. traces, prefetches : ROW[n] each.
    """
    rtl = run(
        traces,
        timing,
        loads=pins.loads,
        split=pins.split,
        moves=pins.moves,
        wait_per_mille=stalls.per_mille if stalls else 0,
        seed=stalls.seed if stalls else 1,
        prefetches=prefetches,
    )
    asked = [AskedRows(*_columns(rows)) for rows in traces]
    ahead = [PrefetchedRows(*_columns(rows)) for rows in prefetches]
    pinned = pinned_rows(config, pins) if pins.loads else None
    with row_memory(config, timing) as memory:
        return rtl, predict_rows(
            config, asked, memory, pinned=pinned, stalls=stalls, prefetches=ahead
        )


def _columns(rows: NDArray[np.void]) -> Iterator[NDArray[np.int64]]:
    return (rows[name].astype(np.int64) for name in ("address", "beats", "stage", "after"))


def model_points(
    machines: Sequence[str] = tuple(MACHINES),
    *,
    points: int = 17,
    rows: int = 1500,
    seed: int = 1,
    progress: Callable[[str], None] = print,
) -> Iterator[ModelPoint]:
    """Yield `points` random points of every machine, `rows` rows of each reader."""
    for number, name in enumerate(machines):
        config, most_readers = machine(name)
        program = build_rows(
            config, most_readers, PREFETCHERS.get(name, 0), checks=False, progress=progress
        )
        run = partial(run_rows, program, memory_bytes=MEMORY_BYTES)
        rng = np.random.default_rng([seed, number])
        for point in range(points):
            kind = KINDS[point % len(KINDS)]
            readers = int(rng.integers(1, most_readers + 1))
            beats = 1 << int(rng.integers(0, config.row_beats_max.bit_length()))
            latency = int(np.exp(rng.uniform(*np.log(LATENCIES))))
            memory = str(rng.choice([*DRAMS, str(latency), str(latency)]))
            timing = (
                MemoryTiming.of(memory)
                if memory in DRAMS
                else MemoryTiming(read_latency_cycles=latency)
            )
            size = beats * config.beat_bytes
            traces = [
                rows_of(trace(rng, kind, size, rows if i < readers else 0), beats)
                for i in range(most_readers)
            ]
            pins = _draw_pins(rng, config, traces) if config.static_cache_lines else NO_PINS
            ahead = [_draw_ahead(rng, traces[0]) for _ in range(PREFETCHERS.get(name, 0))]
            rtl, model = compare_rows(config, run, traces, timing, pins=pins, prefetches=ahead)
            yield ModelPoint(
                machine=name,
                kind=kind,
                readers=readers,
                row_beats=beats,
                memory=memory,
                rtl=rtl,
                model=model,
                rtl_exposed_cycles=exposed_cycles(rtl.cycles, [rows * beats]),
            )


def _draw_pins(
    rng: np.random.Generator, config: AcceleratorConfig, traces: Sequence[NDArray[np.void]]
) -> PinLoads:
    """Draw stages, sizes and pauses of the rows, and pin the first ones; not always."""
    beats = int(traces[0]["beats"][0])
    for rows in traces:
        rows["stage"] = rng.integers(0, STAGES, len(rows))
        rows["after"] = rng.choice([0, 0, 0, 1, 9], len(rows))
    if beats == 1:  # rows that are less than a beat, somewhere in it
        size = 4 << int(rng.integers(0, (config.beat_bytes // 4).bit_length()))
        for rows in traces:
            rows["bytes"] = size
            rows["address"] += size * rng.integers(0, config.beat_bytes // size, len(rows)).astype(
                np.uint64
            )
    split = int(rng.integers(0, config.static_cache_lines + 1))
    if rng.integers(0, 4) == 0:
        return NO_PINS
    profile = int(rng.integers(1, len(traces[0]) + 1))
    return pin_popular(config, [rows[:profile] for rows in traces], split)


def _draw_ahead(rng: np.random.Generator, rows: NDArray[np.void]) -> NDArray[np.void]:
    """Draw which of a reader's rows are prefetched, when, and in which epochs."""
    ahead = rows[rng.random(len(rows)) < rng.uniform(0, 1)]
    ahead["after"] = rng.choice([0, 0, 3, 20], len(ahead))
    ahead["stage"] = np.cumsum(rng.random(len(ahead)) < NEW_EPOCH_SHARE) % EPOCHS
    return ahead


def model_rate(name: str = "default", *, rows: int = 1_000_000, seed: int = 1) -> float:
    """Return the beats that the model runs per second of one core, Zipf-like rows of a beat."""
    config, readers = machine(name)
    rng = np.random.default_rng(seed)
    traces = [
        AskedRows(trace(rng, "zipf", config.beat_bytes, rows // readers)) for _ in range(readers)
    ]
    memory = constant_memory(config, MemoryTiming().read_latency_cycles)
    predict_rows(config, [AskedRows(np.zeros(1, np.int64))] * readers, memory)  # compiles
    begin = time.process_time()
    report = predict_rows(config, traces, memory)
    return report.beats / (time.process_time() - begin)
