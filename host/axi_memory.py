"""Timing of the external memory: its parameters, and the model of host/cpp/memory_timing.hpp.

The C++ front (`host.verilated_device`) and the cocotb front (`tb.axi_memory`) pace their answers
with the same code, so that both netlists see the same cycles.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

from rpaccel.host.verilator import CPP_DIR, build_library

__all__ = ["Burst", "MemoryTiming", "ReadSchedule"]


class _Parameters(ctypes.Structure):
    """`rpaccel::TimingParameters`."""

    _fields_ = [
        ("seed", ctypes.c_uint64),
        ("read_latency_cycles", ctypes.c_uint32),
        ("write_latency_cycles", ctypes.c_uint32),
        ("max_outstanding", ctypes.c_uint32),
        ("jitter_cycles", ctypes.c_uint32),
        ("stall_per_mille", ctypes.c_uint32),
        ("in_order", ctypes.c_uint32),
    ]


class Burst(ctypes.Structure):
    """`rpaccel::Burst`: an answer that has become due."""

    _fields_ = [
        ("due", ctypes.c_uint64),
        ("sequence", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
        ("id", ctypes.c_uint32),
        ("beats", ctypes.c_uint32),
    ]


@dataclass(frozen=True, kw_only=True)
class MemoryTiming:
    """Timing of one memory port; one beat per cycle and direction once a burst is due.

    Parameters
    ----------
    read_latency_cycles : int  From the edge that accepts a read to the one that can take its first
        beat, 2..65535. 32 is assumed: 160 ns at 200 MHz.
    write_latency_cycles : int  From the last write beat to the response, 2..65535.
    max_outstanding : int  Bursts accepted and unanswered, per port and direction.
    jitter_cycles : int  Random extra latency, uniform in 0..jitter_cycles.
    stall_per_mille : int  Cycles of each channel that are lost at random, of 1000 (0..900).
    in_order : bool  False: answers to different ids overtake each other.
    seed : int  Of jitter and stalls.
    """

    read_latency_cycles: int = 32
    write_latency_cycles: int = 16
    max_outstanding: int = 256
    jitter_cycles: int = 0
    stall_per_mille: int = 0
    in_order: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        for name, low, high in [
            ("read_latency_cycles", 2, 65535),
            ("write_latency_cycles", 2, 65535),
            ("max_outstanding", 1, 65535),
            ("jitter_cycles", 0, 65535),
            ("stall_per_mille", 0, 900),
        ]:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be in {low}..{high}, not {value}")

    @property
    def parameters(self) -> ctypes.Structure:
        """The parameters as the C interface takes them."""
        return _Parameters(
            self.seed,
            self.read_latency_cycles,
            self.write_latency_cycles,
            self.max_outstanding,
            self.jitter_cycles,
            self.stall_per_mille,
            int(self.in_order),
        )


_SOURCES = [Path(CPP_DIR, name) for name in ("memory_timing.cpp", "memory_timing.hpp")]


class ReadSchedule:
    """Answers of one direction of one port: which burst is due at which edge.

    Parameters
    ----------
    timing : MemoryTiming
    port : int  Number of the port; part of the seed.
    write : bool  Use the write latency.
    """

    def __init__(self, timing: MemoryTiming, port: int, *, write: bool = False) -> None:
        library = ctypes.CDLL(str(build_library("memory_timing", _SOURCES, progress=_silent)))
        library.rpaccel_schedule_create.restype = ctypes.c_void_p
        library.rpaccel_schedule_accept.restype = ctypes.c_uint64
        self._library = library
        self._handle = ctypes.c_void_p(
            library.rpaccel_schedule_create(
                ctypes.byref(timing.parameters), ctypes.c_uint32(port), ctypes.c_uint32(write)
            )
        )

    def accept(self, cycle: int, identity: int, address: int, beats: int) -> int:
        """Accept a request at edge `cycle`; return the edge at which its first beat is due."""
        return self._library.rpaccel_schedule_accept(
            self._handle,
            ctypes.c_uint64(cycle),
            ctypes.c_uint32(identity),
            ctypes.c_uint64(address),
            ctypes.c_uint32(beats),
        )

    def start(self, cycle: int) -> Burst | None:
        """Return the next burst that is due at edge `cycle` or before, or None."""
        burst = Burst()
        started = self._library.rpaccel_schedule_start(
            self._handle, ctypes.c_uint64(cycle), ctypes.byref(burst)
        )
        return burst if started else None

    def close(self) -> None:
        """Free the schedule."""
        if self._handle:
            self._library.rpaccel_schedule_destroy(self._handle)
            self._handle = ctypes.c_void_p()

    def __del__(self) -> None:
        self.close()


def _silent(_: str) -> None:
    pass
