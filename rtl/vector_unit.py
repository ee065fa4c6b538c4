"""A lanes of requantisation with double-buffered channel parameters."""

from __future__ import annotations

from amaranth.hdl import Cat, Elaboratable, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import LoadBus
from rpaccel.rtl.requantise import SHIFT_BITS, Requantise
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Target

__all__ = ["VectorUnit"]

_CHANNEL = data.StructLayout({"bias": signed(32), "multiplier": 16, "shift": SHIFT_BITS})


class VectorUnit(wiring.Component):
    """Turns words of int32 sums into words of int8 activations, or channel 0 into a logit.

    Latency `latency_cycles`, one word per cycle. Parameters of the next A channels are fetched
    one per cycle behind the scenes: A cycles of `fetch` with ascending `address`; `swap`, at least
    `fetch_cycles` after the last of them and one cycle before the first word that they are for,
    puts them to use. The next fetch may start in the cycle after the swap.

    Members:
      load           fills PARAM.
      fetch, address channel parameter to fetch.
      swap           use the fetched parameters from the next cycle's word on.
      relu, logit    of the layer; constant while data are inside.
      i_valid, i_sum int32[A].
      o_valid, o_word, o_logit  int8[A] and int16, `latency_cycles` later.
    """

    latency_cycles = Requantise.latency_cycles
    fetch_cycles = 3  # memory, register, shadow chain

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        size = config.array_size
        super().__init__(
            {
                "load": In(LoadBus(config)),
                "fetch": In(1),
                "address": In(range(config.param_entries)),
                "swap": In(1),
                "relu": In(1),
                "logit": In(1),
                "i_valid": In(1),
                "i_sum": In(data.ArrayLayout(signed(32), size)),
                "o_valid": Out(1),
                "o_word": Out(8 * size),
                "o_logit": Out(signed(16)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        size = self.config.array_size

        # Parameter memory, filled from the load bus.
        m.submodules.param = param = Memory(
            shape=_CHANNEL, depth=self.config.param_entries, init=[]
        )
        write, read = param.write_port(), param.read_port()
        m.d.comb += [
            write.en.eq(self.load.valid & (self.load.target == Target.PARAM)),
            write.addr.eq(self.load.index),
            write.data.eq(self.load.data[: _CHANNEL.size]),
            read.addr.eq(self.address),
        ]

        # Shadow chain: enters at the last lane, so that the first fetched ends in lane 0.
        fetched = Signal(self.fetch_cycles - 1)
        channel = Signal(_CHANNEL)
        shadow = Signal(data.ArrayLayout(_CHANNEL, size))
        m.d.sync += [fetched.eq(Cat(self.fetch, fetched)), channel.eq(read.data)]
        with m.If(fetched[-1]):
            m.d.sync += shadow.eq(Cat(shadow.as_value()[_CHANNEL.size :], channel))

        # Active parameters: each field changes when the first word reaches its stage.
        swaps = Signal(Requantise.shift_cycle)
        m.d.sync += swaps.eq(Cat(self.swap, swaps))
        valids = Signal(self.latency_cycles)
        m.d.sync += valids.eq(Cat(self.i_valid, valids))
        for c in range(size):
            m.submodules[f"lane_{c}"] = lane = Requantise()
            active = Signal(_CHANNEL, name=f"active_{c}")
            with m.If(self.swap):
                m.d.sync += active.bias.eq(shadow[c].bias)
            with m.If(swaps[Requantise.multiplier_cycle - 1]):
                m.d.sync += active.multiplier.eq(shadow[c].multiplier)
            with m.If(swaps[Requantise.shift_cycle - 1]):
                m.d.sync += active.shift.eq(shadow[c].shift)
            m.d.comb += [
                lane.i_sum.eq(self.i_sum[c]),
                lane.i_bias.eq(active.bias),
                lane.i_multiplier.eq(active.multiplier),
                lane.i_shift.eq(active.shift),
                lane.relu.eq(self.relu),
                self.o_word.word_select(c, 8).eq(lane.o[:8]),
            ]
            if c == 0:
                m.d.comb += [lane.logit.eq(self.logit), self.o_logit.eq(lane.o)]
        m.d.comb += self.o_valid.eq(valids[-1])
        return m
