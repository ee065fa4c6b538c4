"""One AXI port's read side: region check, a free id for every burst, error capture."""

from __future__ import annotations

from amaranth.hdl import Assert, Cat, Format, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.axi import Axi4, Burst
from rpaccel.rtl.free_list import FreeList
from rpaccel.rtl.interfaces import BURST_BITS, SharedReadPort
from rpaccel.rtl.region_check import RegionCheck, regions_layout
from rpaccel.rtl.stream_buffer import StreamBuffer
from rpaccel.spec.accelerator import BURST_BEATS, AcceleratorConfig
from rpaccel.spec.isa import Status
from rpaccel.spec.registers import Permission

__all__ = ["ReadChannel", "access_error_layout"]


def access_error_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A refused or failed access: pulse, first address of its burst, Status, kind, requester."""
    return data.StructLayout(
        {
            "stb": unsigned(1),
            "address": unsigned(config.axi_address_bits),
            "status": unsigned(8),
            "write": unsigned(1),
            "requester": unsigned(8),
        }
    )


class ReadChannel(wiring.Component):
    """Puts bursts on one port's AR and R channels, 1 burst and 1 beat a cycle.

    Every burst in flight has an AXI id of its own, so memory may answer all of them in any order,
    and interleave their beats; with 2**axi_id_bits in flight the next burst waits. Request to AR:
    2 cycles; R to answer: 1 cycle. A refused burst is answered here with zero beats; the answers
    and requests behind it wait meanwhile.

    Members:
      port     In   SharedReadPort; a request that waits may be replaced by another one
      regions  In   region table
      axi      Out  Axi4; only AR and R are driven
      error    Out  access_error_layout, one pulse per refused burst and per failed beat
    """

    request_latency_cycles = RegionCheck.latency_cycles
    response_latency_cycles = StreamBuffer.latency_cycles

    def __init__(self, config: AcceleratorConfig, readers: int, places: int) -> None:
        self.config = config
        super().__init__(
            {
                "port": In(SharedReadPort(config, readers, places)),
                "regions": In(regions_layout(config)),
                "axi": Out(Axi4(config)),
                "error": Out(access_error_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, ids = self.config, 1 << self.config.axi_id_bits
        shape = self.port.signature.request_shape
        burst = shape["burst"].shape
        owner = data.StructLayout({"reader": shape["reader"].shape, "place": burst["place"].shape})
        asked = self.port.request.payload
        m.submodules.check = check = RegionCheck(config, Permission.READ, owner.size)
        m.d.comb += [
            check.regions.eq(self.regions),
            check.i.valid.eq(self.port.request.valid),
            self.port.request.ready.eq(check.i.ready),
            check.i.payload.address.eq(asked.burst.address),
            check.i.payload.beats.eq(asked.burst.beats),
            check.i.payload.tag.eq(Cat(asked.reader, asked.burst.place)),
        ]

        # a burst leaves with a free id; a refused one is answered first
        request = check.o.payload
        m.submodules.free = free = FreeList(ids)
        left = Signal(BURST_BITS)  # beats of a refused burst
        refusing, sent, refuse = Signal(), Signal(), Signal()
        refused = Signal(owner)
        m.d.comb += [
            refusing.eq(left != 0),
            self.axi.arvalid.eq(check.o.valid & request.allowed & free.number.valid & ~refusing),
            self.axi.arid.eq(free.number.payload),
            self.axi.araddr.eq(request.address),
            self.axi.arlen.eq(request.beats - 1),
            self.axi.arsize.eq(config.beat_bytes.bit_length() - 1),
            self.axi.arburst.eq(Burst.INCR),
            sent.eq(self.axi.arvalid & self.axi.arready),
            free.number.ready.eq(sent),
            check.o.ready.eq(
                ~refusing & Mux(request.allowed, self.axi.arready & free.number.valid, 1)
            ),
            refuse.eq(check.o.valid & ~refusing & ~request.allowed),
        ]
        with m.If(refuse):
            m.d.sync += [refused.eq(request.tag), left.eq(request.beats)]

        head, taken, known = self._answer(m, sent, request.tag, refusing, refused, left)
        m.d.comb += free.back_stb.eq(taken & head.last)
        m.d.comb += free.back.eq(head.identity)

        flying = Signal(ids)
        with m.If(sent):
            m.d.sync += flying.bit_select(free.number.payload, 1).eq(1)
        with m.If(taken):
            m.d.sync += Assert(
                flying.bit_select(head.identity, 1), Format("memory answered id {}", head.identity)
            )
            with m.If(head.last):
                m.d.sync += flying.bit_select(head.identity, 1).eq(0)
        self._capture(m, sent, refuse, request, taken & head.failed, head.identity, known.reader)
        return m

    def _answer(
        self,
        m: Module,
        sent: Signal,
        tag: Signal,
        refusing: Signal,
        refused: Signal,
        left: Signal,
    ) -> tuple[data.View, Signal, data.View]:
        """Give beats to their readers; return (beat, "it is taken", its owner)."""
        config, ids = self.config, 1 << self.config.axi_id_bits
        beat = data.StructLayout(
            {"identity": config.axi_id_bits, "data": config.axi_data_bits, "last": 1, "failed": 1}
        )
        m.submodules.beats = beats = StreamBuffer(beat)
        m.d.comb += [
            beats.i.valid.eq(self.axi.rvalid),
            self.axi.rready.eq(beats.i.ready),
            beats.i.payload.identity.eq(self.axi.rid),
            beats.i.payload.data.eq(self.axi.rdata),
            beats.i.payload.last.eq(self.axi.rlast),
            beats.i.payload.failed.eq(self.axi.rresp[1]),
        ]
        head = beats.o.payload
        m.submodules.owners = owners = memory.Memory(shape=refused.shape(), depth=ids, init=[])
        m.submodules.counts = counts = memory.Memory(shape=range(BURST_BEATS), depth=ids, init=[])
        own, known = owners.write_port(), owners.read_port(domain="comb")
        step, count = counts.write_port(), counts.read_port(domain="comb")
        answer = self.port.answer
        taken = Signal()
        m.d.comb += [
            own.en.eq(sent),
            own.addr.eq(self.axi.arid),
            own.data.eq(tag),
            known.addr.eq(head.identity),
            count.addr.eq(head.identity),
            step.en.eq(taken),
            step.addr.eq(head.identity),
            step.data.eq(Mux(head.last, 0, count.data + 1)),
            beats.o.ready.eq(answer.ready & ~refusing),
            taken.eq(beats.o.valid & beats.o.ready),
            answer.valid.eq(beats.o.valid | refusing),
        ]
        with m.If(refusing):
            m.d.comb += [
                answer.payload.reader.eq(refused.reader),
                answer.payload.beat.place.eq(refused.place),
                answer.payload.beat.refused.eq(1),
            ]
            with m.If(answer.ready):
                m.d.sync += [left.eq(left - 1), refused.place.eq(refused.place + 1)]
        with m.Else():
            m.d.comb += [
                answer.payload.reader.eq(known.data.reader),
                answer.payload.beat.place.eq(known.data.place + count.data),
                answer.payload.beat.data.eq(Mux(head.failed, 0, head.data)),
                answer.payload.beat.failed.eq(head.failed),
            ]
        return head, taken, known.data

    def _capture(
        self,
        m: Module,
        sent: Signal,
        refuse: Signal,
        request: data.View,
        fails: Signal,
        identity: Signal,
        reader: Signal,
    ) -> None:
        """Report refused bursts at once, failed beats a cycle later with the address kept here."""
        m.submodules.addresses = addresses = memory.Memory(
            shape=unsigned(self.config.axi_address_bits),
            depth=1 << self.config.axi_id_bits,
            init=[],
        )
        write, read = addresses.write_port(), addresses.read_port()
        failed, requester = Signal(), Signal.like(reader)
        m.d.comb += [
            write.en.eq(sent),
            write.addr.eq(self.axi.arid),
            write.data.eq(request.address),
            read.addr.eq(identity),
            self.error.stb.eq(refuse | failed),
            self.error.address.eq(Mux(failed, read.data, request.address)),
            self.error.status.eq(Mux(failed, Status.MEMORY, Status.REGION)),
            self.error.requester.eq(Mux(failed, requester, request.tag[: len(reader)])),
        ]
        m.d.sync += [failed.eq(fails), requester.eq(reader)]
