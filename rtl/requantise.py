"""One lane of the vector unit: int32 sum to int8 activation or int16 logit."""

# Annotations of Amaranth ports are values: no postponed evaluation here.
from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SHIFT_BITS", "Requantise"]

SHIFT_BITS = 6  # shifts 0..47
_SPLIT = 17  # low part of x: unsigned, so that part * multiplier fits an 18x18 multiplier
_PRODUCT_BITS = 49  # 33-bit x times 16-bit multiplier
_COARSE_STEPS = 6  # of 8 places each
_QUOTIENT_BITS = 17  # before rounding: int16 and a bit that tells that it is no int16
_WINDOW_BITS = _QUOTIENT_BITS + 1 + 7  # the quotient, the bit below it, and the fine shift's


class Requantise(wiring.Component):
    """clamp(round half to even((sum + bias) * multiplier / 2**shift)), bit-exact with golden.

    Latency `latency_cycles`, one value per cycle. The parameters are taken on different cycles,
    so that a new set can follow the data: with a sum presented in cycle t, bias belongs to cycle
    t, multiplier to t + `multiplier_cycle`, shift to t + `shift_cycle`, relu and logit to
    t + `clamp_cycle`.

    Members:
      i_sum         int32.
      i_bias        int32.
      i_multiplier  0..65535.
      i_shift       0..47.
      relu          clamp to 0..127 instead of -127..127.
      logit         clamp to -32768..32767; ties off if unused.
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
    clamp_cycle = 5

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

        # Coarse shift, to a window with the bit below the quotient at its lowest place after the
        # fine one. What is below is wanted only if it is not 0, what is above if it overflows.
        scaled = Cat(0, product).as_signed()
        window, fine = Signal(signed(_WINDOW_BITS)), Signal(3)
        far, below, negative = Signal(), Signal(), Signal()
        m.d.sync += [fine.eq(self.i_shift), negative.eq(product < 0)]
        with m.Switch(self.i_shift[3:]):
            for step in range(_COARSE_STEPS):
                with m.Case(step) if step < _COARSE_STEPS - 1 else m.Default():
                    m.d.sync += [
                        window.eq(scaled.shift_right(8 * step)),
                        far.eq(_mixed(scaled[8 * step + _WINDOW_BITS - 1 :])),
                        below.eq(scaled[: 8 * step].any()),
                    ]

        # Fine shift.
        shifted = Signal(signed(_WINDOW_BITS))
        quotient, half = Signal(signed(_QUOTIENT_BITS)), Signal()
        rest, over, under = Signal(), Signal(), Signal()
        m.d.comb += shifted.eq(window >> fine)
        overflow = far | _mixed(shifted[_QUOTIENT_BITS:])
        m.d.sync += [
            Cat(half, quotient).eq(shifted),
            rest.eq(below | (window[:7] & ((1 << fine) - 1)[:7]).any()),
            over.eq(overflow & ~negative),
            under.eq(overflow & negative),
        ]

        # Round half to even, then clamp.
        rounded = Signal(signed(_QUOTIENT_BITS + 1))
        top = Mux(self.logit, 32767, 127)
        bottom = Mux(self.logit, -32768, Mux(self.relu, 0, -127))
        m.d.comb += rounded.eq(quotient + (half & (rest | quotient[0])))
        m.d.sync += self.o.eq(rounded)
        with m.If(over | (rounded > top)):
            m.d.sync += self.o.eq(top)
        with m.If(under | (~over & (rounded < bottom))):
            m.d.sync += self.o.eq(bottom)
        return m


def _mixed(bits: Value) -> Value:
    """Return whether `bits`, the top of a signed number, are more than copies of its sign."""
    return bits.any() & ~bits.all()
