"""One multiply-accumulate cell of the weight-stationary array."""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PE", "sum_bits"]


def sum_bits(rows: int) -> int:
    """Return the width of a sum of `rows` products of int8 (each -127 * 128 .. 2**14)."""
    return 16 + (rows - 1).bit_length()


class PE(wiring.Component):
    """Adds activation * weight to the sum that comes from above.

    Latency 3 cycles from activation to sum (`latency_cycles`), 1 from the sum above to the sum
    below, 1 from activation to the right neighbour. One transfer per cycle; neither valid
    bits nor reset.

    Parameters
    ----------
    width : int  Bits of a partial sum; see `sum_bits`.

    Members:
      i_row, o_row        int8 activation, from the left and to the right.
      swap                with the activation: from this row on, use the shadow weight.
      load                take the shadow weight from above.
      i_weight, o_weight  int8 shadow weight, from above and to below.
      i_sum, o_sum        partial sum, from above and to below; wraps.
    """

    latency_cycles = 3

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(
            {
                "i_row": In(signed(8)), "o_row": Out(signed(8)), "swap": In(1), "load": In(1),
                "i_weight": In(signed(8)), "o_weight": Out(signed(8)),
                "i_sum": In(signed(width)), "o_sum": Out(signed(width)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        shadow, weight, row = (
            Signal(signed(8), name=name, reset_less=True) for name in ("shadow", "weight", "row")
        )
        product = Signal(signed(16), reset_less=True)
        total = Signal(signed(self.width), reset_less=True)
        m.d.comb += [self.o_weight.eq(shadow), self.o_row.eq(row), self.o_sum.eq(total)]

        # Shadow weight: a link of the column's shift chain.
        with m.If(self.load):
            m.d.sync += shadow.eq(self.i_weight)

        # The active weight changes together with the activation that it is for.
        with m.If(self.swap):
            m.d.sync += weight.eq(shadow)
        m.d.sync += [
            row.eq(self.i_row),
            # Product and sum have registers of their own: a DSP block's pipeline.
            product.eq(row * weight),
            total.eq(self.i_sum + product),
        ]
        return m
