"""One multiply-accumulate cell of the weight-stationary array."""

from amaranth.hdl import Elaboratable, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PE"]


class PE(wiring.Component):
    """Adds activation * weight to the sum that comes from above.

    Latency 3 cycles from activation to sum (`latency_cycles`), 1 from the sum above to the sum
    below, 1 from activation to the right neighbour. One transfer per cycle; no valid bits.

    Members:
      i_row, o_row        int8 activation, from the left and to the right.
      i_swap, o_swap      travels with the activation: from this row on, use the shadow weight.
      i_load              shift the column's shadow weights down by one cell.
      i_weight, o_weight  int8 shadow weight, from above and to below.
      i_sum, o_sum        int32 partial sum, from above and to below; wraps.
    """

    i_row: In(signed(8))
    i_swap: In(1)
    i_load: In(1)
    i_weight: In(signed(8))
    i_sum: In(signed(32))
    o_row: Out(signed(8))
    o_swap: Out(1)
    o_weight: Out(signed(8))
    o_sum: Out(signed(32))

    latency_cycles = 3

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        weight = Signal(signed(8))
        product = Signal(signed(16))

        # Shadow weight: a link of the column's shift chain.
        with m.If(self.i_load):
            m.d.sync += self.o_weight.eq(self.i_weight)

        # The active weight changes together with the activation that it is for.
        with m.If(self.i_swap):
            m.d.sync += weight.eq(self.o_weight)
        m.d.sync += [
            self.o_row.eq(self.i_row),
            self.o_swap.eq(self.i_swap),
            # Product and sum have registers of their own: a DSP block's pipeline.
            product.eq(self.o_row * weight),
            self.o_sum.eq(self.i_sum + product),
        ]
        return m
