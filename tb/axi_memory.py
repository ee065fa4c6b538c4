"""The cocotb front of the memory: cocotbext-axi on the pins, host/cpp/memory_timing on the clock.

The channels of cocotbext-axi drive and check the handshakes; when a burst is answered is decided
by the same schedule as in the C++ front, so both see the same cycles.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.simtime import get_sim_time
from cocotb.triggers import Event, ReadOnly, RisingEdge
from cocotbext.axi import AxiBus
from cocotbext.axi.axi_slave import AxiSlaveRead, AxiSlaveWrite
from cocotbext.axi.constants import AxiResp

from rpaccel.host.axi_memory import MemoryTiming, ReadSchedule

__all__ = ["AxiMemory", "Faults"]

# A source that is given a beat during edge t drives it after edge t + 1: it is taken at t + 2.
SOURCE_CYCLES = 2


class Faults:
    """Address ranges that answer with SLVERR."""

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int, bool, bool]] = []

    def hits(self, address: int, length: int, *, write: bool) -> bool:
        """Return whether an access must fail."""
        return any(
            address < end and address + length > begin and (writes if write else reads)
            for begin, end, reads, writes in self.ranges
        )


class _Cycles:
    """Numbers the rising edges of a clock that never stops, without waking at every one."""

    def __init__(self, clock: Any, period_ns: int) -> None:
        self.clock = clock
        self.period_ns = period_ns

    @property
    def now(self) -> int:
        """The number of the edge at this time, or of the last one before it."""
        return int(get_sim_time("ns")) // self.period_ns

    async def next(self) -> int:
        """Wait for the next edge and for all that happens in it; return its number."""
        await RisingEdge(self.clock)
        await ReadOnly()
        return self.now


class _Read(AxiSlaveRead):
    """Reads: the burst queue of the base class, replaced by the schedule."""

    def __init__(self, bus: Any, memory: AxiMemory, port: int) -> None:
        self.memory = memory
        self.waiting = 0
        self.wake = Event()
        super().__init__(bus, memory.clock, memory.reset, memory, reset_active_level=False)
        self.schedule = ReadSchedule(memory.timing, port, beat_bytes=self.byte_lanes)
        self.log.setLevel("WARNING")
        self.r_channel.queue_occupancy_limit = -1
        self.ar_channel.queue_occupancy_limit = -1
        cocotb.start_soon(self._serve())

    async def _process_read(self) -> None:
        while True:
            ar = await self.ar_channel.recv()
            address, beats = int(ar.araddr), int(ar.arlen) + 1
            size = beats * self.byte_lanes
            assert 1 << int(ar.arsize) == self.byte_lanes, "ARSIZE must be a full beat"
            assert int(ar.arburst) == 1, "ARBURST must be INCR"
            assert address % 4096 + size <= 4096, f"burst at {address:#x} crosses 4 KiB"
            self.schedule.accept(self.memory.cycles.now, int(ar.arid), address, beats)
            self.waiting += 1
            self.wake.set()

    async def _serve(self) -> None:
        cycles = self.memory.cycles
        while True:
            if not self.waiting:
                self.wake.clear()
                await self.wake.wait()
            now = await cycles.next()
            while (burst := self.schedule.start(now + SOURCE_CYCLES)) is not None:
                self.waiting -= 1
                for beat in range(burst.beats):
                    self._send(burst, beat)

    def _send(self, burst: Any, beat: int) -> None:
        address = burst.address + beat * self.byte_lanes
        r = self.r_channel._transaction_obj()
        r.rid = burst.id
        r.rlast = int(beat + 1 == burst.beats)
        response, data = self.memory.read_beat(address, self.byte_lanes)
        if burst.response:
            response, data = max(response, AxiResp(burst.response)), b"\xa5" * self.byte_lanes
        r.rresp, r.rdata = response, int.from_bytes(data, "little")
        self.r_channel.send_nowait(r)
        self.memory.read_beats += 1


class _Write(AxiSlaveWrite):
    """Writes: data at once, the response when the schedule says so."""

    def __init__(self, bus: Any, memory: AxiMemory, port: int, reads: ReadSchedule) -> None:
        self.memory = memory
        super().__init__(bus, memory.clock, memory.reset, memory, reset_active_level=False)
        self.schedule = ReadSchedule(
            memory.timing, port, write=True, beat_bytes=self.byte_lanes, beside=reads
        )
        self.log.setLevel("WARNING")

    async def _process_write(self) -> None:
        while True:
            aw = await self.aw_channel.recv()
            address, beats = int(aw.awaddr), int(aw.awlen) + 1
            assert address % 4096 + beats * self.byte_lanes <= 4096, "burst crosses 4 KiB"
            response = AxiResp.OKAY
            for beat in range(beats):
                w = await self.w_channel.recv()
                assert int(w.wlast) == int(beat + 1 == beats), "WLAST is wrong"
                place = address + beat * self.byte_lanes
                data = int(w.wdata).to_bytes(self.byte_lanes, "little")
                response = max(response, self.memory.write_beat(place, data, int(w.wstrb)))
            now = self.memory.cycles.now
            due = self.schedule.accept(now, int(aw.awid), address, beats, int(response))
            while self.memory.cycles.now + SOURCE_CYCLES < due:
                await self.memory.cycles.next()
            burst = self.schedule.start(due)
            assert burst is not None
            b = self.b_channel._transaction_obj()
            b.bid, b.bresp = burst.id, burst.response
            self.b_channel.send_nowait(b)


class AxiMemory:
    """Bytes at addresses 0.. behind the `m_axi<i>` ports of `dut`.

    Parameters
    ----------
    dut : cocotb handle with aclk, aresetn and the ports.
    ports : int  How many.
    memory_bytes : int
    timing : MemoryTiming  Stalls are made by the channels' own pause generators.
    period_ns : int  Period of `dut.aclk`.
    """

    def __init__(
        self, dut: Any, ports: int, memory_bytes: int, timing: MemoryTiming, period_ns: int
    ) -> None:
        self.clock, self.reset = dut.aclk, dut.aresetn
        self.timing = timing
        self.contents = bytearray(memory_bytes)
        self.faults = Faults()
        self.read_beats = 0
        self.cycles = _Cycles(dut.aclk, period_ns)
        self.channels: list[Any] = []
        for port in range(ports):
            bus = AxiBus.from_prefix(dut, f"m_axi{port}")
            read = _Read(bus.read, self, port)
            write = _Write(bus.write, self, port, read.schedule)
            self.channels += [read.ar_channel, read.r_channel]
            self.channels += [write.aw_channel, write.w_channel, write.b_channel]
        if timing.stall_per_mille:
            for number, channel in enumerate(self.channels):
                channel.set_pause_generator(self._pauses(number))

    def _pauses(self, number: int) -> Iterator[bool]:
        generator = random.Random(self.timing.seed * 1000 + number)
        while True:
            yield generator.random() * 1000 < self.timing.stall_per_mille

    def read_beat(self, address: int, length: int) -> tuple[AxiResp, bytes]:
        """Return (response, bytes) of one beat."""
        if address + length > len(self.contents):
            return AxiResp.DECERR, b"\xa5" * length
        if self.faults.hits(address, length, write=False):
            return AxiResp.SLVERR, b"\xa5" * length
        return AxiResp.OKAY, bytes(self.contents[address : address + length])

    def write_beat(self, address: int, data: bytes, strobe: int) -> AxiResp:
        """Write the bytes of one beat that `strobe` selects; return the response."""
        if address + len(data) > len(self.contents):
            return AxiResp.DECERR
        if self.faults.hits(address, len(data), write=True):
            return AxiResp.SLVERR
        for index, value in enumerate(data):
            if strobe >> index & 1:
                self.contents[address + index] = value
        return AxiResp.OKAY
