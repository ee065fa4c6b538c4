"""One lane of the vector unit: int32 sum to int8 activation or int16 logit."""

# Annotations of Amaranth ports are values: no postponed evaluation here.
from amaranth.hdl import Const, Elaboratable, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SHIFT_BITS", "Requantise"]

SHIFT_BITS = 6  # shifts 0..47
_SPLIT = 17  # low part of x: unsigned, so that part * multiplier fits an 18x18 multiplier
_PRODUCT_BITS = 50  # 33-bit x times 16-bit multiplier, plus half of 2**47


class Requantise(wiring.Component):
    """clamp(round half to even((sum + bias) * multiplier / 2**shift)), bit-exact with golden.

    Latency `latency_cycles`, one value per cycle. The parameters are taken on different cycles,
    so that a new set can follow the data: with a sum presented in cycle t, bias belongs to cycle
    t, multiplier to t + `multiplier_cycle`, shift to t + `shift_cycle`.

    Members:
      i_sum         int32.
      i_bias        int32.
      i_multiplier  0..65535.
      i_shift       0..47.
      relu          clamp to 0..127 instead of -127..127; constant while data are inside.
      logit         clamp to -32768..32767; constant while data are inside. Ties off if unused.
      o             int16, valid `latency_cycles` later; an activation is its low byte.
    """

    i_sum: In(signed(32))
    i_bias: In(signed(32))
    i_multiplier: In(16)
    i_shift: In(SHIFT_BITS)
    relu: In(1)
    logit: In(1)
    o: Out(signed(16))

    latency_cycles = 6
    multiplier_cycle = 1
    shift_cycle = 3

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()

        # Bias.
        x = Signal(signed(33))
        m.d.sync += x.eq(self.i_sum + self.i_bias)

        # Product of two halves: each is one hardware multiplier.
        low, high = Signal(_SPLIT + 16), Signal(signed(33 - _SPLIT + 17))
        product = Signal(signed(_PRODUCT_BITS))
        m.d.sync += [
            low.eq(x[:_SPLIT] * self.i_multiplier),
            high.eq(x[_SPLIT:].as_signed() * self.i_multiplier),
            product.eq((high << _SPLIT) + low),
        ]

        # Round half to even: add 2**(shift-1) - 1, and 1 more if the quotient would be odd.
        rounded = Signal(signed(_PRODUCT_BITS))
        shift = Signal(SHIFT_BITS)
        ones = Const((1 << 47) - 1, 47)
        below_half = (~(ones << self.i_shift))[:47] >> 1  # shift - 1 ones
        odd = product.bit_select(self.i_shift, 1) & self.i_shift.any()
        m.d.sync += [rounded.eq(product + below_half + odd), shift.eq(self.i_shift)]

        # Shift, then clamp.
        shifted = Signal(signed(_PRODUCT_BITS))
        top = Mux(self.logit, 32767, 127)
        bottom = Mux(self.logit, -32768, Mux(self.relu, 0, -127))
        m.d.sync += [
            shifted.eq(rounded >> shift),
            self.o.eq(Mux(shifted > top, top, Mux(shifted < bottom, bottom, shifted))),
        ]
        return m
