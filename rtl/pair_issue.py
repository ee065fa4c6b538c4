"""Order of an interaction: what the engines read and make in every cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.dot_order import (
    COUNT_BITS,
    DotOrder,
    area_chunks,
    result_lanes,
    step_layout,
)
from rpaccel.rtl.interfaces import struct
from rpaccel.rtl.item_banks import BANK_BITS, bank_base
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import INSTRUCTION, Interaction

__all__ = ["PLACE_CYCLES", "PairIssue", "read_layout"]

PLACE_CYCLES = 1  # from a chunk of a side to an address


def read_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Reads of all engines: a word of the vector memory and one of BOTTOM, and a chunk of each."""
    return data.StructLayout(
        {
            "vector": range(2 * (config.user_vector_words + config.engine_vector_words)),
            "vector_chunk": range(config.vector_word_bytes // config.chunk_bytes),
            "bottom": range(2 * config.engine_bottom_words),
            "bottom_chunk": range(config.array_size // config.chunk_bytes),
        }
    )


class _Walk(wiring.Component):
    """Place in a row of vectors, a quarter of a chunk at a time.

    Members: go (to the next quarter), rewind (with go: to the beginning), row_bytes (constant from
    the cycle before go); chunk and quarter in it, vector (the first is 1), vector_ends (this is
    its last quarter).
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "go": In(1), "rewind": In(1), "row_bytes": In(8),
                "chunk": Out(range(area_chunks(config))), "quarter": Out(2),
                "vector": Out(COUNT_BITS), "vector_ends": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        lanes = result_lanes(self.config)
        vector = Signal(COUNT_BITS, init=1)
        parts, part = (Signal(range(self.config.max_dim // lanes + 1)) for _ in range(2))
        place = Cat(self.quarter, self.chunk)
        m.d.sync += parts.eq(self.row_bytes >> (lanes.bit_length() - 1))
        m.d.comb += [self.vector.eq(vector), self.vector_ends.eq(part + 1 == parts)]
        with m.If(self.go):
            m.d.sync += [
                place.eq(Mux(self.rewind, 0, place + 1)),
                part.eq(Mux(self.vector_ends, 0, part + 1)),
                vector.eq(Mux(self.rewind, 1, vector + self.vector_ends)),
            ]
        return m


class PairIssue(wiring.Component):
    """Steps through the groups of an INTERACT, one step per cycle without a gap, then waits.

    A group: vector 0 is copied, then what its kind says. Copies and products walk through the
    vectors of a side a quarter of a chunk per step; a product first holds the user side's chunk.

    Members:
      start, instruction, items, item_bank, bank, row_bytes, item_vector_words   as in Interaction.
      drained      the last word of the output is being written.
      busy         from the cycle after start until the cycle of `drained`.
      read, step   of the step PLACE_CYCLES ago; see read_layout and step_layout.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(1), "drained": In(1), "busy": Out(1),
                "instruction": In(struct(INSTRUCTION)), "items": In(16),
                "item_bank": In(BANK_BITS), "bank": In(1), "user_bank": In(1),
                "row_bytes": In(8), "item_vector_words": In(16),
                "read": Out(read_layout(config)), "step": Out(step_layout(config)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.dots = dots = DotOrder(self.config)
        m.submodules.walk = walk = _Walk(self.config)
        m.d.comb += [
            dots.user_vectors.eq(self.instruction.user_vectors),
            dots.item_vectors.eq(self.instruction.item_vectors),
            dots.row_bytes.eq(self.row_bytes),
            walk.row_bytes.eq(self.row_bytes),
        ]

        # Steps of a group, and the chunks that they read: of the user side or the item's.
        step, item_side, last_group = Signal(step_layout(self.config)), Signal(), Signal()
        chunk, bottom_chunk = Signal.like(dots.chunk), Signal.like(dots.chunk)
        m.d.comb += [
            chunk.eq(walk.chunk),
            bottom_chunk.eq(walk.chunk),
            step.quarter.eq(walk.quarter),
        ]
        sides = self._compare(m)
        with m.FSM(name="state") as state:
            with m.State("IDLE"), m.If(self.start):
                m.next = "VECTOR_0"
            with m.State("VECTOR_0"):
                # The vector memory is free: fetch what the dots hold first.
                m.d.comb += [item_side.eq(self.instruction.user_vectors == 0), chunk.eq(0)]
                self._vector_0(m, walk, step)
            with m.State("DOTS"):
                m.d.comb += [
                    dots.go.eq(1),
                    item_side.eq(dots.item_side),
                    chunk.eq(dots.chunk),
                    bottom_chunk.eq(dots.step.chunk),
                    step.eq(dots.step),
                ]
                self._end(m, dots.ends, step, last_group)
            with m.State("HOLD"):
                m.d.comb += step.load.eq(1)
                m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.comb += item_side.eq(1)
                ends = self._multiply(m, walk, step, sides)
                self._end(m, ends, step, last_group)
            with m.State("COPY_USER"):
                self._copy_user(m, walk, step, last_group)
            with m.State("COPY_ITEM"):
                m.d.comb += item_side.eq(1)
                ends = self._walk(m, walk, step, self.instruction.item_vectors)
                self._end(m, ends, step, last_group)
            with m.State("DRAIN"), m.If(self.drained):
                m.next = "IDLE"
        m.d.comb += self.busy.eq(~state.ongoing("IDLE"))
        m.d.sync += self.step.eq(step)
        self._count_groups(m, last_group)
        self._read(m, item_side, chunk, bottom_chunk)
        return m

    def _end(self, m: Module, ends: Value, step: data.View, last_group: Value) -> None:
        """In a state: go on to the next group, or drain, if this step `ends` the group."""
        with m.If(ends):
            m.d.comb += [step.last.eq(1), step.final.eq(last_group)]
            m.next = "VECTOR_0"
            with m.If(last_group):
                m.next = "DRAIN"

    def _walk(
        self, m: Module, walk: _Walk, step: data.View, vectors: Value, copy: int = 1
    ) -> Value:
        """In a state: one step of a walk to the end of `vectors`; return whether it is the last."""
        ends = walk.vector_ends & (walk.vector == vectors)
        m.d.comb += [
            walk.go.eq(1),
            walk.rewind.eq(ends),
            step.bytewise.eq(1),
            step.copy.eq(copy),
            step.count.eq(result_lanes(self.config)),
        ]
        return ends

    def _vector_0(self, m: Module, walk: _Walk, step: data.View) -> None:
        code = self.instruction
        first = (walk.chunk == 0) & (walk.quarter == 0)
        m.d.comb += [step.bottom.eq(1), step.fetch.eq(1), step.restart.eq(first)]
        with m.If(self._walk(m, walk, step, Const(1))), m.Switch(code.kind):
            with m.Case(Interaction.DOT):
                m.next = "DOTS"
            with m.Case(Interaction.PRODUCT):
                m.next = "HOLD"
            with m.Default():
                m.next = "COPY_ITEM"
                with m.If(code.user_vectors != 0):
                    m.next = "COPY_USER"

    def _multiply(self, m: Module, walk: _Walk, step: data.View, sides: data.View) -> Value:
        """In a state: one step of the products; return whether it ends the group."""
        ends = self._walk(m, walk, step, sides.products, copy=0)
        even = ~sides.more_users & ~sides.more_items
        m.d.comb += [step.advance.eq(walk.vector_ends), walk.rewind.eq(ends & even)]
        with m.If(ends & sides.more_items):
            m.next = "COPY_ITEM"
        with m.Elif(ends & sides.more_users):
            m.next = "COPY_USER"
        with m.Elif(walk.quarter == 3):
            m.next = "HOLD"
        return ends & even

    def _compare(self, m: Module) -> data.View:
        """Return the number of products and which side has more vectors than that."""
        layout = {"products": COUNT_BITS, "more_users": 1, "more_items": 1}
        sides = Signal(data.StructLayout(layout))
        users, items = self.instruction.user_vectors, self.instruction.item_vectors
        m.d.sync += [
            sides.products.eq(Mux(users < items, users, items)),
            sides.more_users.eq(users > items),
            sides.more_items.eq(users < items),
        ]
        return sides

    def _copy_user(self, m: Module, walk: _Walk, step: data.View, last_group: Value) -> None:
        code = self.instruction
        ends = self._walk(m, walk, step, code.user_vectors)
        more = (code.kind == Interaction.CONCAT) & (code.item_vectors != 0)
        with m.If(ends & more):
            m.next = "COPY_ITEM"
        self._end(m, ends & ~more, step, last_group)

    def _count_groups(self, m: Module, last_group: Signal) -> None:
        """Count a cycle after a group's end: no group is as short as that."""
        groups_left = Signal(16)
        with m.If(self.start):
            engine_bits = self.config.engines.bit_length() - 1
            m.d.sync += groups_left.eq((self.items - 1) >> engine_bits)
        with m.Elif(self.step.last):
            m.d.sync += groups_left.eq(groups_left - 1)
        m.d.comb += last_group.eq(groups_left == 0)

    def _read(self, m: Module, item_side: Value, chunk: Value, bottom_chunk: Value) -> None:
        """Turn chunks into words, a cycle later; an item's areas move on with its group."""
        config, read, size = self.config, self.read, self.config.array_size
        vector, bottom = Signal.like(read.vector), Signal.like(read.bottom)
        bottom_words = Mux(self.row_bytes < size, 1, self.row_bytes >> (size.bit_length() - 1))
        with m.If(self.start):
            m.d.sync += [
                vector.eq(
                    2 * config.user_vector_words
                    + bank_base(config.engine_vector_words, self.item_bank)
                ),
                bottom.eq(Mux(self.bank, config.engine_bottom_words, 0)),
            ]
        with m.Elif(self.step.last):
            m.d.sync += [
                vector.eq(vector + self.item_vector_words),
                bottom.eq(bottom + bottom_words),
            ]
        of_item, vector_chunk, v0_chunk = Signal(), Signal.like(chunk), Signal.like(bottom_chunk)
        m.d.sync += [
            of_item.eq(item_side),
            vector_chunk.eq(chunk),
            v0_chunk.eq(bottom_chunk),
        ]
        vector_log = (config.vector_word_bytes // config.chunk_bytes).bit_length() - 1
        bottom_log = (size // config.chunk_bytes).bit_length() - 1
        users = Mux(self.user_bank, config.user_vector_words, 0)
        m.d.comb += [
            read.vector.eq(Mux(of_item, vector, users) + (vector_chunk >> vector_log)),
            read.vector_chunk.eq(vector_chunk),
            read.bottom.eq(bottom + (v0_chunk >> bottom_log)),
            read.bottom_chunk.eq(v0_chunk),
        ]
