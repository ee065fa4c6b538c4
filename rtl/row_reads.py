"""Row reads: the reads of a bank that are on their way, by rows; neighbours are one burst."""

from __future__ import annotations

from amaranth.hdl import Array, Assert, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.free_list import FreeList
from rpaccel.rtl.interfaces import BURST_BITS, read_request_layout
from rpaccel.rtl.stream_buffer import StreamBuffer
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["RowReads"]


class RowReads(wiring.Component):
    """Numbers reads, asks for them, says when all of a row are back. One step per cycle.

    A step is a beat that was looked for (`look`: in order, row after row) or the fill of a read.
    The reads of a row have numbers next to each other: group * row_beats + beat. A burst is due
    with the row's last beat, or with one that does not miss. A client begins a row only while
    groups are left.

    Members
    -------
    look, missed, key, beat, last : In  a beat of a row: whether it is to be read, its number in
        memory and in its row. looked_stb : In(1)  the step is done: needs `ready` if `due`
    fill, read, filled_stb : In  a read is back; the step is done
    leaves : In(1)  the step is done if the burst leaves
    number : Out  of the read, if the beat is one
    due, ready : Out(1)  a burst leaves with this step; it can
    back_stb : Out(1)  a row has no reads on their way any more, or none at all
    busy : Out(1 per group)  its row is through and waits for reads
    request : Out(stream of read_request_layout)  place: number of the read
    """

    def __init__(self, config: AcceleratorConfig, key_bits: int) -> None:
        self.config = config
        self.groups = config.row_reads // config.row_beats_max
        reads = range(max(2, config.row_reads))
        request = read_request_layout(config, config.row_reads)
        flags = ("look", "missed", "last", "looked_stb", "fill", "filled_stb", "leaves")
        super().__init__(
            {name: In(1) for name in flags}
            | {
                "key": In(key_bits),
                "beat": In(range(max(2, config.row_beats_max))),
                "read": In(reads),
                "number": Out(reads),
                "due": Out(1),
                "ready": Out(1),
                "back_stb": Out(1),
                "busy": Out(self.groups),
                "request": Out(stream.Signature(request)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beats, groups = self.config.row_beats_max, self.groups
        m.submodules.free = free = FreeList(groups)
        m.submodules.asked = asked = StreamBuffer(self.request.payload.shape())
        wiring.connect(m, asked.o, wiring.flipped(self.request))
        run, run_now = Signal(BURST_BITS), Signal(BURST_BITS)
        first_key, first_number = Signal.like(self.key), Signal.like(self.number)
        offset_bits = self.config.beat_bytes.bit_length() - 1
        m.d.comb += [
            self.number.eq(free.number.payload * beats + self.beat),
            run_now.eq(run + self.missed),
            self.due.eq(self.look & (self.last | ~self.missed) & (run_now != 0)),
            self.ready.eq(asked.i.ready),
            asked.i.valid.eq(self.due & self.leaves),
            asked.i.payload.address.eq(
                Cat(Const(0, offset_bits), Mux(run == 0, self.key, first_key))
            ),
            asked.i.payload.beats.eq(run_now),
            asked.i.payload.place.eq(Mux(run == 0, self.number, first_number)),
        ]
        with m.If(self.looked_stb):
            m.d.sync += run.eq(Mux(self.due, 0, run_now))
            with m.If(run == 0):
                m.d.sync += [first_key.eq(self.key), first_number.eq(self.number)]

        # a group is free when its row is through and all its reads are filled, in either order
        misses, misses_now = Signal(range(beats + 1)), Signal(range(beats + 1))
        left = Array(Signal(range(2 * beats), name=f"left_{i}") for i in range(groups))
        current, filled = free.number.payload, self.read >> (beats - 1).bit_length()
        group, now = Signal.like(current), Signal(range(2 * beats))
        row_ends, taken = Signal(), free.number.ready
        m.d.comb += [
            row_ends.eq(self.looked_stb & self.last),
            misses_now.eq(misses + self.missed),
            taken.eq(row_ends & (misses_now != 0)),
            group.eq(Mux(self.fill, filled, current)),
            now.eq(left[group] + Mux(self.fill, -1, misses_now)),
            free.back.eq(group),
            free.back_stb.eq(
                (now == 0)
                & Mux(self.fill, self.filled_stb & ((filled != current) | (misses == 0)), taken)
            ),
            self.back_stb.eq(free.back_stb | (row_ends & (misses_now == 0))),
        ]
        with m.If(self.filled_stb | taken):
            m.d.sync += left[group].eq(now)
        with m.If(self.looked_stb):
            m.d.sync += misses.eq(Mux(self.last, 0, misses_now))
        with m.If(taken):
            m.d.sync += self.busy.bit_select(current, 1).eq(1)
        with m.If(free.back_stb):
            m.d.sync += self.busy.bit_select(free.back, 1).eq(0)
        with m.If(self.missed):
            m.d.sync += Assert(free.number.valid)
        return m
