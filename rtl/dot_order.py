"""Order of an interaction's dots: what the engines read and make in every cycle."""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = [
    "COUNT_BITS",
    "DotOrder",
    "area_chunks",
    "held_chunks",
    "result_lanes",
    "step_layout",
]

_SIDE_VECTORS = 64  # at most
COUNT_BITS = 7  # vectors of a side, and vector 0


def result_lanes(config: AcceleratorConfig) -> int:
    """Return the results of an engine per cycle; a chunk has four times as many bytes."""
    return config.chunk_bytes // 4


def held_chunks(config: AcceleratorConfig) -> int:
    """Return the chunks of the longest vector."""
    return max(1, config.max_dim // config.chunk_bytes)


def area_chunks(config: AcceleratorConfig) -> int:
    """Return the chunks of the most and longest vectors of a side."""
    return _SIDE_VECTORS * held_chunks(config)


def step_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What the engines do with the two chunks read in a cycle.

    fetch : keep the vector chunk: it will be held next. swap : that one becomes the held one.
    load : the vector chunk becomes the held one. chunk : place of the held chunk in its vector.
    bottom, diagonal : the BOTTOM chunk, the held chunk streams; else the vector chunk does.
    shift : the vectors of the stream move up by one place, and the one before them comes in:
    vector 0 if `first`, else the last vector of the chunk that streamed before.
    row : which vector of the held chunk is multiplied with all vectors of the stream.
    bytewise : no dots, but products with that `quarter` of the held chunk. copy : times 1.
    more : adds to the sum before. count : results to append. advance : PAIR entries used up.
    restart : the first step of a group. last, final : the last of a group, of all groups.
    """
    lanes = result_lanes(config)
    flags = "fetch swap load bottom diagonal shift first bytewise copy more restart last final"
    return data.StructLayout(
        {
            **{name: unsigned(1) for name in flags.split()},
            "chunk": range(held_chunks(config)),
            "row": range(lanes),
            "quarter": unsigned(2),
            "count": range(lanes + 1),
            "advance": range(lanes + 1),
        }
    )


def _dot_place(config: AcceleratorConfig) -> data.StructLayout:
    """Where DotOrder is.

    second : the held vector is of the second side; held : its number; left : vectors of its side
    behind it; row : its place in held_chunk. own : the second side streams, not vector 0 and the
    first. first : vector 0 streams. remaining : vectors still to stream. part : place of the chunk
    in its vector. streamed : the chunk that streams.
    """
    return data.StructLayout(
        {
            "second": unsigned(1),
            "held": unsigned(COUNT_BITS),
            "left": unsigned(COUNT_BITS),
            "row": range(result_lanes(config)),
            "held_chunk": range(area_chunks(config)),
            "own": unsigned(1),
            "first": unsigned(1),
            "remaining": unsigned(COUNT_BITS),
            "part": range(held_chunks(config)),
            "streamed": range(area_chunks(config)),
        }
    )


class DotOrder(wiring.Component):
    """Steps of a group's dots: past every vector i stream vectors 0..i-1, so many at once.

    Vector 0 streams in front of the side that comes first, one place before its first vector.
    A chunk that streams past itself (diagonal) is not read: the next one to hold is.

    Members:
      go           this cycle is a step; a cycle without it comes before the first one.
      user_vectors, item_vectors, row_bytes   constant from 2 cycles before the first step.
      item_side, chunk   of the vector chunk to read.
      step         see step_layout.
      ends         this step is the last.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "go": In(1), "user_vectors": In(8), "item_vectors": In(8), "row_bytes": In(8),
                "item_side": Out(1), "chunk": Out(range(area_chunks(config))),
                "step": Out(step_layout(config)), "ends": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        step, at, shape = self.step, Signal(_dot_place(self.config)), self._shape(m)
        at_once, narrow = shape.at_once, shape.narrow

        # The step: what streams past what is held.
        # No field is read back from `step`: a structure is one signal to simulators.
        part_ends, only_0, diagonal = Signal(), Signal(), Signal()
        count = Signal.like(step.count)
        m.d.comb += [
            diagonal.eq(narrow & (at.streamed == at.held_chunk) & (at.own == at.second)),
            count.eq(Mux(at.remaining < at_once, at.remaining, at_once)),
            part_ends.eq(at.part + 1 == shape.chunks),
            only_0.eq(at.first & ~narrow),
            step.first.eq(at.first),
            step.swap.eq(at.first & narrow & (at.row == 0)),
            step.load.eq(only_0),
            step.diagonal.eq(diagonal),
            step.fetch.eq(diagonal),
            step.shift.eq(~at.own & (narrow | only_0)),
            step.row.eq(at.row),
            step.chunk.eq(at.part),
            step.more.eq(at.part != 0),
            step.count.eq(count),
            step.advance.eq(count),
        ]
        with m.If(~part_ends):
            m.d.comb += count.eq(0)

        # The chunk to read.
        on_second, last_chunk = Signal(), Signal()
        m.d.comb += [
            on_second.eq(~at.second & shape.both),
            last_chunk.eq(at.left + at.row < at_once),
            self.item_side.eq(shape.no_user | Mux(only_0, at.second, at.own)),
            self.chunk.eq(Mux(only_0, at.held_chunk + at.part, at.streamed)),
        ]
        with m.If(diagonal):
            m.d.comb += [
                self.item_side.eq(shape.no_user | at.second | last_chunk),
                self.chunk.eq(Mux(last_chunk & on_second, 0, at.held_chunk + 1)),
            ]

        # On to the next chunk of what streams, or to what is held next.
        stream_ends, row_ends = Signal(), Signal()
        m.d.comb += [
            stream_ends.eq(part_ends & (at.remaining <= at_once)),
            row_ends.eq(stream_ends & (at.own | ~at.second | (at.held == 0))),
            self.ends.eq(self.go & row_ends & (at.left == 0) & ~on_second),
        ]
        m.d.sync += [
            at.part.eq(Mux(part_ends, 0, at.part + 1)),
            at.streamed.eq(Mux(stream_ends, 0, at.streamed + ~only_0)),
        ]
        with m.If(part_ends):
            m.d.sync += [at.first.eq(0), at.remaining.eq(at.remaining - at_once)]
        with m.If(stream_ends):
            m.d.sync += [at.own.eq(1), at.remaining.eq(at.held)]
        with m.If(row_ends | ~self.go):
            self._hold_next(m, at, shape)
            with m.If((at.left == 0) & self.go):
                m.d.sync += at.second.eq(shape.both)
        return m

    def _shape(self, m: Module) -> data.View:
        """Return what stays: vectors at_once or chunks per vector, narrow if several at once."""
        size, flags = self.config.chunk_bytes, ("no_user", "both", "narrow")
        shape = Signal(
            data.StructLayout(
                {
                    **{name: unsigned(1) for name in flags},
                    "at_once": range(size // 4 + 1),
                    "chunks": range(held_chunks(self.config) + 1),
                    "first_vectors": unsigned(COUNT_BITS),
                }
            )
        )
        users, items, narrow = self.user_vectors, self.item_vectors, self.row_bytes < size
        m.d.sync += [
            shape.narrow.eq(narrow),
            shape.at_once.eq(Mux(narrow, (size // 4) >> (self.row_bytes == 8), 1)),
            shape.chunks.eq(Mux(narrow, 1, self.row_bytes >> (size.bit_length() - 1))),
            shape.no_user.eq(users == 0),
            shape.both.eq((users != 0) & (items != 0)),
            shape.first_vectors.eq(Mux(users == 0, items, users)),
        ]
        return shape

    def _hold_next(self, m: Module, at: data.View, shape: data.View) -> None:
        """Go to the next vector of a side or to the second side; without `go`, to the first."""
        chunk_ends = at.row + 1 == shape.at_once
        m.d.sync += [
            at.held.eq(at.held + 1),
            at.left.eq(at.left - 1),
            at.row.eq(Mux(chunk_ends, 0, at.row + 1)),
            at.held_chunk.eq(at.held_chunk + Mux(chunk_ends, shape.chunks, 0)),
            at.own.eq(0),
            at.first.eq(1),
            at.remaining.eq(Mux(at.second, shape.first_vectors + 1, at.held + 2)),
        ]
        with m.If((at.left == 0) | ~self.go):
            m.d.sync += [
                at.held.eq(0),
                at.left.eq(Mux(self.go, self.item_vectors, shape.first_vectors) - 1),
                at.row.eq(0),
                at.held_chunk.eq(0),
                at.remaining.eq(Mux(self.go, shape.first_vectors + 1, 1)),
            ]
        with m.If(~self.go):
            m.d.sync += [at.second.eq(0), at.part.eq(0), at.streamed.eq(0)]
