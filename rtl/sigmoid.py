"""Click-through rate of a logit: 256 straight segments of the sigmoid."""

# Annotations of Amaranth ports are values: no postponed evaluation here.
import math

from amaranth.hdl import Cat, Elaboratable, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["Sigmoid"]

_SEGMENT = data.StructLayout({"base": 16, "delta": 12})  # steepest: 65535 / 4 / 8 = 2048


def _knot(index: int) -> int:
    return round(65535 / (1 + math.exp(-(index - 128) / 8)))


class Sigmoid(wiring.Component):
    """base[i] + ((base[i+1] - base[i]) * fraction >> 8): monotone, bit-exact with golden.

    Latency `latency_cycles`, one logit per cycle.

    Members: i_valid, i_logit int16 (11 fraction bits); o_valid, o_logit the same logit,
    o_ctr uint16.
    """

    i_valid: In(1)
    i_logit: In(signed(16))
    o_valid: Out(1)
    o_logit: Out(signed(16))
    o_ctr: Out(16)

    latency_cycles = 3

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        table = [{"base": _knot(i), "delta": _knot(i + 1) - _knot(i)} for i in range(256)]
        m.submodules.table = memory = Memory(shape=_SEGMENT, depth=256, init=table)
        read = memory.read_port()
        m.d.comb += read.addr.eq(Cat(self.i_logit[8:15], ~self.i_logit[15]))  # + 32768

        # Step = delta * fraction.
        logits = Signal(data.ArrayLayout(signed(16), self.latency_cycles))
        valids = Signal(self.latency_cycles)
        base, step = Signal(16), Signal(20)
        m.d.sync += [
            logits.eq(Cat(self.i_logit, logits)),
            valids.eq(Cat(self.i_valid, valids)),
            base.eq(read.data.base),
            step.eq(read.data.delta * logits[0][:8]),
            self.o_ctr.eq(base + (step >> 8)),
        ]
        m.d.comb += [self.o_valid.eq(valids[-1]), self.o_logit.eq(logits[-1])]
        return m
