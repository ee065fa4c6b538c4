"""Writes an interaction's output rows: v0, then the pairs packed A to a word."""

from __future__ import annotations

from amaranth.hdl import Assert, Elaboratable, Format, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import struct
from rpaccel.rtl.vector_memories import ActivationWrite
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import INSTRUCTION, Destination

__all__ = ["PairPacker", "vector_words_max"]


def vector_words_max(config: AcceleratorConfig) -> int:
    """Return the words of the longest vector."""
    return -(-config.max_dim // config.array_size)


class PairPacker(wiring.Component):
    """Packs one result per cycle; a full word is written in the next cycle.

    The words of v0 come earlier than the pairs of the item before; they wait in registers for
    the cycles in which no packed word is written.

    Members:
      start, instruction, items   as in Interaction.
      copy, copy_index, i_copy    a word of v0 and its place in the vector.
      pair, last_pair, i_pair     a result, int8; it is the item's last: the word is padded.
      write                       vector memories.
      done                        the last word of the last item is being written.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        word = 8 * config.array_size
        super().__init__(
            {
                "start": In(1), "instruction": In(struct(INSTRUCTION)), "items": In(16),
                "copy": In(1), "copy_index": In(range(vector_words_max(config))),
                "i_copy": In(word), "pair": In(1), "last_pair": In(1), "i_pair": In(8),
                "write": Out(ActivationWrite(config)), "done": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        lanes = self.config.array_size
        full, ended = Signal(), Signal()

        # Pack: the first result of a word clears the other lanes.
        lane, packed = Signal(range(lanes)), Signal(8 * lanes)
        with m.If(self.pair):
            m.d.sync += lane.eq(Mux(self.last_pair, 0, lane + 1))
            with m.If(lane == 0):
                m.d.sync += packed.eq(self.i_pair)
            with m.Else():
                m.d.sync += packed.word_select(lane, 8).eq(self.i_pair)
        m.d.sync += [
            full.eq(self.pair & (self.last_pair | (lane == lanes - 1))),
            ended.eq(self.pair & self.last_pair),
        ]

        # Write: packed words first.
        address = self._pair_address(m, full, ended)
        copy_address, copy_data = self._copy(m, full)
        m.d.comb += [
            self.write.act1.eq(self.instruction.destination == Destination.ACT1),
            self.write.address.eq(Mux(full, address, copy_address)),
            self.write.data.eq(Mux(full, packed, copy_data)),
        ]
        return m

    def _pair_address(self, m: Module, full: Signal, ended: Signal) -> Signal:
        """Return the address of the next packed word; also count the items."""
        code = self.instruction
        address, row = (Signal.like(self.write.address) for _ in range(2))
        item = Signal(16)
        following = row + code.destination_stride
        with m.If(self.start):
            m.d.sync += [item.eq(0), row.eq(code.vector_words), address.eq(code.vector_words)]
        with m.Elif(ended):
            m.d.sync += [item.eq(item + 1), row.eq(following), address.eq(following)]
        with m.Elif(full):
            m.d.sync += address.eq(address + 1)
        m.d.comb += self.done.eq(ended & (item + 1 == self.items))
        return address

    def _copy(self, m: Module, full: Signal) -> tuple[Signal, Signal]:
        """Keep the words of v0 until they can be written; return the next address and data."""
        code = self.instruction
        words = vector_words_max(self.config)
        kept = Signal(data.ArrayLayout(8 * self.config.array_size, words))
        waiting, index = Signal(range(words + 1)), Signal(range(words))
        row = Signal.like(self.write.address)
        go = Signal()
        with m.If(self.copy):
            m.d.sync += kept[self.copy_index].eq(self.i_copy)
            m.d.sync += Assert(
                waiting < code.vector_words, Format("v0 overwritten with {} words left", waiting)
            )
        m.d.comb += [go.eq((waiting != 0) & ~full), self.write.valid.eq(full | go)]
        m.d.sync += waiting.eq(waiting + self.copy - go)
        with m.If(self.start):
            m.d.sync += [index.eq(0), row.eq(0)]
        with m.Elif(go & (index + 1 == code.vector_words)):
            m.d.sync += [index.eq(0), row.eq(row + code.destination_stride)]
        with m.Elif(go):
            m.d.sync += index.eq(index + 1)
        return row + index, kept[index]
