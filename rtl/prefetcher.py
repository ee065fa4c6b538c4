"""Prefetcher: the embedding rows of candidates that will probably reach the next stage.

Ref: RecPipe (MICRO 2021), O.4: the look-ahead cache is filled while the front end still runs.
"""

from __future__ import annotations

from types import SimpleNamespace

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import LoadBus, ReadPort, burst_layout, struct
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import FEATURE, MAX_IDS, SLOT, Target

__all__ = ["Prefetcher", "prefetch_start_layout"]

RECORDS = 4  # in flight or waiting: a power of two


def prefetch_start_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Where the item records of a query are; as in gather_start_layout."""
    return data.StructLayout(
        {
            "features_address": unsigned(config.axi_address_bits),
            "features_rows": unsigned(32),
            "item_record_bytes": unsigned(16),
        }
    )


class Prefetcher(wiring.Component):
    """Reads item records ahead and asks for their rows: 4 cycles for a row, 3 for each of a list.

    What is wrong in a record is left to the gather unit, which reads it again.

    Members
    -------
    load : In(LoadBus)  FEATURE descriptors
    active : In(1)  else nothing is begun, and what has come is dropped
    stage : In(prefetch_start_layout), slot : In(SLOT)  of the next stage; both hold while active
    ids : In(stream of 32-bit candidate ids)
    record : Out(ReadPort)
    row : Out(stream of burst_layout with rows)
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "load": In(LoadBus(config)),
                "active": In(1),
                "stage": In(prefetch_start_layout(config)),
                "slot": In(struct(SLOT)),
                "ids": In(stream.Signature(unsigned(32))),
                "record": Out(ReadPort(config)),
                "row": Out(stream.Signature(burst_layout(config, rows=True))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        beats = max(1, config.item_record_bytes // config.beat_bytes)
        self._lane_bits = (config.beat_bytes // 4).bit_length() - 1
        m.submodules.ring = ring = memory.Memory(
            shape=unsigned(config.axi_data_bits), depth=RECORDS * beats, init=[]
        )
        s = SimpleNamespace(
            oldest=Signal(range(RECORDS)),
            complete=Signal(range(RECORDS + 1)),  # records
            free_stb=Signal(),
            read=ring.read_port(),
            index=Signal(range(config.feature_entries)),
            features_left=Signal(8),
            ids_left=Signal(range(MAX_IDS + 1)),
            position=Signal(16),  # of the word that is looked at, in its record
            id=Signal(32),
            row_bytes=Signal.like(self.slot.row_bytes),  # of the record's stage
        )
        self._read_records(m, s, ring.write_port(), beats)
        feature = self._feature(m, s)
        place = Signal(16)  # of the word that is read now
        word = Signal(32)
        m.d.comb += [
            s.read.addr.eq(s.oldest * beats + (place >> self._lane_bits)),
            word.eq(s.read.data.word_select(s.position[: self._lane_bits], 32)),
        ]
        with m.FSM():
            with m.State("WAIT"):
                m.d.sync += [
                    s.index.eq(self.slot.feature_base + self.slot.user_features),
                    s.features_left.eq(self.slot.item_features),
                    s.row_bytes.eq(self.slot.row_bytes),
                ]
                with m.If(s.complete != 0):
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.next = "HEAD"
                with m.If((s.features_left == 0) | self._stale(s)):
                    m.d.comb += s.free_stb.eq(1)
                    m.next = "WAIT"
            with m.State("HEAD"):
                m.d.comb += place.eq(feature.word)
                m.d.sync += s.position.eq(feature.word)
                m.next = "WORD"
            with m.State("WORD"):
                count = Mux(word > feature.max_ids, 0, word[: len(s.ids_left)])
                m.d.sync += [s.id.eq(word), s.ids_left.eq(Mux(feature.multi_hot, count, 1))]
                m.next = "ROW"
                with m.If(feature.multi_hot):
                    m.d.sync += s.position.eq(s.position + 1)
                    m.next = "ID"
                    with m.If(count == 0):
                        self._next_feature(m, s)
            with m.State("ID"):
                m.d.comb += place.eq(s.position)
                m.next = "TAKE"
            with m.State("TAKE"):
                m.d.sync += s.id.eq(word)
                m.next = "ROW"
            with m.State("ROW"):
                self._ask(m, s, feature)
        return m

    def _stale(self, s: SimpleNamespace) -> Signal:
        """Return whether the oldest record is of a stage that is over."""
        return ~self.active | (s.stale != 0)

    def _next_feature(self, m: Module, s: SimpleNamespace) -> None:
        m.d.sync += [s.index.eq(s.index + 1), s.features_left.eq(s.features_left - 1)]
        m.next = "NEXT"

    def _feature(self, m: Module, s: SimpleNamespace) -> data.View:
        """Return the descriptor of feature `s.index` of the cycle before."""
        m.submodules.features = table = memory.Memory(
            shape=struct(FEATURE), depth=self.config.feature_entries, init=[]
        )
        write, read, load = table.write_port(), table.read_port(), self.load
        m.d.comb += [
            write.en.eq(
                load.valid
                & (load.target == Target.FEATURE)
                & (load.index < self.config.feature_entries)
            ),
            write.addr.eq(load.index),
            write.data.as_value().eq(load.data),
            read.addr.eq(s.index),
        ]
        return read.data

    def _read_records(
        self, m: Module, s: SimpleNamespace, write: memory.WritePort, beats: int
    ) -> None:
        """Ask for a record when there is room for it; keep what comes."""
        used = Signal(range(RECORDS + 1))
        filling, beat = Signal(range(RECORDS)), Signal(range(max(2, beats)))
        request, response, stage = self.record.request, self.record.response, self.stage
        inside, came = Signal(), Signal()
        shift_left = Signal(self.config.axi_address_bits)
        for size in range(2, self.config.item_record_bytes.bit_length()):
            with m.If(stage.item_record_bytes[size]):
                m.d.comb += shift_left.eq(self.ids.payload << size)
        offset_bits = self.config.beat_bytes.bit_length() - 1
        asked = request.valid & request.ready
        held = Signal(burst_layout(self.config))  # offered, and not taken when a stage ends
        offered = Signal()
        m.d.comb += [
            inside.eq(self.ids.payload < stage.features_rows),
            self.ids.ready.eq(~offered & (used != RECORDS)),
            request.valid.eq(offered),
            request.payload.eq(held),
            response.ready.eq(1),
            came.eq(response.valid & response.payload.last),
            write.en.eq(response.valid),
            write.addr.eq(filling * beats + beat),
            write.data.eq(response.payload.data),
        ]
        with m.If(asked):
            m.d.sync += offered.eq(0)
        begun = Signal()
        m.d.comb += begun.eq(self.ids.valid & self.ids.ready & inside & self.active)
        with m.If(begun):
            m.d.sync += [
                offered.eq(1),
                held.address.eq(stage.features_address + shift_left),
                held.beats.eq(stage.item_record_bytes >> offset_bits),
            ]
        m.d.sync += [
            used.eq(used + begun - s.free_stb),
            s.complete.eq(s.complete + came - s.free_stb),
        ]
        with m.If(response.valid):
            m.d.sync += beat.eq(Mux(response.payload.last, 0, beat + 1))
        with m.If(came):
            m.d.sync += filling.eq(filling + 1)
        with m.If(s.free_stb):
            m.d.sync += s.oldest.eq(s.oldest + 1)
        # records of a stage that is over
        s.stale = Signal(range(RECORDS + 1))
        with m.If(~self.active):
            m.d.sync += s.stale.eq(used + begun - s.free_stb)
        with m.Elif(s.free_stb & (s.stale != 0)):
            m.d.sync += s.stale.eq(s.stale - 1)

    def _ask(self, m: Module, s: SimpleNamespace, feature: data.View) -> None:
        """Offer the row; then the next id of the list, or the next feature."""
        config, row, size = self.config, self.row.payload, s.row_bytes
        offset_bits = config.beat_bytes.bit_length() - 1
        row_bytes_max = config.row_beats_max * config.beat_bytes
        displacement = Signal(config.axi_address_bits)
        for exponent in range(2, row_bytes_max.bit_length()):
            with m.If(size[exponent]):
                m.d.comb += [displacement.eq(s.id << exponent), row.row.size.eq(exponent - 2)]
        good = Signal()
        m.d.comb += [
            good.eq(s.id < feature.rows),
            row.address.eq(feature.table_address[: len(row.address)] + displacement),
            row.beats.eq(Mux(size < config.beat_bytes, 1, size >> offset_bits)),
            row.row.stage.eq(1),
            self.row.valid.eq(good),
        ]
        with m.If(~good | self.row.ready):
            m.d.sync += s.ids_left.eq(s.ids_left - 1)
            with m.If(s.ids_left == 1):
                self._next_feature(m, s)
            with m.Else():
                m.d.sync += s.position.eq(s.position + 1)
                m.next = "ID"
