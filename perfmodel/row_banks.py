"""Cycles and traffic of embedding rows: readers, row banks, memory fabric, memory; trace driven.

The registers of rtl.row_network and of the read side of rtl.memory_fabric, a cycle at a time, in
compiled code, with the static caches. Updates are not modelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import cfunc

from rpaccel.perfmodel import memory_fabric
from rpaccel.perfmodel.gather_unit_state import new_order_state
from rpaccel.perfmodel.row_bank_state import (
    COUNTER_NAMES,
    EPOCHS,
    RowSizes,
    RowTrace,
    new_row_state,
)
from rpaccel.perfmodel.row_network_kernels import STUCK, run
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.stripe import bank_of, fold

__all__ = [
    "ROWS_WAITING",
    "AskedRows",
    "PinnedRows",
    "PrefetchedRows",
    "ReaderStalls",
    "RowMemory",
    "RowReport",
    "constant_memory",
    "exposed_cycles",
    "predict_rows",
    "row_sizes",
    "row_slots",
    "row_trace",
]

ROWS_WAITING = 16  # before a bank: rtl.row_front
WORD_BYTES = 4  # rows begin at words
STAGES = 2
MOST_MOVES = 62  # of a split: a beat has a bit for each
Ints = npt.NDArray[np.int64]


class AskedRows(NamedTuple):
    """The rows that a reader asks for, in order: int[n] each, or an int for all of them.

    addresses : [bytes]; a row lies in one bank. stages : 0 front end, 1 later ones.
    after : cycles between the request before and the offer of this one, or, of the first, from
        edge 0 on.
    """

    addresses: npt.ArrayLike
    beats: npt.ArrayLike = 1
    stages: npt.ArrayLike = 0
    after: npt.ArrayLike = 0


class PrefetchedRows(NamedTuple):
    """The rows that a prefetcher asks for, of stage 1: as AskedRows.

    epochs : 0..3, the prefetcher's while it offers the row or has it next.
    """

    addresses: npt.ArrayLike
    beats: npt.ArrayLike = 1
    epochs: npt.ArrayLike = 0
    after: npt.ArrayLike = 0


@dataclass(frozen=True, kw_only=True)
class PinnedRows:
    """What the static caches hold.

    addresses : per stage, int[n] of the beats that a lookup finds [bytes]: of a beat's first byte,
        or of a smaller row's.
    load_cycles : of loading them, from the reset to the first cycle.
    moves : (edge, addresses) each: what a lookup finds from there on, as the split between the
        stages moves; edges as of AskedRows.after, rising; MOST_MOVES at most.
    """

    addresses: tuple[Ints, Ints]
    load_cycles: int = 0
    moves: tuple[tuple[int, tuple[Ints, Ints]], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReaderStalls:
    """Cycles in which readers do not take their beats: per_mille of 1000, at random by `seed`."""

    per_mille: int
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class RowMemory:
    """When a port's memory answers.

    book : uint64 (memory, edge, id, address, beats) as a ctypes function: the edge at which the
        first beat of a burst sent at `edge` can be taken. Edges do not fall from call to call.
    memories : what `book` is given for each port
    first_edge : of the first cycle after the reset
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
    pinned, hits, merged, misses, refused, evictions : beats, by what the banks found.
    prefetches, dropped : beats that prefetches read, that they found no line for. used, late,
        unused : of those read, found by a reader; those of them on their way; replaced unread.
    port_beats : read from each memory port.
    """

    cycles: int
    beats: int
    exposed_cycles: int
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
    traces: Sequence[AskedRows],
    memory: RowMemory,
    *,
    pinned: PinnedRows | None = None,
    stalls: ReaderStalls | None = None,
    prefetches: Sequence[PrefetchedRows] = (),
    rows_waiting: int = ROWS_WAITING,
) -> RowReport:
    """Return what `config`'s row network does with a trace per reader, and per prefetcher.

    pinned, stalls : None: nothing is pinned; readers take every beat at once. rows_waiting : that
    a bank's queue holds, at least 2; the netlist's is ROWS_WAITING.
    Raises ValueError for rows that do not begin at words, or are too long, for stages and epochs
    that there are not, for pinned rows without a static cache, and for a shorter queue.
    """
    if rows_waiting < 2:
        raise ValueError(f"rows_waiting must be at least 2, not {rows_waiting}")
    given = [_whole(*rows, 0) for rows in traces]
    given += [_whole(at, beats, 1, after, epochs) for at, beats, epochs, after in prefetches]
    joined = _Rows(
        *(np.concatenate([np.zeros(0, np.int64), *column]) for column in zip(*given, strict=True))
    )
    _check(config, joined, pinned)
    sizes = row_sizes(config, len(traces), len(prefetches), memory.first_edge, pinned, stalls)
    sizes = sizes._replace(row_places=rows_waiting - 1)
    trace = _trace(config, joined, pinned, sizes.first_edge)
    rows = [len(each.addresses) for each in given]
    waits = [
        int(max(0, each.after[0] - sizes.first_edge)) if len(each.after) else 0 for each in given
    ]
    state = new_row_state(sizes, config.row_cache_sets, 1 << config.axi_id_bits, rows, waits)
    fabric = new_order_state([], sizes.ports)
    end = int(run(sizes, trace, state, fabric, memory.book, np.array(memory.memories, np.uint64)))
    assert end != STUCK, "rows wait and nothing moves"
    asked = given[: len(traces)]
    begin = min(
        (wait for wait, each in zip(waits, asked, strict=False) if len(each.beats)), default=0
    )
    cycles, counts = end - begin, state.counters[0]
    return RowReport(
        cycles=cycles,
        beats=sum(int(each.beats.sum()) for each in asked),
        exposed_cycles=exposed_cycles(cycles, [int(each.beats.sum()) for each in asked]),
        port_beats=tuple(int(count) for count in state.ports["beats"]),
        **{name: int(counts[name]) for name in COUNTER_NAMES},
    )


class _Rows(NamedTuple):
    """AskedRows or PrefetchedRows as int64[n] each."""

    addresses: Ints
    beats: Ints
    stages: Ints
    after: Ints
    epochs: Ints


def _whole(addresses: npt.ArrayLike, *others: npt.ArrayLike) -> _Rows:
    at = np.asarray(addresses, np.int64).reshape(-1)
    columns = [np.broadcast_to(np.asarray(each, np.int64), at.shape) for each in others]
    return _Rows(at, *columns)


def _trace(
    config: AcceleratorConfig, rows: _Rows, pinned: PinnedRows | None, first_edge: int = 0
) -> RowTrace:
    """Return what the kernels know of rows and of their beats."""
    address, beats = rows.addresses, rows.beats
    first = np.cumsum(beats) - beats
    beat = np.arange(beats.sum()) - np.repeat(first, beats)
    key = np.repeat(address // config.beat_bytes, beats) + beat
    set_bits = (config.row_cache_sets - 1).bit_length()
    key_bits = config.axi_address_bits - (config.beat_bytes - 1).bit_length()
    word = np.repeat(address, beats) + beat * config.beat_bytes
    return RowTrace(
        beats=beats,
        first=first,
        bank=bank_of(config, address),
        after=rows.after,
        epoch=rows.epochs,
        key=key,
        at=fold(key, set_bits, key_bits),
        pinned=_pinned(word, np.repeat(rows.stages, beats), pinned),
        moves=np.array([edge - first_edge for edge, _ in pinned.moves] if pinned else [], np.int64),
    )


def row_trace(
    config: AcceleratorConfig,
    addresses: Ints,
    beats: npt.ArrayLike,
    stages: npt.ArrayLike,
    pinned: PinnedRows | None = None,
) -> RowTrace:
    """Return what the kernels know of rows at `addresses` [bytes]; see AskedRows."""
    return _trace(config, _whole(addresses, beats, stages, 0, 0), pinned)


def _pinned(word: Ints, stage: Ints, pinned: PinnedRows | None) -> Ints:
    """Return of each beat whether the static caches have it. word : address [bytes].

    Bit n: after n moves of their split.
    """
    found = np.zeros(len(word), np.int64)
    if pinned:
        for move, of_stages in enumerate([pinned.addresses, *(each for _, each in pinned.moves)]):
            for number, addresses in enumerate(of_stages):
                found |= ((stage == number) & np.isin(word, addresses)).astype(np.int64) << move
    return found


def _check(config: AcceleratorConfig, rows: _Rows, pinned: PinnedRows | None) -> None:
    if pinned and not config.static_cache_lines:
        raise ValueError("static_cache_lines must be at least 1 for pinned rows, not 0")
    edges = [edge for edge, _ in pinned.moves] if pinned else []
    if len(edges) > MOST_MOVES or edges != sorted(edges):
        raise ValueError(f"moves must be at most {MOST_MOVES}, of rising edges, not {edges}")
    at = rows.addresses
    if wrong := at[(at < 0) | (at % WORD_BYTES != 0)][:1].tolist():
        raise ValueError(f"addresses must be multiples of {WORD_BYTES}, not {wrong[0]}")
    for name, low, high in (
        ("beats", 1, config.row_beats_max),
        ("stages", 0, STAGES - 1),
        ("epochs", 0, EPOCHS - 1),
    ):
        values = getattr(rows, name)
        if wrong := values[(values < low) | (values > high)][:1].tolist():
            raise ValueError(f"{name} must be in {low}..{high}, not {wrong[0]}")


def row_sizes(
    config: AcceleratorConfig,
    readers: int,
    prefetchers: int,
    reset_edges: int,
    pinned: PinnedRows | None,
    stalls: ReaderStalls | None = None,
) -> RowSizes:
    """Return the sizes of a row network with so many readers. reset_edges : before its cycle 0."""
    loads = pinned.load_cycles if pinned else 0
    return RowSizes(
        banks=config.banks,
        ports=config.memory_ports,
        readers=readers + prefetchers,
        answering=readers,
        ways=config.row_cache_ways,
        free_ways=config.row_cache_ways // 2,
        reads=config.row_reads,
        row_beats=config.row_beats_max,
        beat_bytes=config.beat_bytes,
        slots=row_slots(config),
        row_places=ROWS_WAITING - 1,
        lookup_cycles=memory_fabric.lookup_cycles(config.static_cache_lines),
        look_cycles=memory_fabric.LOOK_CYCLES,
        id_cycles=memory_fabric.QUEUE_CYCLES,
        clear_cycles=max(0, config.row_cache_sets - loads),
        first_edge=reset_edges + loads,
        wait_per_mille=stalls.per_mille if stalls else 0,
        wait_seed=stalls.seed if stalls else 0,
    )
