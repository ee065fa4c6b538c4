"""Order of an interaction: which vector word is read when."""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import struct
from rpaccel.rtl.vector_memories import VectorRead, VectorSource
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import INSTRUCTION

__all__ = ["PairIssue"]


class PairIssue(wiring.Component):
    """Reads, for every item and every vector i: vector i (to hold), then vectors 0..i-1.

    One word per cycle without a gap, then it waits for `drained`. At least two vectors.

    Members:
      start        begin with `instruction`, `items`, `item_words` (words per item in FEATURE) and
                   `bank`, which stay constant until idle.
      drained      the last word of the output is being written.
      busy         from the cycle after start until the cycle of `drained`.
      source, address   read of a word (VectorRead).
      word         index of the word in its vector.
      hold, copy   the word is to be held; it is a word of vector 0, to be copied.
      first_word   the word is the first of its vector.
      pair, last_pair   the word ends a pair; the pair is the item's last.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(1), "drained": In(1), "busy": Out(1),
                "instruction": In(struct(INSTRUCTION)), "items": In(16), "item_words": In(8),
                "bank": In(1), "source": Out(2),
                "address": Out(VectorRead(config).members["address"].shape),
                "word": Out(8), "hold": Out(1), "copy": Out(1), "first_word": Out(1),
                "pair": Out(1), "last_pair": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        code = self.instruction
        # Words of an item's vectors are numbered through: vector i starts at i * vector_words.
        x, held = Signal(12), Signal(12)  # word to read; first word of the vector to hold
        following = Signal(12)
        user_end, end = Signal(12), Signal(12)
        item = Signal(16)
        word_last, group_ends, item_ends = Signal(), Signal(), Signal()
        m.d.comb += [
            following.eq(held + code.vector_words),
            word_last.eq(self.word + 1 == code.vector_words),
            group_ends.eq(x + 1 == held),
            item_ends.eq(group_ends & (following == end)),
            self.first_word.eq(self.word == 0),
        ]

        with m.FSM(name="state") as state:
            with m.State("IDLE"), m.If(self.start):
                vectors = code.user_vectors + code.item_vectors + 1
                m.d.sync += [
                    x.eq(0), held.eq(0), item.eq(0), self.word.eq(0),
                    user_end.eq((code.user_vectors + 1) * code.vector_words),
                    end.eq(vectors * code.vector_words),
                ]  # fmt: skip
                m.next = "HOLD"
            with m.State("HOLD"):
                m.d.comb += [self.hold.eq(1), self.copy.eq(held == 0)]
                m.d.sync += [self.word.eq(Mux(word_last, 0, self.word + 1)), x.eq(x + 1)]
                with m.If(word_last & self.copy):  # vector 0 has no pair: on to vector 1
                    m.d.sync += held.eq(following)
                with m.Elif(word_last):
                    m.d.sync += x.eq(0)
                    m.next = "PAIRS"
            with m.State("PAIRS"):
                m.d.comb += [self.pair.eq(word_last), self.last_pair.eq(item_ends)]
                m.d.sync += [self.word.eq(Mux(word_last, 0, self.word + 1)), x.eq(x + 1)]
                with m.If(group_ends):
                    m.d.sync += [held.eq(following), x.eq(following)]
                    m.next = "HOLD"
                with m.If(item_ends):
                    m.d.sync += [held.eq(0), x.eq(0), item.eq(item + 1)]
                    with m.If(item + 1 == self.items):
                        m.next = "DRAIN"
            with m.State("DRAIN"), m.If(self.drained):
                m.next = "IDLE"
        m.d.comb += self.busy.eq(~state.ongoing("IDLE"))
        self._address(m, x, user_end, item_ends & self.pair)
        return m

    def _address(self, m: Module, x: Signal, user_end: Signal, next_item: Signal) -> None:
        """Turn the word number into a memory and an address (all modulo the address width)."""
        code = self.instruction
        width = len(self.address)
        bottom, feature = Signal(width), Signal(width)  # this item's rows in ACTx and FEATURE
        with m.If(self.start):
            m.d.sync += [
                bottom.eq(0),
                feature.eq(Mux(self.bank, self.config.feature_words, 0) + code.item_offset),
            ]
        with m.Elif(next_item):
            m.d.sync += [
                bottom.eq(bottom + code.source_stride),
                feature.eq(feature + self.item_words),
            ]
        with m.If(x < code.vector_words):
            m.d.comb += [self.source.eq(code.source + 1), self.address.eq(bottom + x)]
        with m.Elif(x < user_end):
            m.d.comb += [
                self.source.eq(VectorSource.USER),
                self.address.eq(code.user_offset + x - code.vector_words),
            ]
        with m.Else():
            m.d.comb += [
                self.source.eq(VectorSource.FEATURE),
                self.address.eq(feature + x - user_end),
            ]
