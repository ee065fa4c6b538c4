"""Word reader: a stretch of memory as a stream of words."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import STATUS_BITS, ReadPort
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["WordReader", "extent_layout"]

BURST_BEATS = 16
PAGE_BYTES = 4096


def extent_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A stretch of memory: its first byte and how many items it has."""
    return data.StructLayout({"address": unsigned(config.axi_address_bits), "items": unsigned(32)})


class WordReader(wiring.Component):
    """Reads `items` words from `address` (a multiple of W), one word per cycle.

    Bursts of 16 beats that do not cross 4 KiB. A burst is asked for only when the buffer has room
    for all of it, so answers are always taken. First word: memory latency + 4 cycles after start.

    Parameters
    ----------
    word_bits : at most one beat.
    bursts_in_flight : bursts that the buffer holds.

    Members:
      start   In   stream of extent_layout; not ready while busy
      words   Out  stream of words, exactly `items` of them (0 for a failed beat)
      cancel  In   level, only after start: the rest is neither asked for nor shown
      memory  Out  ReadPort
      status  Out  first error since start
      busy    Out  words are left, or answers on their way
    """

    def __init__(
        self, config: AcceleratorConfig, word_bits: int, bursts_in_flight: int = 2
    ) -> None:
        self.config = config
        self.word_bits = word_bits
        self.buffer_beats = BURST_BEATS * min(bursts_in_flight, config.reads_in_flight)
        super().__init__(
            {
                "start": In(stream.Signature(extent_layout(config))),
                "words": Out(stream.Signature(word_bits)),
                "cancel": In(1),
                "memory": Out(ReadPort(config)),
                "status": Out(STATUS_BITS),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words_per_beat = self.config.axi_data_bits // self.word_bits
        m.submodules.fifo = fifo = SyncFIFOBuffered(
            width=self.config.axi_data_bits, depth=self.buffer_beats
        )
        beats_due = Signal(range((1 << 32) // words_per_beat + 2))
        room = Signal(range(self.buffer_beats + 1), init=self.buffer_beats)
        address = Signal(self.config.axi_address_bits)
        asked = self._ask(m, address, beats_due, room)

        # answers
        response = self.memory.response
        m.d.comb += response.ready.eq(1)
        m.d.comb += fifo.w_en.eq(response.valid)
        m.d.comb += fifo.w_data.eq(response.payload.data)
        with m.If(response.valid & (response.payload.error != 0) & (self.status == 0)):
            m.d.sync += self.status.eq(response.payload.error)

        # words out of beats
        words_due = Signal(32)
        lane = Signal(range(max(2, words_per_beat)))
        taken = self.words.valid & self.words.ready
        beat_done = (lane == words_per_beat - 1) | (words_due == 1)
        m.d.comb += [
            self.words.valid.eq(fifo.r_rdy & (words_due != 0) & ~self.cancel),
            self.words.payload.eq(fifo.r_data.word_select(lane, self.word_bits)),
            fifo.r_en.eq(fifo.r_rdy & ((taken & beat_done) | self.cancel)),
            self.busy.eq((words_due != 0) | (beats_due != 0) | (room != self.buffer_beats)),
            self.start.ready.eq(~self.busy),
        ]
        m.d.sync += room.eq(room + fifo.r_en - asked)
        with m.If(taken):
            m.d.sync += words_due.eq(words_due - 1)
            m.d.sync += lane.eq(Mux(beat_done, 0, lane + 1))

        start = self.start.payload
        with m.If(self.start.valid & self.start.ready):
            low = self.config.beat_bytes.bit_length() - 1
            m.d.sync += [
                address.eq(Cat(Const(0, low), start.address[low:])),
                beats_due.eq(
                    (start.items + words_per_beat - 1) >> (words_per_beat.bit_length() - 1)
                ),
                words_due.eq(start.items),
                lane.eq(0),
                self.status.eq(0),
            ]
        with m.Elif(self.cancel):
            m.d.sync += words_due.eq(0)
        return m

    def _ask(self, m: Module, address: Signal, beats_due: Signal, room: Signal) -> Mux:
        """Ask up to the next 4 KiB, the end, 16 beats; return the beats asked for now."""
        beat_bytes, request = self.config.beat_bytes, self.memory.request
        page_beat = address[beat_bytes.bit_length() - 1 : PAGE_BYTES.bit_length() - 1]
        to_page = Signal(range(PAGE_BYTES // beat_bytes + 1))
        least = Mux(to_page < BURST_BEATS, to_page, BURST_BEATS)
        beats = request.payload.beats
        m.d.comb += [
            to_page.eq(PAGE_BYTES // beat_bytes - page_beat),
            beats.eq(Mux(beats_due < least, beats_due, least)),
            request.valid.eq((beats_due != 0) & (room >= beats)),
            request.payload.address.eq(address),
        ]
        sent = request.valid & request.ready
        with m.If(sent):
            m.d.sync += address.eq(address + beats * beat_bytes)
            m.d.sync += beats_due.eq(beats_due - beats)
        with m.If(self.cancel & (sent | ~request.valid)):  # an offer is not withdrawn
            m.d.sync += beats_due.eq(0)
        return Mux(sent, beats, 0)
