"""A Verilated retrieval engine on its memory: scans of corpora, nothing in Python per cycle."""

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
from rpaccel.host.verilator import (
    BUILD_DIR,
    CPP_DIR,
    MEMORY_HEADERS,
    build_program,
    port_macros,
)
from rpaccel.rtl.netlist import cached_netlist
from rpaccel.rtl.retrieval_system import RetrievalSystem
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.retrieval import BUCKETS, MAX_ROW_BYTES, MIN_ROW_BYTES, Metric

__all__ = [
    "RetrievalError",
    "RetrievalRun",
    "ScanAnswer",
    "ScanQuery",
    "ScanTask",
    "build_retrieval",
    "run_retrieval",
]

_PAGE = 4096
_QUERY = np.dtype(
    [
        ("bitmap", "<u8"), ("valid", "<u4"), ("k", "<u4"), ("base", "<i4"), ("shift", "<u4"),
        ("floor_valid", "<u4"), ("floor", "<i4"), ("page_valid", "<u4"), ("page_score", "<i4"),
        ("page_id", "<u4"), ("reserved", "<u4"), ("vector", "i1", MAX_ROW_BYTES),
    ]
)  # fmt: skip


class _Header(ctypes.Structure):
    """`Header` of host/cpp/retrieval.cpp."""

    _fields_ = [
        *(
            (name, ctypes.c_uint64)
            for name in ("memory", "filled", "limit", "wait_per_mille", "seed", "scans")
        ),
        ("timing", TimingParameters),
    ]


class RetrievalError(RuntimeError):
    """An answer was lost or came twice; or a check of the netlist or of AXI failed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ScanQuery:
    """A query of a scan. vector : int8[row_bytes]. bitmap : bool[rows] that it looks at."""

    vector: NDArray[np.int8]
    k: int
    base: int = 0
    shift: int = 0
    bitmap: NDArray[np.bool_] | None = None
    floor: int | None = None
    page: tuple[int, int] | None = None  # score, id


@dataclass(frozen=True, kw_only=True, eq=False)
class ScanTask:
    """A scan of corpus number `corpus` for one query or several."""

    corpus: int
    metric: Metric
    queries: Sequence[ScanQuery]


@dataclass(frozen=True, kw_only=True, eq=False)
class ScanAnswer:
    """What a query got. scores, ids : int32[n], uint32[n]. Cycles count from reset.

    started : the scan was taken. reported : its last row was scored. first, ended : the answer's
    first row and its end. status, found, scan_cycles, beats, stalled_cycles : of the report.
    """

    scores: NDArray[np.int32]
    ids: NDArray[np.uint32]
    started: int
    reported: int
    first: int
    ended: int
    status: int
    found: int
    scan_cycles: int
    beats: int
    stalled_cycles: int


@dataclass(frozen=True, kw_only=True)
class RetrievalRun:
    """answers : [scan][query]. port_beats : read from each memory port."""

    cycles: int
    answers: list[list[ScanAnswer]]
    port_beats: tuple[int, ...]


def build_retrieval(
    config: AcceleratorConfig,
    *,
    build_dir: Path = BUILD_DIR,
    progress: Callable[[str], None] = print,
) -> Path:
    """Return the program of `config`'s retrieval engine by itself; cached."""
    netlist = cached_netlist(
        lambda: RetrievalSystem(config),
        config,
        name="retrieval",
        build_dir=build_dir,
        checks=True,
        progress=progress,
    )
    queries = config.retrieval_queries
    each = " ".join(f"X({place})" for place in range(queries))
    defines = (
        f"#define RPACCEL_QUERIES {queries}\n#define RPACCEL_FOR_EACH_QUERY(X) {each}\n"
        f"#define RPACCEL_CLEAR_CYCLES {BUCKETS}"
    )
    prelude = port_macros(config.memory_ports, config.beat_bytes)
    return build_program(
        netlist.verilog,
        prelude.replace("#pragma once", defines) + (CPP_DIR / "retrieval.cpp").read_text(),
        top=netlist.name,
        headers=MEMORY_HEADERS,
        progress=progress,
        build_dir=build_dir,
    )


