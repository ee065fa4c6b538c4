"""Packs the results of the engines into words: bytes one after another, no gap within an item."""

from __future__ import annotations

from amaranth.hdl import Assert, Cat, Elaboratable, Format, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.dot_order import result_lanes
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["PackControl", "PairPacker", "pack_layout"]


def pack_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What all packers do with the results of a cycle.

    turn : result 0 goes to byte `turn` of every group of `lanes` bytes, the others follow.
    merge : those bytes of the word that is written come from the results, the others are kept
    ones. keep : results that are kept in those bytes. write : the word, kept bytes and merged
    ones, is written at `address`; bytes kept before are zero from then on.
    """
    return data.StructLayout(
        {
            "turn": range(result_lanes(config)),
            "merge": config.array_size,
            "keep": config.array_size,
            "write": 1,
            "address": range(2 * config.engine_cross_words),
        }
    )


class PackControl(wiring.Component):
    """Decides for all engines where results go; latency 1 cycle.

    A word is written with the results that fill it, or with the item's last ones; what those
    leave over for another word is written in the next cycle.

    Members:
      start          begin at word `base`; items are `stride` words apart.
      count, last    results of this cycle; they are the item's last ones.
      o              what to do with them, one cycle later.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        address = range(2 * config.engine_cross_words)
        super().__init__(
            {
                "start": In(1), "base": In(address), "stride": In(12),
                "count": In(range(result_lanes(config) + 1)), "last": In(1),
                "o": Out(pack_layout(config)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        size, lanes = self.config.array_size, result_lanes(self.config)
        position, end = Signal(range(size)), Signal(range(size + lanes))
        full, write, left_over = Signal(), Signal(), Signal()
        m.d.comb += [
            end.eq(position + self.count),
            full.eq(end >= size),
            write.eq(full | self.last),
        ]
        m.d.sync += [
            position.eq(Mux(self.last | self.start, 0, end)),
            left_over.eq(self.last & (end > size)),
            Assert(~(left_over & write), Format("two words in one cycle")),
        ]

        # A byte belongs to this word, or to the next one if it lies in front of `position`.
        here = Cat((position <= n) & (n < end) for n in range(size))
        after = Cat(end > size + n if n < lanes else 0 for n in range(size))
        m.d.sync += [
            self.o.turn.eq(position),
            self.o.merge.eq(Mux(write, here, 0)),
            self.o.keep.eq(Mux(write, after, here)),
            self.o.write.eq(write | left_over),
        ]
        self._address(m, write, left_over, self.last & (end > size))
        return m

    def _address(self, m: Module, write: Signal, left_over: Signal, more: Signal) -> None:
        """Count words; an item's first one lies `stride` words behind that of the item before."""
        row, word, following = (Signal.like(self.o.address) for _ in range(3))
        m.d.comb += following.eq(row + self.stride)
        m.d.sync += self.o.address.eq(word)
        with m.If(self.start):
            m.d.sync += [row.eq(self.base), word.eq(self.base)]
        with m.Elif(left_over):
            m.d.sync += word.eq(row)
        with m.Elif(self.last):
            m.d.sync += [row.eq(following), word.eq(Mux(more, word + 1, following))]
        with m.Elif(write):
            m.d.sync += word.eq(word + 1)


class PairPacker(wiring.Component):
    """Gathers an engine's results into words, as `control` says.

    Members: control (see pack_layout; address is not used here), results int8[lanes], word (with
    control.write, in the same cycle).
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "control": In(pack_layout(config)),
                "results": In(data.ArrayLayout(8, result_lanes(config))),
                "word": Out(data.ArrayLayout(8, config.array_size)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        lanes, control = result_lanes(self.config), self.control
        turned = Signal(data.ArrayLayout(8, lanes))
        for n in range(lanes):
            m.d.comb += turned[n].eq(self.results[(n - control.turn)[: (lanes - 1).bit_length()]])

        kept = Signal(data.ArrayLayout(8, self.config.array_size))
        for n in range(self.config.array_size):
            result = turned[n % lanes]
            m.d.comb += self.word[n].eq(Mux(control.merge[n], result, kept[n]))
            with m.If(control.keep[n]):
                m.d.sync += kept[n].eq(result)
            with m.Elif(control.write):
                m.d.sync += kept[n].eq(0)
        return m
