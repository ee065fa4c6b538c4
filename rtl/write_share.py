"""Write share: several writers take turns at one write port."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import WritePort
from rpaccel.rtl.read_crossbar import round_robin
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["WriteShare"]


class WriteShare(wiring.Component):
    """Gives the port to one writer at a time, from its request to its response; in turn.

    A request passes in the cycle after it is offered, at the earliest.

    Members:
      writers  In   WritePort each
      port     Out  WritePort
    """

    def __init__(self, config: AcceleratorConfig, writers: int) -> None:
        self.count = writers
        super().__init__(
            {"writers": In(WritePort(config)).array(writers), "port": Out(WritePort(config))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        asks, owner = Signal(self.count), Signal(self.count)  # owner: one bit, or none
        asked = Signal()  # its request has passed
        port = self.port
        free = ~owner.any()
        m.d.comb += asks.eq(Cat(writer.request.valid for writer in self.writers))
        pick = round_robin(m, asks, free & asks.any(), "writer")
        with m.If(free):
            m.d.sync += [owner.eq(Mux(asks.any(), pick, 0)), asked.eq(0)]
        with m.Elif(port.request.valid & port.request.ready):
            m.d.sync += asked.eq(1)
        with m.Elif(port.response.valid & port.response.ready):
            m.d.sync += owner.eq(0)
        for i, writer in enumerate(self.writers):
            with m.If(owner[i]):
                m.d.comb += [
                    port.request.valid.eq(writer.request.valid & ~asked),
                    port.request.payload.eq(writer.request.payload),
                    writer.request.ready.eq(port.request.ready & ~asked),
                    port.payload.valid.eq(writer.payload.valid),
                    port.payload.payload.eq(writer.payload.payload),
                    writer.payload.ready.eq(port.payload.ready),
                    writer.response.valid.eq(port.response.valid),
                    writer.response.payload.eq(port.response.payload),
                    port.response.ready.eq(writer.response.ready),
                ]
        return m
