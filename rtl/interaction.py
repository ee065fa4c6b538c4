"""Runs INTERACT instructions: dot products of all pairs of an item's vectors."""

from __future__ import annotations

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.delay_line import delayed
from rpaccel.rtl.interfaces import LoadBus, struct
from rpaccel.rtl.pair_issue import PairIssue
from rpaccel.rtl.pair_packer import PairPacker, vector_words_max
from rpaccel.rtl.requantise import SHIFT_BITS, Requantise
from rpaccel.rtl.vector_memories import READ_CYCLES, ActivationWrite, VectorRead
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import INSTRUCTION, Target

__all__ = ["DotTree", "Interaction"]

_PAIR = data.StructLayout({"multiplier": 16, "shift": SHIFT_BITS})


class DotTree(wiring.Component):
    """Dot product of two words of int8; latency `latency_cycles`, one per cycle.

    Members: i_a, i_b int8[size]; o int32.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        word = data.ArrayLayout(signed(8), size)
        super().__init__({"i_a": In(word), "i_b": In(word), "o": Out(signed(32))})

    @property
    def latency_cycles(self) -> int:
        """A product and log2(size) additions, each with a register."""
        return self.size.bit_length()

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        values = [a * b for a, b in zip(self.i_a, self.i_b, strict=True)]
        while True:
            level = [Signal(value.shape(), name=f"level_{len(values)}") for value in values]
            m.d.sync += [signal.eq(value) for signal, value in zip(level, values, strict=True)]
            if len(level) == 1:
                break
            values = [a + b for a, b in zip(level[::2], level[1::2], strict=True)]
        m.d.comb += self.o.eq(level[0])
        return m


class Interaction(wiring.Component):
    """Copies v0, then writes the requantised dot products of all pairs, A to a word.

    Busy for exactly `perfmodel.interaction.interaction_cycles` cycles; items follow each other
    without a gap. Vector i is read into registers, then vectors 0..i-1 stream past it, one word
    per cycle. At least two vectors.

    Members:
      load          fills PAIR.
      start         begin `instruction` (an INTERACT) with `items` rows from FEATURE bank `bank`,
                    `item_words` words apart; all stay constant until done.
      busy          from the cycle after start to the cycle of done.
      done          one cycle, the last.
      read, write   vector memories.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "load": In(LoadBus(config)),
                "start": In(1),
                "instruction": In(struct(INSTRUCTION)),
                "items": In(16),
                "item_words": In(8),
                "bank": In(1),
                "busy": Out(1),
                "done": Out(1),
                "read": Out(VectorRead(config)),
                "write": Out(ActivationWrite(config)),
            }
        )

    @property
    def word_cycles(self) -> int:
        """Cycles from reading an item's last word to writing its last pairs."""
        tree, accumulate, pack = self.config.array_size.bit_length(), 1, 1
        return READ_CYCLES + tree + accumulate + Requantise.latency_cycles + pack

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config, code = self.config, self.instruction
        m.submodules.issue = issue = PairIssue(config)
        m.submodules.tree = tree = DotTree(config.array_size)
        m.submodules.requantise = requantise = Requantise()
        m.submodules.packer = packer = PairPacker(config)
        m.d.comb += [
            issue.start.eq(self.start),
            issue.instruction.eq(code),
            issue.items.eq(self.items),
            issue.item_words.eq(self.item_words),
            issue.bank.eq(self.bank),
            issue.drained.eq(self.done),
            self.busy.eq(issue.busy),
            self.read.source.eq(issue.source),
            self.read.address.eq(issue.address),
        ]

        # The word arrives: hold it, or multiply it with the held one.
        words = vector_words_max(config)
        held = Signal(data.ArrayLayout(8 * config.array_size, words))
        flags = Cat(issue.hold, issue.copy, issue.word[: (words - 1).bit_length()])
        arrival = delayed(m, flags, READ_CYCLES, "arrival")
        hold, copy, index = arrival[0], arrival[1], arrival[2:]
        with m.If(hold):
            m.d.sync += held[index].eq(self.read.data)
        m.d.comb += [
            Value.cast(tree.i_a).eq(held[index]),
            Value.cast(tree.i_b).eq(self.read.data),
        ]

        # Sum over the words of a vector.
        flags = Cat(issue.first_word, issue.pair, issue.last_pair)
        first, *ends = delayed(m, flags, READ_CYCLES + tree.latency_cycles, "sum")
        total, pair, last_pair = Signal(signed(32)), Signal(), Signal()
        m.d.sync += [
            total.eq(Mux(first, 0, total) + tree.o),
            Cat(pair, last_pair).eq(Cat(*ends)),
        ]

        # Requantise with the pair's parameters, then pack.
        m.d.comb += requantise.i_sum.eq(total)
        self._parameters(m, pair, last_pair, requantise)
        m.d.comb += [
            packer.start.eq(self.start),
            packer.instruction.eq(code),
            packer.items.eq(self.items),
            packer.copy.eq(copy),
            packer.copy_index.eq(index),
            packer.i_copy.eq(self.read.data),
            Cat(packer.pair, packer.last_pair).eq(
                delayed(m, Cat(pair, last_pair), requantise.latency_cycles, "result")
            ),
            packer.i_pair.eq(requantise.o[:8]),
            self.done.eq(packer.done),
        ]
        wiring.connect(m, packer.write, wiring.flipped(self.write))
        return m

    def _parameters(
        self, m: Module, pair: Signal, last_pair: Signal, requantise: Requantise
    ) -> None:
        """Present each pair's multiplier and shift on the cycles on which they are taken."""
        config = self.config
        m.submodules.pair = memory = Memory(shape=_PAIR, depth=config.pair_entries, init=[])
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.en.eq(self.load.valid & (self.load.target == Target.PAIR)),
            write.addr.eq(self.load.index),
            write.data.eq(self.load.data[: _PAIR.size]),
        ]
        number = Signal(range(config.pair_entries))
        m.d.comb += read.addr.eq(number)
        with m.If(self.start | (pair & last_pair)):
            m.d.sync += number.eq(self.instruction.param_base)
        with m.Elif(pair):
            m.d.sync += number.eq(number + 1)

        # The memory answers one cycle after the sum: just when the multiplier is taken.
        wait = requantise.shift_cycle - requantise.multiplier_cycle
        m.d.comb += [
            requantise.i_multiplier.eq(read.data.multiplier),
            requantise.i_shift.eq(delayed(m, read.data.shift, wait, "shift")),
        ]
