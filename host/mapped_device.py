"""A device behind a Linux memory map: /dev/uioN, /dev/mem, or any files that can be mapped."""

from __future__ import annotations

import mmap
import os
import select
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rpaccel.spec.registers import ADDRESS

__all__ = ["MappedDevice"]

REGISTER_BYTES = 1 << 16  # of the register window
POLL_S = 0.001  # assumed: one poll of a device without an interrupt file


class MappedDevice:
    """A `Bus` over mapped registers and memory.

    Registers are read and written 32 bits at a time. Device memory must be coherent with the
    host's view of it (a reserved region mapped uncached, or a coherent port).

    Parameters
    ----------
    registers : file with the register window, at `registers_offset` (a multiple of the page).
    memory : file with the device's memory, `memory_bytes` from `memory_offset` on.
    memory_base : the address of its first byte as the device sees it. On a bus that the host
        shares both are the physical address; where the device's bus begins with this memory, 0.
    interrupt : a UIO file: reading 4 bytes waits for the interrupt, writing 1 enables it; None:
        IRQ_STATUS is polled.
    """

    def __init__(
        self,
        registers: str | Path,
        memory: str | Path,
        memory_bytes: int,
        *,
        registers_offset: int = 0,
        memory_offset: int = 0,
        memory_base: int = 0,
        interrupt: str | Path | None = None,
    ) -> None:
        self._files: list[int] = []
        self._registers_map = self._map(registers, registers_offset, REGISTER_BYTES)
        self._memory = self._map(memory, memory_offset, memory_bytes)
        self._base = memory_base
        self._words = memoryview(self._registers_map).cast("I")
        self._interrupt = None if interrupt is None else os.open(interrupt, os.O_RDWR)

    def _map(self, path: str | Path, offset: int, length: int) -> mmap.mmap:
        if offset % mmap.ALLOCATIONGRANULARITY:
            raise ValueError(
                f"offset must be a multiple of {mmap.ALLOCATIONGRANULARITY}, not {offset}"
            )
        file = os.open(path, os.O_RDWR | os.O_SYNC)
        self._files.append(file)
        return mmap.mmap(file, length, offset=offset)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the maps back; the device is not usable any more."""
        self._words.release()
        self._registers_map.close()
        self._memory.close()
        for file in self._files:
            os.close(file)
        if self._interrupt is not None:
            os.close(self._interrupt)

    def _word(self, address: int) -> int:
        if address % 4 or not 0 <= address < REGISTER_BYTES:
            raise ValueError(
                f"register must be a multiple of 4 in 0..{REGISTER_BYTES - 4:#x}, not {address:#x}"
            )
        return address >> 2

    def read_register(self, address: int) -> int:
        """Return the 32-bit register at byte `address`."""
        return self._words[self._word(address)]

    def write_register(self, address: int, value: int) -> None:
        """Write the 32-bit register at byte `address`."""
        self._words[self._word(address)] = value & 0xFFFF_FFFF

    def _place(self, address: int, length: int) -> slice:
        """Return where the bytes lie in the map."""
        first = address - self._base
        if first < 0 or first + length > len(self._memory):
            raise ValueError(
                f"memory access must lie in {self._base:#x}..{self._base + len(self._memory):#x}, "
                f"not {address:#x}..{address + length:#x}"
            )
        return slice(first, first + length)

    def read_memory(self, address: int, length: int) -> bytes:
        """Return `length` bytes of device memory."""
        return self._memory[self._place(address, length)]

    def write_memory(self, address: int, payload: bytes) -> None:
        """Write `payload` to device memory."""
        self._memory[self._place(address, len(payload))] = bytes(payload)

    def wait_interrupt(self, limit_cycles: int) -> bool:
        """Wait until the interrupt is high; False after `limit_cycles` polls of a millisecond."""
        status, enable = ADDRESS["IRQ_STATUS"], ADDRESS["IRQ_ENABLE"]
        if self._interrupt is None:
            for _ in range(limit_cycles):
                if self.read_register(status) & self.read_register(enable):
                    return True
                time.sleep(POLL_S)
            return False
        if self.read_register(status) & self.read_register(enable):
            return True
        os.write(self._interrupt, (1).to_bytes(4, "little"))
        ready, _, _ = select.select([self._interrupt], [], [], limit_cycles * POLL_S)
        if ready:
            os.read(self._interrupt, 4)
        return bool(ready)