class _Image:
    """What memory holds at the beginning."""

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        self.parts: list[tuple[int, bytes]] = []
        self.top = 1  # address 0: there is none

    def put(self, content: bytes, alignment: int) -> int:
        address = align(self.top, alignment)
        self.parts.append((address, content))
        self.top = address + align(len(content), self.config.beat_bytes)
        return address

    def bits(self, mask: NDArray[np.bool_] | None) -> int:
        if mask is None:
            return 0
        return self.put(np.packbits(mask, bitorder="little").tobytes(), _PAGE)

    def content(self) -> bytes:
        memory = bytearray(self.top)
        for address, part in self.parts:
            memory[address : address + len(part)] = part
        return bytes(memory)


def run_retrieval(
    program: Path,
    config: AcceleratorConfig,
    corpora: Sequence[tuple[NDArray[np.int8], NDArray[np.bool_] | None, NDArray[np.uint16] | None]],
    tasks: Sequence[ScanTask],
    timing: MemoryTiming,
    *,
    wait_per_mille: int = 0,
    seed: int = 1,
    limit_cycles: int = 10_000_000,
) -> RetrievalRun:
    """Run scans, each offered as soon as the one before is taken.

    corpora : (int8[n, row_bytes], live bool[n] or None, scales uint16[n] or None) each.
    wait_per_mille : cycles of 1000 in which no row of an answer is taken.
    Raises RetrievalError that says what was wrong and when.
    """
    image = _Image(config)
    stripes = config.memory_ports * config.stripe_bytes
    places = [
        (
            image.put(rows.tobytes(), max(stripes, _PAGE)),
            image.bits(live),
            0 if scales is None else image.put(scales.astype("<u2").tobytes(), _PAGE),
        )
        for rows, live, scales in corpora
    ]
    scan_dtype = np.dtype(
        [
            ("base", "<u8"), ("live", "<u8"), ("scales", "<u8"), ("rows", "<u4"),
            ("row_size", "<u4"), ("metric", "<u4"), ("reserved", "<u4"),
            ("queries", _QUERY, config.retrieval_queries),
        ]
    )  # fmt: skip
    scans = np.zeros(len(tasks), scan_dtype)
    for scan, task in zip(scans, tasks, strict=True):
        rows = corpora[task.corpus][0]
        scan["base"], scan["live"], scan["scales"] = places[task.corpus]
        scan["rows"] = len(rows)
        scan["row_size"] = (rows.shape[1] // MIN_ROW_BYTES).bit_length() - 1
        scan["metric"] = task.metric
        for asked, query in zip(scan["queries"], task.queries, strict=False):
            asked["valid"], asked["k"] = 1, query.k
            asked["base"], asked["shift"] = query.base, query.shift
            asked["bitmap"] = image.bits(query.bitmap)
            asked["floor_valid"], asked["floor"] = query.floor is not None, query.floor or 0
            score, name = query.page or (0, 0)
            asked["page_valid"] = query.page is not None
            asked["page_score"], asked["page_id"] = score, name
            asked["vector"][: rows.shape[1]] = query.vector
    content = image.content()
    header = _Header(
        align(len(content), _PAGE), len(content), limit_cycles, wait_per_mille, seed, len(tasks),
        timing.parameters,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        stimulus, found = Path(folder) / "scans.bin", Path(folder) / "answers.bin"
        with stimulus.open("wb") as file:
            for part in (bytes(header), scans.tobytes(), content):
                file.write(part)
        done = subprocess.run(
            [str(program), str(stimulus), str(found)], capture_output=True, text=True, check=False
        )
        if done.returncode not in (0, 1) or not done.stdout:
            raise RetrievalError(
                f"the simulator ended with {done.returncode}: {done.stderr[-500:]}"
            )
        pairs = np.fromfile(found, np.int32).reshape(-1, 2)
    *notes, last = done.stdout.strip().splitlines()
    result = json.loads(last)
    if result["error"]:
        raise RetrievalError("; ".join([result["error"], *notes[-3:]]))
    answers: list[list[ScanAnswer]] = [[] for _ in tasks]
    at = 0
    for place in result["answers"]:
        for facts in place:
            number, count = facts.pop("scan"), facts.pop("rows")
            found_rows = pairs[at : at + count]
            at += count
            answers[number].append(
                ScanAnswer(scores=found_rows[:, 0], ids=found_rows[:, 1].view(np.uint32), **facts)
            )
    return RetrievalRun(
        cycles=result["cycles"], answers=answers, port_beats=tuple(result["read_beats"])
    )
