"""Gather: a stage's records, embedding rows and pooling, into dense words and vectors."""

from __future__ import annotations

from amaranth.hdl import Assert, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.feature_walker import BANKS, FeatureWalker
from rpaccel.rtl.id_resolver import IdResolver
from rpaccel.rtl.interfaces import (
    STATUS_BITS,
    LoadBus,
    ReadPort,
    VectorWrite,
    batch_layout,
    row_size,
    struct,
)
from rpaccel.rtl.pooler import Pooler
from rpaccel.rtl.record_reader import RecordReader, gather_start_layout
from rpaccel.rtl.stream_buffer import StreamBuffer
from rpaccel.rtl.ticket import ticket_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import SLOT, Status

__all__ = ["Gather", "gather_start_layout"]

BATCHES = 4  # two in banks, and two that compute has read but not scored yet


class Gather(wiring.Component):
    """Fetches records ahead, walks their features, reads rows in flight, pools, writes vectors.

    Steady state per item: the largest of walker cycles (FeatureWalker), pooler beats (rows, a
    ticket without a row, dense) and record beats; perfmodel.gather has the formula. A bad id
    gives zeros and BAD_ID and is not read; a count above max_ids gives BAD_COUNT and counts 0.

    Members:
      load         In   LoadBus (FEATURE descriptors)
      start        In   stream of gather_start_layout; ready when the stage before has handed over
                        its last batch. items >= 1; `slot` holds from start until then.
      slot         In   SLOT
      ids          In   stream of candidate ids, exactly `items` of them
      item_ids     Out  stream of the same ids, in order; an id is there before its batch.
                        Its buffer holds the ids of BATCHES sub-batches.
      vectors      Out  VectorWrite
      batch        Out  stream of batch_layout; all its data have been written
      release_stb  In   the oldest batch's bank is free again
      record, row  Out  ReadPort; that of `row` with rows
      status       Out  first error since start
      busy         Out  from start to the hand-over of the last batch
      stalled_input   Out  busy, and neither features nor rows move: memory is awaited
      stalled_output  Out  the same because both banks are in use
      item_stb     Out  one item's features have been asked for
    """

    pooler_latency_cycles = Pooler.latency_cycles

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "load": In(LoadBus(config)),
                "start": In(stream.Signature(gather_start_layout(config))),
                "slot": In(struct(SLOT)),
                "ids": In(stream.Signature(32)),
                "item_ids": Out(stream.Signature(32)),
                "vectors": Out(VectorWrite(config)),
                "batch": Out(stream.Signature(batch_layout())),
                "release_stb": In(1),
                "record": Out(ReadPort(config)),
                "row": Out(ReadPort(config, rows=True)),
                "status": Out(STATUS_BITS),
                "busy": Out(1),
                "stalled_input": Out(1),
                "stalled_output": Out(1),
                "item_stb": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.records = records = RecordReader(self.config)
        m.submodules.walker = walker = FeatureWalker(self.config)
        m.submodules.resolver = resolver = IdResolver(self.config)
        m.submodules.pooler = pooler = Pooler(self.config)
        stage = Signal(gather_start_layout(self.config))
        begin = Signal()
        m.d.sync += begin.eq(self.start.valid & self.start.ready)
        with m.If(self.start.valid & self.start.ready):
            m.d.sync += stage.eq(self.start.payload)

        # ids -> records -> features -> ops -> rows and dense beats
        wiring.connect(m, wiring.flipped(self.ids), records.ids)
        wiring.connect(m, wiring.flipped(self.record), records.memory)
        wiring.connect(m, wiring.flipped(self.load), walker.load)
        wiring.connect(m, records.record, walker.record)
        wiring.connect(m, resolver.dense, pooler.dense)
        m.d.comb += [
            records.start_stb.eq(begin),
            records.stage.eq(stage),
            records.release.eq(walker.release),
            records.address.eq(walker.ring_address),
            records.enable.eq(resolver.advance),
            walker.start_stb.eq(begin),
            walker.stage.eq(stage),
            walker.slot.eq(self.slot),
            walker.bank_release_stb.eq(self.release_stb),
            walker.advance.eq(resolver.advance),
            walker.count.eq(resolver.count),
            resolver.op.eq(walker.op),
            resolver.beat.eq(records.data),
            resolver.row_bytes.eq(self.slot.row_bytes),
            pooler.row_bytes.eq(self.slot.row_bytes),
            self.item_stb.eq(walker.item_stb),
        ]

        row_error = self._rows(m, resolver, pooler, stage)
        self._item_ids(m, walker)
        self._write(m, pooler)
        self._hand_over(m, walker, pooler)
        self._observe(m, walker, pooler)
        self._keep_status(m, begin, [walker.error, resolver.error, records.error, row_error])
        return m

    def _rows(self, m: Module, resolver: IdResolver, pooler: Pooler, stage: data.View) -> Value:
        """Row requests; tickets and answers to the pooler."""
        config = self.config
        ticket = ticket_layout(config)
        depth = 1 << (config.reads_in_flight - 1).bit_length()
        m.submodules.requests = requests = StreamBuffer(self.row.request.payload.shape())
        m.submodules.tickets = tickets = SyncFIFOBuffered(width=ticket.size, depth=depth)
        wiring.connect(m, requests.o, wiring.flipped(self.row.request))
        response = self.row.response
        size = Signal(row_size(config))
        for exponent in row_size(config):
            with m.If(self.slot.row_bytes[2 + exponent]):
                m.d.comb += size.eq(exponent)
        m.d.comb += [
            resolver.row_room.eq(requests.i.ready),
            requests.i.valid.eq(resolver.row_stb),
            requests.i.payload.address.eq(resolver.row.address),
            requests.i.payload.beats.eq(resolver.row.beats),
            requests.i.payload.row.stage.eq(stage.later),
            requests.i.payload.row.size.eq(size),
            resolver.ticket.ready.eq(tickets.w_rdy),
            tickets.w_en.eq(resolver.ticket.valid),
            tickets.w_data.eq(resolver.ticket.payload),
            pooler.ticket.valid.eq(tickets.r_rdy),
            pooler.ticket.payload.eq(tickets.r_data),
            tickets.r_en.eq(pooler.ticket.ready),
            pooler.beat.valid.eq(response.valid),
            pooler.beat.payload.eq(response.payload.data),
            response.ready.eq(pooler.beat.ready),
        ]
        return Mux(response.valid, response.payload.error, 0)

    def _item_ids(self, m: Module, walker: FeatureWalker) -> None:
        """Keep the ids of the items that have no score yet."""
        m.submodules.item_ids = fifo = SyncFIFOBuffered(
            width=32, depth=BATCHES * self.config.sub_batch_max
        )
        m.d.comb += [
            walker.item_ids.ready.eq(fifo.w_rdy),
            fifo.w_en.eq(walker.item_ids.valid),
            fifo.w_data.eq(walker.item_ids.payload),
            self.item_ids.valid.eq(fifo.r_rdy),
            self.item_ids.payload.eq(fifo.r_data),
            fifo.r_en.eq(self.item_ids.ready),
        ]

    def _write(self, m: Module, pooler: Pooler) -> None:
        """Place a beat in its word."""
        slots, lanes = self.config.beats_per_word, self.config.beat_bytes // 4
        lane_bits = lanes.bit_length() - 1
        slot, begin = pooler.o_part[lane_bits:], pooler.o_part[:lane_bits]
        # a vector shorter than a beat: the lanes that differ from its first one in low bits only
        repeat = Signal(range(max(2, lanes)))
        inside = Signal(lanes)
        m.d.comb += [
            repeat.eq(self.slot.row_bytes[2:] - 1),
            inside.eq(Cat((lane & ~repeat)[:lane_bits] == begin for lane in range(lanes))),
            self.vectors.valid.eq(pooler.o_valid),
            self.vectors.user.eq(pooler.o_user),
            self.vectors.vector.eq(pooler.o_vector),
            self.vectors.address.eq(pooler.o_address),
            self.vectors.data.eq(Cat(Mux(slot == i, pooler.o_data, 0) for i in range(slots))),
        ]
        for i in range(slots):
            mask = self.vectors.mask[i * lanes : (i + 1) * lanes]
            # dense: the rest of the word becomes zero; its later beats, if any, come later
            dense = (slot <= i).replicate(lanes)
            m.d.comb += mask.eq(Mux(pooler.o_vector, Mux(slot == i, inside, 0), dense))

    def _hand_over(self, m: Module, walker: FeatureWalker, pooler: Pooler) -> None:
        """Batches leave through a queue of as many entries as there are banks."""
        shape = batch_layout()
        m.submodules.batches = batches = SyncFIFO(width=shape.size, depth=BANKS)
        empty = Signal()  # a stage without items has no batch to end it
        m.d.comb += [
            batches.w_en.eq(pooler.batch_stb),
            batches.w_data.eq(pooler.batch),
            self.batch.valid.eq(batches.r_rdy),
            self.batch.payload.eq(data.View(shape, batches.r_data)),
            batches.r_en.eq(self.batch.ready),
            empty.eq(walker.done_stb & ~walker.op.batch),
            self.start.ready.eq(~self.busy),
        ]
        with m.If(pooler.batch_stb):
            m.d.sync += Assert(batches.w_rdy)
        with m.If(self.start.valid & self.start.ready):
            m.d.sync += self.busy.eq(1)
        with m.Elif(empty | (self.batch.valid & self.batch.ready & self.batch.payload.last)):
            m.d.sync += self.busy.eq(0)

    def _observe(self, m: Module, walker: FeatureWalker, pooler: Pooler) -> None:
        """Say why nothing moves."""
        still = self.busy & ~walker.moves & ~pooler.moves
        m.d.comb += self.stalled_output.eq(still & walker.no_bank)
        m.d.comb += self.stalled_input.eq(still & ~walker.no_bank)

    def _keep_status(self, m: Module, begin: Signal, errors: list) -> None:
        """Keep the first error since start."""
        with m.If(begin):
            m.d.sync += self.status.eq(Status.OK)
        with m.Elif(self.status == Status.OK):
            m.d.sync += self.status.eq(errors[-1])
            for error in reversed(errors[:-1]):
                with m.If(error != 0):
                    m.d.sync += self.status.eq(error)
