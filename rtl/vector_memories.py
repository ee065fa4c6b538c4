"""The vector memories that the array reads: DENSE with USER, ACT0 and ACT1, sliced by block row."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import VectorWrite
from rpaccel.rtl.tokens import address_bits, tile_output_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Destination, Source

__all__ = ["READ_CYCLES", "VectorSlice", "WordRead", "act_banks"]

READ_CYCLES = 2  # memory, then a register behind the choice of the memory


class WordRead(wiring.Signature):
    """A plain read of one slice of a memory. Members: address (Out), data (In, a cycle later)."""

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__({"address": Out(address_bits(config)), "data": In(8 * config.block_size)})


def act_banks(config: AcceleratorConfig) -> int:
    """Return the banks of ACT0 and of ACT1: words that can be written in one cycle."""
    return config.block_rows * config.groups_across


class VectorSlice(wiring.Component):
    """Bytes slice * b .. slice * b + b - 1 of every word that the array reads.

    ACT0 and ACT1 have one bank per block row and square across, by the low bits of the word
    address: groups write words of their own in the same cycle. A word written in cycle t can be
    addressed from cycle t + 1 on.

    Members:
      vectors          dense words from gather, for all slices.
      outs             rows of the slice's block columns that leave the array, by block row, then
                       square; address: where it belongs.
      source, address  word to read (spec.isa.Source).
      data             that word's slice, READ_CYCLES later.
      cross            the slice's read port of the interaction's outputs.
    """

    def __init__(self, config: AcceleratorConfig, index: int) -> None:
        self.config = config
        self.index = index
        super().__init__(
            {
                "vectors": In(VectorWrite(config)),
                "outs": In(data.ArrayLayout(tile_output_layout(config), act_banks(config))),
                "source": In(3),
                "address": In(address_bits(config)),
                "data": Out(8 * config.block_size),
                "cross": Out(WordRead(config)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        dense = self._dense(m)
        words = {
            Source.USER: dense,
            Source.DENSE: dense,
            Source.ACT0: self._act(m, "act0", Destination.ACT0),
            Source.ACT1: self._act(m, "act1", Destination.ACT1),
            Source.CROSS: self.cross.data,
        }
        m.d.comb += self.cross.address.eq(self.address)

        # Choice of the memory, one cycle after its address.
        source = Signal(3)
        m.d.sync += source.eq(self.source)
        chosen = Array(words[code] for code in Source)[source]
        m.d.sync += self.data.eq(chosen)
        return m

    def _dense(self, m: Module) -> Signal:
        """Two banks of items' dense words, then two of users'; 4 bytes are written on their own.

        An entry holds this slice of all words of a beat, if a beat is longer than a word.
        """
        config, size = self.config, self.config.block_size
        together = config.words_per_beat
        bits = together.bit_length() - 1
        depth = 2 * (config.dense_words + config.user_words) // together
        m.submodules.dense = memory = Memory(shape=8 * size * together, depth=depth, init=[])
        write, read = memory.write_port(granularity=32), memory.read_port()
        vectors = self.vectors
        places = [n * config.blocks + self.index for n in range(together)]
        base = Mux(vectors.user, 2 * config.dense_words, 0)
        m.d.comb += [
            write.addr.eq((vectors.address + base) >> bits),
            write.data.eq(Cat(vectors.data.word_select(place, 8 * size) for place in places)),
        ]
        with m.If(vectors.valid & ~vectors.vector):
            mask = Cat(vectors.mask.word_select(place, size // 4) for place in places)
            m.d.comb += write.en.eq(mask)
        m.d.comb += read.addr.eq(self.address >> bits)
        if not bits:
            return read.data
        part = Signal(bits, name="dense_part")
        m.d.sync += part.eq(self.address[:bits])
        return read.data.word_select(part, 8 * size)

    def _act(self, m: Module, name: str, destination: Destination) -> Signal:
        """Return the word read from an activation memory."""
        config = self.config
        banks = act_banks(config)
        bits = banks.bit_length() - 1
        hits = [Signal(name=f"{name}_hit_{r}") for r in range(banks)]  # output r writes this memory
        for r, hit in enumerate(hits):
            out = self.outs[r]
            m.d.comb += hit.eq(out.valid & (out.destination == destination))
        words = []
        for bank in range(banks):
            memory = Memory(shape=8 * config.block_size, depth=config.act_words // banks, init=[])
            m.submodules[f"{name}_{bank}"] = memory
            write, read = memory.write_port(), memory.read_port()
            mine = [
                hit & (self.outs[r].address[:bits] == bank) if bits else hit
                for r, hit in enumerate(hits)
            ]
            address = Signal.like(self.address, name=f"{name}_write_{bank}")
            word = Signal(8 * config.block_size, name=f"{name}_word_{bank}")
            # At most one output writes a bank: groups write words of their own.
            for r, writes in enumerate(mine):
                with m.If(writes):
                    m.d.comb += [address.eq(self.outs[r].address), word.eq(self.outs[r].data)]
            m.d.comb += [
                write.en.eq(Cat(*mine).any()),
                write.addr.eq(address[bits:]),
                write.data.eq(word),
                read.addr.eq(self.address[bits:]),
            ]
            words.append(read.data)
        if not bits:
            return words[0]
        bank = Signal(bits, name=f"{name}_bank")
        m.d.sync += bank.eq(self.address[:bits])
        return Array(words)[bank]
