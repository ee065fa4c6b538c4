"""Record reader: user and item records out of memory into a ring of beats."""

from __future__ import annotations

from amaranth.hdl import Assert, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import BURST_BITS, STATUS_BITS, ReadPort
from rpaccel.rtl.stream_buffer import StreamBuffer
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = [
    "RecordReader",
    "candidate_layout",
    "gather_start_layout",
    "record_layout",
    "ring_beats",
]

RECORDS_AHEAD = 16  # item records of the largest size that the ring holds


def gather_start_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What a stage's gather needs: addresses, sizes [B], counts. All from the descriptor."""
    return data.StructLayout(
        {
            "user_address": unsigned(config.axi_address_bits),
            "features_address": unsigned(config.axi_address_bits),
            "features_rows": unsigned(32),
            "item_record_bytes": unsigned(16),
            "user_record_bytes": unsigned(16),
            "items": unsigned(32),
            "sub_batch": unsigned(16),
            "later": unsigned(1),  # not the query's first stage
            "user_bank": unsigned(1),  # for the user's data
        }
    )


def _deal_layout(config: AcceleratorConfig) -> dict[str, int]:
    """What a share of several is told of its candidates; see candidate_layout."""
    return {"none": 1, "closing": 1, "last": 1} if config.gather_ports > 1 else {}


def candidate_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A candidate of a share. What follows the id is there if the unit has several shares.

    none : the sub-batch has no item for the share, `id` means nothing. closing : the share's last
    one of the sub-batch. last : of the stage's last sub-batch.
    """
    return data.StructLayout({"id": unsigned(32), **_deal_layout(config)})


def record_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A complete record: of which candidate, whether it has no data, its first beat in the ring."""
    ring = range(ring_beats(config))
    return data.StructLayout(
        {"id": unsigned(32), "bad": unsigned(1), "base": ring, **_deal_layout(config)}
    )


def ring_beats(config: AcceleratorConfig) -> int:
    """Return the beats of the record ring: a user record twice, or RECORDS_AHEAD item records."""
    size = max(2 * config.user_record_bytes, RECORDS_AHEAD * config.item_record_bytes)
    return size // config.beat_bytes


