"""What row banks get of a memory, beside an ideal requester: shares of beats and of the peak."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rpaccel.host.axi_memory import MEMORIES, MemoryTiming
from rpaccel.host.ideal_requester import RequesterReport, requester_report
from rpaccel.host.row_simulator import RowRun, Updates, build_rows, rows_of, run_rows
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.stripe import port_of

__all__ = [
    "CLOCK_HZ", "MEMORY_BYTES", "READERS", "READS_OF_PORT", "ROW_BYTES", "SEVERAL_ROW_BYTES",
    "StudyRow", "StudyTrace", "UpdateRow", "readers_of", "reads_of", "study", "study_machine",
    "study_trace", "update_study",
]  # fmt: skip

ROW_BYTES = (64, 128, 256, 512)
SEVERAL_ROW_BYTES = (64, 256)  # of several ports
MEMORY_BYTES = 1 << 26
CLOCK_HZ = 300e6  # at 64 bytes a beat the port carries all of DDR4-2400
LONGEST_REQUEST_BYTES = 256
READERS = 16  # of several ports, at least: the gather ports of the whole `paper`
READS_OF_PORT = 128  # rows per port that all readers together have in flight


def study_machine(banks: int = 4, ports: int = 1) -> AcceleratorConfig:
    """Return ports of 64-byte beats with so many banks each, small caches, rows of up to 256 B.

    Larger rows than a machine's (max_dim): a unit's study. Raises ValueError for wrong sizes.
    """
    for name, value, most in (("banks", banks, 64), ("ports", ports, 16)):
        if not 1 <= value <= most or value & (value - 1):
            raise ValueError(f"{name} must be a power of two in 1..{most}, not {value}")
    if banks * ports > 64:
        raise ValueError(f"banks of all ports must be at most 64, not {banks * ports}")
    return load_accelerator("paper").model_copy(
        update={
            "name": "rows" if ports == 1 else f"rows_ports{ports}",
            "lanes": 1,
            "lane_blocks": (),
            "memory_ports": ports,
            "row_banks": banks * ports,
            "stripe_bytes": 256,
            "row_cache_sets": 16,
            "reads_in_flight": reads_of(ports),
            "row_reads": 128,
            "max_dim": LONGEST_REQUEST_BYTES,
        }
    )


def readers_of(ports: int) -> int:
    """Return the readers of so many ports: a reader takes one beat per cycle at most."""
    return 1 if ports == 1 else max(READERS, 2 * ports)


def reads_of(ports: int) -> int:
    """Return the rows that a reader has in flight: all readers' are fewer than what banks hold.

    With more, banks are full: a reader that comes to one leaves the others idle.
    """
    return READS_OF_PORT * ports // readers_of(ports)


class StudyTrace(NamedTuple):
    """Random rows of `row_bytes`, as the requests that they take.

    rows, asked : int64[n]  addresses of rows and of their requests, of part_bytes each.
    """

    row_bytes: int
    rows: NDArray[np.int64]
    asked: NDArray[np.int64]
    part_bytes: int

    def ideal(self, config: AcceleratorConfig, timing: MemoryTiming) -> RequesterReport:
        """Return what the ideal requester of each port gets."""
        beat = config.beat_bytes
        if config.memory_ports == 1:
            return requester_report(timing, self.rows, self.row_bytes, beat_bytes=beat)
        ports = port_of(config, self.asked)  # a stripe is one request
        return requester_report(timing, self.asked, self.part_bytes, ports, beat_bytes=beat)


def study_trace(
    config: AcceleratorConfig, row_bytes: int, *, beats: int, seed: int = 1
) -> StudyTrace:
    """Return about `beats` beats a port; a row above 256 B is asked for in requests of 256 B."""
    rng = np.random.default_rng(seed)
    count = config.memory_ports * beats * config.beat_bytes // row_bytes
    rows = rng.integers(0, MEMORY_BYTES // row_bytes, count) * row_bytes
    part = min(row_bytes, LONGEST_REQUEST_BYTES)
    asked = (rows[:, None] + np.arange(0, row_bytes, part)).reshape(-1)
    return StudyTrace(row_bytes, rows, asked, part)


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """Random rows of one size: beats per cycle of ours and of the ideal requester, and the peak.

    All ports together.
    """

    memory: str
    row_bytes: int
    run: RowRun
    ideal_beats_per_cycle: float
    peak_beats_per_cycle: float
    ports: int = 1

    @property
    def of_ideal(self) -> float:
        """Beats per cycle over those of the ideal requester."""
        return self.run.beats_per_cycle / self.ideal_beats_per_cycle

    @property
    def of_peak(self) -> float:
        """Beats per cycle over the most that memory and port can carry."""
        return self.run.beats_per_cycle / self.peak_beats_per_cycle

    @property
    def ideal_of_peak(self) -> float:
        """The ideal requester's beats per cycle over that most: ours cannot be much above it."""
        return self.ideal_beats_per_cycle / self.peak_beats_per_cycle


