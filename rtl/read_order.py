"""Read order: answers that come in any order, given in the order of the requests."""

from __future__ import annotations

from amaranth.hdl import Assert, Format, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import BURST_BITS, PlacedReadPort, ReadPort
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Status

__all__ = ["ReadOrder"]


class ReadOrder(wiring.Component):
    """Keeps up to `slots` bursts of up to `slot_beats` beats; 1 request and 1 beat per cycle.

    A request passes in the same cycle while a slot is free; a slot is free again when its last beat
    has been fetched from the store. A beat leaves 2 cycles after it came, at the earliest.

    Parameters
    ----------
    slots, slot_beats : powers of two. A burst's first beat has place slot * slot_beats.
    rows : bursts are rows: what is said of them is passed on.

    Members:
      reader  In   ReadPort
      memory  Out  PlacedReadPort
    """

    latency_cycles = 2

    def __init__(
        self, config: AcceleratorConfig, slots: int, slot_beats: int, *, rows: bool = False
    ) -> None:
        self.config, self.slots, self.slot_beats, self.rows = config, slots, slot_beats, rows
        super().__init__(
            {
                "reader": In(ReadPort(config, rows=rows)),
                "memory": Out(PlacedReadPort(config, slots * slot_beats, rows=rows)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        places = self.slots * self.slot_beats
        newest, oldest = Signal(range(self.slots)), Signal(range(self.slots))
        used = Signal(range(self.slots + 1))
        request, out = self.reader.request, self.memory.request
        asked, freed = Signal(), Signal()
        m.d.comb += [
            out.valid.eq(request.valid & (used != self.slots)),
            request.ready.eq(out.ready & (used != self.slots)),
            out.payload.address.eq(request.payload.address),
            out.payload.beats.eq(request.payload.beats),
            out.payload.place.eq(newest * self.slot_beats),
            asked.eq(out.valid & out.ready),
        ]
        if self.rows:
            m.d.comb += out.payload.row.eq(request.payload.row)
        m.d.sync += used.eq(used + asked - freed)
        with m.If(asked):
            m.d.sync += newest.eq(newest + 1)
            m.d.sync += Assert(
                request.payload.beats <= self.slot_beats,
                Format("a burst of {} beats", request.payload.beats),
            )

        # beats come to their places
        beat = data.StructLayout(
            {"data": unsigned(self.config.axi_data_bits), "refused": 1, "failed": 1}
        )
        m.submodules.store = store = memory.Memory(shape=beat, depth=places, init=[])
        write, read = store.write_port(), store.read_port()
        there = Signal(places)
        answer = self.memory.answer
        m.d.comb += [
            write.en.eq(self.memory.answer_valid),
            write.addr.eq(answer.place),
            write.data.data.eq(answer.data),
            write.data.refused.eq(answer.refused),
            write.data.failed.eq(answer.failed),
        ]

        # the next beat of the oldest burst leaves when it is there
        m.submodules.lengths = lengths = memory.Memory(
            shape=unsigned(BURST_BITS), depth=self.slots, init=[]
        )
        length_write, length = lengths.write_port(), lengths.read_port(domain="comb")
        at, index = Signal(range(places)), Signal(range(self.slot_beats))
        last, fetch, move = Signal(), Signal(), Signal()
        response = self.reader.response
        m.d.comb += [
            length_write.en.eq(asked),
            length_write.addr.eq(newest),
            length_write.data.eq(request.payload.beats),
            length.addr.eq(oldest),
            at.eq(oldest * self.slot_beats + index),
            last.eq(index + 1 == length.data),
            move.eq(~response.valid | response.ready),
            fetch.eq(move & there.bit_select(at, 1)),
            freed.eq(fetch & last),
            read.addr.eq(at),
            read.en.eq(fetch),
            response.payload.data.eq(read.data.data),
            response.payload.error.eq(
                Mux(read.data.refused, Status.REGION, Mux(read.data.failed, Status.MEMORY, 0))
            ),
        ]
        with m.If(move):
            m.d.sync += [response.valid.eq(fetch), response.payload.last.eq(last)]
        m.d.sync += there.eq((there & ~(fetch << at)) | (self.memory.answer_valid << answer.place))
        with m.If(fetch):
            m.d.sync += index.eq(Mux(last, 0, index + 1))
        with m.If(freed):
            m.d.sync += oldest.eq(oldest + 1)
        return m
