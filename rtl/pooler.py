"""Pooler: rows to vectors."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.id_resolver import dense_layout
from rpaccel.rtl.interfaces import batch_layout, vector_write_address
from rpaccel.rtl.ticket import parts, ticket_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import MAX_IDS

__all__ = ["Pooler"]

SUM_BITS = 8 + (MAX_IDS - 1).bit_length() + 1
PRODUCT_BITS = SUM_BITS + 17
SHIFT_MAX = 47


class Pooler(wiring.Component):
    """Adds rows, scales the sum, rounds half to even: 1 beat per cycle, never stalls inside.

    The vector's beats leave `latency_cycles` after the last row's. A single-hot row passes
    unchanged, a pooled one is clamped to -127..127. A vector shorter than a beat fills it with
    copies of itself. Dense beats share the way out: they go first and take the place of a row's.

    Members:
      row_bytes     In   slot.row_bytes
      ticket        In   stream of ticket_layout
      beat          In   stream of row beats, in order of the tickets that have rows
      dense         In   stream of dense_layout, always ready
      moves         Out  a beat goes in
      o_valid, o_user, o_vector, o_address, o_data   Out  a beat for VectorWrite; no back-pressure
      o_part        Out  32-bit word of the memory word at which its bytes begin
      batch_stb, batch   Out  end of a sub-batch: everything before it has left
    """

    latency_cycles = 5

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "row_bytes": In(16),
                "ticket": In(stream.Signature(ticket_layout(config))),
                "beat": In(stream.Signature(config.axi_data_bits)),
                "dense": In(stream.Signature(dense_layout(config))),
                "moves": Out(1),
                "o_valid": Out(1),
                "o_user": Out(1),
                "o_vector": Out(1),
                "o_address": Out(vector_write_address(config)),
                "o_part": Out(range(parts(config))),
                "o_data": Out(config.axi_data_bits),
                "batch_stb": Out(1),
                "batch": Out(batch_layout()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.config.beat_bytes
        ticket = Signal(ticket_layout(self.config))
        index = Signal(range(max(2, self.config.row_beats_max)))
        valid = Signal()
        dense = Signal()  # the beat is not part of a row
        cut = self._cut(m, ticket, index, valid, dense)

        # sums: one beat of accumulators per beat of a row
        sums = Array(
            Signal(data.ArrayLayout(signed(SUM_BITS), lanes), name=f"sums_{i}")
            for i in range(self.config.row_beats_max)
        )
        total = Signal(data.ArrayLayout(signed(SUM_BITS), lanes))
        before = Signal.like(total)
        m.d.comb += before.eq(sums[index])
        final = Signal(data.ArrayLayout(signed(SUM_BITS), lanes))
        for lane in range(lanes):
            row = cut[8 * lane : 8 * lane + 8].as_signed()
            m.d.comb += total[lane].eq(row + Mux(ticket.first, 0, before[lane]))
        m.d.sync += final.eq(total)
        with m.If(valid & ~dense):
            m.d.sync += sums[index].eq(total)

        self._control(m, ticket, index, valid, dense)
        self._scale(m, final)
        return m

    def _cut(
        self, m: Module, ticket: Signal, index: Signal, valid: Signal, dense: Signal
    ) -> Signal:
        """Stage 1: pair ticket and beat; a row shorter than a beat is copied all over it."""
        beat_bytes = self.config.beat_bytes
        head = self.ticket.payload
        beat, last_beat, go = Signal.like(index), Signal(), Signal()
        row_beats = Mux(
            self.row_bytes < beat_bytes, 1, self.row_bytes >> (beat_bytes.bit_length() - 1)
        )
        real = ~head.batch & ~head.zero
        cut = Signal(self.config.axi_data_bits)
        m.d.comb += [
            go.eq(self.ticket.valid & (~real | self.beat.valid) & ~self.dense.valid),
            self.dense.ready.eq(1),
            self.moves.eq(go | self.dense.valid),
            last_beat.eq(head.batch | (beat + 1 == row_beats)),
            self.ticket.ready.eq(go & last_beat),
            self.beat.ready.eq(go & real),
        ]
        # a row begins at a multiple of its size; its words repeat with the low bits of the lane
        repeat = Signal(range(max(2, beat_bytes // 4)))
        m.d.comb += repeat.eq(self.row_bytes[2:] - 1)
        words = Cat(
            self.beat.payload.word_select((head.offset | (lane & repeat))[: len(repeat)], 32)
            for lane in range(beat_bytes // 4)
        )
        m.d.sync += [valid.eq(self.moves), dense.eq(self.dense.valid)]
        with m.If(self.dense.valid):
            m.d.sync += [
                ticket.batch.eq(0),
                ticket.first.eq(1),
                ticket.last.eq(1),
                ticket.single.eq(1),
                ticket.multiplier.eq(1),
                ticket.shift.eq(0),
                ticket.user.eq(self.dense.payload.user),
                ticket.place.eq(self.dense.payload.place),
                index.eq(0),
                cut.eq(self.dense.payload.data),
            ]
        with m.Elif(go):
            m.d.sync += [
                ticket.eq(head),
                index.eq(beat),
                beat.eq(Mux(last_beat, 0, beat + 1)),
            ]
            m.d.sync += cut.eq(Mux(head.zero, 0, words))
        return cut

    def _control(
        self, m: Module, ticket: Signal, index: Signal, valid: Signal, dense: Signal
    ) -> None:
        """Carry along what the last stages need: where to write, and how to scale."""
        stage = data.StructLayout(
            {
                "valid": unsigned(1),
                "batch_stb": unsigned(1),
                "user": unsigned(1),
                "vector": unsigned(1),
                "address": vector_write_address(self.config),
                "part": range(parts(self.config)),
                "batch": batch_layout(),
                "single": unsigned(1),
                "multiplier": ticket.multiplier.shape(),
                "shift": ticket.shift.shape(),
            }
        )
        self.stages = [Signal(stage, name=f"stage_{i}") for i in range(2, 6)]
        first = self.stages[0]
        address, part = self._place(ticket, index, dense)
        m.d.sync += [
            first.valid.eq(valid & ticket.last & ~ticket.batch),
            first.batch_stb.eq(valid & ticket.batch),
            first.user.eq(ticket.user),
            first.vector.eq(~dense),
            first.address.eq(address),
            first.part.eq(part),
            first.batch.items.eq(ticket.multiplier),
            first.batch.last.eq(ticket.last),
            first.single.eq(ticket.single),
            first.multiplier.eq(ticket.multiplier),
            first.shift.eq(ticket.shift),
        ]
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            m.d.sync += after.eq(before)
        last = self.stages[-1]
        m.d.comb += [
            self.o_valid.eq(last.valid),
            self.o_user.eq(last.user),
            self.o_address.eq(last.address),
            self.o_vector.eq(last.vector),
            self.o_part.eq(last.part),
            self.batch_stb.eq(last.batch_stb),
            self.batch.eq(last.batch),
        ]

    def _place(self, ticket: Signal, index: Signal, dense: Signal) -> tuple[Value, Value]:
        """Return (address, part) of beat `index` of a vector; `index` is 0 for a dense beat."""
        config, place = self.config, ticket.place
        lane_bits = (config.beat_bytes // 4).bit_length() - 1
        part_bits = (config.vector_word_bytes // 4).bit_length() - 1
        engine_bits = config.engines.bit_length() - 1
        beat = place.part[lane_bits:part_bits] + index
        beat_bits = part_bits - lane_bits
        word = place.word + (beat >> beat_bits)
        part = Cat(place.part[:lane_bits], beat[:beat_bits], place.part[part_bits:])
        # all engines hold the user's vectors, each one its own items'
        shared = dense | ticket.user
        return Mux(shared, word, Cat(place.engine[:engine_bits], word)), part

    def _scale(self, m: Module, final: Signal) -> None:
        """Stages 3 to 5: multiply, round half to even, shift and clamp."""
        to_multiply, to_round, to_shift, _ = self.stages
        ones = Const((1 << SHIFT_MAX) - 1, SHIFT_MAX)
        half = Signal(SHIFT_MAX)  # one less than half of 2**shift
        m.d.comb += half.eq((~(ones << to_round.shift))[:SHIFT_MAX] >> 1)
        for lane in range(self.config.beat_bytes):
            product = Signal(signed(PRODUCT_BITS), name=f"product_{lane}")
            rounded = Signal(signed(SHIFT_MAX + 2), name=f"rounded_{lane}")
            shifted = Signal(signed(SHIFT_MAX + 2), name=f"shifted_{lane}")
            odd = (product >> to_round.shift)[0] & to_round.shift.any()
            low = Mux(to_shift.single, -128, -127)
            m.d.comb += shifted.eq(rounded >> to_shift.shift)
            m.d.sync += [
                product.eq(final[lane] * to_multiply.multiplier),
                rounded.eq(product + half + odd),
                self.o_data[8 * lane : 8 * lane + 8].eq(
                    Mux(shifted > 127, 127, Mux(shifted < low, low, shifted))
                ),
            ]
