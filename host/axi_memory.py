"""Timing of the external memory: its parameters, and the model of host/cpp/memory_timing.hpp.

The C++ front (`host.verilated_device`) and the cocotb front (`tb.axi_memory`) pace their answers
with the same code, so that both netlists see the same cycles.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rpaccel.host.dram_timing import DDR4, HBM2, DramParameters, DramTiming
from rpaccel.host.verilator import CPP_DIR, build_library

__all__ = [
    "COMMAND",
    "MEMORIES",
    "SLVERR",
    "Burst",
    "MemoryTiming",
    "ReadSchedule",
    "TimingParameters",
    "timing_library",
]

SLVERR = 2  # response code of AXI

# `rpaccel::DramCommand`; kind: 0 activate, 1 read, 2 write; bank: its group included.
COMMAND = np.dtype(
    [
        ("time_fs", "<u8"),
        ("row", "<u8"),
        *((n, "<u4") for n in ("channel", "bank", "group", "kind")),
    ]
)


class TimingParameters(ctypes.Structure):
    """`rpaccel::TimingParameters`."""

    _fields_ = [
        ("seed", ctypes.c_uint64),
        ("read_latency_cycles", ctypes.c_uint32),
        ("write_latency_cycles", ctypes.c_uint32),
        ("max_outstanding", ctypes.c_uint32),
        ("jitter_cycles", ctypes.c_uint32),
        ("stall_per_mille", ctypes.c_uint32),
        ("in_order", ctypes.c_uint32),
        ("spike_per_million", ctypes.c_uint32),
        ("spike_cycles", ctypes.c_uint32),
        ("hold_per_mille", ctypes.c_uint32),
        ("hold_cycles", ctypes.c_uint32),
        ("error_per_mille", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("dram", DramParameters),
    ]


class Burst(ctypes.Structure):
    """`rpaccel::Burst`: an answer that has become due; `response` is that of all its beats."""

    _fields_ = [
        ("due", ctypes.c_uint64),
        ("sequence", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
        ("id", ctypes.c_uint32),
        ("beats", ctypes.c_uint32),
        ("response", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


@dataclass(frozen=True, kw_only=True)
class MemoryTiming:
    """Timing of one memory port; one beat per cycle and direction once a burst is due.

    Parameters
    ----------
    read_latency_cycles : int  From the edge that accepts a read to the one that can take its first
        beat, 2..65535. 32 is assumed: 160 ns at 200 MHz. Unused with `dram`.
    write_latency_cycles : int  From the last write beat to the response, 2..65535; with `dram` the
        least, as the response also waits for the last write command.
    max_outstanding : int  Bursts accepted and unanswered, per port and direction.
    jitter_cycles : int  Random extra latency, uniform in 0..jitter_cycles.
    stall_per_mille : int  Cycles of each channel that are lost at random, of 1000 (0..900).
    in_order : bool  False: answers to different ids overtake each other.
    spike_per_million, spike_cycles : int  Bursts of a million that are late by 1..spike_cycles.
    hold_per_mille, hold_cycles : int  Bursts of 1000 that are held back by 1..hold_cycles while
        those of other ids pass; needs in_order False.
    error_per_mille : int  Bursts of 1000 that are answered with SLVERR; a write has been done.
    dram : DramTiming | None  Latencies by the bank model instead of the constants.
    seed : int  Of all that is random.
    """

    read_latency_cycles: int = 32
    write_latency_cycles: int = 16
    max_outstanding: int = 256
    jitter_cycles: int = 0
    stall_per_mille: int = 0
    in_order: bool = True
    seed: int = 1
    spike_per_million: int = 0
    spike_cycles: int = 10_000
    hold_per_mille: int = 0
    hold_cycles: int = 256
    error_per_mille: int = 0
    dram: DramTiming | None = None

    def __post_init__(self) -> None:
        for name, low, high in [
            ("read_latency_cycles", 2, 65535),
            ("write_latency_cycles", 2, 65535),
            ("max_outstanding", 1, 65535),
            ("jitter_cycles", 0, 65535),
            ("stall_per_mille", 0, 900),
            ("spike_per_million", 0, 1_000_000),
            ("spike_cycles", 1, 10_000),
            ("hold_per_mille", 0, 1000),
            ("hold_cycles", 1, 65535),
            ("error_per_mille", 0, 1000),
        ]:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be in {low}..{high}, not {value}")
        if self.hold_per_mille and self.in_order:
            raise ValueError(
                f"hold_per_mille must be 0 when in_order is True, not {self.hold_per_mille}"
            )

    @classmethod
    def of(cls, memory: str, *, clock_hz: float = 250e6) -> Self:
        """Return the timing of a memory of MEMORIES at a device clock [Hz].

        Raises ValueError that names the memories.
        """
        if memory not in MEMORIES:
            raise ValueError(f"memory must be one of {', '.join(MEMORIES)}, not {memory!r}")
        dram = MEMORIES[memory]
        if dram is None:
            return cls()
        return cls(in_order=False, dram=replace(dram, clock_hz=clock_hz))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Return the timing whose `dataclasses.asdict` is `values`."""
        dram = values.get("dram")
        return cls(**{**values, "dram": None if dram is None else DramTiming(**dram)})

    @property
    def parameters(self) -> TimingParameters:
        """The parameters as the C interface takes them."""
        dram = DramParameters() if self.dram is None else self.dram.parameters
        return TimingParameters(
            self.seed,
            self.read_latency_cycles,
            self.write_latency_cycles,
            self.max_outstanding,
            self.jitter_cycles,
            self.stall_per_mille,
            int(self.in_order),
            self.spike_per_million,
            self.spike_cycles,
            self.hold_per_mille,
            self.hold_cycles,
            self.error_per_mille,
            0,
            dram,
        )


