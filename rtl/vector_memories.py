"""The lane's vector memories (USER, FEATURE, ACT0, ACT1) behind one read and one write side."""

from __future__ import annotations

from enum import IntEnum

from amaranth.hdl import Array, Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import VectorWrite
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Source

__all__ = ["READ_CYCLES", "ActivationWrite", "VectorMemories", "VectorRead", "VectorSource"]

READ_CYCLES = 2  # memory, then a register behind the choice of the memory


class VectorSource(IntEnum):
    """A vector memory as seen by a reader. ACTx = spec.isa.Source.ACTx + 1."""

    USER = 0
    FEATURE = Source.GATHERED + 1
    ACT0 = Source.ACT0 + 1
    ACT1 = Source.ACT1 + 1


class VectorRead(wiring.Signature):
    """A reader's view of the vector memories; one read per cycle.

    Members:
      source   Out  VectorSource.
      address  Out  word; FEATURE: includes the bank in its top bit.
      data     In   the word, READ_CYCLES after source and address.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        words = max(2 * config.feature_words, config.user_words, config.act_words)
        super().__init__(
            {
                "source": Out(2),
                "address": Out(range(words)),
                "data": In(8 * config.array_size),
            }
        )


class ActivationWrite(wiring.Signature):
    """Write of one word into ACT0 (act1 = 0) or ACT1. Members (all Out) as named."""

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            {
                "valid": Out(1),
                "act1": Out(1),
                "address": Out(range(config.act_words)),
                "data": Out(8 * config.array_size),
            }
        )


class VectorMemories(wiring.Component):
    """USER, FEATURE (two banks), ACT0 and ACT1: block RAM with one read and one write port each.

    A word written in cycle t can be read (addressed) from cycle t + 1 on.

    Members: vectors (fills USER and FEATURE), read, write (fills ACT0 and ACT1).
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "vectors": In(VectorWrite(config)),
                "read": In(VectorRead(config)),
                "write": In(ActivationWrite(config)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self.config
        depths = {
            VectorSource.USER: config.user_words,
            VectorSource.FEATURE: 2 * config.feature_words,
            VectorSource.ACT0: config.act_words,
            VectorSource.ACT1: config.act_words,
        }

        # Choice of the memory, one cycle after its address.
        source = Signal(2)
        words = Array(
            self._memory(m, name, depth) for name, depth in depths.items()
        )  # in the order of VectorSource
        m.d.sync += [source.eq(self.read.source), self.read.data.eq(words[source])]
        return m

    def _memory(self, m: Module, name: VectorSource, depth: int) -> Signal:
        config = self.config
        memory = Memory(shape=8 * config.array_size, depth=depth, init=[])
        m.submodules[name.name.lower()] = memory
        read = memory.read_port()
        m.d.comb += read.addr.eq(self.read.address)
        if name in (VectorSource.USER, VectorSource.FEATURE):
            # Beats of a word arrive on their own.
            write = memory.write_port(granularity=config.axi_data_bits)
            chosen = self.vectors.valid & (self.vectors.user == (name is VectorSource.USER))
            m.d.comb += [
                write.addr.eq(self.vectors.address),
                write.data.eq(self.vectors.data),
                write.en.eq(self.vectors.mask & chosen.replicate(len(write.en))),
            ]
        else:
            write = memory.write_port()
            m.d.comb += [
                write.addr.eq(self.write.address),
                write.data.eq(self.write.data),
                write.en.eq(self.write.valid & (self.write.act1 == (name is VectorSource.ACT1))),
            ]
        return read.data
