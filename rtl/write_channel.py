"""The dispatcher's AXI write side: region check, one burst at a time, error capture."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.axi import Axi4, Burst
from rpaccel.rtl.interfaces import BURST_BITS, WritePort
from rpaccel.rtl.read_channel import access_error_layout
from rpaccel.rtl.region_check import RegionCheck, regions_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Status
from rpaccel.spec.registers import Permission

__all__ = ["WRITER", "WriteChannel"]

WRITER = 255  # requester number of failed writes


class WriteChannel(wiring.Component):
    """Puts one writer's bursts on AW, W and B. Request to AW: 3 cycles; 1 beat per cycle.

    Address and data are offered side by side: a subordinate may wait for either. A refused burst
    swallows its payload and is answered with REGION; a failed one with MEMORY.

    Members:
      writer   In   WritePort
      regions  In   region table
      axi      Out  Axi4; only AW, W and B are driven
      error    Out  access_error_layout
    """

    request_latency_cycles = RegionCheck.latency_cycles + 1

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "writer": In(WritePort(config)),
                "regions": In(regions_layout(config)),
                "axi": Out(Axi4(config)),
                "error": Out(access_error_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.check = check = RegionCheck(self.config, Permission.WRITE)
        m.d.comb += [
            check.regions.eq(self.regions),
            check.i.valid.eq(self.writer.request.valid),
            check.i.payload.address.eq(self.writer.request.payload.address),
            check.i.payload.beats.eq(self.writer.request.payload.beats),
            self.writer.request.ready.eq(check.i.ready),
        ]

        address = Signal(self.config.axi_address_bits)
        beats = Signal(BURST_BITS)
        left = Signal(BURST_BITS)
        address_due = Signal()
        refused = Signal()
        status = Signal(8)
        self._drive(m, address, beats, left, address_due, refused)

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += check.o.ready.eq(1)
                with m.If(check.o.valid):
                    m.d.sync += [
                        address.eq(check.o.payload.address),
                        beats.eq(check.o.payload.beats),
                        left.eq(check.o.payload.beats),
                        refused.eq(~check.o.payload.allowed),
                        address_due.eq(check.o.payload.allowed),
                        status.eq(Mux(check.o.payload.allowed, Status.OK, Status.REGION)),
                    ]
                    m.next = "PAYLOAD"
            with m.State("PAYLOAD"), m.If((left == 0) & ~address_due):
                m.next = "RESPONSE"
                with m.If(refused):
                    m.d.comb += self.error.stb.eq(1)
                    m.next = "ANSWER"
            with m.State("RESPONSE"):
                m.d.comb += self.axi.bready.eq(1)
                with m.If(self.axi.bvalid):
                    with m.If(self.axi.bresp[1]):
                        m.d.comb += self.error.stb.eq(1)
                        m.d.sync += status.eq(Status.MEMORY)
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.writer.response.valid.eq(1)
                m.d.comb += self.writer.response.payload.error.eq(status)
                with m.If(self.writer.response.ready):
                    m.next = "IDLE"
        return m

    def _drive(
        self,
        m: Module,
        address: Signal,
        beats: Signal,
        left: Signal,
        address_due: Signal,
        refused: Signal,
    ) -> None:
        """Connect the channels' payloads; count the beats down."""
        payload = self.writer.payload
        m.d.comb += [
            self.axi.awvalid.eq(address_due),
            self.axi.awid.eq(0),
            self.axi.awaddr.eq(address),
            self.axi.awlen.eq(beats - 1),
            self.axi.awsize.eq(self.config.beat_bytes.bit_length() - 1),
            self.axi.awburst.eq(Burst.INCR),
            self.axi.wvalid.eq(payload.valid & (left != 0) & ~refused),
            self.axi.wdata.eq(payload.payload.data),
            self.axi.wstrb.eq(payload.payload.strobe),
            self.axi.wlast.eq(left == 1),
            payload.ready.eq((left != 0) & (self.axi.wready | refused)),
            self.error.address.eq(address),
            self.error.status.eq(Mux(refused, Status.REGION, Status.MEMORY)),
            self.error.write.eq(1),
            self.error.requester.eq(WRITER),
        ]
        with m.If(address_due & self.axi.awready):
            m.d.sync += address_due.eq(0)
        with m.If(payload.valid & payload.ready):
            m.d.sync += left.eq(left - 1)
