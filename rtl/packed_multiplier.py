"""Two int8 products out of one 27 x 18 multiplier.

Ref: Xilinx WP486, "Deep Learning with INT8 Optimization on Xilinx Devices", v1.0.1, 2017,
"INT8 Optimization", figures 2-4; Xilinx UG579, "UltraScale Architecture DSP Slice", figure 2-1.
"""

# Annotations of Amaranth ports are values: no postponed evaluation here.
from amaranth.hdl import Elaboratable, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PackedMultiplier"]

_FIELD_BITS = 18  # the upper product starts here: 27 bits hold weight1 << 18 with its sign
_PRODUCT_BITS = 16


class PackedMultiplier(wiring.Component):
    """Products of one activation with two weights: the work of two cells of an array's row.

    (weight1 * 2**18 + weight0) * row = product1 * 2**18 + product0: pre-adder and multiplier of
    one DSP48E2. A negative product0 would borrow from product1; the post-adder's 2**17 lifts it
    to 0..2**18 - 1 and leaves its low 16 bits as they are, so neither product needs logic outside.
    Bit-exact for all of int8, -128 included. Latency `latency_cycles`; one pair per cycle.

    Members:
      i_row                     int8 activation.
      i_weight0, i_weight1      int8, taken with the activation.
      o_product0, o_product1    int16, `latency_cycles` later.
    """

    i_row: In(signed(8))
    i_weight0: In(signed(8))
    i_weight1: In(signed(8))
    o_product0: Out(signed(_PRODUCT_BITS))
    o_product1: Out(signed(_PRODUCT_BITS))

    latency_cycles = 3

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()

        # Pre-adder: the weights side by side.
        packed = Signal(signed(27))
        row = Signal(signed(8))
        m.d.sync += [
            packed.eq((self.i_weight1 << _FIELD_BITS) + self.i_weight0),
            row.eq(self.i_row),
        ]

        # Multiplier, then post-adder.
        product = Signal(signed(35))
        both = Signal(signed(35))
        m.d.sync += [
            product.eq(packed * row),
            both.eq(product + (1 << (_FIELD_BITS - 1))),
        ]

        m.d.comb += [
            self.o_product0.eq(both[:_PRODUCT_BITS]),
            self.o_product1.eq(both[_FIELD_BITS : _FIELD_BITS + _PRODUCT_BITS]),
        ]
        return m