class RecordReader(wiring.Component):
    """Reads the user record, then one item record per candidate id, ahead of their use.

    A record is asked for when the ring has room for it, so answers are always taken. An id
    outside the feature table is passed on as `bad` and reads nothing; so does a `none`. 1 id and
    1 beat per cycle.

    Members:
      start_stb  In   begin with `stage`, which then holds
      stage      In   gather_start_layout
      ids        In   stream of candidate_layout; exactly stage.items are taken, by a share of
                      several all that are offered
      record     Out  stream of record_layout: the next complete record, first the user's
      release    In   beats at the tail of the ring that are free again (0: none)
      address, enable, data   ring read port (In, In, Out), 1 cycle
      memory     Out  ReadPort
      error      Out  Status of this cycle's beat, 0 if it is good
    """

    request_latency_cycles = StreamBuffer.latency_cycles
    record_latency_cycles = 1  # last beat to record.valid

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        ring = range(ring_beats(config))
        super().__init__(
            {
                "start_stb": In(1),
                "stage": In(gather_start_layout(config)),
                "ids": In(stream.Signature(candidate_layout(config))),
                "record": Out(stream.Signature(record_layout(config))),
                "release": In(range(ring_beats(config) + 1)),
                "address": In(ring),
                "enable": In(1),
                "data": Out(config.axi_data_bits),
                "memory": Out(ReadPort(config)),
                "error": Out(STATUS_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = ring_beats(self.config)
        beat_shift = self.config.beat_bytes.bit_length() - 1
        user_beats = Signal(range(depth + 1))
        item_beats = Signal(BURST_BITS)
        m.d.comb += user_beats.eq(self.stage.user_record_bytes >> beat_shift)
        m.d.comb += item_beats.eq(self.stage.item_record_bytes >> beat_shift)

        # records whose reads are on their way, in order
        dealt = _deal_layout(self.config)
        order = data.StructLayout({"id": unsigned(32), "bad": unsigned(1), **dealt})
        m.submodules.order = fifo = SyncFIFOBuffered(width=order.size, depth=depth)
        queued = data.View(order, fifo.w_data)
        room = Signal(range(depth + 1), init=depth)
        reading = Signal(range(self.config.reads_in_flight + 1))
        self._ask(m, fifo, queued, room, reading, user_beats, item_beats)

        # beats into the ring; how many records are whole
        m.submodules.ring = ring = memory.Memory(
            shape=unsigned(self.config.axi_data_bits), depth=depth, init=[]
        )
        write, read = ring.write_port(), ring.read_port()
        due = Signal(range(depth + 1))
        complete = Signal(range(depth + 1))
        whole = Signal()
        response = self.memory.response
        m.d.comb += [
            response.ready.eq(1),
            write.en.eq(response.valid),
            write.data.eq(response.payload.data),
            read.addr.eq(self.address),
            read.en.eq(self.enable),
            self.data.eq(read.data),
            self.error.eq(Mux(response.valid, response.payload.error, 0)),
            whole.eq(response.valid & (due == 1)),
        ]
        with m.If(response.valid):
            m.d.sync += write.addr.eq(write.addr + 1)
            m.d.sync += due.eq(Mux(whole, item_beats, due - 1))

        # hand over in order; a bad record has no beats to wait for
        head = data.View(order, fifo.r_data)
        base = Signal(range(depth))
        taken = self.record.valid & self.record.ready
        m.d.comb += [
            self.record.valid.eq(fifo.r_rdy & (head.bad | (complete != 0))),
            self.record.payload.id.eq(head.id),
            self.record.payload.bad.eq(head.bad),
            self.record.payload.base.eq(base),
            fifo.r_en.eq(taken),
        ]
        m.d.comb += [self.record.payload[name].eq(head[name]) for name in dealt]
        m.d.sync += complete.eq(complete + whole - (taken & ~head.bad))
        m.d.sync += base.eq(base + self.release)
        with m.If(self.start_stb):
            m.d.sync += due.eq(Mux(user_beats == 0, item_beats, user_beats))
            m.d.sync += Assert((room == depth) & (reading == 0))
        return m

    def _item_address(self, m: Module) -> Value:
        """Return base + id * record_bytes, a power of two."""
        config, offset = self.config, Signal(self.config.axi_address_bits)
        least, most = config.beat_bytes, config.item_record_bytes
        for size in range(least.bit_length() - 1, most.bit_length()):
            with m.If(self.stage.item_record_bytes[size]):
                m.d.comb += offset.eq(self.ids.payload.id << size)
        return self.stage.features_address + offset

    def _ask(
        self,
        m: Module,
        fifo: SyncFIFOBuffered,
        queued: data.View,
        room: Signal,
        reading: Signal,
        user_beats: Signal,
        item_beats: Signal,
    ) -> None:
        """Issue the user record's bursts, then one burst per good candidate id."""
        beat_bytes = self.config.beat_bytes
        request = self.memory.request.payload.shape()
        m.submodules.requests = requests = StreamBuffer(request)
        wiring.connect(m, requests.o, wiring.flipped(self.memory.request))

        # user: bursts that end at a boundary, at the longest burst or with the record
        address = Signal(self.config.axi_address_bits)
        left = Signal.like(user_beats)
        boundary, most = self.config.burst_boundary_bytes, self.config.record_burst_beats
        to_page = Signal(range(boundary // beat_bytes + 1))
        least = Mux(to_page < most, to_page, most)
        page_beat = address[beat_bytes.bit_length() - 1 : boundary.bit_length() - 1]
        m.d.comb += to_page.eq(boundary // beat_bytes - page_beat)

        item_address = self._item_address(m)
        candidate, dealt = self.ids.payload, _deal_layout(self.config)
        outside = candidate.id >= self.stage.features_rows
        free, sent = Signal(), requests.i.valid & requests.i.ready
        items_left = Signal(32)
        more = Const(1) if dealt else items_left != 0  # who deals to shares counts
        beats = requests.i.payload.beats
        m.d.comb += free.eq((room >= beats) & (reading < self.config.reads_in_flight))

        def begin() -> None:
            m.d.sync += [
                address.eq(self.stage.user_address),
                left.eq(user_beats),
                items_left.eq(self.stage.items),
            ]
            m.next = "USER"

        with m.FSM():
            with m.State("IDLE"), m.If(self.start_stb):
                begin()
            with m.State("USER"):
                m.d.comb += requests.i.payload.address.eq(address)
                m.d.comb += beats.eq(Mux(left < least, left, least))
                m.d.comb += requests.i.valid.eq((left != 0) & free)
                with m.If(sent):
                    m.d.sync += address.eq(address + beats * beat_bytes)
                    m.d.sync += left.eq(left - beats)
                with m.If(left == 0):
                    m.d.comb += fifo.w_en.eq(1)
                    m.d.comb += queued.bad.eq(user_beats == 0)
                    m.next = "ITEMS"
            with m.State("ITEMS"):
                m.d.comb += [
                    requests.i.payload.address.eq(item_address),
                    beats.eq(item_beats),
                    queued.id.eq(candidate.id),
                    queued.bad.eq(outside | candidate.none if dealt else outside),
                    *(queued[name].eq(candidate[name]) for name in dealt),
                    requests.i.valid.eq(self.ids.valid & fifo.w_rdy & free & ~queued.bad & more),
                    self.ids.ready.eq(fifo.w_rdy & more & (queued.bad | (free & requests.i.ready))),
                    fifo.w_en.eq(self.ids.valid & self.ids.ready),
                ]
                with m.If(fifo.w_en):
                    m.d.sync += items_left.eq(items_left - 1)
                if dealt:
                    with m.If(self.start_stb):
                        begin()
                else:
                    with m.If(items_left == 0):
                        m.next = "IDLE"
        last = self.memory.response.valid & self.memory.response.payload.last
        m.d.sync += reading.eq(reading + sent - last)
        m.d.sync += room.eq(room - Mux(sent, beats, 0) + self.release)