MEMORIES: dict[str, DramTiming | None] = {"simple": None, "ddr4": DDR4, "hbm2": HBM2}

_SOURCES = [
    Path(CPP_DIR, name)
    for name in (
        "memory_timing.cpp",
        "memory_timing.hpp",
        "dram.hpp",
        "dram_slots.hpp",
        "dram_requester.hpp",
    )
]


def timing_library() -> ctypes.CDLL:
    """Return the library of host/cpp/memory_timing.cpp, built if its sources have changed."""
    library = ctypes.CDLL(str(build_library("memory_timing", _SOURCES, progress=_silent)))
    library.rpaccel_schedule_create.restype = ctypes.c_void_p
    library.rpaccel_schedule_accept.restype = ctypes.c_uint64
    library.rpaccel_schedule_commands.restype = ctypes.c_uint64
    return library


class ReadSchedule:
    """Answers of one direction of one port: which burst is due at which edge.

    Parameters
    ----------
    timing : MemoryTiming
    port : int  Number of the port; part of the seed.
    write : bool  Use the write latency.
    beat_bytes : int  Bytes of a beat of the port.
    beside : ReadSchedule  The other direction of the port, whose banks this one shares.
    """

    def __init__(
        self,
        timing: MemoryTiming,
        port: int,
        *,
        write: bool = False,
        beat_bytes: int = 64,
        beside: ReadSchedule | None = None,
    ) -> None:
        self._library = timing_library()
        self._banks = timing.dram is not None
        self._handle: ctypes.c_void_p = ctypes.c_void_p(
            self._library.rpaccel_schedule_create(
                ctypes.byref(timing.parameters),
                ctypes.c_uint32(port),
                ctypes.c_uint32(write),
                ctypes.c_uint32(beat_bytes),
                beside._handle if beside is not None else None,
            )
        )

    @property
    def handle(self) -> int:
        """The schedule's address in the C interface, until it is closed."""
        return self._handle if isinstance(self._handle, int) else self._handle.value or 0

    def accept(self, cycle: int, identity: int, address: int, beats: int, response: int = 0) -> int:
        """Accept a request, a write with its last beat, at edge `cycle`.

        Returns the edge at which the first beat or the response is due. `cycle` may not fall from
        call to call. `response` is that of a write so far.
        """
        return self._library.rpaccel_schedule_accept(
            self._handle,
            ctypes.c_uint64(cycle),
            ctypes.c_uint32(identity),
            ctypes.c_uint64(address),
            ctypes.c_uint32(beats),
            ctypes.c_uint32(response),
        )

    def start(self, cycle: int) -> Burst | None:
        """Return the next burst that is due at edge `cycle` or before, or None."""
        burst = Burst()
        started = self._library.rpaccel_schedule_start(
            self._handle, ctypes.c_uint64(cycle), ctypes.byref(burst)
        )
        return burst if started else None

    def inject(self, begin: int, end: int) -> None:
        """Answer every later burst that touches begin..end-1 with SLVERR."""
        self._library.rpaccel_schedule_inject(
            self._handle, ctypes.c_uint64(begin), ctypes.c_uint64(end)
        )

    def record(self) -> None:
        """Note the DRAM commands of both directions of the port from now on."""
        if not self._banks:
            raise ValueError("timing must have dram to record its commands")
        self._library.rpaccel_schedule_record(self._handle)

    def commands(self) -> NDArray[np.void]:
        """Return the commands noted, in the order of booking: COMMAND[n]."""
        count = self._library.rpaccel_schedule_commands(self._handle, None, ctypes.c_uint64(0))
        result = np.zeros(count, COMMAND)
        self._library.rpaccel_schedule_commands(
            self._handle, result.ctypes.data_as(ctypes.c_void_p), ctypes.c_uint64(count)
        )
        return result

    def close(self) -> None:
        """Free the schedule."""
        if self._handle:
            self._library.rpaccel_schedule_destroy(self._handle)
            self._handle = ctypes.c_void_p()

    def __del__(self) -> None:
        self.close()


def _silent(_: str) -> None:
    pass
