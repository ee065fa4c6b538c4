"""The Verilated netlist with its C++ memory behind the driver's bus (`host.bus.Bus`)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.verilator import BUILD_DIR, build_device
from rpaccel.rtl.netlist import system_netlist
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["DeviceError", "PortTraffic", "VerilatedDevice", "build_simulator"]


def build_simulator(
    config: AcceleratorConfig,
    *,
    build_dir: Path = BUILD_DIR,
    jobs: int | None = None,
    progress: Callable[[str], None] = print,
) -> Path:
    """Return the shared library of the accelerator built from `config`; cached by content."""
    netlist = system_netlist(config, build_dir=build_dir, progress=progress)
    return build_device(
        netlist.verilog,
        ports=config.memory_ports,
        beat_bytes=config.beat_bytes,
        top=netlist.name,
        jobs=jobs,
        progress=progress,
        build_dir=build_dir,
    )


class DeviceError(RuntimeError):
    """The simulated device broke a rule: an AXI violation, a failed check, no answer."""


@dataclass(frozen=True, kw_only=True)
class PortTraffic:
    """What one memory port has carried since the start."""

    read_bursts: int
    read_beats: int
    write_bursts: int
    write_beats: int


_COUNTER_NAMES = tuple(field.name for field in fields(PortTraffic))


class _Counters(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in _COUNTER_NAMES]


class VerilatedDevice:
    """One simulated device. Implements `host.bus.Bus`; nothing in Python runs per cycle.

    Parameters
    ----------
    config : AcceleratorConfig  Of the device; netlist and simulator are built if they are not
        cached.
    timing : MemoryTiming  Of every port.
    memory_bytes : int  Size of the memory at addresses 0..; untouched pages cost nothing.
    library : Path  A simulator from `host.verilator.build_device`, instead of building one.
    progress : called with a line for every step of a build.
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        timing: MemoryTiming | None = None,
        *,
        memory_bytes: int = 1 << 28,
        library: Path | None = None,
        progress: Callable[[str], None] = print,
    ) -> None:
        self.config = config
        self.timing = timing or MemoryTiming()
        self.memory_bytes = memory_bytes
        library = library or build_simulator(config, progress=progress)
        self._library = ctypes.CDLL(str(library))
        for name in ("rpaccel_create", "rpaccel_error"):
            getattr(self._library, name).restype = ctypes.c_void_p
        self._library.rpaccel_error.restype = ctypes.c_char_p
        self._library.rpaccel_cycles.restype = ctypes.c_uint64
        self._handle = ctypes.c_void_p(
            self._library.rpaccel_create(
                ctypes.c_uint64(memory_bytes), ctypes.byref(self.timing.parameters)
            )
        )
        if not self._handle:
            raise MemoryError(f"memory_bytes must fit this machine, not {memory_bytes}")

    def close(self) -> None:
        """Free the model and its memory."""
        if self._handle:
            self._library.rpaccel_destroy(self._handle)
            self._handle = ctypes.c_void_p()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self, result: int) -> int:
        if result < 0:
            raise DeviceError(self._library.rpaccel_error(self._handle).decode())
        return result

    def read_register(self, address: int) -> int:
        """Return the 32-bit register at byte `address`."""
        value = ctypes.c_uint32()
        self._check(
            self._library.rpaccel_register_read(
                self._handle, ctypes.c_uint32(address), ctypes.byref(value)
            )
        )
        return value.value

    def write_register(self, address: int, value: int) -> None:
        """Write the 32-bit register at byte `address`."""
        self._check(
            self._library.rpaccel_register_write(
                self._handle, ctypes.c_uint32(address), ctypes.c_uint32(value)
            )
        )

    def _check_range(self, address: int, length: int) -> None:
        if address < 0 or length < 0 or address + length > self.memory_bytes:
            raise ValueError(
                f"memory access must lie in 0..{self.memory_bytes:#x}, "
                f"not {address:#x} + {length:#x}"
            )

    def read_memory(self, address: int, length: int) -> bytes:
        """Return `length` bytes of device memory (without simulated time)."""
        self._check_range(address, length)
        buffer = ctypes.create_string_buffer(length)
        self._library.rpaccel_memory_read(
            self._handle, ctypes.c_uint64(address), buffer, ctypes.c_uint64(length)
        )
        return buffer.raw

    def write_memory(self, address: int, payload: bytes) -> None:
        """Write `payload` to device memory (without simulated time)."""
        self._check_range(address, len(payload))
        self._library.rpaccel_memory_write(
            self._handle,
            ctypes.c_uint64(address),
            ctypes.c_char_p(bytes(payload)),
            ctypes.c_uint64(len(payload)),
        )

    def wait_interrupt(self, limit_cycles: int) -> bool:
        """Run until the interrupt pin is high; False if `limit_cycles` pass first."""
        return bool(
            self._check(
                self._library.rpaccel_run_until_interrupt(
                    self._handle, ctypes.c_uint64(limit_cycles)
                )
            )
        )

    def run(self, cycles: int) -> None:
        """Let `cycles` cycles pass."""
        self._check(self._library.rpaccel_run(self._handle, ctypes.c_uint64(cycles)))

    @property
    def cycles(self) -> int:
        """Cycles since the simulation began, reset included."""
        return self._library.rpaccel_cycles(self._handle)

    def inject_fault(
        self, begin: int, end: int, *, reads: bool = True, writes: bool = True
    ) -> None:
        """Answer every AXI access to bytes `begin` <= address < `end` with SLVERR from now on."""
        self._library.rpaccel_inject_fault(
            self._handle,
            ctypes.c_uint64(begin),
            ctypes.c_uint64(end),
            ctypes.c_uint32(reads | writes << 1),
        )

    def clear_faults(self) -> None:
        """Forget all injected faults."""
        self._library.rpaccel_clear_faults(self._handle)

    def port_traffic(self, port: int) -> PortTraffic:
        """Return what port `port` has carried."""
        counters = _Counters()
        self._library.rpaccel_port_counters(
            self._handle, ctypes.c_uint32(port), ctypes.byref(counters)
        )
        return PortTraffic(**{name: getattr(counters, name) for name in _COUNTER_NAMES})
