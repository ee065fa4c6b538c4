"""RowUpdater on one entry of its queue, between memory and a row bank, whatever the entry says."""

from __future__ import annotations

from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from rpaccel.rtl.interfaces import struct
from rpaccel.rtl.row_updater import RowUpdater
from rpaccel.spec.isa import ROW_UPDATE, Status

__all__ = ["RowUpdaterProperties"]

STATUS_BYTE = ROW_UPDATE.fields["status"].offset // 8
VERSION_BITS = 2


class RowUpdaterProperties(wiring.Component):
    """One entry, any bytes; memory and row bank may be late, and memory may fail.

    Members:
      row_address, version_address, version, row_bytes, row   of the entry; constant. Words of the
        row are all ones or all zeros: they are only moved.
      stored  versions in the beat that the version's word is in; constant.
      read_taken, read_comes, read_fails   of the read port.
      write_taken, beat_taken, write_ends, write_fails   of the write port.
      held, copied   of the row bank.
    """

    still_cycles = 6  # without a move, at most, while nothing outside has to move

    def __init__(self, dut: RowUpdater) -> None:
        self.dut, self.config = dut, dut.config
        flags = (
            "read_taken", "read_comes", "read_fails", "write_taken", "beat_taken", "write_ends",
            "write_fails", "held", "copied",
        )  # fmt: skip
        address = self.config.axi_address_bits + 1  # the last bit: outside
        self.words = self.config.beat_bytes // 4
        super().__init__(
            {name: In(1) for name in flags}
            | {
                "row_address": In(address), "version_address": In(address),
                "version": In(VERSION_BITS),
                "row_bytes": In(range(2 * self.config.update_bytes_max + 1)),
                "row": In(self.config.update_bytes_max // 4),
                "stored": In(VERSION_BITS * self.words),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        constants = Cat(
            self.row_address, self.version_address, self.version, self.row_bytes, self.row,
            self.stored,
        )  # fmt: skip
        was, begun = Signal.like(constants), Signal()
        m.d.sync += [was.eq(constants), begun.eq(1)]
        m.d.comb += Assume(~begun | (constants == was))
        self.entry = Signal(8 * self.config.update_entry_bytes)
        self.beat = Signal(self.config.axi_data_bits)  # with the version's word
        self.fields = data.View(struct(ROW_UPDATE), self.entry[: ROW_UPDATE.bits])
        m.d.comb += [
            self.fields[name].eq(getattr(self, name))
            for name in ("row_address", "version_address", "version", "row_bytes")
        ]
        m.d.comb += [
            self.entry[ROW_UPDATE.bits :].eq(Cat(bit.replicate(32) for bit in self.row)),
            self.beat.eq(Cat(
                Cat(self.stored.word_select(word, VERSION_BITS), Const(0, 32 - VERSION_BITS))
                for word in range(self.words)
            )),
        ]  # fmt: skip
        m.d.comb += [
            dut.queue.enable.eq(1), dut.queue.base.eq(0), dut.queue.size.eq(1),
            dut.queue.tail.eq(1),
        ]  # fmt: skip
        self._facts(m)
        reads, answers = self._reads(m)
        self._writes(m)
        self._row(m)
        self._moves(m, reads, answers)
        return m

    def _facts(self, m: Module) -> None:
        """Say of the entry what the updater has to find out."""
        fields, config = self.fields, self.config
        row_bytes = fields.row_bytes
        sizes = [4 << size for size in range(config.update_bytes_max.bit_length() - 2)]
        self.good, self.newer, self.beats = Signal(), Signal(), Signal(5)
        fits = Cat((row_bytes == size) & ~(fields.row_address & (size - 1)).any() for size in sizes)
        lane = fields.version_address[2 : (config.beat_bytes - 1).bit_length()]
        named = fields.version_address != 0
        m.d.comb += [
            self.good.eq(
                fits.any() & ~fields.version_address[:2].any()
                & ~(fields.row_address >> config.axi_address_bits).any()
                & ~(fields.version_address >> config.axi_address_bits).any()
            ),
            self.newer.eq(~named | (fields.version > self.beat.word_select(lane, 32))),
            self.beats.eq(Mux(row_bytes > config.beat_bytes, row_bytes // config.beat_bytes, 1)),
        ]  # fmt: skip

    def _reads(self, m: Module) -> tuple[Value, Value]:
        """Answer reads: of the entry, then of the version; return what is owed, and who waits."""
        port, config = self.dut.read, self.config
        owed, beat, first = Signal(6), Signal(6), Signal(init=1)
        self.failed = Signal()
        asked = port.request.valid & port.request.ready
        moves = port.response.valid & port.response.ready
        m.d.comb += [
            port.request.ready.eq(self.read_taken & (owed == 0)),
            port.response.valid.eq(self.read_comes & (owed != 0)),
            port.response.payload.error.eq(Mux(self.read_fails, Status.MEMORY, 0)),
            port.response.payload.data.eq(
                Mux(self.read_fails, 0,
                    Mux(first, self.entry.word_select(beat, config.axi_data_bits), self.beat))
            ),
        ]  # fmt: skip
        with m.If(asked):
            m.d.sync += [owed.eq(port.request.payload.beats), beat.eq(0)]
            low = (config.beat_bytes - 1).bit_length()
            version = self.fields.version_address[low : config.axi_address_bits]
            m.d.comb += [
                Assert(first | (port.request.payload.address[low:] == version),
                       "the version is read where it lies"),
                Assert(first | self.dut.row.valid, "its row waits from before it is read"),
            ]  # fmt: skip
        with m.If(moves):
            m.d.sync += [owed.eq(owed - 1), beat.eq(beat + 1)]
            m.d.sync += self.failed.eq(self.failed | self.read_fails)
            with m.If(owed == 1):
                m.d.sync += first.eq(0)
        return owed != 0, port.request.valid

    def _writes(self, m: Module) -> None:
        """Take writes: of the row, its version and the status, in this order."""
        dut, port, config = self.dut, self.dut.write, self.config
        row, fields = dut.row, self.fields
        low = (config.beat_bytes - 1).bit_length()
        busy, left, ends = Signal(), Signal(5), Signal()
        self.row_asked, self.row_written, self.row_failed = Signal(), Signal(), Signal()
        self.version_asked, self.told, self.later_failed = Signal(), Signal(), Signal()
        kind, now = Signal(2), Signal(2)  # 0: row, 1: version, 2: status
        request, response = port.request, port.response
        asked, address = request.valid & request.ready, request.payload.address
        m.d.comb += [
            now.eq(Mux(row.valid, 0, Mux(self.row_written & ~self.version_asked
                                         & (fields.version_address != 0), 1, 2))),
            request.ready.eq(self.write_taken & ~busy),
            port.payload.ready.eq(self.beat_taken & (left != 0)),
            response.valid.eq(self.write_ends & busy & (left == 0)),
            response.payload.error.eq(Mux(self.write_fails, Status.MEMORY, 0)),
            ends.eq(response.valid & response.ready),
        ]  # fmt: skip
        place = Mux(now == 0, fields.row_address, Mux(now == 1, fields.version_address, 0))
        with m.If(request.valid):
            m.d.comb += [
                Assert((now == 2) | (address[low:] == place[low : config.axi_address_bits]),
                       "rows and versions are written where they lie"),
                Assert((now != 0) | (row.held & ~self.row_asked), "a row is written once, held"),
                Assert((now != 0) | (self.good & self.newer & ~self.failed),
                       "only a good entry, newer than its row, is written"),
                Assert(request.payload.beats == Mux(now == 0, self.beats, 1), "it is all written"),
                Assert(~self.told, "the status is last"),
            ]  # fmt: skip
        with m.If(asked):
            m.d.sync += [busy.eq(1), kind.eq(now), left.eq(request.payload.beats)]
            m.d.sync += [
                self.row_asked.eq(self.row_asked | (now == 0)),
                self.version_asked.eq(self.version_asked | (now == 1)),
            ]
        strobe, told = port.payload.payload.strobe, port.payload.payload.data
        number = (self.beats - left)[:5]
        with m.If(port.payload.valid & port.payload.ready):
            m.d.sync += left.eq(left - 1)
            m.d.comb += [
                Assert((kind != 0) | self._is_beat(told, strobe, number), "the row as it was sent"),
                Assert((kind != 1) | self._has(told, strobe, fields.version, 4,
                                               fields.version_address), "the version"),
                Assert((kind != 2) | (strobe == 1 << (STATUS_BYTE % config.beat_bytes)),
                       "of the entry, only its status"),
            ]  # fmt: skip
        with m.If(ends):
            m.d.sync += [busy.eq(0), self.told.eq(kind == 2)]
            with m.If(kind == 0):
                m.d.sync += [
                    self.row_written.eq(~self.write_fails),
                    self.row_failed.eq(self.write_fails),
                ]
            with m.If((kind != 0) & self.write_fails):
                m.d.sync += self.later_failed.eq(1)
        self.writing, self.left, self.ends = busy, left, ends
        ok = self.row_written & ~self.later_failed
        m.d.comb += [
            Assert((dut.head == 0) | self.told, "an entry is done when its status is written"),
            Assert(~(dut.done_stb & (dut.status == Status.OK)) | ok, "OK: it is in memory"),
            Assert(~(dut.done_stb & ok) | (dut.status == Status.OK), "and the other way round"),
            Cover(dut.done_stb & (dut.status == Status.OK) & (self.beats == 2)),
            Cover(dut.done_stb & (dut.status == Status.STALE)),
        ]

    def _is_beat(self, told: Value, strobe: Value, number: Value) -> Value:
        """Return whether words under `strobe` are those of a beat of the row, and all of them."""
        config, fields = self.config, self.fields
        sent = self.entry[ROW_UPDATE.bits :].word_select(number, config.axi_data_bits)
        words, right = config.beat_bytes // 4, []
        beat_bits = (config.beat_bytes - 1).bit_length()
        for word in range(words):
            # a row smaller than a beat: the word's place in it, if it is in it
            low = (4 * word - fields.row_address[:beat_bits])[:beat_bits]
            whole = fields.row_bytes >= config.beat_bytes
            inside = whole | (low < fields.row_bytes)
            expected = Mux(whole, sent[32 * word : 32 * word + 32],
                           sent.word_select(low[2 : 2 + words.bit_length() - 1], 32))  # fmt: skip
            right.append(
                Mux(inside,
                    strobe[4 * word : 4 * word + 4].all()
                    & (told[32 * word : 32 * word + 32] == expected),
                    ~strobe[4 * word : 4 * word + 4].any())
            )  # fmt: skip
        return Cat(right).all()

    def _has(self, told: Value, strobe: Value, value: Value, count: int, address: Value) -> Value:
        lane = address[count.bit_length() - 1 : (self.config.beat_bytes - 1).bit_length()]
        return (strobe == ((1 << count) - 1) << (lane * count)) & (
            told.word_select(lane, 8 * count) == value
        )

    def _row(self, m: Module) -> None:
        """Hold the row; take its beats for the caches."""
        row, held, was_valid = self.dut.row, Signal(), Signal()
        beat = Signal(5)
        write = row.write
        words = self.config.beat_bytes // 4
        m.d.sync += [held.eq(row.held), was_valid.eq(row.valid)]
        m.d.comb += [
            row.held.eq(row.valid & (held | self.held)),
            write.ready.eq(self.copied),
            Assert(~row.valid | (row.address == self.fields.row_address), "the row is the entry's"),
            Assert(~write.valid | (row.valid & row.held & self.row_written),
                   "copies come when memory has the row"),
            Assert(~write.valid | (beat < self.beats), "no more than its beats"),
            Assert(row.valid | ~self.row_written | (beat == self.beats), "all copies are written"),
            Assert(self.row_written | (beat == 0), "and none if the write has failed"),
        ]  # fmt: skip
        strobe = Cat(write.payload.mask[n].replicate(4) for n in range(words))
        with m.If(write.valid & write.ready):
            m.d.sync += beat.eq(beat + 1)
            m.d.comb += Assert(self._is_beat(write.payload.data, strobe, beat), "with its bytes")
        ended = Signal()
        with m.If(was_valid & ~row.valid):
            m.d.sync += ended.eq(1)
        m.d.comb += Assert(~(ended & row.valid), "a row is held once")

    def _moves(self, m: Module, owed: Value, asks: Value) -> None:
        """What is begun goes on while nothing outside has to."""
        dut, still = self.dut, Signal(range(self.still_cycles + 1))
        read, write, row = dut.read, dut.write, dut.row
        outside = (
            (asks & ~read.request.ready) | (owed & ~self.read_comes)
            | (write.request.valid & ~write.request.ready)
            | ((self.left != 0) & ~self.beat_taken) | (self.writing & (self.left == 0) & ~self.ends)
            | (row.valid & ~row.held) | (row.write.valid & ~row.write.ready)
        )  # fmt: skip
        moves = Cat(
            asks & read.request.ready, read.response.valid & read.response.ready,
            write.request.valid & write.request.ready, write.payload.valid & write.payload.ready,
            self.ends, row.write.valid & row.write.ready,
        )  # fmt: skip
        with m.If(outside | moves.any() | (dut.head == 1)):
            m.d.sync += still.eq(0)
        with m.Else():
            m.d.sync += still.eq(still + 1)
        m.d.comb += Assert(still < self.still_cycles, "what is begun goes on")
