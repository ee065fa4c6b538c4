"""A Verilated row network on its memory: traces of rows through banks, fabric and AXI memory.

Nothing in Python runs per cycle. Every answer is checked against memory, and that nothing comes
twice or unasked.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rpaccel.host.axi_memory import MemoryTiming, TimingParameters
from rpaccel.host.compile import align
from rpaccel.host.image import Section
from rpaccel.host.verilator import (
    BUILD_DIR,
    CPP_DIR,
    MEMORY_HEADERS,
    build_program,
    port_macros,
)
from rpaccel.rtl.netlist import cached_netlist
from rpaccel.rtl.row_system import RowSystem
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Target, target_bits

__all__ = [
    "ROW",
    "RowError",
    "RowRun",
    "Updates",
    "build_rows",
    "live_row",
    "loads_of",
    "memory_bytes_of",
    "rows_of",
    "run_rows",
]

# `Row` of host/cpp/rows.cpp; `after`: cycles between the request before and this one's offer.
ROW = np.dtype(
    [("address", "<u8"), ("beats", "<u4"), ("after", "<u4"), ("bytes", "<u4"), ("stage", "<u4")]
)
_LOAD = np.dtype([("target", "<u4"), ("index", "<u4"), ("low", "<u8"), ("high", "<u8")])
_LIMIT_CYCLES_PER_BEAT, _LIMIT_CYCLES, _LIMIT_CYCLES_PER_UPDATE = 400, 200_000, 20_000
_WORD = (1 << 64) - 1
PAGE = 4096


class _Header(ctypes.Structure):
    """`Header` of host/cpp/rows.cpp."""

    _fields_ = [
        *(
            (name, ctypes.c_uint64)
            for name in (
                "memory",
                "limit",
                "wait_per_mille",
                "seed",
                "split",
                "loads",
                "moves",
                "updates",
                "update_gap",
                "live_rows",
                "live_row_bytes",
                "versions",
                "queue",
            )
        ),
        ("timing", TimingParameters),
    ]


COUNTS = (
    "pinned", "hits", "merged", "misses", "refused", "evictions",
    "prefetches", "dropped", "used", "late", "unused",
    "updates", "stale", "update_cycles",
)  # fmt: skip


class RowError(RuntimeError):
    """A row was lost, wrong, or answered twice; or a check of the netlist or of AXI failed."""


@dataclass(frozen=True, kw_only=True)
class RowRun:
    """What a row network did with its traces.

    cycles : from the first offer of any reader to the last beat that any takes, both included.
    rows, beats : given to the readers. errors : beats answered with status MEMORY.
    pinned, hits, merged, misses, refused, evictions : beats, by what the banks found.
    prefetches, dropped, used, late, unused : beats, see LookAheadCache.
    updates, stale : dealt with, and those of them that were not newer than their row.
    update_cycles : from the first update's doorbell to the last one's end.
    port_beats : read from each memory port.
    """

    cycles: int
    rows: int
    beats: int
    errors: int
    pinned: int
    hits: int
    merged: int
    misses: int
    refused: int
    evictions: int
    prefetches: int
    dropped: int
    used: int
    late: int
    unused: int
    updates: int
    stale: int
    update_cycles: int
    port_beats: tuple[int, ...]

    @property
    def beats_per_cycle(self) -> float:
        """Beats given to the readers, per cycle."""
        return self.beats / self.cycles

    @property
    def read_beats_per_cycle(self) -> float:
        """Beats read from memory, per cycle, over all ports."""
        return sum(self.port_beats) / self.cycles


def build_rows(
    config: AcceleratorConfig,
    readers: int,
    prefetchers: int = 0,
    *,
    checks: bool = True,
    build_dir: Path = BUILD_DIR,
    progress: Callable[[str], None] = print,
) -> Path:
    """Return the program of `config`'s row network with so many readers and prefetchers; cached."""
    netlist = cached_netlist(
        lambda: RowSystem(config, readers, prefetchers),
        config,
        name=f"rows{readers}" + (f"_{prefetchers}" if prefetchers else ""),
        build_dir=build_dir,
        checks=checks,
        progress=progress,
    )
    each, ahead = (" ".join(f"X({i})" for i in range(count)) for count in (readers, prefetchers))
    prelude = port_macros(config.memory_ports, config.beat_bytes)
    defines = (
        f"#define RPACCEL_READERS {readers}\n"
        f"#define RPACCEL_FOR_EACH_READER(X) {each}\n"
        f"#define RPACCEL_FOR_EACH_PREFETCHER(X) {ahead}\n"
        f"#define RPACCEL_UPDATE_ENTRY_BYTES {config.update_entry_bytes}"
    )
    prelude = prelude.replace("#pragma once", defines)
    return build_program(
        netlist.verilog,
        prelude + (CPP_DIR / "rows.cpp").read_text(),
        top=netlist.name,
        headers=MEMORY_HEADERS,
        progress=progress,
        build_dir=build_dir,
    )


