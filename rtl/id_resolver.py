"""Id resolver: record words to counts, row addresses and tickets."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import BURST_BITS, STATUS_BITS, struct
from rpaccel.rtl.ticket import MULTIPLIER_BITS, place_layout, ticket_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import FEATURE, MAX_IDS, RECIPROCAL_SHIFT, Pooling, Status

__all__ = ["IdResolver", "dense_layout", "op_layout", "reciprocals"]


def reciprocals() -> list[int]:
    """Return round(2**16 / count) for count 0..MAX_IDS, and 0 for count 0."""
    one = 1 << RECIPROCAL_SHIFT
    return [0] + [(2 * one // count + 1) >> 1 for count in range(1, MAX_IDS + 1)]


def dense_layout(config: AcceleratorConfig) -> data.StructLayout:
    """One beat of a record's head on its way to USER or DENSE."""
    return data.StructLayout(
        {
            "user": unsigned(1),
            "place": place_layout(config),
            "data": unsigned(config.axi_data_bits),
        }
    )


def op_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What to make of a beat of a record. At most one of count, dense, row, batch is set.

    zero : there is no word to look at (bad candidate, or a count of 0).
    items, last : of a sub-batch (batch), place : of a beat or a vector; see ticket.
    """
    return data.StructLayout(
        {
            "count": unsigned(1),
            "dense": unsigned(1),
            "row": unsigned(1),
            "batch": unsigned(1),
            "zero": unsigned(1),
            "first": unsigned(1),
            "last": unsigned(1),
            "user": unsigned(1),
            "lane": range(max(2, config.beat_bytes // 4)),
            "items": unsigned(16),
            "place": place_layout(config),
            "feature": struct(FEATURE),
        }
    )


class IdResolver(wiring.Component):
    """Turns one op per cycle into a row read, a ticket or a dense beat. Latency 2 cycles.

    Members:
      op        In   op_layout, taken while `advance`
      advance   Out  the pipeline moves
      beat      In   the ring's beat, one cycle after its op (held while not `advance`)
      row_bytes In   slot.row_bytes
      count     Out  ids of the multi-hot feature whose count op was taken a cycle ago
      row       Out  pulse with {address, beats}: taken by construction while `row_room`
      row_room  In   a row may be asked for
      ticket    Out  stream of ticket_layout
      dense     Out  stream of dense_layout
      error     Out  BAD_ID, BAD_COUNT: found in this cycle
    """

    latency_cycles = 2

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        row = data.StructLayout(
            {"address": unsigned(config.axi_address_bits), "beats": unsigned(BURST_BITS)}
        )
        super().__init__(
            {
                "op": In(op_layout(config)),
                "advance": Out(1),
                "beat": In(config.axi_data_bits),
                "row_bytes": In(16),
                "count": Out(range(MAX_IDS + 1)),
                "row_stb": Out(1),
                "row": Out(row),
                "row_room": In(1),
                "ticket": Out(stream.Signature(ticket_layout(config))),
                "dense": Out(stream.Signature(dense_layout(config))),
                "error": Out(STATUS_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # stage 1: the word, the count, the id
        op = Signal(op_layout(self.config))
        with m.If(self.advance):
            m.d.sync += op.eq(self.op)
        word, outside, too_many = Signal(32), Signal(), Signal()
        looked_at = op.row & ~op.zero
        m.d.comb += [
            word.eq(self.beat.word_select(op.lane, 32)),
            outside.eq(word >= op.feature.rows),
            too_many.eq(word > op.feature.max_ids),
            self.count.eq(Mux(too_many, 0, word[: len(self.count)])),
        ]
        with m.If(self.advance & op.count & too_many):
            m.d.comb += self.error.eq(Status.BAD_COUNT)
        with m.If(self.advance & looked_at & outside):
            m.d.comb += self.error.eq(Status.BAD_ID)

        # the mean's multiplier: read with the count, there when the first id is in stage 1
        m.submodules.reciprocals = rom = memory.Memory(
            shape=unsigned(MULTIPLIER_BITS), depth=MAX_IDS + 1, init=reciprocals()
        )
        mean = rom.read_port()
        m.d.comb += [mean.addr.eq(self.count), mean.en.eq(self.advance & op.count)]

        # stage 2: what leaves
        self._leave(m, op, word, looked_at & ~outside, mean.data)
        return m

    def _leave(
        self, m: Module, op: data.View, word: Signal, read: Signal, reciprocal: Signal
    ) -> None:
        """Register ticket, row and dense beat; move when all that is due can leave."""
        beat_bytes = self.config.beat_bytes
        offset_bits = beat_bytes.bit_length() - 1
        row_bytes_max = self.config.row_beats_max * beat_bytes
        displacement = Signal(self.config.axi_address_bits)
        for size in range(2, row_bytes_max.bit_length()):
            with m.If(self.row_bytes[size]):
                m.d.comb += displacement.eq(word << size)

        ticket_due, row_due, dense_due = Signal(), Signal(), Signal()
        ticket, address = self.ticket.payload, Signal(self.config.axi_address_bits)
        room = ~row_due | self.row_room
        mean = op.feature.pooling == Pooling.MEAN
        many = op.feature.multi_hot
        with m.If(self.advance):
            m.d.sync += [
                ticket_due.eq(op.row | op.batch),
                row_due.eq(read),
                dense_due.eq(op.dense),
                ticket.batch.eq(op.batch),
                ticket.zero.eq(~read),
                ticket.first.eq(op.first),
                ticket.last.eq(op.last),
                ticket.single.eq(~many),
                ticket.user.eq(op.user),
                ticket.offset.eq(displacement[2:offset_bits]),
                ticket.multiplier.eq(Mux(mean, reciprocal, op.feature.multiplier)),
                ticket.shift.eq(Mux(mean, RECIPROCAL_SHIFT, op.feature.shift)),
                ticket.place.eq(op.place),
                address.eq(op.feature.table_address[: len(address)] + displacement),
                self.dense.payload.user.eq(op.user),
                self.dense.payload.place.eq(op.place),
                self.dense.payload.data.eq(Mux(op.zero, 0, self.beat)),
            ]
            with m.If(~many):
                m.d.sync += [ticket.multiplier.eq(1), ticket.shift.eq(0)]
            with m.If(op.batch):
                m.d.sync += ticket.multiplier.eq(op.items)
        m.d.comb += [
            self.ticket.valid.eq(ticket_due & room),
            self.row_stb.eq(row_due & self.row_room & self.ticket.ready),
            self.row.address.eq(address),
            self.row.beats.eq(Mux(self.row_bytes < beat_bytes, 1, self.row_bytes >> offset_bits)),
            self.dense.valid.eq(dense_due),
            self.advance.eq(
                Mux(dense_due, self.dense.ready, ~ticket_due | (room & self.ticket.ready))
            ),
        ]
