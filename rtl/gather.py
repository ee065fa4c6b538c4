"""Gather: a stage's records, embedding rows and pooling, into dense words and vectors."""

from __future__ import annotations

from amaranth.hdl import Assert, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.feature_walker import batch_size, has_four_banks
from rpaccel.rtl.gather_deal import BatchJoin, GatherDeal
from rpaccel.rtl.gather_share import GatherShare
from rpaccel.rtl.interfaces import (
    STATUS_BITS,
    LoadBus,
    ReadPort,
    VectorWrite,
    batch_layout,
    struct,
)
from rpaccel.rtl.item_banks import BANK_BITS, MOST_BANKS, next_bank, this_bank
from rpaccel.rtl.pooler import Pooler
from rpaccel.rtl.read_crossbar import round_robin
from rpaccel.rtl.record_reader import gather_start_layout
from rpaccel.rtl.repeated import repeated
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import SLOT, Status

__all__ = ["Gather", "gather_start_layout"]

# Two halves of the banks, or four quarters with half the items, and two that compute has read but
# not scored yet.
BATCHES = 4


class Gather(wiring.Component):
    """Gathers a stage's records and embedding rows: config.gather_ports shares side by side.

    Item n of a sub-batch is share n % gather_ports's; share 0 also gathers the user's side, and no
    other one pools rows before it has. Steady state per item: that of GatherShare, divided among
    the shares, or an item's dense beats: one beat per cycle for all; perfmodel.gather has the
    formula. A bad id gives zeros and BAD_ID and is not read; a count above max_ids gives BAD_COUNT
    and counts 0.

    Members:
      load         In   LoadBus (FEATURE descriptors)
      start        In   stream of gather_start_layout; ready when the stage before has handed over
                        its last batch. items >= 1; `slot` holds from start until then.
      slot         In   SLOT
      ids          In   stream of candidate ids, exactly `items` of them
      item_ids     Out  stream of the same ids, in order; an id is there before its batch.
                        Its buffer holds the ids of BATCHES sub-batches.
      vectors      Out  VectorWrite x gather_ports; see there for who writes what
      batch        Out  stream of batch_layout; all its data have been written
      release_stb  In   the oldest batch's bank is free again
      record, row  Out  ReadPort x gather_ports; those of `row` with rows
      status       Out  first error since start; of one cycle, the lowest share's
      busy         Out  from start to the hand-over of the last batch
      stalled_input   Out  busy, and neither features nor rows move: memory is awaited
      stalled_output  Out  the same because all banks are in use
      items_stb    Out  so many items' features have been asked for
    """

    pooler_latency_cycles = Pooler.latency_cycles

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        ports = config.gather_ports
        super().__init__(
            {
                "load": In(LoadBus(config)),
                "start": In(stream.Signature(gather_start_layout(config))),
                "slot": In(struct(SLOT)),
                "ids": In(stream.Signature(32)),
                "item_ids": Out(stream.Signature(32)),
                "vectors": Out(VectorWrite(config)).array(ports),
                "batch": Out(stream.Signature(batch_layout())),
                "release_stb": In(1),
                "record": Out(ReadPort(config)).array(ports),
                "row": Out(ReadPort(config, rows=True)).array(ports),
                "status": Out(STATUS_BITS),
                "busy": Out(1),
                "stalled_input": Out(1),
                "stalled_output": Out(1),
                "items_stb": Out(range(ports + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shares = [GatherShare(self.config) for _ in range(self.config.gather_ports)]
        stage = Signal(gather_start_layout(self.config))
        begin = Signal()
        m.d.sync += begin.eq(self.start.valid & self.start.ready)
        with m.If(self.start.valid & self.start.ready):
            m.d.sync += stage.eq(self.start.payload)
        m.submodules.item_ids = item_ids = SyncFIFOBuffered(
            width=32, depth=BATCHES * self.config.sub_batch_max
        )
        m.d.comb += [
            self.item_ids.valid.eq(item_ids.r_rdy),
            self.item_ids.payload.eq(item_ids.r_data),
            item_ids.r_en.eq(self.item_ids.ready),
        ]

        for i, share in enumerate(shares):
            m.submodules[f"share_{i}"] = repeated(share) if len(shares) > 1 else share
            wiring.connect(m, wiring.flipped(self.load), share.load)
            wiring.connect(m, share.vectors, wiring.flipped(self.vectors[i]))
            wiring.connect(m, share.record, wiring.flipped(self.record[i]))
            wiring.connect(m, share.row, wiring.flipped(self.row[i]))
            m.d.comb += [
                share.share.eq(i),
                share.start_stb.eq(begin),
                share.stage.eq(stage),
                share.slot.eq(self.slot),
                share.release_stb.eq(self.release_stb),
            ]
        if len(shares) == 1:
            self._alone(m, shares[0], item_ids, stage)
        else:
            self._together(m, shares, item_ids, begin, stage)
        self._observe(m, shares)
        self._keep_status(m, shares)
        return m

    def _alone(
        self, m: Module, share: GatherShare, item_ids: SyncFIFOBuffered, stage: data.View
    ) -> None:
        """One share: all items are its own."""
        shape, bank = batch_layout(), Signal(BANK_BITS)
        four = has_four_banks(stage, self.slot)
        m.submodules.batches = batches = SyncFIFO(width=shape.size, depth=MOST_BANKS)
        m.d.comb += [
            share.ids.valid.eq(self.ids.valid),
            share.ids.payload.id.eq(self.ids.payload),
            self.ids.ready.eq(share.ids.ready),
            share.item_ids.ready.eq(item_ids.w_rdy),
            item_ids.w_en.eq(share.item_ids.valid),
            item_ids.w_data.eq(share.item_ids.payload),
            share.dense_ready.eq(1),
            # as many entries as there are banks
            batches.w_en.eq(share.batch_stb),
            batches.w_data.eq(share.batch),
            self.batch.valid.eq(batches.r_rdy),
            self.batch.payload.eq(data.View(shape, batches.r_data)),
            self.batch.payload.bank.eq(this_bank(bank, four)),
            batches.r_en.eq(self.batch.ready),
        ]
        with m.If(self.batch.valid & self.batch.ready):
            m.d.sync += bank.eq(next_bank(self.batch.payload.bank, four))
        with m.If(share.batch_stb):
            m.d.sync += Assert(batches.w_rdy)

    def _together(
        self,
        m: Module,
        shares: list[GatherShare],
        item_ids: SyncFIFOBuffered,
        begin: Signal,
        stage: data.View,
    ) -> None:
        """Deal candidates, join batches, take turns where shares write the same memory."""
        m.submodules.deal = deal = GatherDeal(self.config)
        m.submodules.join = join = BatchJoin(self.config)
        size = batch_size(stage, self.slot)
        for unit in (deal, join):
            m.d.comb += [
                unit.start_stb.eq(begin),
                unit.items.eq(stage.items),
                unit.size.eq(size),
            ]
        m.d.comb += join.four_banks.eq(has_four_banks(stage, self.slot))
        wiring.connect(m, wiring.flipped(self.ids), deal.ids)
        wiring.connect(m, join.batch, wiring.flipped(self.batch))
        m.d.comb += [
            item_ids.w_en.eq(deal.item_ids.valid),
            item_ids.w_data.eq(deal.item_ids.payload),
            deal.item_ids.ready.eq(item_ids.w_rdy),
            join.written.eq(Cat(share.batch_stb for share in shares)),
        ]

        # the user's vectors go to every engine: items' wait for them
        user_pooled = Signal()
        with m.If(begin):
            m.d.sync += user_pooled.eq(0)
        with m.Elif(shares[0].past_user):
            m.d.sync += user_pooled.eq(1)
        # dense beats: a share's turn lasts until its record's have gone
        asks = Cat(share.dense_valid for share in shares)
        turn, before = Signal(len(shares)), Signal(len(shares))
        goes_on = (asks & before).any()
        following = round_robin(m, asks, asks.any() & ~goes_on, "dense")
        m.d.comb += turn.eq(Mux(goes_on, before, following))
        m.d.sync += before.eq(turn)
        for i, share in enumerate(shares):
            wiring.connect(m, deal.shares[i], share.ids)
            m.d.comb += [
                share.item_ids.ready.eq(1),
                share.dense_ready.eq(turn[i]),
                share.hold.eq(0 if i == 0 else ~user_pooled),
            ]

    def _observe(self, m: Module, shares: list[GatherShare]) -> None:
        """Busy; why nothing moves."""
        still = self.busy & ~Cat(share.moves for share in shares).any()
        no_bank = Cat(share.no_bank for share in shares).all()
        m.d.comb += [
            self.start.ready.eq(~self.busy),
            self.stalled_output.eq(still & no_bank),
            self.stalled_input.eq(still & ~no_bank),
            self.items_stb.eq(sum(share.item_stb for share in shares)),
        ]
        empty = shares[0].empty_stb  # a stage without items has no batch to end it
        with m.If(self.start.valid & self.start.ready):
            m.d.sync += self.busy.eq(1)
        with m.Elif(empty | (self.batch.valid & self.batch.ready & self.batch.payload.last)):
            m.d.sync += self.busy.eq(0)

    def _keep_status(self, m: Module, shares: list[GatherShare]) -> None:
        """Keep the first error since start."""
        with m.If(self.start.valid & self.start.ready):
            m.d.sync += self.status.eq(Status.OK)
        with m.Elif(self.status == Status.OK):
            for share in reversed(shares):
                with m.If(share.error != 0):
                    m.d.sync += self.status.eq(share.error)
