"""Row updater: new versions of embedding rows, out of the host's queue into memory and caches."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import (
    STATUS_BITS,
    ReadPort,
    RowUpdatePort,
    WritePort,
    row_size,
    struct,
)
from rpaccel.rtl.retrieval_guard import GUARDS, guard_layout
from rpaccel.rtl.word_reader import WordReader
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import ROW_UPDATE, Status
from rpaccel.spec.registers import RING_MODULO

__all__ = ["RowUpdater", "update_queue_layout"]

VERSION_BYTES = 4
_STATUS_BYTE = ROW_UPDATE.fields["status"].offset // 8


def update_queue_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What the host says about the queue of updates; size: a power of two, 0: closed."""
    index = range(RING_MODULO)
    return data.StructLayout(
        {
            "enable": unsigned(1),
            "base": unsigned(config.axi_address_bits),
            "size": index,
            "tail": index,
        }
    )


class RowUpdater(wiring.Component):
    """Takes updates in order, one at a time; each is written whole, or not at all.

    An entry is a ROW_UPDATE and the row's bytes behind it. If it names a version word in memory,
    it is applied if its version is greater than that word, which then becomes its version; else it
    is STALE. Reads of the row wait from before the version is looked at until memory and caches
    have the row: none sees a part of it, and none that comes later sees the old one.

    The entry's status is written last, then `head` moves. BAD_UPDATE: row_bytes is no power of two
    in 4..update_bytes_max, or an address is not aligned. REGION, MEMORY: an access; if
    it was the row's write, the row in memory may be half written, and copies keep the old version.

    Members
    -------
    queue : In(update_queue_layout())
    head : Out(16)  entries dealt with, modulo 2**16
    done_stb : Out(1)  an entry is dealt with (head shows it in the next cycle), with `status`
    status : Out(8)
    hold : In(1)  begin with no entry. idle : Out(1)  no entry is at work
    pause : In(1)  begin with no entry, with a retrieval engine: `idle` of this cycle stays.
    guards : In(guard_layout()) x 3  an entry waits whose row has a byte in one; with a retrieval
        engine.
    waiting : Out(1)  entries are in the queue.
    read : Out(ReadPort), write : Out(WritePort), row : Out(RowUpdatePort)
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "queue": In(update_queue_layout(config)),
                "head": Out(range(RING_MODULO)),
                "done_stb": Out(1),
                "status": Out(STATUS_BITS),
                "hold": In(1),
                "idle": Out(1),
                "pause": In(1),
                "guards": In(guard_layout(config)).array(GUARDS if config.retrieval_queries else 0),
                "waiting": Out(1),
                "read": Out(ReadPort(config)),
                "write": Out(WritePort(config)),
                "row": Out(RowUpdatePort(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        entry = Signal(8 * config.update_entry_bytes)
        fields = data.View(struct(ROW_UPDATE), entry[: ROW_UPDATE.bits])
        self.row_bytes = entry[ROW_UPDATE.bits :]  # shifted down a beat at a time
        m.submodules.reader = reader = WordReader(config, config.axi_data_bits)
        wiring.connect(m, reader.memory, wiring.flipped(self.read))
        entry_address = Signal(config.axi_address_bits)
        m.d.comb += reader.words.ready.eq(1)
        self._place(m, fields)
        with m.FSM():
            self._fetch(m, reader, entry, entry_address)
            self._compare(m, reader, fields)
            self._write_row(m, fields)
            self._write_word(m, fields, entry_address)
        return m

    def _fetch(self, m: Module, reader: WordReader, entry: Signal, entry_address: Signal) -> None:
        """Read an entry, when there is one."""
        config, queue, beat_bits = self.config, self.queue, self.config.axi_data_bits
        word, start, index = reader.words, reader.start, Signal.like(self.head)
        m.d.comb += index.eq(self.head & (queue.size - 1))
        waiting = self.waiting
        m.d.comb += waiting.eq((queue.tail != self.head) & (queue.size != 0) & queue.enable)
        with m.State("IDLE"):
            m.d.comb += [
                self.idle.eq(1),
                start.valid.eq(waiting & ~self.hold & ~self.pause),
                start.payload.address.eq(queue.base + index * config.update_entry_bytes),
                start.payload.items.eq(config.update_entry_bytes // config.beat_bytes),
            ]
            m.d.sync += [entry_address.eq(start.payload.address), self.status.eq(Status.OK)]
            with m.If(start.valid & start.ready):
                m.next = "FETCH"
        with m.State("FETCH"):
            with m.If(word.valid):
                m.d.sync += entry.eq(Cat(entry, word.payload)[beat_bits:])
            with m.If(~reader.busy):
                m.next = "CHECK"
            with m.If(reader.status != 0):
                m.d.sync += self.status.eq(reader.status)

    def _compare(self, m: Module, reader: WordReader, fields: data.View) -> None:
        """Check the entry; hold the row, and go on if the version is newer."""
        word, start = reader.words, reader.start
        row = fields.row_address
        last = row | (fields.row_bytes - 1)[: len(fields.row_bytes)]
        guarded = Cat((guard.low <= last) & (row < guard.high) for guard in self.guards).any()
        with m.State("CHECK"):
            m.next = "REPORT"
            with m.If(self.status == Status.OK):
                m.d.sync += self.status.eq(
                    Mux(self.bad, Status.BAD_UPDATE, Mux(self.outside, Status.REGION, 0))
                )
                with m.If(~self.bad & ~self.outside):
                    m.next = "GUARD"
        with m.State("GUARD"), m.If(~guarded):
            m.d.sync += self.row.valid.eq(1)
            m.next = "HOLD"
            with m.If(fields.version_address != 0):
                m.next = "ASK"
        with m.State("ASK"):
            m.d.comb += [
                start.valid.eq(1),
                start.payload.address.eq(fields.version_address),
                start.payload.items.eq(1),
            ]
            with m.If(start.ready):
                m.next = "COMPARE"
        with m.State("COMPARE"), m.If(word.valid):
            m.next = "HOLD"
            stored = word.payload.word_select(self.version_lane, 8 * VERSION_BYTES)
            with m.If(reader.status != 0):
                m.d.sync += self.status.eq(reader.status)
                m.next = "REPORT"
            with m.Elif(fields.version <= stored):
                m.d.sync += self.status.eq(Status.STALE)
                m.next = "REPORT"
        with m.State("HOLD"), m.If(self.row.held):
            m.next = "ROW"

    def _place(self, m: Module, fields: data.View) -> None:
        """Check the row's size and addresses; say where its words lie in a beat."""
        config, address_bits = self.config, self.config.axi_address_bits
        beat_bytes, sizes = config.beat_bytes, row_size(config)
        words = beat_bytes // 4
        self.bad, self.outside, self.beats = Signal(), Signal(), Signal(range(17))
        self.version_lane, self.left = Signal(range(max(2, words))), Signal(range(17))
        self.mask, repeated = Signal(words), Signal(config.axi_data_bits)
        low, address = Signal(words), fields.row_address
        offset = address[2 : beat_bytes.bit_length() - 1]
        first = self.row_bytes[: config.axi_data_bits]
        m.d.comb += self.bad.eq(1)
        for size in sizes:
            row_bytes = 4 << size
            with m.If(fields.row_bytes == row_bytes):
                each = min(row_bytes, beat_bytes)
                m.d.comb += [
                    self.bad.eq(address[: size + 2].any() | fields.version_address[:2].any()),
                    self.row.size.eq(size),
                    self.beats.eq(max(1, row_bytes // beat_bytes)),
                    low.eq((1 << each // 4) - 1),
                    repeated.eq(first[: 8 * each].replicate(beat_bytes // each)),
                ]
        m.d.comb += [
            self.outside.eq(
                (address >> address_bits).any() | (fields.version_address >> address_bits).any()
            ),
            self.version_lane.eq(fields.version_address[2:]),
            self.mask.eq(low << offset),
            self.row.address.eq(address),
            self.row.write.payload.data.eq(repeated),
            self.row.write.payload.mask.eq(self.mask),
        ]

    def _write_row(self, m: Module, fields: data.View) -> None:
        """Give the row to memory, and then to its bank: a beat at a time, round the register."""
        port, row, beat_bits = self.write, self.row, self.config.axi_data_bits
        low_bits = self.config.beat_bytes.bit_length() - 1
        row_bits = 8 * self.config.update_bytes_max
        bytes_of_row = self.row_bytes[:row_bits]
        turned = Cat(bytes_of_row[beat_bits:], bytes_of_row[:beat_bits])
        m.d.comb += [
            port.request.payload.address.eq(fields.row_address >> low_bits << low_bits),
            port.request.payload.beats.eq(self.beats),
            port.payload.payload.data.eq(row.write.payload.data),
            port.payload.payload.strobe.eq(Cat(bit.replicate(4) for bit in self.mask)),
        ]

        def next_beat(then: str) -> None:
            m.d.sync += self.left.eq(self.left - 1)
            with m.If(self.beats != 1):
                m.d.sync += bytes_of_row.eq(turned)
            with m.If(self.left == 1):
                m.next = then

        with m.State("ROW"):
            m.d.comb += port.request.valid.eq(1)
            m.d.sync += self.left.eq(self.beats)
            with m.If(port.request.ready):
                m.next = "ROW_DATA"
        with m.State("ROW_DATA"):
            m.d.comb += port.payload.valid.eq(1)
            with m.If(port.payload.ready):
                next_beat("ROW_WRITTEN")
        with m.State("ROW_WRITTEN"):
            m.d.comb += port.response.ready.eq(1)
            m.d.sync += self.left.eq(self.beats)
            with m.If(port.response.valid):
                m.d.sync += self.status.eq(port.response.payload.error)
                m.next = "COPIES"
                with m.If(port.response.payload.error != 0):
                    m.next = "REPORT"
        with m.State("COPIES"):
            m.d.comb += row.write.valid.eq(1)
            with m.If(row.write.ready):
                next_beat("VERSION")

    def _write_word(self, m: Module, fields: data.View, entry_address: Signal) -> None:
        """Write the version, then the status into the entry; wait for memory after each."""
        port, config = self.write, self.config
        low_bits = config.beat_bytes.bit_length() - 1

        def states(name: str, address: Value, word: Value, count: int, then: str) -> None:
            bits = 8 * count
            lane = address[count.bit_length() - 1 : low_bits]
            with m.State(name):
                m.d.comb += [
                    port.request.valid.eq(1),
                    port.request.payload.address.eq(address >> low_bits << low_bits),
                    port.request.payload.beats.eq(1),
                ]
                with m.If(port.request.ready):
                    m.next = f"{name}_DATA"
            with m.State(f"{name}_DATA"):
                m.d.comb += [
                    port.payload.valid.eq(1),
                    port.payload.payload.data.eq(word.replicate(config.axi_data_bits // bits)),
                    port.payload.payload.strobe.eq(((1 << count) - 1) << (lane * count)),
                ]
                with m.If(port.payload.ready):
                    m.next = f"{name}_WRITTEN"
            with m.State(f"{name}_WRITTEN"):
                m.d.comb += port.response.ready.eq(1)
                with m.If(port.response.valid):
                    with m.If(self.status == Status.OK):
                        m.d.sync += self.status.eq(port.response.payload.error)
                    m.next = then

        with m.State("VERSION"):
            m.d.sync += self.row.valid.eq(0)
            m.next = "REPORT"
            with m.If(fields.version_address != 0):
                m.next = "STAMP"
        states("STAMP", fields.version_address, fields.version, VERSION_BYTES, "REPORT")
        with m.State("REPORT"):
            m.d.sync += self.row.valid.eq(0)
            m.next = "TELL"
        states("TELL", entry_address + _STATUS_BYTE, self.status, 1, "DONE")
        with m.State("DONE"):
            m.d.comb += self.done_stb.eq(1)
            m.d.sync += self.head.eq(self.head + 1)
            m.next = "IDLE"
