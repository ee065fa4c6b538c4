"""Two neighbouring cells of the array on one DSP block.

Ref: Xilinx WP486, "Deep Learning with INT8 Optimization on Xilinx Devices", v1.0.1, 2017,
"INT8 Optimization", figures 2-4; Xilinx UG579, "UltraScale Architecture DSP Slice", figure 2-1.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Elaboratable, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PairPE"]

_FIELD_BITS = 18  # the upper product starts here: 27 bits hold weight1 << 18 with its sign
_PRODUCT_BITS = 16


class PairPE(wiring.Component):
    """Adds activation * weight to the sums of two columns; from outside, two `PE`s side by side.

    (weight1 * 2**18 + weight0) * row = product1 * 2**18 + product0: pre-adder and multiplier of
    one DSP48E2, which takes the activation and the packed weights as its registers B and AD and
    gives both products from M. A negative product0 has borrowed 1 from product1: column 1's adder
    gives it back as its carry. Bit-exact for all of int8, -128 included.

    Timing is column 0's: swap, load and the weights of both columns come when column 0's do; the
    sums of column 1 come and leave a cycle after those of column 0, as a PE to the right of
    another has them. The activation leaves 2 cycles after it came. One transfer per cycle; neither
    valid bits nor reset.

    Parameters
    ----------
    width : int  Bits of a partial sum; see `sum_bits`.

    Members: those of `PE`; i_weight, o_weight, i_sum and o_sum are arrays of both columns.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        weights = data.ArrayLayout(signed(8), 2)
        sums = data.ArrayLayout(signed(width), 2)
        super().__init__(
            {
                "i_row": In(signed(8)), "o_row": Out(signed(8)), "swap": In(1), "load": In(1),
                "i_weight": In(weights), "o_weight": Out(weights),
                "i_sum": In(sums), "o_sum": Out(sums),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()

        # Shadow weights: links of two shift chains.
        shadow = [Signal(signed(8), name=f"shadow{n}", reset_less=True) for n in range(2)]
        with m.If(self.load):
            m.d.sync += Cat(shadow).eq(self.i_weight)
        m.d.comb += self.o_weight.eq(Cat(shadow))

        # The active weights, side by side, change together with the activation for column 0.
        packed = Signal(signed(_FIELD_BITS + 9), reset_less=True)
        with m.If(self.swap):
            m.d.sync += packed.eq((shadow[1] << _FIELD_BITS) + shadow[0])

        # Activation: column 0's, then column 1's.
        rows = [Signal(signed(8), name=f"row{n}", reset_less=True) for n in range(2)]
        m.d.sync += [rows[0].eq(self.i_row), rows[1].eq(rows[0])]
        m.d.comb += self.o_row.eq(rows[1])

        # Both products; column 1's waits a cycle for its sum.
        both = Signal(signed(_FIELD_BITS + 17), reset_less=True)
        product1 = Signal(signed(_PRODUCT_BITS), reset_less=True)
        borrow = Signal(reset_less=True)
        m.d.sync += [
            both.eq(packed * rows[0]),
            product1.eq(both[_FIELD_BITS:]),
            borrow.eq(both[_FIELD_BITS - 1]),
        ]
        product0 = both[:_PRODUCT_BITS].as_signed()

        # Sums; borrow + 1 carries into the sum if borrow is 1.
        totals = [Signal(signed(self.width), name=f"total{n}", reset_less=True) for n in range(2)]
        carried = Cat(1, self.i_sum[1]).as_signed() + Cat(borrow, product1).as_signed()
        m.d.sync += [totals[0].eq(self.i_sum[0] + product0), totals[1].eq(carried[1:])]
        m.d.comb += self.o_sum.eq(Cat(totals))
        return m
