"""RowBank between readers, memory and a writer: what becomes of a row, and that all ends."""

from __future__ import annotations

from amaranth.hdl import Array, Assert, Assume, Cat, Cover, Fragment, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from rpaccel.rtl.look_ahead_step import CacheOperation
from rpaccel.rtl.row_bank import RowBank

__all__ = ["RowBankProperties"]

VERSION_BITS = 2
WAIT, WRITE, COPY, END = range(4)  # of an update: until held, memory, copies, the last cycle


class RowBankProperties(wiring.Component):
    """Rows of one size, asked for by a reader and a prefetcher; one row, any, is followed.

    A beat of the followed row is its version, others are 0. Memory answers beats in any order, each
    with a version that it had since it was asked, or says that the read failed. The writer keeps to
    RowUpdatePort, as rtl.row_updater does: once the row is held memory is written, a beat after the
    other, then the copies; or it gives up before.

    Parameters
    ----------
    follow : bool  versions are followed; else beats are 0, and only movement is looked at.

    Members:
      ask, ask_row, ask_ahead, watch   a request; one read of the followed row is watched.
      ask_taken, read_taken   answers and reads may leave.
      come, come_read, come_failed, come_version   memory answers a read.
      begin, begin_row, give_up, go   the writer: begins, ends early, takes its next step.
      epoch.  row : the followed one; constant.
    """

    still_cycles = 8  # without a move, at most, while nothing outside has to move

    def __init__(self, dut: RowBank, *, follow: bool) -> None:
        self.dut, self.config, self.follow = dut, dut.config, follow
        self.beats, self.reads = dut.config.row_beats_max, dut.config.row_reads
        self.low_bits = (dut.config.update_bytes_max - 1).bit_length()  # of an address, of a row
        row, read = dut.config.axi_address_bits - self.low_bits, range(max(2, self.reads))
        super().__init__(
            {
                "ask": In(1), "ask_row": In(row), "ask_ahead": In(1), "watch": In(1),
                "ask_taken": In(1), "read_taken": In(1), "come": In(1), "come_read": In(read),
                "come_failed": In(1), "come_version": In(VERSION_BITS), "begin": In(1),
                "begin_row": In(row), "give_up": In(1), "go": In(1), "epoch": In(2),
                "row": In(row),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = Fragment.get(self.dut, platform)  # now: its parts are looked at
        begun, row = Signal(), Signal.like(self.row)
        m.d.sync += [begun.eq(1), row.eq(self.row)]
        m.d.comb += [Assume(~begun | (self.row == row)), self.dut.epochs[0].eq(self.epoch)]
        self.done = Signal(VERSION_BITS)  # of the followed row, when it was last written
        self.versions = Array(Signal(VERSION_BITS, name=f"memory_{n}") for n in range(self.beats))
        self._write(m)
        self._read(m)
        self._copies(m)
        self._ask(m)
        self._moves(m)
        return m

    def _row_of(self, key: Value) -> Value:
        return key >> (self.beats - 1).bit_length()

    def _beat_of(self, key: Value) -> Value:
        return key[: (self.beats - 1).bit_length()]

    def _write(self, m: Module) -> None:
        """Write rows, one after the other; new versions of the followed one."""
        update, busy, state = self.dut.update, Signal(), Signal(2)
        row, beat, held = Signal.like(self.row), Signal(range(self.beats + 1)), Signal()
        fresh = Signal(VERSION_BITS)
        m.d.comb += [
            update.valid.eq(busy),
            update.address.eq(row << self.low_bits),
            update.size.eq(self.low_bits - 2),
            update.write.valid.eq(busy & (state == COPY)),
            update.write.payload.mask.eq(~0),
        ]
        self.writing, self.state, self.written, self.fresh = busy, state, row, fresh
        self.held = busy & update.held & (row == self.row)
        if self.follow:
            m.d.comb += update.write.payload.data.eq(Mux(row == self.row, fresh, 0))
        with m.If(~busy):
            m.d.comb += Assume(~self.begin | (self.done != (1 << VERSION_BITS) - 1))
            with m.If(self.begin):
                m.d.sync += [busy.eq(1), state.eq(WAIT), row.eq(self.begin_row), beat.eq(0)]
                m.d.sync += fresh.eq(self.done + 1)
        with m.Elif(state == WAIT):
            with m.If(self.give_up):
                m.d.sync += busy.eq(0)
            with m.Elif(update.held & self.go):
                m.d.sync += state.eq(WRITE)
        with m.Elif(state == END):
            m.d.sync += busy.eq(0)
            with m.If(row == self.row):
                m.d.sync += self.done.eq(fresh)
        with m.Elif(Mux(state == WRITE, self.go, update.write.ready)):
            last = beat == self.beats - 1
            m.d.sync += beat.eq(Mux(last, 0, beat + 1))
            with m.If(last):
                m.d.sync += state.eq(state + 1)
            with m.If((state == WRITE) & (row == self.row)):
                m.d.sync += self.versions[beat].eq(fresh)
        m.d.sync += held.eq(busy & update.held)
        m.d.comb += Assert(~(held & busy) | update.held, "a row stays held")

    def _read(self, m: Module) -> None:
        """Answer reads, in any order."""
        memory, reads = self.dut.memory, range(self.reads)
        request, first = memory.request, memory.request.payload
        key = first.address >> 2
        self.open = Signal(self.reads)
        self.keys = Array(Signal(len(key), name=f"key_{n}") for n in reads)
        least = Array(Signal(VERSION_BITS, name=f"least_{n}") for n in reads)
        of_row = Signal(self.reads)
        m.d.comb += request.ready.eq(self.read_taken)
        for n in reads:
            beat = n - first.place
            m.d.comb += of_row[n].eq(self.open[n] & (self._row_of(self.keys[n]) == self.row))
            with m.If(self.come & (self.come_read == n)):
                m.d.sync += self.open[n].eq(0)
            with m.If(request.valid & request.ready & (n >= first.place) & (beat < first.beats)):
                m.d.comb += Assert(~self.open[n], "a read's number is free")
                m.d.sync += [self.open[n].eq(1), self.keys[n].eq(key + beat)]
                m.d.sync += least[n].eq(self.versions[self._beat_of(key + beat)])
        came, here = self.keys[self.come_read], Signal()
        most = self.versions[self._beat_of(came)]
        m.d.comb += [
            here.eq(self._row_of(came) == self.row),
            Assume(~self.come | self.open.bit_select(self.come_read, 1)),
            Assume(least[self.come_read] <= self.come_version),
            Assume(self.come_version <= most),
            memory.answer_valid.eq(self.come),
            memory.answer.place.eq(self.come_read),
            memory.answer.failed.eq(self.come_failed),
            Assert(~(self.held & of_row.any()), "no read of a row that is held is on its way"),
            Assert(~(self.held & request.valid & (self._row_of(key) == self.row)),
                   "none is asked for"),
        ]  # fmt: skip
        if self.follow:
            m.d.comb += memory.answer.data.eq(Mux(here & ~self.come_failed, self.come_version, 0))

    def _copies(self, m: Module) -> None:
        """Look at what becomes of the look-ahead cache."""
        request, beat = self.dut.cache.request, Signal(range(self.beats + 1))
        moves, asked = request.valid & request.ready, request.payload
        update = moves & (asked.operation == CacheOperation.UPDATE)
        fill = moves & (asked.operation == CacheOperation.FILL) & self.dut.fill.valid
        of_fill = self._row_of(self.keys[self.dut.fill.payload.read]) == self.row
        with m.If(update):
            m.d.sync += beat.eq(beat + 1)
        with m.If(~self.writing):
            m.d.sync += beat.eq(0)
        m.d.comb += [
            Assert(~update | (self.writing & (self.state == COPY)), "copies come after memory"),
            Assert(~update | (asked.key == self.written * self.beats + beat), "beat after beat"),
            Assert(~(self.writing & (self.state == END)) | (beat == self.beats),
                   "the cache gets the whole row"),
            Assert(~(fill & of_fill & self.held), "a row that is held is not filled"),
        ]  # fmt: skip
        if self.follow:
            m.d.comb += [
                Assert(~(update & (self.written == self.row)) | (asked.row == self.fresh),
                       "copies get the new version"),
                Assert(~(fill & of_fill) | (asked.row >= self.done),
                       "a fill is no older than the row that was written"),
            ]  # fmt: skip

    def _ask(self, m: Module) -> None:
        """Ask for rows; follow the watched one's answers."""
        port, beats = self.dut.port, self.beats
        asked, answer = port.request, port.answer
        watched, waits, oldest = Signal(), Signal(beats), Signal(VERSION_BITS)
        seen, version = Signal(), Signal(VERSION_BITS)
        watch = self.watch & ~watched
        m.d.comb += [
            Assume(~watch | ((self.ask_row == self.row) & ~self.ask_ahead)),
            asked.valid.eq(self.ask),
            asked.payload.reader.eq(self.ask_ahead),
            asked.payload.burst.address.eq(self.ask_row << self.low_bits),
            asked.payload.burst.beats.eq(beats),
            asked.payload.burst.row.size.eq(self.low_bits - 2),
            # the watched row's places are its own
            asked.payload.burst.place.eq(Mux(watch, 0, beats)),
            answer.ready.eq(self.ask_taken),
        ]
        with m.If(asked.valid & asked.ready & watch):
            m.d.sync += [watched.eq(1), waits.eq(~0), oldest.eq(self.done)]
        told = answer.payload.beat
        with m.If(answer.valid & (told.place < beats)):
            m.d.comb += [
                Assert(waits.bit_select(told.place, 1), "a beat is answered once"),
                Assert(~answer.payload.reader, "prefetchers get no answers"),
            ]
            if self.follow:
                m.d.comb += [
                    Assert(told.failed | (told.data >= oldest), "no row is older than asked for"),
                    Assert(told.failed | ~seen | (told.data == version), "no row is torn"),
                ]
            with m.If(answer.ready):
                m.d.sync += waits.bit_select(told.place, 1).eq(0)
                with m.If(~told.failed):
                    m.d.sync += [seen.eq(1), version.eq(told.data)]
        m.d.comb += [
            Cover(watched & ~waits.any() & ~self.writing, "a row is answered"),
            Cover(self.writing & (self.state == END) & watched & waits.any(),
                  "a row is written while a read of it waits"),
        ]  # fmt: skip
        self.waits = waits

    def _moves(self, m: Module) -> None:
        """What is inside moves while nothing outside has to."""
        dut, still = self.dut, Signal(range(self.still_cycles + 1))
        memory, answer = dut.memory.request, dut.port.answer
        waits = self.writing & (self.state == WAIT) & ~dut.update.held
        outside = (
            self.open.any() | (memory.valid & ~memory.ready) | (answer.valid & ~answer.ready)
            | (self.writing & ~waits & (self.state != COPY))
        )  # fmt: skip
        inside = ~dut.idle | self.writing
        moves = Cat(
            memory.valid, answer.valid, self.come, dut.looked, dut.cache.request.valid,
            dut.cache.answer.valid,
        )  # fmt: skip
        with m.If(outside | ~inside | moves.any()):
            m.d.sync += still.eq(0)
        with m.Else():
            m.d.sync += still.eq(still + 1)
        m.d.comb += Assert(still < self.still_cycles, "what is inside moves")
        lost = Signal(range(self.still_cycles + 1))
        m.d.sync += lost.eq(Mux(dut.idle & self.waits.any() & ~answer.valid, lost + 1, 0))
        m.d.comb += Assert(lost < self.still_cycles, "no answer is lost")
