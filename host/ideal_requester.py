"""What a memory can give: a requester that offers a trace in order, one burst per cycle and port.

With unlimited reads in flight and an id for every burst it is the bound for any unit that reads the
same trace in the same order; with few in flight it shows the price of latency. It runs on the
model of host/cpp/dram.hpp.

Usage: python -m rpaccel.host.ideal_requester
"""

from __future__ import annotations

import argparse
import ctypes
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpaccel.host.axi_memory import MEMORIES, MemoryTiming, TimingParameters, timing_library

__all__ = [
    "PATTERNS",
    "RequesterReport",
    "ShareRow",
    "main",
    "pattern_addresses",
    "port_peak_bytes_per_cycle",
    "requester_curve",
    "requester_report",
    "share_table",
]

BURST_BEATS = 16  # longest burst of the device's ports
RANDOM_BYTES = 1 << 28  # one pseudo-channel
STRIDE_BYTES = 4096
WINDOW_BYTES = 8192
PATTERNS = ("sequential", "random", "stride 4 KiB in 8 KiB", "stride 4 KiB in 256 MiB")
ROW_BYTES = (32, 64, 128, 256, 512, 1024)
IN_FLIGHT = (1, 2, 4, 8, 16, 32, 64, 128)


class _Parameters(ctypes.Structure):
    """`rpaccel::RequesterParameters`."""

    _fields_ = [
        ("port", ctypes.c_uint32),
        ("beat_bytes", ctypes.c_uint32),
        ("in_flight", ctypes.c_uint32),
        ("ids", ctypes.c_uint32),
        ("burst_beats", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


class _Result(ctypes.Structure):
    """`rpaccel::RequesterResult`."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("cycles", "bursts", "beats", "activates", "errors", "latency_cycles")
    ]


@dataclass(frozen=True, kw_only=True)
class RequesterReport:
    """What a requester got. `cycles` run from the first offer to the last beat of all ports."""

    cycles: int
    bursts: int
    beats: int
    row_bytes: int  # asked for, all rows
    activates: int
    errors: int  # bursts answered with SLVERR
    mean_latency_cycles: float  # from a burst's offer to its first beat
    peak_bytes_per_cycle: float  # all ports

    @property
    def bytes_per_cycle(self) -> float:
        """Bytes that were asked for, per cycle."""
        return self.row_bytes / self.cycles

    @property
    def share_of_peak(self) -> float:
        """Bytes that were asked for, over what the ports and memories could carry."""
        return self.bytes_per_cycle / self.peak_bytes_per_cycle

    @property
    def beats_per_cycle(self) -> float:
        """Beats per cycle, over all ports."""
        return self.beats / self.cycles


def port_peak_bytes_per_cycle(timing: MemoryTiming, beat_bytes: int = 64) -> float:
    """Return the most that one port can read: a beat per cycle, or its memory's data rate."""
    if timing.dram is None:
        return float(beat_bytes)
    return min(float(beat_bytes), timing.dram.peak_bytes_per_s / timing.dram.clock_hz)


def requester_report(
    timing: MemoryTiming,
    addresses: ArrayLike,
    row_bytes: ArrayLike,
    ports: ArrayLike = 0,
    *,
    beat_bytes: int = 64,
    in_flight: int | None = None,
    ids: int | None = None,
) -> RequesterReport:
    """Read the rows of a trace in order, as bursts of whole beats that do not cross 4 KiB.

    Parameters
    ----------
    timing : MemoryTiming  Of every port; stalls are not modelled.
    addresses : uint64[n]  Of the rows, in the address space of their port.
    row_bytes, ports : int or int[n]
    beat_bytes : int  Of every port, a power of two.
    in_flight : int | None  Bursts of a port accepted and not yet read to the end; None: unlimited.
    ids : int | None  Ids that a port uses in turn; None: one per burst.

    Raises ValueError for an empty trace, rows outside 1..2**32-1 bytes, and the limits.
    """
    at = np.ascontiguousarray(addresses, np.uint64).reshape(-1)
    sizes = np.broadcast_to(np.asarray(row_bytes, np.int64), at.shape)
    numbers = np.broadcast_to(np.asarray(ports, np.int64), at.shape)
    if at.size == 0:
        raise ValueError("addresses must name at least one row")
    if sizes.min() < 1 or sizes.max() >= 1 << 32:
        raise ValueError(f"row_bytes must be in 1..2**32-1, not {sizes.min()}..{sizes.max()}")
    if beat_bytes not in {8, 16, 32, 64, 128}:
        raise ValueError(f"beat_bytes must be 8, 16, 32, 64 or 128, not {beat_bytes}")
    for name, value in [("in_flight", in_flight), ("ids", ids)]:
        if value is not None and not 1 <= value < 1 << 31:
            raise ValueError(f"{name} must be None or in 1..2**31-1, not {value}")
    used = [int(port) for port in np.unique(numbers)]
    parameters = timing.parameters
    results = []
    for port in used:
        chosen = numbers == port
        ask = _Parameters(port, beat_bytes, in_flight or 0, ids or 0, BURST_BEATS, 0)
        results.append(_run(parameters, ask, at[chosen], sizes[chosen].astype(np.uint32)))
    bursts = sum(result.bursts for result in results)
    return RequesterReport(
        cycles=max(result.cycles for result in results),
        bursts=bursts,
        beats=sum(result.beats for result in results),
        row_bytes=int(sizes.sum()),
        activates=sum(result.activates for result in results),
        errors=sum(result.errors for result in results),
        mean_latency_cycles=sum(result.latency_cycles for result in results) / bursts,
        peak_bytes_per_cycle=len(used) * port_peak_bytes_per_cycle(timing, beat_bytes),
    )


def _run(
    timing: TimingParameters,
    ask: _Parameters,
    addresses: NDArray[np.uint64],
    sizes: NDArray[np.uint32],
) -> _Result:
    result = _Result()
    timing_library().rpaccel_requester_run(
        ctypes.byref(timing),
        ctypes.byref(ask),
        ctypes.c_uint64(addresses.size),
        addresses.ctypes.data_as(ctypes.c_void_p),
        sizes.ctypes.data_as(ctypes.c_void_p),
        ctypes.byref(result),
    )
    return result


def requester_curve(
    timing: MemoryTiming,
    addresses: ArrayLike,
    row_bytes: ArrayLike,
    in_flight: Sequence[int | None] = (*IN_FLIGHT, None),
    *,
    beat_bytes: int = 64,
    ids: int | None = None,
) -> tuple[RequesterReport, ...]:
    """Return the report of one port's trace for every number of reads in flight."""
    return tuple(
        requester_report(
            timing, addresses, row_bytes, beat_bytes=beat_bytes, in_flight=limit, ids=ids
        )
        for limit in in_flight
    )


def pattern_addresses(
    pattern: str, row_bytes: int, rows: int, *, seed: int = 1
) -> NDArray[np.uint64]:
    """Return the addresses of `rows` rows in one of PATTERNS.

    Raises ValueError that names the patterns.
    """
    number = np.arange(rows, dtype=np.uint64)
    if pattern == "sequential":
        return number * np.uint64(row_bytes)
    if pattern == "random":
        places = RANDOM_BYTES // row_bytes
        chosen = np.random.default_rng(seed).integers(0, places, rows, dtype=np.uint64)
        return chosen * np.uint64(row_bytes)
    if pattern in PATTERNS:
        within = WINDOW_BYTES if "8 KiB" in pattern else RANDOM_BYTES
        return number * np.uint64(STRIDE_BYTES) % np.uint64(within)
    raise ValueError(f"pattern must be one of {', '.join(PATTERNS)}, not {pattern!r}")


@dataclass(frozen=True, kw_only=True)
class ShareRow:
    """One line of the table: what the ideal requester gets."""

    memory: str
    pattern: str
    row_bytes: int
    report: RequesterReport


def share_table(
    memories: Sequence[str] = tuple(MEMORIES),
    patterns: Sequence[str] = PATTERNS,
    row_bytes: Sequence[int] = ROW_BYTES,
    *,
    clock_hz: float = 300e6,
    beat_bytes: int = 64,
    rows: int = 50_000,
    ids: int | None = None,
) -> tuple[ShareRow, ...]:
    """Return the ideal requester's share of peak over memories, patterns and row sizes.

    At 300 MHz a beat of 64 bytes per cycle is the peak of DDR4-2400, so the port never limits.
    """
    return tuple(
        ShareRow(
            memory=memory,
            pattern=pattern,
            row_bytes=size,
            report=requester_report(
                MemoryTiming.of(memory, clock_hz=clock_hz),
                pattern_addresses(pattern, size, rows),
                size,
                beat_bytes=beat_bytes,
                ids=ids,
            ),
        )
        for memory in memories
        for pattern in patterns
        for size in row_bytes
    )


def _share_lines(table: Sequence[ShareRow]) -> Iterator[str]:
    sizes = sorted({row.row_bytes for row in table})
    yield "| memory | pattern | " + " | ".join(f"{size} B" for size in sizes) + " |"
    yield "|---|---|" + "---|" * len(sizes)
    shares = {(row.memory, row.pattern, row.row_bytes): row.report.share_of_peak for row in table}
    for memory, pattern in dict.fromkeys((row.memory, row.pattern) for row in table):
        cells = " | ".join(f"{100 * shares[memory, pattern, size]:.1f}" for size in sizes)
        yield f"| {memory} | {pattern} | {cells} |"


def _curve_lines(memories: Sequence[str], clock_hz: float, rows: int) -> Iterator[str]:
    yield "| memory | ids | " + " | ".join(map(str, IN_FLIGHT)) + " | unlimited |"
    yield "|---|---|" + "---|" * (len(IN_FLIGHT) + 1)
    addresses = pattern_addresses("random", 64, rows)
    for memory in memories:
        timing = MemoryTiming.of(memory, clock_hz=clock_hz)
        for ids, text in [(None, "one per burst"), (16, "16"), (4, "4"), (1, "1")]:
            curve = requester_curve(timing, addresses, 64, ids=ids)
            cells = " | ".join(f"{100 * report.share_of_peak:.1f}" for report in curve)
            yield f"| {memory} | {text} | {cells} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the shares of peak and the curve over reads in flight, as Markdown."""
    parser = argparse.ArgumentParser(
        prog="python -m rpaccel.host.ideal_requester",
        description=main.__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--clock-hz", type=float, default=300e6, help="of the device")
    parser.add_argument("--beat-bytes", type=int, default=64, help="of a port")
    parser.add_argument("--rows", type=int, default=50_000, help="read for every number")
    options = parser.parse_args(argv)
    table = share_table(clock_hz=options.clock_hz, beat_bytes=options.beat_bytes, rows=options.rows)
    print("Share of peak that the ideal requester gets [%], by row size\n")
    print("\n".join(_share_lines(table)))
    print("\nShare of peak for random rows of 64 B [%], by reads in flight\n")
    print("\n".join(_curve_lines(("ddr4", "hbm2"), options.clock_hz, options.rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
