"""The one way that software talks to a device, whatever stands behind it."""

from __future__ import annotations

from typing import Protocol


class Bus(Protocol):
    """Registers, memory and the interrupt of one device.

    Back ends: the software device (`host.software_device`), the Verilated netlist
    (`host.verilated_device`), cocotb (`tb`), and a Linux memory map (`host.mapped_device`).
    """

    def read_register(self, address: int) -> int:
        """Return the 32-bit register at byte `address`."""
        ...

    def write_register(self, address: int, value: int) -> None:
        """Write the 32-bit register at byte `address`."""
        ...

    def read_memory(self, address: int, length: int) -> bytes:
        """Return `length` bytes of device memory."""
        ...

    def write_memory(self, address: int, payload: bytes) -> None:
        """Write `payload` to device memory."""
        ...

    def wait_interrupt(self, limit_cycles: int) -> bool:
        """Let the device run until its interrupt pin is high; False if `limit_cycles` pass first.

        A back end without a clock of its own polls and treats the limit as a number of polls.
        """
        ...
