"""Entry writer: a list of ids, alone or with their scores, into memory."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
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

    A burst is asked for when all of it is there: other writers wait for memory alone.

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
        port, beat_bytes = self.port, self.config.beat_bytes
        low, per_block = beat_bytes.bit_length() - 1, BURST_BEATS.bit_length() - 1
        task, idle = Signal(entries_layout(self.config)), Signal()
        m.submodules.beats = beats = SyncFIFOBuffered(
            width=self.config.axi_data_bits + beat_bytes, depth=BURST_BEATS + 1
        )
        self._pack(m, task, idle, beats)

        beats_left, to_edge = Signal(17), Signal(range(BURST_BEATS + 1))
        burst, left = Signal(range(BURST_BEATS + 1)), Signal(range(BURST_BEATS + 1))
        asked = self.start.payload
        entry_bytes = Mux(asked.scores, RETRIEVED.bytes, ID_BITS // 8)
        m.d.comb += [
            # bursts end on a multiple of 16 beats, so none crosses 4 KiB or a stripe
            to_edge.eq(BURST_BEATS - (task.address >> low)[:per_block]),
            burst.eq(Mux(beats_left < to_edge, beats_left, to_edge)),
            port.request.payload.address.eq(task.address),
            port.request.payload.beats.eq(burst),
            Cat(port.payload.payload.data, port.payload.payload.strobe).eq(beats.r_data),
        ]
        with m.FSM() as fsm:
            m.d.comb += idle.eq(fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += self.start.ready.eq(1)
                m.d.sync += beats_left.eq((asked.count * entry_bytes + beat_bytes - 1) >> low)
                with m.If(self.start.valid):
                    m.d.sync += self.status.eq(0)
                    m.next = "COLLECT"
            with m.State("COLLECT"):
                m.d.comb += self.done.eq(beats_left == 0)
                with m.If(beats_left == 0):
                    m.next = "IDLE"
                with m.Elif(beats.level >= burst):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += port.request.valid.eq(1)
                m.d.sync += left.eq(burst)
                with m.If(port.request.ready):
                    m.d.sync += [
                        task.address.eq(task.address + (burst << low)),
                        beats_left.eq(beats_left - burst),
                    ]
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [port.payload.valid.eq(beats.r_rdy), beats.r_en.eq(port.payload.ready)]
                with m.If(port.payload.valid & port.payload.ready):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "RESPONSE"
            with m.State("RESPONSE"):
                m.d.comb += port.response.ready.eq(1)
                with m.If(port.response.valid):
                    with m.If(self.status == 0):
                        m.d.sync += self.status.eq(port.response.payload.error)
                    m.next = "COLLECT"
        return m

    def _pack(self, m: Module, task: data.View, idle: Signal, beats: SyncFIFOBuffered) -> None:
        """Shift entries into a beat; past the last one, nothing, without strobes."""
        beat_bytes = self.config.beat_bytes
        entry, count = self.entry.payload, task.count  # entries that are left
        beat = Signal(data.StructLayout({"data": 8 * beat_bytes, "strobe": beat_bytes}))
        packed = Signal(range(8 * beat_bytes // ID_BITS))
        full, free, present = Signal(), Signal(), Signal()
        per_beat = Mux(task.scores, beat_bytes // RETRIEVED.bytes, 8 * beat_bytes // ID_BITS)
        last = packed == per_beat - 1
        m.d.comb += [
            present.eq(count != 0),
            free.eq(~full | beats.w_rdy),
            self.entry.ready.eq(~idle & free & present),
            beats.w_data.eq(beat),
            beats.w_en.eq(full),
        ]
        with m.If(beats.w_rdy):
            m.d.sync += full.eq(0)
        with m.If(self.entry.ready & self.entry.valid | free & ~present & (packed != 0)):
            m.d.sync += [packed.eq(Mux(last, 0, packed + 1)), full.eq(last)]
            m.d.sync += count.eq(count - present)
            for scores, new in ((1, Cat(entry.id, entry.score)), (0, entry.id)):
                size = len(new) // 8
                with m.If(task.scores == scores):
                    m.d.sync += [
                        beat.data.eq(Cat(beat.data, new)[8 * size :]),
                        beat.strobe.eq(Cat(beat.strobe, present.replicate(size))[size:]),
                    ]
        with m.If(idle):
            m.d.sync += task.eq(self.start.payload)
