"""Numbers to give out and take back, in any order."""

from __future__ import annotations

from amaranth.hdl import Assert, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

__all__ = ["FreeList"]


class FreeList(wiring.Component):
    """Offers a number of 0..count-1 that is not given out; one out and one back per cycle.

    After reset the numbers go out in order; later, longest free first. A number that comes back may
    go out 2 cycles later.

    Members:
      number     Out  stream of numbers
      back_stb, back   In   a number comes back
    """

    def __init__(self, count: int) -> None:
        self.count = count
        number = range(max(2, count))
        super().__init__(
            {
                "number": Out(stream.Signature(number)),
                "back_stb": In(1),
                "back": In(number),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fresh = Signal(range(self.count + 1))
        untouched = Signal()
        # one entry more: its write side is a cycle behind its read side
        m.submodules.returned = returned = SyncFIFOBuffered(
            width=len(self.back), depth=self.count + 1
        )
        taken = self.number.valid & self.number.ready
        m.d.comb += [
            untouched.eq(fresh != self.count),
            self.number.valid.eq(untouched | returned.r_rdy),
            self.number.payload.eq(Mux(untouched, fresh, returned.r_data)),
            returned.r_en.eq(taken & ~untouched),
            returned.w_en.eq(self.back_stb),
            returned.w_data.eq(self.back),
        ]
        with m.If(self.back_stb):
            m.d.sync += Assert(returned.w_rdy)
        with m.If(taken & untouched):
            m.d.sync += fresh.eq(fresh + 1)
        return m
