"""Registers, memory and regions of a software device."""

from __future__ import annotations

import numpy as np

from rpaccel.host.refused import RefusedError
from rpaccel.spec.isa import Status
from rpaccel.spec.registers import ADDRESS, REGIONS, REGISTERS, Irq, Permission

__all__ = ["STATUS_ERROR", "SoftwareMemory"]

STATUS_ERROR = 2


class SoftwareMemory:
    """Device memory with the bus's way to it, and the device's own through the region table.

    What the regions do not permit raises RefusedError; the first such access is captured in the
    registers ERROR_*. Accesses past `memory_bytes` inside a region answer MEMORY.
    """

    def __init__(self, memory_bytes: int) -> None:
        self.memory = np.zeros(memory_bytes, dtype=np.uint8)
        self._registers = {register.address: 0 for register in REGISTERS}

    def read_memory(self, address: int, length: int) -> bytes:
        """Return device memory, past any region check."""
        self._check_memory(address, length)
        return self.memory[address : address + length].tobytes()

    def write_memory(self, address: int, payload: bytes) -> None:
        """Write device memory, past any region check."""
        self._check_memory(address, len(payload))
        self.memory[address : address + len(payload)] = np.frombuffer(payload, dtype=np.uint8)

    def _check_memory(self, address: int, length: int) -> None:
        if address < 0 or address + length > self.memory.size:
            raise ValueError(
                f"address range must be in 0..{self.memory.size:#x}, not "
                f"{address:#x}..{address + length:#x}"
            )

    def _get(self, name: str) -> int:
        return self._registers[ADDRESS[name]]

    def _wide(self, name: str) -> int:
        return self._get(f"{name}_HI") << 32 | self._get(f"{name}_LO")

    def _set(self, name: str, value: int) -> None:
        self._registers[ADDRESS[name]] = value & 0xFFFF_FFFF

    def _permits(self, address: int, length: int, permission: Permission) -> bool:
        return any(
            self._get(f"REGION{i}_PERMISSION") & permission
            and self._wide(f"REGION{i}_BASE") <= address
            and address + length <= self._wide(f"REGION{i}_LIMIT")
            for i in range(REGIONS)
        )

    def _require(self, address: int, length: int, permission: Permission) -> None:
        """Raise RefusedError, and capture the access, unless one region permits it."""
        if not self._permits(address, length, permission):
            self._refuse(address, Status.REGION, permission)
        if address + length > self.memory.size:
            self._refuse(address, Status.MEMORY, permission)

    def _refuse(self, address: int, status: Status, permission: Permission) -> None:
        if not self._get("STATUS") & STATUS_ERROR:
            self._set("ERROR_LO", address)
            self._set("ERROR_HI", address >> 32)
            self._set("ERROR_INFO", status | (permission == Permission.WRITE) << 8)
            self._set("STATUS", STATUS_ERROR)
        self._set("IRQ_STATUS", self._get("IRQ_STATUS") | Irq.ERROR)
        raise RefusedError(status)

    def _fetch(self, address: int, length: int) -> np.ndarray:
        self._require(address, length, Permission.READ)
        return self.memory[address : address + length]

    def _write(self, address: int, values: np.ndarray) -> None:
        """Write values to memory, or raise RefusedError."""
        raw = np.frombuffer(values.tobytes(), dtype=np.uint8)
        if raw.size:
            self._require(address, raw.size, Permission.WRITE)
            self.memory[address : address + raw.size] = raw
