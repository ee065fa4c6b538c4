"""Gather deal: candidates to the shares of a gather unit, and their parts back together."""

from __future__ import annotations

from amaranth.hdl import Array, Assert, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import batch_layout
from rpaccel.rtl.item_banks import BANK_BITS, MOST_BANKS, next_bank, this_bank
from rpaccel.rtl.record_reader import candidate_layout
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["BatchJoin", "GatherDeal"]


class GatherDeal(wiring.Component):
    """Deals a stage's candidates in turn, from share 0 on in every sub-batch: 1 id per cycle.

    A sub-batch of fewer items than shares gives the others a `none`, each in a cycle of its own.

    Members:
      start_stb    In   a stage of `items` in sub-batches of `size` begins; both then hold
      ids          In   stream of candidate ids, exactly `items` of them
      item_ids     Out  stream of the same ids, each one in the cycle in which it is dealt
      shares       Out  stream of candidate_layout x gather_ports
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        share = stream.Signature(candidate_layout(config))
        super().__init__(
            {
                "start_stb": In(1),
                "items": In(32),
                "size": In(16),
                "ids": In(stream.Signature(32)),
                "item_ids": Out(stream.Signature(32)),
                "shares": Out(share).array(config.gather_ports),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ports = self.config.gather_ports
        left = Signal(32)  # items of this sub-batch and those after it
        position = Signal(16)  # in the sub-batch
        real, last, closing = Signal(), Signal(), Signal()
        batch_items = Signal(16)
        m.d.comb += [
            last.eq(left <= self.size),
            batch_items.eq(Mux(last, left, self.size)),
            real.eq(position < batch_items),
            closing.eq(position + ports >= batch_items),
        ]

        turn = position[: ports.bit_length() - 1]
        ready = Array(share.ready for share in self.shares)[turn]
        due = (left != 0) & Mux(real, self.ids.valid & self.item_ids.ready, 1)
        dealt = Signal()
        m.d.comb += [
            dealt.eq(due & ready),
            self.ids.ready.eq(dealt & real),
            self.item_ids.valid.eq((left != 0) & real & self.ids.valid & ready),
            self.item_ids.payload.eq(self.ids.payload),
        ]
        for i, share in enumerate(self.shares):
            m.d.comb += [
                share.valid.eq(due & (turn == i)),
                share.payload.id.eq(self.ids.payload),
                share.payload.none.eq(~real),
                share.payload.closing.eq(closing),
                share.payload.last.eq(last),
            ]

        with m.If(self.start_stb):
            m.d.sync += [left.eq(self.items), position.eq(0)]
        with m.Elif(dealt):
            m.d.sync += position.eq(position + 1)
            with m.If((position + 1 >= batch_items) & (position + 1 >= ports)):
                m.d.sync += [left.eq(left - batch_items), position.eq(0)]
        return m


class BatchJoin(wiring.Component):
    """Offers a sub-batch once all shares have written their part of it, a cycle after the last.

    Members:
      start_stb    In   a stage of `items` in sub-batches of `size` begins; both then hold
      four_banks   In   of the stage; constant until its last batch is taken
      written      In   a pulse per share: its part of its next sub-batch has been written
      batch        Out  stream of batch_layout
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start_stb": In(1),
                "items": In(32),
                "size": In(16),
                "four_banks": In(1),
                "written": In(config.gather_ports),
                "batch": Out(stream.Signature(batch_layout())),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left, bank = Signal(32), Signal(BANK_BITS)
        batch = self.batch.payload
        taken = Signal()
        parts = [Signal(range(MOST_BANKS + 1), name=f"parts_{i}") for i in range(len(self.written))]
        for part, written in zip(parts, self.written, strict=True):
            m.d.sync += part.eq(part + written - taken)
            m.d.sync += Assert(~written | taken | (part != MOST_BANKS))
        m.d.comb += [
            batch.bank.eq(this_bank(bank, self.four_banks)),
            batch.last.eq(left <= self.size),
            batch.items.eq(Mux(batch.last, left, self.size)),
            self.batch.valid.eq(Cat(part != 0 for part in parts).all()),
            taken.eq(self.batch.valid & self.batch.ready),
        ]
        with m.If(self.start_stb):
            m.d.sync += left.eq(self.items)
        with m.Elif(taken):
            m.d.sync += [
                left.eq(left - batch.items),
                bank.eq(next_bank(batch.bank, self.four_banks)),
            ]
        return m
