"""Submission queue: descriptors fetched from the ring, until the dispatcher takes them."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import STATUS_BITS, ReadPort, descriptor_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import DESCRIPTOR

__all__ = ["INDEX_BITS", "SubmissionQueue", "fetched_layout", "rings_layout"]

INDEX_BITS = 16  # ring indices count modulo 2**16


def rings_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What the host says about both rings; sizes are powers of two, 0 keeps a ring closed."""
    return data.StructLayout(
        {
            "enable": unsigned(1),
            "sq_base": unsigned(config.axi_address_bits),
            "sq_size": unsigned(INDEX_BITS),
            "sq_tail": unsigned(INDEX_BITS),
            "cq_base": unsigned(config.axi_address_bits),
            "cq_size": unsigned(INDEX_BITS),
            "cq_head": unsigned(INDEX_BITS),
        }
    )


def fetched_layout() -> data.StructLayout:
    """A descriptor, the status of its fetch, and when that was (low bits of `clock`)."""
    return data.StructLayout(
        {
            "descriptor": descriptor_layout(),
            "error": unsigned(STATUS_BITS),
            "fetched_at": unsigned(32),
        }
    )


class SubmissionQueue(wiring.Component):
    """Fetches descriptors while the queue has room and a completion slot is sure to be free.

    Holds config.queue_entries descriptors as beats, and the oldest one in a register.

    Members
    -------
    rings : In(rings_layout()), hold : In(1)  fetch none.
    clock : In(32)
    sq_head : Out(16)  descriptors taken, modulo 2**16.
    memory : Out(ReadPort)
    fetched : Out(stream of fetched_layout())
    busy : Out(1)  a descriptor is being fetched.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "rings": In(rings_layout(config)),
                "hold": In(1),
                "clock": In(32),
                "sq_head": Out(INDEX_BITS),
                "memory": Out(ReadPort(config)),
                "fetched": Out(stream.Signature(fetched_layout())),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, rings = self.config, self.rings
        count = DESCRIPTOR.bytes // config.beat_bytes
        note_shape = data.StructLayout({"error": STATUS_BITS, "fetched_at": 32})
        m.submodules.beats = beats = SyncFIFOBuffered(
            width=config.axi_data_bits, depth=config.queue_entries * count + 1
        )
        m.submodules.notes = notes = SyncFIFOBuffered(
            width=note_shape.size, depth=config.queue_entries + 1
        )
        entries = Signal(range(config.queue_entries + 1))  # fetched or being fetched
        begin, end = Signal(), Signal()
        m.d.sync += entries.eq(entries + begin - end)

        # Ring to queue.
        error, failed = Signal(STATUS_BITS), Signal(STATUS_BITS)
        request, response = self.memory.request, self.memory.response
        waiting, reserved = Signal(INDEX_BITS), Signal(INDEX_BITS)
        note = data.View(note_shape, notes.w_data)
        last = response.valid & response.payload.last
        m.d.comb += [
            waiting.eq(rings.sq_tail - self.sq_head),
            reserved.eq(self.sq_head - rings.cq_head),
            request.payload.beats.eq(count),
            request.payload.address.eq(
                rings.sq_base + (self.sq_head & (rings.sq_size - 1)) * DESCRIPTOR.bytes
            ),
            beats.w_data.eq(response.payload.data),
            beats.w_en.eq(response.valid & response.ready),
            failed.eq(Mux(error != 0, error, response.payload.error)),
            note.error.eq(failed),
            note.fetched_at.eq(self.clock),
            notes.w_en.eq(last & response.ready),
        ]
        with m.FSM() as fetch:
            m.d.comb += self.busy.eq(~fetch.ongoing("IDLE"))
            with m.State("IDLE"):
                go = ~self.hold & (waiting != 0) & (rings.sq_size != 0) & (reserved < rings.cq_size)
                with m.If(rings.enable & go & (entries != config.queue_entries)):
                    m.d.comb += begin.eq(1)
                    m.d.sync += error.eq(0)
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += request.valid.eq(1)
                with m.If(request.ready):
                    m.next = "COLLECT"
            with m.State("COLLECT"):
                m.d.comb += response.ready.eq(1)
                with m.If(response.valid):
                    m.d.sync += error.eq(failed)
                with m.If(last):
                    m.d.sync += self.sq_head.eq(self.sq_head + 1)
                    m.next = "IDLE"

        # Queue to register.
        fetched = self.fetched.payload
        words = fetched.descriptor.as_value()
        head = data.View(note_shape, notes.r_data)
        left = Signal(range(count + 1), init=count)
        m.d.comb += [
            beats.r_en.eq((left != 0) & notes.r_rdy),
            self.fetched.valid.eq(left == 0),
            fetched.error.eq(head.error),
            fetched.fetched_at.eq(head.fetched_at),
            notes.r_en.eq(end),
            end.eq(self.fetched.valid & self.fetched.ready),
        ]
        kept = Signal(DESCRIPTOR.bits)
        m.d.comb += words.eq(kept)
        with m.If(beats.r_en & beats.r_rdy):
            m.d.sync += [
                kept.eq(Cat(kept, beats.r_data)[config.axi_data_bits :]),
                left.eq(left - 1),
            ]
        with m.If(end):
            m.d.sync += left.eq(count)
        return m
