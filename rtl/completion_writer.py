"""Writes what a query answers into memory: its results, then its completion."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import WritePort, result_layout, struct
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import COMPLETION, RESULT

__all__ = ["CompletionWriter", "writing_layout"]

BURST_BEATS = 16  # bursts end on a multiple of this, so none crosses 4 KiB


def writing_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What to write where; `written`: results are there already.

    Both addresses are aligned: to a beat, to 128 bytes.
    """
    return data.StructLayout(
        {
            "completion": struct(COMPLETION),
            "completion_address": unsigned(config.axi_address_bits),
            "result_address": unsigned(config.axi_address_bits),
            "written": unsigned(1),
        }
    )


class CompletionWriter(wiring.Component):
    """Writes `completion.count` results packed into beats, waits for memory, then the completion.

    One burst at a time. If a result write fails, the completion gets that status and count 0.
    A failed completion write is left to the memory fabric's error capture.

    Members
    -------
    start : In(stream of writing_layout())  accepted when idle.
    result : In(stream of result_layout())  exactly `count` of them are taken.
    port : Out(WritePort)
    done_stb : Out(1)  memory has acknowledged everything.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(stream.Signature(writing_layout(config))),
                "result": In(stream.Signature(result_layout())),
                "port": Out(WritePort(config)),
                "done_stb": Out(1),
            }
        )

    @property
    def results_per_beat(self) -> int:
        """RESULT entries in one beat."""
        return self.config.beat_bytes // RESULT.bytes

    @property
    def completion_beats(self) -> int:
        """Beats of a COMPLETION."""
        return COMPLETION.bytes // self.config.beat_bytes

    def elaborate(self, platform: object) -> Module:
        m = Module()
        strobes = self.config.beat_bytes
        port = self.port
        completion = Signal(struct(COMPLETION))  # shifted out a beat at a time
        completion_address = Signal(self.config.axi_address_bits)
        address = Signal(self.config.axi_address_bits)  # of the next result burst
        left = Signal(16)  # results not yet packed
        burst_left = Signal(range(BURST_BEATS + 1))

        # Beats of results: full, or up to the next multiple of BURST_BEATS.
        beats_left = Signal(16)
        to_boundary, burst = Signal(range(BURST_BEATS + 1)), Signal(range(BURST_BEATS + 1))
        beat_of_block = (address // strobes)[: BURST_BEATS.bit_length() - 1]
        m.d.comb += [
            beats_left.eq((left + self.results_per_beat - 1) // self.results_per_beat),
            to_boundary.eq(BURST_BEATS - beat_of_block),
            burst.eq(Mux(beats_left < to_boundary, beats_left, to_boundary)),
        ]

        beat, pack_stb = self._pack(m, left)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.start.ready.eq(1)
                with m.If(self.start.valid):
                    start = self.start.payload
                    m.d.sync += [
                        completion.eq(start.completion),
                        completion_address.eq(start.completion_address),
                        address.eq(start.result_address),
                        left.eq(Mux(start.written, 0, start.completion.count)),
                    ]
                    m.next = "RESULT_REQUEST"
            with m.State("RESULT_REQUEST"):
                m.d.comb += [
                    port.request.valid.eq(left != 0),
                    port.request.payload.address.eq(address),
                    port.request.payload.beats.eq(burst),
                ]
                with m.If(left == 0):
                    m.next = "REQUEST"
                with m.Elif(port.request.ready):
                    m.d.sync += [burst_left.eq(burst), address.eq(address + burst * strobes)]
                    m.next = "RESULT_DATA"
            self._write_results(m, completion, beat, pack_stb, burst_left)
            with m.State("REQUEST"):
                m.d.comb += [
                    port.request.valid.eq(1),
                    port.request.payload.address.eq(completion_address),
                    port.request.payload.beats.eq(self.completion_beats),
                ]
                m.d.sync += burst_left.eq(self.completion_beats)
                with m.If(port.request.ready):
                    m.next = "DATA"
            self._write_completion(m, completion, burst_left)
        return m

    def _write_results(
        self,
        m: Module,
        completion: data.View,
        beat: data.View,
        pack_stb: Signal,
        burst_left: Signal,
    ) -> None:
        """Move one burst of results, then wait for its response."""
        port = self.port
        with m.State("RESULT_DATA"):
            m.d.comb += [
                pack_stb.eq(~beat.full),
                port.payload.valid.eq(beat.full),
                port.payload.payload.data.eq(beat.data),
                port.payload.payload.strobe.eq(beat.strobe),
            ]
            with m.If(beat.full & port.payload.ready):
                m.d.sync += [beat.full.eq(0), burst_left.eq(burst_left - 1)]
                with m.If(burst_left == 1):
                    m.next = "RESULT_RESPONSE"
        with m.State("RESULT_RESPONSE"):
            m.d.comb += port.response.ready.eq(1)
            with m.If(port.response.valid):
                error = port.response.payload.error
                with m.If(error != 0):
                    m.d.sync += [completion.status.eq(error), completion.count.eq(0)]
                m.next = "RESULT_REQUEST"

    def _write_completion(self, m: Module, completion: data.View, burst_left: Signal) -> None:
        """Shift the completion out, then wait for its response."""
        port, width = self.port, self.config.axi_data_bits
        words = completion.as_value()
        with m.State("DATA"):
            m.d.comb += [
                port.payload.valid.eq(1),
                port.payload.payload.data.eq(words[:width]),
                port.payload.payload.strobe.eq(~0),
            ]
            with m.If(port.payload.ready):
                m.d.sync += [words.eq(words >> width), burst_left.eq(burst_left - 1)]
                with m.If(burst_left == 1):
                    m.next = "RESPONSE"
        with m.State("RESPONSE"):
            m.d.comb += port.response.ready.eq(1)
            with m.If(port.response.valid):
                m.d.comb += self.done_stb.eq(1)
                m.next = "IDLE"

    def _pack(self, m: Module, left: Signal) -> tuple[data.View, Signal]:
        """Shift results into a beat while `pack_stb`; past the last one, without strobes."""
        width, strobes = self.config.axi_data_bits, self.config.beat_bytes
        beat = Signal(data.StructLayout({"data": width, "strobe": strobes, "full": 1}))
        packed = Signal(range(self.results_per_beat))
        pack_stb = Signal()
        present = Signal()
        m.d.comb += [present.eq(left != 0), self.result.ready.eq(pack_stb & present)]
        with m.If(pack_stb & (self.result.valid | ~present)):
            entry = self.result.payload
            m.d.sync += [
                beat.data.eq(Cat(beat.data, entry.id, entry.logit, entry.ctr)[RESULT.bits :]),
                beat.strobe.eq(Cat(beat.strobe, present.replicate(RESULT.bytes))[RESULT.bytes :]),
                left.eq(left - present),
                packed.eq(packed + 1),
            ]
            with m.If(packed == self.results_per_beat - 1):
                m.d.sync += [packed.eq(0), beat.full.eq(1)]
        return beat, pack_stb
