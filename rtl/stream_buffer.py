"""A two-entry buffer that cuts both directions of a stream with registers."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, ShapeCastable, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamBuffer"]


class StreamBuffer(wiring.Component):
    """Delays a stream by one cycle; 1 transfer per cycle.

    Neither `i.ready` nor `o.valid` and `o.payload` depend on inputs of the same cycle.

    Members:
      i  In   stream(shape)
      o  Out  stream(shape)
    """

    latency_cycles = 1

    def __init__(self, shape: ShapeLike | ShapeCastable) -> None:
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spare = Signal(self.shape)
        spare_valid = Signal()
        payload = Signal(self.shape)
        valid = Signal()
        m.d.comb += [
            self.i.ready.eq(~spare_valid),
            self.o.valid.eq(valid),
            self.o.payload.eq(payload),
        ]

        # the second entry takes what arrives in the cycle in which the sink first says no
        with m.If(~valid | self.o.ready):
            m.d.sync += [
                payload.eq(Mux(spare_valid, spare, self.i.payload)),
                valid.eq(spare_valid | self.i.valid),
                spare_valid.eq(0),
            ]
        with m.Elif(~spare_valid):
            m.d.sync += [spare.eq(self.i.payload), spare_valid.eq(self.i.valid)]
        return m
