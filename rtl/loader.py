"""Loader: a model image out of memory into every lane's on-chip memories."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from amaranth.hdl import Const, Module, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import STATUS_BITS, LoadBus, ReadPort, load_data_bits
from rpaccel.rtl.word_reader import WordReader
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import (
    IMAGE_HEADER,
    IMAGE_MAGIC,
    ISA_VERSION,
    SECTION_HEADER,
    Status,
    Target,
    target_bits,
)
from rpaccel.spec.layout import PackedLayout

__all__ = ["Loader", "target_entries"]

WORD_BITS = 64


def target_entries(config: AcceleratorConfig) -> dict[Target, int]:
    """Return how many entries each on-chip memory has."""
    return {
        Target.SLOT: config.model_slots,
        Target.PROGRAM: config.program_entries,
        Target.FEATURE: config.feature_entries,
        Target.WEIGHT: config.weight_words,
        Target.PARAM: config.block_rows * config.param_entries,
        Target.PAIR: config.pair_entries,
        Target.EDGES: config.model_slots,
        Target.PIN_ENTRY: config.banks * config.pin_entries,
        Target.PIN_LINE: config.banks * config.pin_line_parts,
    }


class Loader(wiring.Component):
    """Reads an image, checks it, streams its sections over the load bus: 8 bytes per cycle.

    BAD_IMAGE: magic, version, target, entry size, an entry outside its memory, or a length that
    does not fit (the header's total, the descriptor's bytes and the sections must agree). Then,
    and after a failed read, the rest is dropped; entries written before stay. `done` comes when
    no answer is on its way. Entries leave while their successors are read: what follows a bad
    section header is never written.

    Members:
      start   In   stream {address, bytes: 32}
      done    Out  stream {status}
      load    Out  LoadBus
      word_stb Out  8 bytes are taken from memory
      memory  Out  ReadPort
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        start = data.StructLayout(
            {"address": unsigned(config.axi_address_bits), "bytes": unsigned(32)}
        )
        done = data.StructLayout({"status": unsigned(STATUS_BITS)})
        super().__init__(
            {
                "start": In(stream.Signature(start)),
                "done": Out(stream.Signature(done)),
                "load": Out(LoadBus(config)),
                "word_stb": Out(1),
                "memory": Out(ReadPort(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reader = self.reader = reader = WordReader(self.config, WORD_BITS)
        wiring.connect(m, reader.memory, wiring.flipped(self.memory))
        self.words_left = Signal(32)
        self.status = Signal(STATUS_BITS)
        length = Signal(32)
        sections_left = Signal(16)
        m.d.comb += [
            reader.start.payload.address.eq(self.start.payload.address),
            reader.start.payload.items.eq(self.start.payload.bytes >> 3),
            self.done.payload.status.eq(self.status),
        ]
        m.d.comb += self.word_stb.eq(reader.words.valid & reader.words.ready)
        with m.If(self.word_stb):
            m.d.sync += self.words_left.eq(self.words_left - 1)
        m.d.sync += self.load.valid.eq(0)
        self._look_up(m)

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += reader.start.valid.eq(self.start.valid)
                m.d.comb += self.start.ready.eq(reader.start.ready)
                m.d.sync += [
                    length.eq(self.start.payload.bytes),
                    self.words_left.eq(self.start.payload.bytes >> 3),
                    self.status.eq(Status.OK),
                ]
                with m.If(self.start.valid & self.start.ready):
                    m.next = "MAGIC"
            with m.State("MAGIC"), self._word(m) as word:
                m.d.sync += sections_left.eq(_field(word, IMAGE_HEADER, "sections"))
                m.next = "TOTAL"
                self._require(m, _field(word, IMAGE_HEADER, "magic") == IMAGE_MAGIC)
                self._require(m, _field(word, IMAGE_HEADER, "version") == ISA_VERSION)
            with m.State("TOTAL"), self._word(m) as word:
                m.next = "NEXT"
                total = _field(word, IMAGE_HEADER, "total_bytes")
                self._require(m, (total == length) & (length[:3] == 0))
            with m.State("NEXT"):
                m.d.sync += sections_left.eq(sections_left - 1)
                m.next = "SECTION"
                with m.If(sections_left == 0):
                    m.next = "DRAIN"
                    self._require(m, self.words_left == 0)
            self._sections(m)
            with m.State("DRAIN"):
                m.d.comb += reader.cancel.eq(1)
                with m.If(~reader.busy):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.next = "IDLE"
        return m

    @contextmanager
    def _word(self, m: Module) -> Iterator[Signal]:
        """Enter the body with the next word; give up after a failed read or the last word."""
        with m.If(self.reader.status != Status.OK):
            m.d.sync += self.status.eq(self.reader.status)
            m.next = "DRAIN"
        with m.Elif(self.words_left == 0):
            self._require(m, Const(0))
        with m.Elif(self.reader.words.valid):
            m.d.comb += self.reader.words.ready.eq(1)
            yield self.reader.words.payload

    def _require(self, m: Module, condition: Value) -> None:
        with m.If(~condition):
            m.d.sync += self.status.eq(Status.BAD_IMAGE)
            m.next = "DRAIN"

    def _look_up(self, m: Module) -> None:
        """Find the entry size (0: unknown target) and the depth of the section's memory."""
        self.expected_words, self.depth = Signal(8), Signal(32)
        with m.Switch(self.load.target):
            for target, entries in target_entries(self.config).items():
                words = target_bits(target, self.config.array_size) // WORD_BITS
                with m.Case(target):
                    m.d.comb += [self.expected_words.eq(words), self.depth.eq(entries)]

    def _sections(self, m: Module) -> None:
        """Check a section's header, then put its entries on the bus."""
        load = self.load
        entries_left = Signal(32)
        start = Signal(32)
        entry_words = Signal(8)
        wide = Signal()  # the target's number does not fit the bus
        part = Signal(range(load_data_bits(self.config) // WORD_BITS + 1))
        with m.State("SECTION"), self._word(m) as word:
            target = _field(word, SECTION_HEADER, "target")
            m.d.sync += [
                load.target.eq(target),
                wide.eq(target > max(Target)),
                entry_words.eq(_field(word, SECTION_HEADER, "entry_words")),
                start.eq(_field(word, SECTION_HEADER, "start")),
            ]
            m.next = "RANGE"
        with m.State("RANGE"), self._word(m) as word:
            entries = _field(word, SECTION_HEADER, "entries")
            m.d.sync += [entries_left.eq(entries), part.eq(0), load.index.eq(start - 1)]
            m.next = "ENTRIES"
            with m.If(entries == 0):
                m.next = "NEXT"
            self._require(m, (self.expected_words != 0) & ~wide)
            self._require(m, entry_words == self.expected_words)
            self._require(m, start + entries <= self.depth)
        with m.State("ENTRIES"), self._word(m) as word:
            m.d.sync += load.data.word_select(part, WORD_BITS).eq(word)
            m.d.sync += part.eq(part + 1)
            with m.If(part + 1 == entry_words):
                m.d.sync += [
                    part.eq(0),
                    load.valid.eq(1),
                    load.index.eq(load.index + 1),
                    entries_left.eq(entries_left - 1),
                ]
                with m.If(entries_left == 1):
                    m.next = "NEXT"


def _field(word: Signal, layout: PackedLayout, name: str) -> Value:
    """Return a header's field from the one of its 64-bit words that holds it."""
    field = layout.fields[name]
    offset = field.offset % WORD_BITS
    return word[offset : offset + field.bits]
