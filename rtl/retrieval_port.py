"""A memory port's share of a scan: bursts of rows in, beats for the scoring unit out."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import STATUS_BITS, ReadPort
from rpaccel.rtl.retrieval_blocks import block_layout
from rpaccel.rtl.retrieval_score import ROW_SIZES, SCALE_BITS, beat_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.retrieval import MIN_ROW_BYTES

__all__ = ["RetrievalPort"]

DEPTH = 16  # bursts of rows, asked for or not


class RetrievalPort(wiring.Component):
    """Reads bursts, each behind its scales if it has some; a beat of rows per cycle.

    Members
    -------
    block : In(stream of block_layout())
    memory : Out(ReadPort)
    beat : Out(stream of beat_layout())
    run : In(1)  take what memory gives.
    at_end : Out(1)  a scan's last beat has left; the next one's wait. pass_end : In(1)  go on.
    waits : Out(1)  a burst is inside. oldest : Out(address)  of the first of them.
    error : Out(8)  Status of a beat that comes in this cycle, 0: none or a good one.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        beat = beat_layout(config.retrieval, config.retrieval_queries)
        super().__init__(
            {
                "block": In(stream.Signature(block_layout(config))),
                "memory": Out(ReadPort(config)),
                "beat": Out(stream.Signature(beat)),
                "run": In(1),
                "at_end": Out(1),
                "pass_end": In(1),
                "waits": Out(1),
                "oldest": Out(config.axi_address_bits),
                "error": Out(STATUS_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.blocks = blocks = Memory(shape=block_layout(self.config), depth=DEPTH, init=[])
        write = blocks.write_port()
        asked, here = blocks.read_port(domain="comb"), blocks.read_port(domain="comb")
        tail, to_ask, first = (
            Signal(range(2 * DEPTH), name=n) for n in ("tail", "to_ask", "first")
        )
        m.d.comb += [
            self.block.ready.eq((tail ^ first) != DEPTH),
            write.en.eq(self.block.valid & self.block.ready),
            write.addr.eq(tail),
            write.data.eq(self.block.payload),
            asked.addr.eq(to_ask),
            here.addr.eq(first),
            self.oldest.eq(here.data.address),
        ]
        m.d.sync += tail.eq(tail + write.en)
        self._ask(m, asked.data, to_ask, tail)
        m.d.comb += self.waits.eq((first != tail) & ~here.data.end)
        self._take(m, here.data, first, to_ask)
        return m

    def _scale_beats(self, row_size: Signal) -> Signal:
        """Return the beats of a burst's scales: 1, or 2 of the shortest rows."""
        return Mux(row_size == 0, 2, 1)

    def _ask(self, m: Module, block: Signal, to_ask: Signal, tail: Signal) -> None:
        """Ask for the scales, a beat at a time, then for the rows."""
        request = self.memory.request
        scales = Signal(range(3))  # beats of scales asked for
        rows = Signal()
        m.d.comb += rows.eq(~block.scaled | (scales == self._scale_beats(block.row_size)))
        with m.If(to_ask != tail):
            m.d.comb += [
                request.valid.eq(~block.end),
                request.payload.address.eq(block.address),
                request.payload.beats.eq(block.beats),
            ]
            with m.If(~rows):
                beat = (block.scale >> self._beat_shift) + scales
                m.d.comb += [
                    request.payload.address.eq(beat << self._beat_shift),
                    request.payload.beats.eq(1),
                ]
            with m.If(block.end | request.ready & rows):
                m.d.sync += [to_ask.eq(to_ask + 1), scales.eq(0)]
            with m.Elif(request.ready):
                m.d.sync += scales.eq(scales + 1)

    @property
    def _beat_shift(self) -> int:
        return self.config.beat_bytes.bit_length() - 1

    def _take(self, m: Module, block: Signal, first: Signal, to_ask: Signal) -> None:
        """Take scales into a register, and rows as beats with their ids and masks."""
        config = self.config
        segments = config.beat_bytes // MIN_ROW_BYTES
        queries = range(config.retrieval_queries)
        response, out = self.memory.response, self.beat.payload
        scales = [Signal(config.axi_data_bits, name=f"scales{i}") for i in range(2)]
        got, number, word = Signal(range(3)), Signal(4), Signal(range(512 // config.beat_bytes))
        row = Signal(range(config.beat_bytes + 1))  # of the burst, the first in this beat
        rows_of_beat, last_word = Signal(range(segments + 1)), Signal(word.shape())
        with m.Switch(block.row_size):
            for size in range(ROW_SIZES):
                with m.Case(size):
                    words = max(1, (MIN_ROW_BYTES << size) // config.beat_bytes)
                    m.d.comb += [
                        rows_of_beat.eq(max(1, segments >> size)),
                        last_word.eq(words - 1),
                    ]
        is_scale, takes = Signal(), Signal()
        m.d.comb += [
            is_scale.eq(block.scaled & (got != self._scale_beats(block.row_size))),
            takes.eq(self.run & self.waits),
            self.at_end.eq((first != to_ask) & block.end),
            self.beat.valid.eq(response.valid & takes & ~is_scale),
            response.ready.eq(takes & (self.beat.ready | is_scale)),
            out.data.eq(response.payload.data),
            out.id.eq(block.id + row),
            out.word.eq(word),
            out.ends.eq(word == last_word),
        ]
        with m.If(response.valid & response.ready):
            m.d.comb += self.error.eq(response.payload.error)
        for query in queries:
            m.d.comb += out.masks[query].eq(block.masks[query] >> row)

        # scales of a burst lie in a beat, or in two, behind each other
        place = Signal(range(2 * config.beat_bytes // 2))
        m.d.comb += place.eq(block.scale[1 : self._beat_shift] + row)
        groups = Array(Cat(scales).word_select(i, SCALE_BITS * segments)
                       for i in range(config.beat_bytes // segments))  # fmt: skip
        group = Signal(SCALE_BITS * segments)
        bits = (segments - 1).bit_length()
        m.d.comb += group.eq(groups[place[bits:]])
        for lane in range(segments):
            at = Signal(range(max(2, segments)), name=f"at{lane}")
            m.d.comb += [
                at.eq((place[:bits] + lane) & (segments - 1)),
                out.scales[lane].eq(group.word_select(at, SCALE_BITS) if bits else group),
            ]

        with m.If(self.at_end & self.pass_end):
            m.d.sync += first.eq(first + 1)
        with m.Elif(response.valid & response.ready):
            with m.If(is_scale):
                m.d.sync += got.eq(got + 1)
                with m.Switch(got):
                    for index, beat in enumerate(scales):
                        with m.Case(index):
                            m.d.sync += beat.eq(response.payload.data)
            with m.Else():
                m.d.sync += [number.eq(number + 1), word.eq(Mux(out.ends, 0, word + 1))]
                with m.If(out.ends):
                    m.d.sync += row.eq(row + rows_of_beat)
                with m.If(number == block.beats - 1):
                    m.d.sync += [
                        first.eq(first + 1),
                        got.eq(0),
                        number.eq(0),
                        row.eq(0),
                    ]
