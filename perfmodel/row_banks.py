"""Cycles and traffic of embedding rows: readers, row banks, memory fabric, memory; trace driven.

The registers of rtl.row_network and of the read side of rtl.memory_fabric, a cycle at a time, in
compiled code. Holds for readers that always take their answers and offer their rows at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import cfunc

from rpaccel.perfmodel import memory_fabric as fabric
from rpaccel.perfmodel.row_bank_kernels import STUCK, run
from rpaccel.perfmodel.row_bank_state import COUNTER_NAMES, RowSizes, RowTrace, new_row_state
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.stripe import bank_of, fold

__all__ = [
    "RowMemory",
    "RowReport",
    "constant_memory",
    "exposed_cycles",
    "predict_rows",
    "row_slots",
]

ROWS_WAITING = 16  # before a bank: rtl.row_bank
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class RowMemory:
    """When a port's memory answers.

    book : uint64 (memory, edge, id, address, beats) as a ctypes function: the edge at which the
        first beat of a burst sent at `edge` can be taken. Edges do not fall from call to call.
    memories : what `book` is given for each port
    first_edge : edge of the run's first cycle
    """

    book: Any
    memories: tuple[int, ...]
    first_edge: int = 0


@cache
def _constant() -> Any:
    @cfunc("uint64(uint64, uint64, uint64, uint64, uint64)")
    def book(latency: int, edge: int, identity: int, address: int, beats: int) -> int:
        return edge + latency

    return book


def constant_memory(config: AcceleratorConfig, latency_cycles: int) -> RowMemory:
    """Return a memory that answers `latency_cycles` after it took a burst, in order."""
    if latency_cycles < 2:
        raise ValueError(f"latency_cycles must be at least 2, not {latency_cycles}")
    return RowMemory(book=_constant().ctypes, memories=(latency_cycles,) * config.memory_ports)


@dataclass(frozen=True, kw_only=True)
class RowReport:
    """What a row network does with its traces; the counters are those of the netlist.

    cycles : from the first offer to the last beat that a reader takes, both included, after a
        reset: the caches are cleared first.
    beats : given to the readers. exposed_cycles : see there.
    hits, merged, misses, refused, evictions : beats, by what the banks found.
    port_beats : read from each memory port.
    """

    cycles: int
    beats: int
    exposed_cycles: int
    hits: int
    merged: int
    misses: int
    refused: int
    evictions: int
    port_beats: tuple[int, ...]

    @property
    def port_busy(self) -> tuple[float, ...]:
        """Share of the cycles in which each port carries a beat."""
        return tuple(beats / self.cycles for beats in self.port_beats)


def row_slots(config: AcceleratorConfig) -> int:
    """Return the rows that a reader has asked for and not got: a power of two."""
    return 1 << (config.reads_in_flight.bit_length() - 1)


def exposed_cycles(cycles: int, beats: Sequence[int]) -> int:
    """Return the cycles beyond one per beat of the busiest reader. beats : of each reader."""
    return cycles - max(beats, default=0)


def predict_rows(
    config: AcceleratorConfig,
    traces: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]],
    memory: RowMemory,
) -> RowReport:
    """Return what `config`'s row network does with a trace per reader.

    traces : (addresses [bytes], beats) of the rows of each reader, int[n] or int each. A row lies
    in one bank. Raises ValueError for a machine with static caches, or rows that
    are not whole beats, or too long.
    """
    given = [_rows(*rows) for rows in traces]
    address = np.concatenate([np.zeros(0, np.int64), *(at for at, _ in given)])
    beats = np.concatenate([np.zeros(0, np.int64), *(n for _, n in given)])
    _check(config, address, beats)
    first = np.cumsum(beats) - beats
    beat = np.arange(beats.sum()) - np.repeat(first, beats)
    key = np.repeat(address // config.beat_bytes, beats) + beat
    set_bits = (config.row_cache_sets - 1).bit_length()
    key_bits = config.axi_address_bits - (config.beat_bytes - 1).bit_length()
    trace = RowTrace(
        beats=beats,
        first=first,
        bank=bank_of(config, address),
        address=address,
        key=key,
        at=fold(key, set_bits, key_bits),
    )
    sizes = _sizes(config, len(given), memory.first_edge)
    rows = [len(at) for at, _ in given]
    state = new_row_state(sizes, config.row_cache_sets, 1 << config.axi_id_bits, rows)
    cycles = int(run(sizes, trace, state, memory.book, np.array(memory.memories, np.uint64)))
    assert cycles != STUCK, "rows wait and nothing moves"
    counts = state.counters[0]
    return RowReport(
        cycles=cycles,
        beats=len(key),
        exposed_cycles=exposed_cycles(cycles, [int(n.sum()) for _, n in given]),
        port_beats=tuple(int(count) for count in state.ports["beats"]),
        **{name: int(counts[name]) for name in COUNTER_NAMES},
    )


def _rows(addresses: npt.ArrayLike, beats: npt.ArrayLike) -> tuple[Ints, Ints]:
    at = np.asarray(addresses, np.int64).reshape(-1)
    return at, np.broadcast_to(np.asarray(beats, np.int64), at.shape)


def _check(config: AcceleratorConfig, address: Ints, beats: Ints) -> None:
    if config.static_cache_lines:
        raise ValueError(
            f"static_cache_lines must be 0: they are not modelled, not {config.static_cache_lines}"
        )
    if wrong := address[(address < 0) | (address % config.beat_bytes != 0)][:1].tolist():
        raise ValueError(f"addresses must be multiples of {config.beat_bytes}, not {wrong[0]}")
    if wrong := beats[(beats < 1) | (beats > config.row_beats_max)][:1].tolist():
        raise ValueError(f"beats must be in 1..{config.row_beats_max}, not {wrong[0]}")


def _sizes(config: AcceleratorConfig, readers: int, first_edge: int) -> RowSizes:
    return RowSizes(
        banks=config.banks,
        ports=config.memory_ports,
        readers=readers,
        ways=config.row_cache_ways,
        reads=config.row_reads,
        row_beats=config.row_beats_max,
        beat_bytes=config.beat_bytes,
        slots=row_slots(config),
        row_places=ROWS_WAITING - 1,
        look_cycles=fabric.LOOK_CYCLES,
        id_cycles=fabric.QUEUE_CYCLES,
        clear_cycles=config.row_cache_sets,
        first_edge=first_edge,
    )
