"""One lane of the vector unit: int32 sum to int8 activation or int16 logit."""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SHIFT_BITS", "Requantise"]

SHIFT_BITS = 6  # shifts 0..47
_SPLIT = 17  # low part of x: unsigned, so that part * multiplier fits an 18x18 multiplier
_PRODUCT_BITS = 49  # 33-bit x times 16-bit multiplier
_COARSE_STEPS = 6  # of 8 places each


class Requantise(wiring.Component):
    """clamp(round half to even((sum + bias) * multiplier / 2**shift)), bit-exact with golden.

    Latency `latency_cycles`, one value per cycle; nothing is reset. Each parameter is taken when
    the data reach its stage, so that a new set can follow them: with a sum presented in cycle t,
    bias belongs to cycle t, multiplier to t + `multiplier_cycle`, shift to t + `shift_cycle`, relu
    and logit to t + `clamp_cycle`.

    Parameters
    ----------
    wide : bool  Can give logits too; a lane for activations alone has half the shifter.

    Members:
      i_sum         int32.
      i_bias        int32.
      i_multiplier  0..65535.
      i_shift       0..47.
      relu          clamp to 0..127 instead of -127..127.
      logit         clamp to -32768..32767; only if `wide`.
      o             int16, or int8 if not `wide`, valid `latency_cycles` later; an activation is
                    its low byte.
    """

    latency_cycles = 6
    multiplier_cycle = 1
    shift_cycle = 3
    clamp_cycle = 5

    def __init__(self, *, wide: bool = True) -> None:
        self.wide = wide
        ports = {
            "i_sum": In(signed(32)),
            "i_bias": In(signed(32)),
            "i_multiplier": In(16),
            "i_shift": In(SHIFT_BITS),
            "relu": In(1),
            "o": Out(signed(16 if wide else 8)),
        }
        super().__init__(ports | ({"logit": In(1)} if wide else {}))

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        quotient_bits = len(self.o) + 1  # before rounding; one tells that the result is too large
        window_bits = quotient_bits + 1 + 7  # the bit below the quotient, and the fine shift's

        # Bias.
        x = Signal(signed(33), reset_less=True)
        m.d.sync += x.eq(self.i_sum + self.i_bias)

        # Product of two halves: each is one hardware multiplier.
        low = Signal(_SPLIT + 16, reset_less=True)
        high = Signal(signed(33 - _SPLIT + 17), reset_less=True)
        product = Signal(signed(_PRODUCT_BITS), reset_less=True)
        m.d.sync += [
            low.eq(x[:_SPLIT] * self.i_multiplier),
            high.eq(x[_SPLIT:].as_signed() * self.i_multiplier),
            product.eq((high << _SPLIT) + low),
        ]

        # Coarse shift, to a window with the bit below the quotient at its lowest place after the
        # fine one. What is below is wanted only if it is not 0, what is above if it overflows.
        scaled = Cat(0, product).as_signed()
        window = Signal(signed(window_bits), reset_less=True)
        fine = Signal(3, reset_less=True)
        far, below, negative = (
            Signal(name=name, reset_less=True) for name in ("far", "below", "negative")
        )
        coarse, sign = self.i_shift[3:], product[-1]
        above = scaled[window_bits - 1 :] ^ sign.replicate(len(scaled) - window_bits + 1)
        m.d.sync += [
            fine.eq(self.i_shift),
            negative.eq(sign),
            far.eq(_any_byte(above, lambda n: coarse <= n)),
            below.eq(_any_byte(scaled[: 8 * (_COARSE_STEPS - 1)], lambda n: coarse > n)),
        ]
        with m.Switch(coarse):
            for step in range(_COARSE_STEPS):
                with m.Case(step) if step < _COARSE_STEPS - 1 else m.Default():
                    m.d.sync += window.eq(scaled.shift_right(8 * step))

        # Fine shift.
        shifted = Signal(signed(window_bits))
        quotient = Signal(signed(quotient_bits), reset_less=True)
        half, rest, over, under = (
            Signal(name=name, reset_less=True) for name in ("half", "rest", "over", "under")
        )
        lost = Signal(7)
        m.d.comb += shifted.eq(window >> fine)
        with m.Switch(fine):
            for places in range(1, 8):
                with m.Case(places):
                    m.d.comb += lost.eq(window[:places])
        high = window[quotient_bits:-1] ^ window[-1].replicate(len(window) - quotient_bits - 1)
        overflow = far | Cat(high[n] & (fine <= n) for n in range(len(high))).any()
        m.d.sync += [
            Cat(half, quotient).eq(shifted),
            rest.eq(below | lost.any()),
            over.eq(overflow & ~negative),
            under.eq(overflow & negative),
        ]

        # Round half to even, and clamp: what rounding up does to the limits needs no sum.
        up = Signal()
        result = Signal.like(self.o, reset_less=True)
        m.d.comb += [up.eq(half & (rest | quotient[0])), self.o.eq(result)]
        sign, low = quotient[-1], quotient[:7]
        too_high = ~sign & (quotient[7:].any() | (low.all() & up))
        too_low = sign & (self.relu | ~quotient[7:].all() | ~(low.any() | up))
        top: Value = Const(127)
        bottom: Value = Mux(self.relu, 0, -127)
        if self.wide:
            outside = quotient[15] ^ sign
            too_high = Mux(self.logit, ~sign & (outside | (quotient[:15].all() & up)), too_high)
            too_low = Mux(self.logit, sign & outside, too_low)
            top, bottom = Mux(self.logit, 32767, top), Mux(self.logit, -32768, bottom)
        m.d.sync += result.eq(quotient + up)
        with m.If(over | too_high):
            m.d.sync += result.eq(top)
        with m.If(under | (~over & too_low)):
            m.d.sync += result.eq(bottom)
        return m


def _any_byte(bits: Value, counts: Callable[[int], Value]) -> Value:
    """Return whether a bit is set in a byte n of `bits` that `counts`."""
    numbers = range((len(bits) + 7) // 8)
    return Cat(counts(n) & bits[8 * n : 8 * n + 8].any() for n in numbers).any()
