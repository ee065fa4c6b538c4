"""Gather share: one of a gather unit's ports; all of it where there is one."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.feature_walker import FeatureWalker
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
from rpaccel.rtl.record_reader import RecordReader, candidate_layout, gather_start_layout
from rpaccel.rtl.stream_buffer import StreamBuffer
from rpaccel.rtl.ticket import ticket_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import SLOT

__all__ = ["GatherShare"]


class GatherShare(wiring.Component):
    """Fetches records ahead, walks their features, reads rows in flight, pools, writes vectors.

    Steady state per item: the largest of walker cycles (FeatureWalker), pooler beats (rows, a
    ticket without a row, dense) and record beats. Share 0 gathers the user's side.

    Members:
      share        In   its number; constant
      load         In   LoadBus (FEATURE descriptors)
      start_stb    In   begin with `stage` (gather_start_layout) and `slot`, which then hold
      ids          In   stream of candidate_layout
      item_ids     Out  stream of its candidates' ids, as their records are taken
      vectors      Out  VectorWrite
      dense_valid, dense_ready   Out, In   a dense beat waits for its turn; with ready it is taken,
                        and leaves as long after as all beats do that go in with it
      hold         In   pool no rows
      past_user    Out  the next row to pool is not the user's
      batch_stb, batch   Out  batch_layout: the share's part of a sub-batch has been written
      release_stb  In   the oldest batch's bank is free again
      record, row  Out  ReadPort; that of `row` with rows
      error        Out  Status of this cycle, 0 if all is well
      moves        Out  features or rows move
      no_bank      Out  waiting for a bank
      item_stb     Out  one item's features have been asked for
      empty_stb    Out  the end of a stage without items
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "share": In(range(config.gather_ports)),
                "load": In(LoadBus(config)),
                "start_stb": In(1),
                "stage": In(gather_start_layout(config)),
                "slot": In(struct(SLOT)),
                "ids": In(stream.Signature(candidate_layout(config))),
                "item_ids": Out(stream.Signature(32)),
                "vectors": Out(VectorWrite(config)),
                "dense_valid": Out(1),
                "dense_ready": In(1),
                "hold": In(1),
                "past_user": Out(1),
                "batch_stb": Out(1),
                "batch": Out(batch_layout()),
                "release_stb": In(1),
                "record": Out(ReadPort(config)),
                "row": Out(ReadPort(config, rows=True)),
                "error": Out(STATUS_BITS),
                "moves": Out(1),
                "no_bank": Out(1),
                "item_stb": Out(1),
                "empty_stb": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.records = records = RecordReader(self.config)
        m.submodules.walker = walker = FeatureWalker(self.config)
        m.submodules.resolver = resolver = IdResolver(self.config)
        m.submodules.pooler = pooler = Pooler(self.config)
        stage = self._stage(m)

        # ids -> records -> features -> ops -> rows and dense beats
        wiring.connect(m, wiring.flipped(self.ids), records.ids)
        wiring.connect(m, wiring.flipped(self.record), records.memory)
        wiring.connect(m, wiring.flipped(self.load), walker.load)
        wiring.connect(m, records.record, walker.record)
        wiring.connect(m, walker.item_ids, wiring.flipped(self.item_ids))
        m.d.comb += [
            records.start_stb.eq(self.start_stb),
            records.stage.eq(stage),
            records.release.eq(walker.release),
            records.address.eq(walker.ring_address),
            records.enable.eq(resolver.advance),
            walker.share.eq(self.share),
            walker.start_stb.eq(self.start_stb),
            walker.stage.eq(stage),
            walker.slot.eq(self.slot),
            walker.bank_release_stb.eq(self.release_stb),
            walker.advance.eq(resolver.advance),
            walker.count.eq(resolver.count),
            resolver.op.eq(walker.op),
            resolver.beat.eq(records.data),
            resolver.row_bytes.eq(self.slot.row_bytes),
            pooler.row_bytes.eq(self.slot.row_bytes),
        ]

        # a dense beat passes when it is its turn
        dense = resolver.dense
        m.d.comb += [
            self.dense_valid.eq(dense.valid),
            pooler.dense.valid.eq(dense.valid & self.dense_ready),
            pooler.dense.payload.eq(dense.payload),
            dense.ready.eq(self.dense_ready),
        ]

        row_error = self._rows(m, resolver, pooler)
        self._write(m, pooler)
        m.d.comb += [
            self.batch_stb.eq(pooler.batch_stb),
            self.batch.eq(pooler.batch),
            self.empty_stb.eq(walker.done_stb & ~walker.op.batch),
            self.item_stb.eq(walker.item_stb),
            self.moves.eq(walker.moves | pooler.moves),
            self.no_bank.eq(walker.no_bank),
        ]
        error: Value = Const(0, STATUS_BITS)
        for source in (row_error, records.error, resolver.error, walker.error):
            error = Mux(source != 0, source, error)
        m.d.comb += self.error.eq(error)
        return m

    def _stage(self, m: Module) -> data.View:
        """The stage, without the user's record if that is another share's."""
        stage = Signal(gather_start_layout(self.config))
        m.d.comb += stage.eq(self.stage)
        if self.config.gather_ports > 1:
            with m.If(self.share != 0):
                m.d.comb += stage.user_record_bytes.eq(0)
        return stage

    def _rows(self, m: Module, resolver: IdResolver, pooler: Pooler) -> Value:
        """Row requests; tickets and answers to the pooler."""
        config = self.config
        ticket = ticket_layout(config)
        depth = 1 << (config.reads_in_flight - 1).bit_length()
        m.submodules.requests = requests = StreamBuffer(self.row.request.payload.shape())
        m.submodules.tickets = tickets = SyncFIFOBuffered(width=ticket.size, depth=depth)
        wiring.connect(m, requests.o, wiring.flipped(self.row.request))
        head, response = data.View(ticket, tickets.r_data), self.row.response
        size = Signal(row_size(config))
        for exponent in row_size(config):
            with m.If(self.slot.row_bytes[2 + exponent]):
                m.d.comb += size.eq(exponent)
        m.d.comb += [
            resolver.row_room.eq(requests.i.ready),
            requests.i.valid.eq(resolver.row_stb),
            requests.i.payload.address.eq(resolver.row.address),
            requests.i.payload.beats.eq(resolver.row.beats),
            requests.i.payload.row.stage.eq(self.stage.later),
            requests.i.payload.row.size.eq(size),
            resolver.ticket.ready.eq(tickets.w_rdy),
            tickets.w_en.eq(resolver.ticket.valid),
            tickets.w_data.eq(resolver.ticket.payload),
            pooler.ticket.valid.eq(tickets.r_rdy & ~self.hold),
            pooler.ticket.payload.eq(tickets.r_data),
            self.past_user.eq(tickets.r_rdy & (head.batch | ~head.user)),
            tickets.r_en.eq(pooler.ticket.ready),
            pooler.beat.valid.eq(response.valid),
            pooler.beat.payload.eq(response.payload.data),
            response.ready.eq(pooler.beat.ready),
        ]
        return Mux(response.valid, response.payload.error, 0)

    def _write(self, m: Module, pooler: Pooler) -> None:
        """Place a beat in its word."""
        slots, lanes = self.config.beats_per_word, self.config.beat_bytes // 4
        lane_bits = lanes.bit_length() - 1
        slot, begin = pooler.o_part[lane_bits:], pooler.o_part[:lane_bits]
        # a vector shorter than a beat: the lanes that differ from its first one in low bits only
        repeat = Signal(range(max(2, lanes)))
        inside = Signal(lanes)
        config, second = self.config, self.stage.user_bank
        words = Mux(pooler.o_vector, config.user_vector_words, config.user_words)
        user_base = Mux(second, words, 0)
        m.d.comb += [
            repeat.eq(self.slot.row_bytes[2:] - 1),
            inside.eq(Cat((lane & ~repeat)[:lane_bits] == begin for lane in range(lanes))),
            self.vectors.valid.eq(pooler.o_valid),
            self.vectors.user.eq(pooler.o_user),
            self.vectors.vector.eq(pooler.o_vector),
            self.vectors.address.eq(pooler.o_address + Mux(pooler.o_user, user_base, 0)),
            self.vectors.data.eq(Cat(Mux(slot == i, pooler.o_data, 0) for i in range(slots))),
        ]
        for i in range(slots):
            mask = self.vectors.mask[i * lanes : (i + 1) * lanes]
            # dense: the rest of the word becomes zero; its later beats, if any, come later
            dense = (slot <= i).replicate(lanes)
            m.d.comb += mask.eq(Mux(pooler.o_vector, Mux(slot == i, inside, 0), dense))
