"""Feature walker: goes through the features of each record."""

from __future__ import annotations

from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.id_resolver import op_layout
from rpaccel.rtl.interfaces import STATUS_BITS, LoadBus, struct
from rpaccel.rtl.item_banks import (
    BANK_BITS,
    MOST_BANKS,
    bank_count,
    bank_word,
    next_bank,
    this_bank,
)
from rpaccel.rtl.record_reader import gather_start_layout, record_layout, ring_beats
from rpaccel.rtl.ticket import place_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import FEATURE, MAX_IDS, SLOT, Status, Target

__all__ = ["FeatureWalker", "batch_size", "has_four_banks"]


def batch_size(stage: data.View, slot: data.View) -> Value:
    """Return the items of a full sub-batch: as many as are asked for, if the slot holds them."""
    asked = stage.sub_batch
    return Mux((asked == 0) | (asked > slot.sub_batch), slot.sub_batch, asked)


def has_four_banks(stage: data.View, slot: data.View) -> Value:
    """Return whether a stage's sub-batches are so small that four of them have banks."""
    return batch_size(stage, slot) <= slot.quarter_items


class FeatureWalker(wiring.Component):
    """Makes one op per cycle out of records and FEATURE descriptors (see IdResolver).

    A record costs 2 cycles, a dense beat 1, a single-hot feature 1, a multi-hot one
    1 + max(1, count); a bad record's multi-hot features cost 1. A sub-batch takes a bank before
    its first item, if the stage before had another number of banks when all are free, and ends
    with an op of its own (one of the last record's 2 cycles).

    With several gather ports it walks a share: share 0 the user's record, and each of them every
    gather_ports-th item of a sub-batch. A sub-batch without an item costs it 2 cycles.

    Members:
      share        In   which share it is; constant
      load         In   LoadBus: FEATURE descriptors
      start_stb    In   begin with `stage` (gather_start_layout) and `slot`, which then hold
      record       In   stream of record_layout: complete records, user's first
      ring_address Out  beat of the ring for `op`
      release      Out  beats of the ring that are free again
      bank_release_stb  In  a bank is free again
      item_ids     Out  stream of 32-bit ids, one per item
      op           Out  op_layout, moves while `advance` (In)
      count        In   ids of the multi-hot feature whose count was asked for a cycle ago
      error        Out  BAD_ID of a candidate
      no_bank      Out  waiting for a bank
      moves        Out  making an op, or taking a record
      item_stb     Out  an item's features are all asked for
      done_stb     Out  after a stage's last record
    """

    record_cycles = 2
    dense_beat_cycles = 1
    feature_cycles = 1  # single-hot, or the count of a multi-hot one

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        ring = range(ring_beats(config))
        super().__init__(
            {
                "share": In(range(config.gather_ports)),
                "load": In(LoadBus(config)),
                "start_stb": In(1),
                "stage": In(gather_start_layout(config)),
                "slot": In(struct(SLOT)),
                "record": In(stream.Signature(record_layout(config))),
                "ring_address": Out(ring),
                "release": Out(range(ring_beats(config) + 1)),
                "bank_release_stb": In(1),
                "item_ids": Out(stream.Signature(32)),
                "op": Out(op_layout(config)),
                "advance": In(1),
                "count": In(range(MAX_IDS + 1)),
                "error": Out(STATUS_BITS),
                "no_bank": Out(1),
                "moves": Out(1),
                "item_stb": Out(1),
                "done_stb": Out(1),
            }
        )

    @property
    def _part_bits(self) -> int:
        """Address bits of a 32-bit word in a vector word."""
        return (self.config.vector_word_bytes // 4).bit_length() - 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        s = self._state()
        feature = self._features(m, s)

        # the ring beat and what the resolver needs to know about it
        lane_bits = (self.config.beat_bytes // 4).bit_length() - 1
        word = Signal(16)
        m.d.comb += [
            word.eq(s.position),
            self.ring_address.eq(s.base + (word >> lane_bits)),
            self.op.lane.eq(word[:lane_bits]),
            self.op.user.eq(s.user),
            self.op.zero.eq(s.bad),
            self.op.place.engine.eq(s.engine),
            Cat(self.op.place.part[: self._part_bits], self.op.place.word).eq(s.vector),
            self.op.feature.eq(feature),
        ]
        opening = Signal()
        m.d.sync += s.banks_used.eq(s.banks_used + opening - self.bank_release_stb)

        with m.FSM() as fsm:
            with m.State("IDLE"):
                self._idle(m, s)
            with m.State("ACQUIRE"):
                self._acquire(m, s, opening)
            with m.State("DENSE"):
                self._dense(m, s)
            with m.State("HEAD"):
                m.d.comb += word.eq(feature.word)
                self._head(m, s, feature)
            with m.State("FIRST"):
                m.d.comb += [
                    self.op.row.eq(1),
                    self.op.first.eq(1),
                    self.op.last.eq(self.count <= 1),
                    self.op.zero.eq(self.count == 0),
                ]
                self._list(m, s, self.count)
            with m.State("REST"):
                m.d.comb += self.op.row.eq(1)
                m.d.comb += self.op.last.eq(s.ids_left == 1)
                self._list(m, s, s.ids_left)
            with m.State("FINISH"):
                self._finish(m, s)
        m.d.comb += self.moves.eq(
            Mux(
                fsm.ongoing("ACQUIRE"),
                self.record.valid & self.record.ready,
                self.advance & ~fsm.ongoing("IDLE"),
            )
        )
        return m

    def _state(self) -> SimpleNamespace:
        """Registers of the walk."""
        config = self.config
        word_bits = Shape.cast(place_layout(config)["word"].shape).width
        return SimpleNamespace(
            user=Signal(name="user"),  # the record is the user's
            bad=Signal(name="bad"),  # it has no data: everything is zero
            base=Signal(range(ring_beats(config)), name="base"),
            position=Signal(16, name="position"),  # 32-bit word of the record
            dense_beat=Signal(16, name="dense_beat"),
            dense_beats=Signal(16, name="dense_beats"),
            features_left=Signal(8, name="features_left"),
            ids_left=Signal(range(MAX_IDS + 1), name="ids_left"),
            dense_word=Signal(place_layout(config)["word"].shape, name="dense_word"),
            item_dense=Signal(range(max(2, config.dense_words)), name="item_dense"),
            vector=Signal(word_bits + self._part_bits, name="vector"),  # its 32-bit word
            item_vector=Signal(range(max(2, config.engine_vector_words)), name="item_vector"),
            engine=Signal(range(max(2, config.engines)), name="engine"),
            items_left=Signal(32, name="items_left"),
            batch_items=Signal(16, name="batch_items"),  # of the open sub-batch
            batch_size=Signal(16, name="batch_size"),
            bank=Signal(BANK_BITS, name="bank"),
            four=Signal(name="four"),  # banks take turns; of the stage
            four_before=Signal(name="four_before"),  # of the last sub-batch
            banks_used=Signal(range(MOST_BANKS + 1), name="banks_used"),
            none=Signal(name="none"),  # of a share: as its record says
            closing=Signal(name="closing"),
            last=Signal(name="last"),
            index=Signal(range(config.feature_entries), name="index"),
            next_index=Signal(range(config.feature_entries), name="next_index"),
        )

    def _features(self, m: Module, s: SimpleNamespace) -> data.View:
        """Hold the descriptors; return the one of `index`."""
        m.submodules.features = store = memory.Memory(
            shape=struct(FEATURE), depth=self.config.feature_entries, init=[]
        )
        write, read = store.write_port(), store.read_port()
        m.d.comb += [
            write.en.eq(self.load.valid & (self.load.target == Target.FEATURE)),
            write.addr.eq(self.load.index),
            write.data.eq(self.load.data[: FEATURE.bits]),
            s.next_index.eq(s.index),
            read.addr.eq(s.next_index),
            read.en.eq(self.advance),
        ]
        with m.If(self.advance):
            m.d.sync += s.index.eq(s.next_index)
        return read.data

    def _beats(self, words: Value) -> Value:
        """Return the beats of so many dense words."""
        together = self.config.words_per_beat
        return (words * self.config.beats_per_word + together - 1) >> (together.bit_length() - 1)

    def _idle(self, m: Module, s: SimpleNamespace) -> None:
        slot = self.slot
        m.d.comb += s.next_index.eq(slot.feature_base)
        m.d.sync += [
            s.user.eq(1),
            s.dense_word.eq(0),
            s.item_dense.eq(0),
            s.vector.eq(0),
            s.item_vector.eq(0),
            s.engine.eq(0),
            s.batch_items.eq(0),
            s.items_left.eq(self.stage.items),
            s.features_left.eq(Mux(self._mine, slot.user_features, 0)),
            s.dense_beats.eq(Mux(self._mine, self._beats(slot.user_dense_words), 0)),
            s.batch_size.eq(batch_size(self.stage, slot)),
            s.four.eq(has_four_banks(self.stage, slot)),
        ]
        with m.If(self.start_stb):
            m.next = "ACQUIRE"

    @property
    def _mine(self) -> Value:
        """The user's record is this share's."""
        return self.share == 0 if self.config.gather_ports > 1 else Const(1)

    def _acquire(self, m: Module, s: SimpleNamespace, opening: Signal) -> None:
        """Take the next record, and a bank if it begins a sub-batch."""
        first = ~s.user & (s.batch_items == 0)
        may, full, none = Signal(), Signal(), Const(0)
        if self.config.gather_ports > 1:
            record = self.record.payload
            none = record.none & ~s.user
            with m.If(self.record.valid & self.record.ready):
                m.d.sync += [
                    s.none.eq(none),
                    s.closing.eq(record.closing & ~s.user),
                    s.last.eq(record.last & ~s.user),
                ]
        m.d.comb += [
            full.eq(s.banks_used == bank_count(s.four)),
            self.no_bank.eq(first & Mux(s.four == s.four_before, full, s.banks_used != 0)),
            may.eq(self.advance & ~self.no_bank),
            self.record.ready.eq(may & (s.user | self.item_ids.ready)),
            self.item_ids.valid.eq(may & ~s.user & self.record.valid),
            self.item_ids.payload.eq(self.record.payload.id),
        ]
        with m.If(self.record.valid & self.record.ready):
            m.d.comb += opening.eq(first)
            with m.If(first):
                m.d.sync += s.four_before.eq(s.four)
            bad = self.record.payload.bad & ~s.user & ~none
            m.d.comb += self.error.eq(Mux(bad, Status.BAD_ID, Status.OK))
            m.d.sync += s.base.eq(self.record.payload.base)
            m.d.sync += s.bad.eq(self.record.payload.bad)
            m.d.sync += s.dense_beat.eq(0)
            self._enter_features(m, s)
            with m.If(s.dense_beats != 0):
                m.next = "DENSE"
            with m.If(none):
                m.next = "FINISH"

    def _enter_features(self, m: Module, s: SimpleNamespace) -> None:
        m.next = "HEAD"
        with m.If(s.features_left == 0):
            m.next = "FINISH"

    def _dense(self, m: Module, s: SimpleNamespace) -> None:
        """Pass the record's head on, beat by beat."""
        slot_bits = self.config.beats_per_word.bit_length() - 1
        lane_bits = (self.config.beat_bytes // 4).bit_length() - 1
        slot = s.dense_beat[:slot_bits]
        m.d.comb += [
            self.op.dense.eq(1),
            self.op.place.word.eq(s.dense_word),
            self.op.place.part.eq(Cat(Const(0, lane_bits), slot)),
            self.ring_address.eq(s.base + s.dense_beat),
        ]
        with m.If(self.advance):
            m.d.sync += s.dense_beat.eq(s.dense_beat + 1)
            with m.If(slot == self.config.beats_per_word - 1):
                m.d.sync += s.dense_word.eq(s.dense_word + self.config.words_per_beat)
            with m.If(s.dense_beat + 1 == s.dense_beats):
                self._enter_features(m, s)

    def _head(self, m: Module, s: SimpleNamespace, feature: data.View) -> None:
        """Single-hot (or bad record): its row. Multi-hot: its count, known in the next cycle."""
        listed = feature.multi_hot & ~s.bad
        m.d.comb += [
            self.op.first.eq(1),
            self.op.last.eq(1),
            self.op.row.eq(~listed),
            self.op.count.eq(listed),
        ]
        with m.If(self.advance):
            m.d.sync += s.position.eq(feature.word + 1)
            with m.If(listed):
                m.next = "FIRST"
            with m.Else():
                self._next_feature(m, s)

    def _list(self, m: Module, s: SimpleNamespace, left: Signal) -> None:
        """Ask for one of a multi-hot feature's rows."""
        with m.If(self.advance):
            m.d.sync += s.position.eq(s.position + 1)
            m.d.sync += s.ids_left.eq(left - 1)
            m.next = "REST"
            with m.If(self.op.last):
                self._next_feature(m, s)

    def _next_feature(self, m: Module, s: SimpleNamespace) -> None:
        m.d.comb += s.next_index.eq(s.index + 1)
        m.d.sync += s.vector.eq(s.vector + self.slot.row_bytes[2:])
        m.d.sync += s.features_left.eq(s.features_left - 1)
        m.next = "HEAD"
        with m.If(s.features_left == 1):
            m.next = "FINISH"

    def _finish(self, m: Module, s: SimpleNamespace) -> None:
        """Free the record; prepare the next item; close a full sub-batch."""
        slot, config = self.slot, self.config
        shift = config.beat_bytes.bit_length() - 1
        size = Mux(s.user, self.stage.user_record_bytes, self.stage.item_record_bytes)
        last = s.items_left == 1
        closing = ~s.user & (last | (s.batch_items + 1 == s.batch_size))
        counted = ~s.user
        if config.gather_ports > 1:
            closing, last = s.closing, s.closing & s.last
            counted = ~s.user & ~s.none
        bank, following = (Signal(BANK_BITS, name=name) for name in ("this_bank", "next_bank"))
        m.d.comb += [
            bank.eq(this_bank(s.bank, s.four)),
            following.eq(Mux(closing, next_bank(bank, s.four), bank)),
            s.next_index.eq(slot.feature_base + slot.user_features),
            self.op.batch.eq(closing),
            self.op.items.eq(s.batch_items + 1),
            self.op.last.eq(last),
        ]
        with m.If(self.advance):
            m.d.comb += self.release.eq(Mux(s.bad, 0, size >> shift))
            m.d.comb += self.item_stb.eq(counted)
            self._next_item(m, s, closing | s.user, following)
            m.d.sync += [
                s.user.eq(0),
                s.bank.eq(following),
                s.features_left.eq(slot.item_features),
                s.dense_beats.eq(self._beats(slot.item_dense_words)),
                s.items_left.eq(s.items_left - counted),
                s.batch_items.eq(Mux(closing | s.user, 0, s.batch_items + 1)),
            ]
            m.next = "ACQUIRE"
            with m.If(Mux(s.user, s.items_left == 0, last)):
                m.d.comb += self.done_stb.eq(1)
                m.next = "IDLE"

    def _next_item(self, m: Module, s: SimpleNamespace, fresh: Value, bank: Signal) -> None:
        """Go to the next item's words, or (`fresh`) to the first one's of `bank`.

        Items take turns at the engines; a round of all engines fills the same words of each.
        """
        config, ports = self.config, self.config.gather_ports
        first_dense = self.share * self.slot.item_dense_words if ports > 1 else 0
        last_engine = s.engine == config.engines - ports + self.share
        dense, vector = Signal.like(s.item_dense), Signal.like(s.item_vector)
        m.d.comb += [
            dense.eq(Mux(fresh, first_dense, s.item_dense + self.slot.item_dense_words * ports)),
            vector.eq(
                Mux(fresh, 0, s.item_vector + Mux(last_engine, self.slot.item_vector_words, 0))
            ),
        ]
        m.d.sync += [
            s.item_dense.eq(dense),
            s.dense_word.eq(bank_word(config.dense_words, bank, dense)),
            s.item_vector.eq(vector),
            s.vector.eq(
                Cat(
                    Const(0, self._part_bits),
                    bank_word(config.engine_vector_words, bank, vector),
                )
            ),
            s.engine.eq(Mux(fresh | last_engine, self.share, s.engine + ports)),
        ]
