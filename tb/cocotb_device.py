"""The netlist under cocotb behind the driver's bus (`host.bus.Bus`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, First, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.spec.accelerator import AcceleratorConfig
from tb.axi_memory import AxiMemory

__all__ = ["CocotbDevice", "run_driver"]

PERIOD_NS = 10
RESET_CYCLES = 5


class CocotbDevice:
    """Registers by cocotbext-axi's AXI4-Lite master, memory by `AxiMemory`.

    Its methods block and may be called only inside `run_driver`.
    """

    def __init__(
        self, dut: Any, config: AcceleratorConfig, timing: MemoryTiming, memory_bytes: int
    ) -> None:
        self.dut = dut
        self.memory = AxiMemory(dut, config.memory_ports, memory_bytes, timing, PERIOD_NS)
        bus = AxiLiteBus.from_prefix(dut, "s_axil")
        self.registers = AxiLiteMaster(bus, dut.aclk, dut.aresetn, reset_active_level=False)
        for channel in (self.registers.read_if, self.registers.write_if):
            channel.log.setLevel("WARNING")

    def read_register(self, address: int) -> int:
        """Return the 32-bit register at byte `address`."""
        return resume(self.registers.read_dword)(address)

    def write_register(self, address: int, value: int) -> None:
        """Write the 32-bit register at byte `address`."""
        resume(self.registers.write_dword)(address, value)

    def read_memory(self, address: int, length: int) -> bytes:
        """Return `length` bytes of device memory (without simulated time)."""
        assert address + length <= len(self.memory.contents)
        return bytes(self.memory.contents[address : address + length])

    def write_memory(self, address: int, payload: bytes) -> None:
        """Write `payload` to device memory (without simulated time)."""
        assert address + len(payload) <= len(self.memory.contents)
        self.memory.contents[address : address + len(payload)] = payload

    def wait_interrupt(self, limit_cycles: int) -> bool:
        """Let the device run until its interrupt pin is high."""
        return resume(self._wait_interrupt)(limit_cycles)

    async def _wait_interrupt(self, limit_cycles: int) -> bool:
        if not self.dut.irq.value:
            limit = ClockCycles(self.dut.aclk, limit_cycles)
            await First(RisingEdge(self.dut.irq), limit)
        return bool(self.dut.irq.value)

    async def reset(self) -> None:
        """Hold aresetn low for some cycles."""
        self.dut.aresetn.value = 0
        await ClockCycles(self.dut.aclk, RESET_CYCLES)
        self.dut.aresetn.value = 1
        await ClockCycles(self.dut.aclk, 2)


async def run_driver(
    dut: Any,
    config: AcceleratorConfig,
    program: Callable[[CocotbDevice], None],
    *,
    timing: MemoryTiming | None = None,
    memory_bytes: int = 1 << 22,
) -> None:
    """Reset the device and run the blocking `program` on it, in a thread."""
    cocotb.start_soon(Clock(dut.aclk, PERIOD_NS, "ns").start())
    dut.aresetn.value = 0
    device = CocotbDevice(dut, config, timing or MemoryTiming(), memory_bytes)
    await device.reset()
    await bridge(program)(device)
