"""One AXI port's read side: arbitration, region check, id routing, error capture."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Assert, Cat, Format, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.axi import Axi4, Burst
from rpaccel.rtl.interfaces import BURST_BITS, ReadPort
from rpaccel.rtl.region_check import RegionCheck, regions_layout
from rpaccel.rtl.stream_buffer import StreamBuffer
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Status
from rpaccel.spec.registers import Permission

__all__ = ["ReadChannel", "access_error_layout"]


def access_error_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A refused or failed access: pulse, first address of its burst, Status, kind, AXI id."""
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
    """Joins requesters on one port's AR and R channels, round-robin, 1 burst and 1 beat a cycle.

    Request to AR: 2 cycles; R to response: 1 cycle. A refused burst is answered here with zero
    beats once its requester's older bursts are answered; until then the port takes no request.
    A requester that does not take its beats stops the R channel for all.

    Parameters
    ----------
    identities : AXI id of each member of `readers`.

    Members:
      readers  In   ReadPort per requester
      regions  In   region table
      axi      Out  Axi4; only AR and R are driven
      error    Out  access_error_layout, one pulse per refused burst and per failed beat
    """

    request_latency_cycles = RegionCheck.latency_cycles
    response_latency_cycles = StreamBuffer.latency_cycles

    def __init__(self, config: AcceleratorConfig, identities: Sequence[int]) -> None:
        self.config = config
        self.identities = tuple(identities)
        super().__init__(
            {
                "readers": In(ReadPort(config)).array(len(self.identities)),
                "regions": In(regions_layout(config)),
                "axi": Out(Axi4(config)),
                "error": Out(access_error_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.check = check = RegionCheck(self.config, Permission.READ)
        m.d.comb += check.regions.eq(self.regions)
        self._arbitrate(m, check)

        # per requester: answers owed by memory, and where its burst addresses are kept
        count = len(self.identities)
        slots = 1 << (self.config.reads_in_flight - 1).bit_length()
        outstanding = [Signal(range(slots + 1), name=f"outstanding_{i}") for i in range(count)]
        newest = [Signal(range(slots), name=f"newest_{i}") for i in range(count)]
        request = check.o.payload
        asked = Cat(request.requester == identity for identity in self.identities)

        # a refused burst waits here until its turn
        refused = Signal(count)
        refused_beats = Signal(BURST_BITS)
        turn = Cat(refused[i] & (outstanding[i] == 0) for i in range(count))
        sent = Signal()
        m.d.comb += [
            self.axi.arvalid.eq(check.o.valid & request.allowed & ~refused.any()),
            self.axi.arid.eq(request.requester),
            self.axi.araddr.eq(request.address),
            self.axi.arlen.eq(request.beats - 1),
            self.axi.arsize.eq(self.config.beat_bytes.bit_length() - 1),
            self.axi.arburst.eq(Burst.INCR),
            check.o.ready.eq(~refused.any() & (self.axi.arready | ~request.allowed)),
            sent.eq(self.axi.arvalid & self.axi.arready),
        ]
        refuse = Signal()
        m.d.comb += refuse.eq(check.o.valid & check.o.ready & ~request.allowed)
        with m.If(refuse):
            m.d.sync += [refused.eq(asked), refused_beats.eq(request.beats)]

        done = self._respond(m, turn, refused_beats, refused)
        for i in range(count):
            m.d.sync += outstanding[i].eq(outstanding[i] + (sent & asked[i]) - done[i])
            m.d.sync += newest[i].eq(newest[i] + (sent & asked[i]))
            with m.If(sent & asked[i]):
                m.d.sync += Assert(
                    outstanding[i] < slots,
                    Format("requester {} has too many reads in flight", self.identities[i]),
                )
        self._capture(m, sent, asked, refuse, request, outstanding, newest)
        return m

    def _arbitrate(self, m: Module, check: RegionCheck) -> None:
        """Pick one request per cycle: the first after the last one picked."""
        valid = Cat(reader.request.valid for reader in self.readers)
        after = Signal(len(valid))
        later = Signal(len(valid))
        pick = Signal(len(valid))
        m.d.comb += later.eq(valid & after)
        m.d.comb += pick.eq(Mux(later.any(), later & -later, valid & -valid))
        with m.If(check.i.valid & check.i.ready):
            m.d.sync += after.eq(~((pick << 1) - 1))
        m.d.comb += check.i.valid.eq(valid.any())
        for i, (reader, identity) in enumerate(zip(self.readers, self.identities, strict=True)):
            m.d.comb += reader.request.ready.eq(pick[i] & check.i.ready)
            with m.If(pick[i]):
                m.d.comb += [
                    check.i.payload.requester.eq(identity),
                    check.i.payload.address.eq(reader.request.payload.address),
                    check.i.payload.beats.eq(reader.request.payload.beats),
                ]

    def _respond(self, m: Module, turn: Cat, refused_beats: Signal, refused: Signal) -> list:
        """Route beats by id, answer refused bursts; return "last beat of a burst taken" flags."""
        beat = data.StructLayout(
            {
                "identity": self.config.axi_id_bits,
                "data": self.config.axi_data_bits,
                "last": 1,
                "failed": 1,
            }
        )
        m.submodules.beats = beats = StreamBuffer(beat)
        m.d.comb += [
            beats.i.valid.eq(self.axi.rvalid),
            self.axi.rready.eq(beats.i.ready),
            beats.i.payload.identity.eq(self.axi.rid),
            beats.i.payload.data.eq(Mux(self.axi.rresp[1], 0, self.axi.rdata)),
            beats.i.payload.last.eq(self.axi.rlast),
            beats.i.payload.failed.eq(self.axi.rresp[1]),
        ]
        head = beats.o.payload
        mine = Cat(head.identity == identity for identity in self.identities)
        ready = Cat(reader.response.ready for reader in self.readers)
        m.d.comb += beats.o.ready.eq((mine & ready).any())
        with m.If(beats.o.valid):
            m.d.sync += Assert(mine.any(), Format("memory answered id {}", head.identity))

        done = []
        for i, reader in enumerate(self.readers):
            response = reader.response
            m.d.comb += response.valid.eq(turn[i] | (beats.o.valid & mine[i]))
            with m.If(turn[i]):
                m.d.comb += response.payload.last.eq(refused_beats == 1)
                m.d.comb += response.payload.error.eq(Status.REGION)
                with m.If(response.ready):
                    m.d.sync += refused_beats.eq(refused_beats - 1)
                    with m.If(refused_beats == 1):
                        m.d.sync += refused.eq(0)
            with m.Else():
                m.d.comb += response.payload.data.eq(head.data)
                m.d.comb += response.payload.last.eq(head.last)
                m.d.comb += response.payload.error.eq(Mux(head.failed, Status.MEMORY, Status.OK))
            done.append(beats.o.valid & mine[i] & response.ready & head.last)
        self._failed = beats.o.valid & beats.o.ready & head.failed
        self._answered = mine
        return done

    def _capture(
        self,
        m: Module,
        sent: Signal,
        asked: Cat,
        refuse: Signal,
        request: data.View,
        outstanding: list[Signal],
        newest: list[Signal],
    ) -> None:
        """Report refused bursts at once, failed beats a cycle later with the address kept here."""
        slots = 1 << len(newest[0])
        m.submodules.addresses = addresses = memory.Memory(
            shape=unsigned(self.config.axi_address_bits), depth=len(newest) * slots, init=[]
        )
        write = addresses.write_port()
        read = addresses.read_port()
        failed = Signal()
        identity = Signal(self.config.axi_id_bits)
        m.d.comb += write.en.eq(sent)
        m.d.comb += write.data.eq(request.address)
        m.d.sync += failed.eq(self._failed)
        for i, number in enumerate(self.identities):
            with m.If(asked[i]):
                m.d.comb += write.addr.eq(i * slots + newest[i])
            with m.If(self._answered[i]):
                oldest = (newest[i] - outstanding[i])[: len(newest[i])]
                m.d.comb += read.addr.eq(i * slots + oldest)
                m.d.sync += identity.eq(number)
        m.d.comb += [
            self.error.stb.eq(refuse | failed),
            self.error.address.eq(Mux(failed, read.data, request.address)),
            self.error.status.eq(Mux(failed, Status.MEMORY, Status.REGION)),
            self.error.requester.eq(Mux(failed, identity, request.requester)),
        ]
