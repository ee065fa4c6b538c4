"""Word reader: a stretch of memory as a stream of words."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import STATUS_BITS, ReadPort
from rpaccel.spec.accelerator import BURST_BEATS, AcceleratorConfig

__all__ = ["WordReader", "extent_layout"]


def extent_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A stretch of memory: its first byte and how many items it has."""
    return data.StructLayout({"address": unsigned(config.axi_address_bits), "items": unsigned(32)})


class WordReader(wiring.Component):
    """Reads `items` words from `address` (a multiple of W), one word per cycle.

    Bursts of 16 beats that do not cross a boundary (AcceleratorConfig.burst_boundary_bytes), asked
    for as fast as the port takes them. First word: memory latency + 1 cycle after start.

    Parameters
    ----------
    word_bits : at most one beat.

    Members:
      start   In   stream of extent_layout; not ready while busy
      words   Out  stream of words, exactly `items` of them (0 for a failed beat)
      cancel  In   level, only after start: the rest is neither asked for nor shown
      memory  Out  ReadPort
      status  Out  first error since start, from the word of the failed beat on
      busy    Out  words are left, or answers on their way
    """

    def __init__(self, config: AcceleratorConfig, word_bits: int) -> None:
        self.config = config
        self.word_bits = word_bits
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
        beats_due = Signal(range((1 << 32) // words_per_beat + 2))  # to ask for
        owed = Signal(range((1 << 32) // words_per_beat + 2))  # asked for, not taken
        address = Signal(self.config.axi_address_bits)
        asked = self._ask(m, address, beats_due)

        # words out of beats
        response = self.memory.response
        words_due = Signal(32)
        lane = Signal(range(max(2, words_per_beat)))
        taken = self.words.valid & self.words.ready
        beat_done = (lane == words_per_beat - 1) | (words_due == 1)
        beat_taken = response.valid & response.ready
        m.d.comb += [
            self.words.valid.eq(response.valid & (words_due != 0) & ~self.cancel),
            self.words.payload.eq(response.payload.data.word_select(lane, self.word_bits)),
            response.ready.eq((self.words.ready & beat_done) | self.cancel | (words_due == 0)),
            self.busy.eq((words_due != 0) | (beats_due != 0) | (owed != 0)),
            self.start.ready.eq(~self.busy),
        ]
        m.d.sync += owed.eq(owed + asked - beat_taken)
        kept = Signal(STATUS_BITS)
        m.d.comb += self.status.eq(
            Mux(kept != 0, kept, Mux(response.valid & (owed != 0), response.payload.error, 0))
        )
        m.d.sync += kept.eq(self.status)
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
                kept.eq(0),
            ]
        with m.Elif(self.cancel):
            m.d.sync += words_due.eq(0)
        return m

    def _ask(self, m: Module, address: Signal, beats_due: Signal) -> Mux:
        """Ask up to the boundary, the end, 16 beats; return the beats asked for now."""
        beat_bytes, request = self.config.beat_bytes, self.memory.request
        boundary = self.config.burst_boundary_bytes
        page_beat = address[beat_bytes.bit_length() - 1 : boundary.bit_length() - 1]
        to_page = Signal(range(boundary // beat_bytes + 1))
        least = Mux(to_page < BURST_BEATS, to_page, BURST_BEATS)
        beats = request.payload.beats
        m.d.comb += [
            to_page.eq(boundary // beat_bytes - page_beat),
            beats.eq(Mux(beats_due < least, beats_due, least)),
            request.valid.eq(beats_due != 0),
            request.payload.address.eq(address),
        ]
        sent = request.valid & request.ready
        with m.If(sent):
            m.d.sync += address.eq(address + beats * beat_bytes)
            m.d.sync += beats_due.eq(beats_due - beats)
        with m.If(self.cancel & (sent | ~request.valid)):  # an offer is not withdrawn
            m.d.sync += beats_due.eq(0)
        return Mux(sent, beats, 0)
