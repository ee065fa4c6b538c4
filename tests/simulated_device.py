"""The whole device in the Amaranth simulator, with a behavioural AXI memory, as a `Bus`.

For small configurations and short runs: some hundred cycles per second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from amaranth.sim import Simulator

from rpaccel.rtl.top import Top
from rpaccel.spec.accelerator import AcceleratorConfig
from tests.memory_model import MemoryModel

PERIOD = 1e-6
REGISTER_LIMIT_CYCLES = 100


class SimulatedDevice:
    """Implements `host.bus.Bus`. Time passes in register accesses, `wait_interrupt` and `run`.

    memory : the model behind every port; a test may fail addresses, change latency or look at
    the requests that were made.
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        memory_bytes: int,
        *,
        latency: tuple[int, int] = (10, 20),
        stall: float = 0.0,
    ) -> None:
        self.top = Top(config)
        self.memory = MemoryModel(
            contents=bytearray(memory_bytes),
            beat_bytes=config.beat_bytes,
            latency=latency,
            stall=stall,
        )
        self.cycles = 0
        self._irq = False
        self._commands: deque[tuple[int, int | None]] = deque()  # address, value to write
        self._answer: int | None = None
        self._simulator = Simulator(self.top)
        self._simulator.add_clock(PERIOD)
        self._simulator.add_testbench(self._registers)
        self._simulator.add_testbench(self._clock)
        for axi in self.top.m_axi:
            for bench in self.memory.serve_axi(axi):
                self._simulator.add_testbench(bench)

    async def _clock(self, ctx: Any) -> None:
        async for _, _, irq in ctx.tick().sample(self.top.irq):
            self.cycles += 1
            self._irq = bool(irq)

    async def _registers(self, ctx: Any) -> None:
        axil = self.top.s_axil
        while True:
            if not self._commands:
                await ctx.tick()
                continue
            address, value = self._commands.popleft()
            if value is None:
                ctx.set(axil.araddr, address)
                self._answer = await self._transfer(
                    ctx, [(axil.arvalid, axil.arready)], axil.rvalid, axil.rready, axil.rdata
                )
                continue
            ctx.set(axil.awaddr, address)
            ctx.set(axil.wdata, value)
            ctx.set(axil.wstrb, 0xF)
            channels = [(axil.awvalid, axil.awready), (axil.wvalid, axil.wready)]
            self._answer = await self._transfer(ctx, channels, axil.bvalid, axil.bready, axil.bresp)

    @staticmethod
    async def _transfer(
        ctx: Any, channels: list[tuple[Any, Any]], valid: Any, ready: Any, payload: Any
    ) -> int:
        for offered, _ in channels:
            ctx.set(offered, 1)
        ctx.set(ready, 1)
        while True:
            accepted = [taken for _, taken in channels]
            _, _, done, value, *taken = await ctx.tick().sample(valid, payload, *accepted)
            for (offered, _), was_taken in zip(channels, taken, strict=True):
                if was_taken:
                    ctx.set(offered, 0)
            if done:
                ctx.set(ready, 0)
                return int(value)

    def _advance(self, until: Callable[[], bool], limit_cycles: int) -> bool:
        """Let time pass until `until()`; False if `limit_cycles` pass first."""
        end = self.cycles + limit_cycles
        while not until():
            if self.cycles >= end:
                return False
            self._simulator.advance()
        return True

    def _access(self, address: int, value: int | None) -> int:
        self._answer = None
        self._commands.append((address, value))
        if not self._advance(lambda: self._answer is not None, REGISTER_LIMIT_CYCLES):
            raise AssertionError(f"register {address:#x} did not answer")
        assert self._answer is not None
        return self._answer

    def read_register(self, address: int) -> int:
        """Return the 32-bit register at byte `address`."""
        return self._access(address, None)

    def write_register(self, address: int, value: int) -> None:
        """Write the 32-bit register at byte `address`."""
        response = self._access(address, value)
        assert response == 0, f"register write answered {response}"

    def read_memory(self, address: int, length: int) -> bytes:
        """Return `length` bytes of device memory."""
        return bytes(self.memory.contents[address : address + length])

    def write_memory(self, address: int, payload: bytes) -> None:
        """Write `payload` to device memory."""
        self.memory.contents[address : address + len(payload)] = payload

    def wait_interrupt(self, limit_cycles: int) -> bool:
        """Let the device run until its interrupt is high."""
        return self._advance(lambda: self._irq, limit_cycles)

    def run(self, cycles: int) -> None:
        """Let `cycles` cycles pass."""
        self._advance(lambda: False, cycles)