@dataclass(frozen=True, kw_only=True)
class Updates:
    """Rows that are written anew while others are read.

    count : int  updates, of rows 0..live_rows - 1 (from address 0 on) at random; one in eight has
    a version that is not newer. gap_cycles : between the doorbells, at least.
    live_rows, row_bytes : int
    """

    count: int
    live_rows: int
    row_bytes: int
    gap_cycles: int = 0

    @property
    def versions_address(self) -> int:
        """First version word: behind the rows."""
        return align(self.live_rows * self.row_bytes, PAGE)

    @property
    def queue_address(self) -> int:
        """First entry of the queue, which takes a page."""
        return self.versions_address + align(4 * self.live_rows, PAGE)


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return what looks random.

    Ref: Steele, Lea, Flood, OOPSLA 2014 (SplitMix64), as in host/cpp/memory_timing.hpp.
    """
    value = numbers + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ value >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ value >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return value ^ value >> np.uint64(31)


def memory_bytes_of(address: int, length: int) -> bytes:
    """Return what memory holds where nothing is live; address : a multiple of 8."""
    words = np.arange(address // 8, -(-(address + length) // 8), dtype=np.uint64)
    return _mixed(words).tobytes()[:length]


def live_row(row: int, version: int, row_bytes: int, seed: int = 1) -> bytes:
    """Return a version of a live row; seed : of `run_rows`."""
    first = seed + (row << 40) + (version << 8)
    numbers = np.uint64(first) + np.arange(row_bytes // 4, dtype=np.uint64)
    return _mixed(numbers).astype(np.uint32).tobytes()


def loads_of(sections: Sequence[Section]) -> list[tuple[Target, int, int]]:
    """Return the loads of an image's sections of pinned rows."""
    found = []
    for section in sections:
        size = target_bits(section.target, array_size=0) // 8
        for index in range(len(section.payload) // size):
            entry = section.payload[index * size : (index + 1) * size]
            found.append((section.target, section.start + index, int.from_bytes(entry, "little")))
    return found


def rows_of(
    addresses: NDArray[np.integer],
    beats: int | NDArray[np.integer] = 1,
    after: int = 0,
    row_bytes: int = 0,
) -> NDArray[np.void]:
    """Return a trace of ROW. beats : of every row, or int[n]. row_bytes : 0: all of its beats."""
    rows = np.zeros(len(addresses), ROW)
    rows["address"], rows["beats"], rows["after"] = addresses, beats, after
    rows["bytes"] = row_bytes
    return rows


def run_rows(
    program: Path,
    traces: Sequence[NDArray[np.void]],
    timing: MemoryTiming,
    *,
    memory_bytes: int = 1 << 24,
    wait_per_mille: int = 0,
    seed: int = 1,
    loads: Sequence[tuple[Target, int, int]] = (),
    split: int = 0,
    moves: Sequence[tuple[int, int]] = (),
    updates: Updates | None = None,
    prefetches: Sequence[NDArray[np.void]] = (),
) -> RowRun:
    """Offer every reader its trace and return what came of it.

    traces : ROW[n] each, rows inside `memory_bytes`. wait_per_mille : cycles of 1000 in which a
    reader does not take its answer. loads : (target, index, entry) of pinned rows, whose bytes must
    be those of memory (`memory_bytes_of`, `live_row`). split : of the static caches; moves :
    (edge, split) each, from which on they have another one, as `after` counts for a first row.
    prefetches : ROW[n] of each of the program's prefetchers; `stage` is its epoch (0..3) while it
    offers the row or has it next. The run ends when what they asked for has been read.
    Raises RowError that says what was wrong and when.
    """
    ends = [int((t["address"] + 1).max(initial=0)) for t in (*traces, *prefetches)]
    if max(ends) > memory_bytes:
        raise ValueError(f"addresses must be below memory_bytes {memory_bytes}, not {max(ends)}")
    beats = sum(int(trace["beats"].sum()) for trace in traces)
    ahead = sum(int(trace["beats"].sum()) for trace in prefetches)
    waits = max(int(trace["after"].sum()) for trace in (*traces, *prefetches))
    limit = _LIMIT_CYCLES + _LIMIT_CYCLES_PER_BEAT * (beats + ahead) + waits
    live = updates or Updates(count=0, live_rows=0, row_bytes=4)
    limit += live.count * (live.gap_cycles + _LIMIT_CYCLES_PER_UPDATE)
    header = _Header(
        memory_bytes, limit, wait_per_mille, seed, split, len(loads), len(moves),
        live.count, live.gap_cycles, live.live_rows, live.row_bytes, live.versions_address,
        live.queue_address, timing.parameters,
    )  # fmt: skip
    pinned = np.zeros(len(loads), _LOAD)
    for number, (target, index, entry) in enumerate(loads):
        pinned[number] = (target, index, entry & _WORD, entry >> 64)
    with tempfile.TemporaryDirectory() as folder:
        stimulus = Path(folder) / "rows.bin"
        with stimulus.open("wb") as file:
            file.write(bytes(header))
            file.write(pinned.tobytes())
            file.write(np.array(moves, np.uint64).tobytes())
            for trace in (*traces, *prefetches):
                file.write(len(trace).to_bytes(8, "little"))
                file.write(np.ascontiguousarray(trace, ROW).tobytes())
        done = subprocess.run(
            [str(program), str(stimulus)], capture_output=True, text=True, check=False
        )
    if done.returncode not in (0, 1) or not done.stdout:
        raise RowError(f"the simulator ended with {done.returncode}: {done.stderr[-500:]}")
    *notes, last = done.stdout.strip().splitlines()
    result = json.loads(last)
    if result["error"]:
        raise RowError("; ".join([result["error"], *notes[-3:]]))
    readers = result["readers"]
    used = [reader for reader in readers if reader["rows"]]
    cycles = max(r["last"] for r in used) - min(r["first"] for r in used) + 1 if used else 0
    return RowRun(
        cycles=cycles,
        rows=sum(reader["rows"] for reader in readers),
        beats=beats,
        errors=sum(reader["errors"] for reader in readers),
        port_beats=tuple(result["read_beats"]),
        **{name: result[name] for name in COUNTS},
    )
