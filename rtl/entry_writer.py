"""Entry writer: a list of ids, alone or with their scores, into memory."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import STATUS_BITS, WritePort
from rpaccel.spec.accelerator import BURST_BEATS, AcceleratorConfig
from rpaccel.spec.isa import RETRIEVED

__all__ = ["EntryWriter", "entries_layout", "entry_layout"]

ID_BITS = 32


def entries_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Where `count` entries go, aligned to a beat. scores : RETRIEVED entries, else ids alone."""
    return data.StructLayout(
        {
            "address": unsigned(config.axi_address_bits),
            "count": unsigned(16),
            "scores": unsigned(1),
        }
    )


def entry_layout() -> data.StructLayout:
    """An id and its score."""
    return data.StructLayout({"id": unsigned(ID_BITS), "score": signed(32)})


class EntryWriter(wiring.Component):
    """Packs entries into beats and writes them, an entry per cycle; a burst at a time.

    Members
    -------
    start : In(stream of entries_layout())  accepted when idle.
    entry : In(stream of entry_layout())  exactly `count` of them are taken.
    port : Out(WritePort)
    done : Out(1)  memory has acknowledged all of them; `status` : of the first failed write.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(stream.Signature(entries_layout(config))),
                "entry": In(stream.Signature(entry_layout())),
                "port": Out(WritePort(config)),
                "done": Out(1),
                "status": Out(STATUS_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port, width = self.port, self.config.axi_data_bits
        beat_bytes = self.config.beat_bytes
        task = Signal(entries_layout(self.config))
        left, burst = Signal(16), Signal(range(BURST_BEATS + 1))
        in_beat, per_beat = Signal(range(width // ID_BITS + 1)), Signal(range(width // ID_BITS + 1))
        beats_left, to_edge, beats = Signal(16), Signal(range(BURST_BEATS + 1)), Signal(16)
        words, strobe = Signal(width), Signal(beat_bytes)
        place = (task.address // beat_bytes)[: BURST_BEATS.bit_length() - 1]
        alone, scored = width // ID_BITS, width // RETRIEVED.bits
        m.d.comb += [
            per_beat.eq(Mux(task.scores, scored, alone)),
            beats_left.eq(
                Mux(task.scores, (left + scored - 1) // scored, (left + alone - 1) // alone)
            ),
            # bursts end on a multiple of 16 beats, so none crosses 4 KiB or a stripe
            to_edge.eq(BURST_BEATS - place),
            beats.eq(Mux(beats_left < to_edge, beats_left, to_edge)),
            port.request.payload.address.eq(task.address),
            port.request.payload.beats.eq(beats),
            port.payload.payload.data.eq(words),
            port.payload.payload.strobe.eq(strobe),
        ]
        full = Signal()
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.start.ready.eq(1)
                m.d.sync += [task.eq(self.start.payload), left.eq(self.start.payload.count)]
                with m.If(self.start.valid):
                    m.d.sync += self.status.eq(0)
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += [self.done.eq(left == 0), port.request.valid.eq(left != 0)]
                m.d.sync += burst.eq(beats)
                with m.If(left == 0):
                    m.next = "IDLE"
                with m.Elif(port.request.ready):
                    m.d.sync += task.address.eq(task.address + beats * beat_bytes)
                    m.next = "DATA"
            with m.State("DATA"):
                self._pack(m, task, words, strobe, left, in_beat, full)
                m.d.comb += [
                    full.eq(in_beat == per_beat),
                    port.payload.valid.eq(full),
                ]
                with m.If(full & port.payload.ready):
                    m.d.sync += [in_beat.eq(0), burst.eq(burst - 1)]
                    with m.If(burst == 1):
                        m.next = "RESPONSE"
            with m.State("RESPONSE"):
                m.d.comb += port.response.ready.eq(1)
                with m.If(port.response.valid):
                    with m.If(self.status == 0):
                        m.d.sync += self.status.eq(port.response.payload.error)
                    m.next = "REQUEST"
        return m

    def _pack(
        self,
        m: Module,
        task: data.View,
        words: Signal,
        strobe: Signal,
        left: Signal,
        in_beat: Signal,
        full: Signal,
    ) -> None:
        """Shift an entry into the beat; past the last one, nothing, without strobes."""
        entry, present = self.entry.payload, Signal()
        m.d.comb += [present.eq(left != 0), self.entry.ready.eq(~full & present)]
        ones = Const(-1, RETRIEVED.bytes)
        with m.If(~full & (self.entry.valid | ~present)):
            m.d.sync += [in_beat.eq(in_beat + 1), left.eq(left - present)]
            strobes = Mux(present, ones, 0)
            with m.If(task.scores):
                both = Cat(words, entry.id, entry.score)
                m.d.sync += [
                    words.eq(both[RETRIEVED.bits :]),
                    strobe.eq(Cat(strobe, strobes)[RETRIEVED.bytes :]),
                ]
            with m.Else():
                half = ID_BITS // 8
                m.d.sync += [
                    words.eq(Cat(words, entry.id)[ID_BITS:]),
                    strobe.eq(Cat(strobe, strobes[:half])[half:]),
                ]
