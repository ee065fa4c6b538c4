"""The requantisation of a tile: b lanes with double-buffered channel parameters."""

from __future__ import annotations

from amaranth.hdl import Cat, Elaboratable, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.delay_line import delayed
from rpaccel.rtl.repeated import repeated
from rpaccel.rtl.requantise import SHIFT_BITS, Requantise
from rpaccel.rtl.tokens import tile_load_layout
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["VectorUnit"]

_CHANNEL = data.StructLayout({"bias": signed(32), "multiplier": 16, "shift": SHIFT_BITS})


class VectorUnit(wiring.Component):
    """Turns b int32 sums into b int8 activations, or channel 0 into a logit.

    Latency `latency_cycles`, one row per cycle. Parameters of the next b channels are fetched
    one per cycle behind the scenes: b cycles of `fetch` with ascending `address`; `swap`, at least
    `fetch_cycles` after the last of them and one cycle before the first row that they are for,
    puts them to use. The next fetch may start in the cycle after the swap.

    Members:
      load           fills the parameter bank.
      fetch, address channel parameter to fetch.
      swap           use the fetched parameters from the next cycle's row on.
      i_sum          int32[b].
      relu, logit    of the row that is at i_sum.
      o_data, o_logit  int8[b] and int16, `latency_cycles` later.
    """

    latency_cycles = Requantise.latency_cycles
    fetch_cycles = 3  # memory, register, shadow chain

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        size = config.block_size
        super().__init__(
            {
                "load": In(tile_load_layout(config)),
                "fetch": In(1),
                "address": In(range(config.tile_params)),
                "swap": In(1),
                "i_sum": In(data.ArrayLayout(signed(32), size)),
                "relu": In(1),
                "logit": In(1),
                "o_data": Out(8 * size),
                "o_logit": Out(signed(16)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        size = self.config.block_size

        # Parameter bank.
        m.submodules.bank = bank = Memory(shape=_CHANNEL, depth=self.config.tile_params, init=[])
        write, read = bank.write_port(), bank.read_port()
        m.d.comb += [
            write.en.eq(self.load.param),
            write.addr.eq(self.load.address),
            write.data.eq(self.load.data[: _CHANNEL.size]),
            read.addr.eq(self.address),
        ]

        # Shadow chain: enters at the last lane, so that the first fetched ends in lane 0.
        fetched = Signal(self.fetch_cycles - 1)
        channel = Signal(_CHANNEL, reset_less=True)
        shadow = Signal(data.ArrayLayout(_CHANNEL, size), reset_less=True)
        m.d.sync += [fetched.eq(Cat(self.fetch, fetched)), channel.eq(read.data)]
        with m.If(fetched[-1]):
            m.d.sync += shadow.eq(Cat(shadow.as_value()[_CHANNEL.size :], channel))

        # Active parameters: each field changes when the first row reaches its stage.
        swaps = Signal(Requantise.shift_cycle)
        m.d.sync += swaps.eq(Cat(self.swap, swaps))
        relu = delayed(m, self.relu, Requantise.clamp_cycle, "relu", resets=0)
        logit = delayed(m, self.logit, Requantise.clamp_cycle, "logit", resets=0)
        for c in range(size):
            lane = Requantise(wide=c == 0)
            m.submodules[f"lane_{c}"] = repeated(lane)
            active = Signal(_CHANNEL, name=f"active_{c}", reset_less=True)
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
                lane.relu.eq(relu),
                self.o_data.word_select(c, 8).eq(lane.o[:8]),
            ]
            if c == 0:
                m.d.comb += [lane.logit.eq(logit), self.o_logit.eq(lane.o)]
        return m