def study(
    memories: Sequence[str] = tuple(MEMORIES),
    row_bytes: Sequence[int] = ROW_BYTES,
    *,
    beats: int = 20_000,
    banks: int = 4,
    ports: int = 1,
    seed: int = 1,
    progress: Callable[[str], None] = print,
) -> Iterator[StudyRow]:
    """Yield a row for each memory and size: about `beats` beats a port at random, few of which hit.

    banks : of each port. A row above 256 B is asked for in requests of 256 B. With several ports
    `readers_of` them take rows in turn, and each port's ideal requester gets its bursts in that
    order. Raises RowError if an answer is wrong.
    """
    config, readers = study_machine(banks, ports), readers_of(ports)
    program = build_rows(config, readers, checks=ports == 1, progress=progress)
    beat = config.beat_bytes
    for memory in memories:
        timing = MemoryTiming.of(memory, clock_hz=CLOCK_HZ)
        for size in row_bytes:
            trace = study_trace(config, size, beats=beats, seed=seed)
            part_beats = trace.part_bytes // beat
            traces = [rows_of(trace.asked[i::readers], part_beats) for i in range(readers)]
            run = run_rows(program, traces, timing, memory_bytes=MEMORY_BYTES)
            ideal = trace.ideal(config, timing)
            yield StudyRow(
                memory=memory,
                row_bytes=size,
                run=run,
                ideal_beats_per_cycle=ideal.beats_per_cycle,
                peak_beats_per_cycle=ideal.peak_bytes_per_cycle / beat,
                ports=ports,
            )


@dataclass(frozen=True, kw_only=True)
class UpdateRow:
    """Rows read with and without a writer that updates them as fast as the queue goes."""

    memory: str
    row_bytes: int
    updates: int
    update_cycles: int
    alone: RowRun
    beside: RowRun

    @property
    def cycles_each(self) -> float:
        """Cycles from one update's end to the next one's."""
        return self.update_cycles / self.updates

    @property
    def rows_per_second(self) -> float:
        """Updates per second at CLOCK_HZ."""
        return CLOCK_HZ / self.cycles_each

    @property
    def read_share(self) -> float:
        """Cycles of the reads alone over those of the same reads beside the updates."""
        return self.alone.cycles / self.beside.cycles


def update_study(
    memories: Sequence[str] = tuple(MEMORIES),
    row_bytes: Sequence[int] = (64, 256),
    *,
    updates: int = 400,
    rows: int = 40_000,
    banks: int = 4,
    seed: int = 1,
    progress: Callable[[str], None] = print,
) -> Iterator[UpdateRow]:
    """Yield a row for each memory and size: Zipf-like reads of 4096 rows that are updated.

    Raises RowError if an answer is no version of its row, or an older one than it must be.
    """
    config, live_rows = study_machine(banks), 4096
    program = build_rows(config, 1, progress=progress)
    for memory in memories:
        timing = MemoryTiming.of(memory, clock_hz=CLOCK_HZ)
        for size in row_bytes:
            rng = np.random.default_rng(seed)
            popular = rng.permutation(live_rows)[rng.zipf(1.2, rows) % live_rows]
            trace = [rows_of(popular * size, size // config.beat_bytes)]
            writes = Updates(count=updates, live_rows=live_rows, row_bytes=size)
            still = Updates(count=0, live_rows=live_rows, row_bytes=size)
            alone, beside = (
                run_rows(program, trace, timing, memory_bytes=MEMORY_BYTES, updates=each)
                for each in (still, writes)
            )
            yield UpdateRow(
                memory=memory,
                row_bytes=size,
                updates=updates,
                update_cycles=beside.update_cycles,
                alone=alone,
                beside=beside,
            )
