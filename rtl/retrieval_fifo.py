"""A queue in block RAM whose head can be looked at and dropped in the same cycle."""

from __future__ import annotations

from amaranth.hdl import Assert, Elaboratable, Format, Module, ShapeLike, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

__all__ = ["HeadFifo"]


class HeadFifo(Component):
    """Queue of `depth` entries, a power of two; one write and one `pop` per cycle.

    An entry written in cycle t is at the head from cycle t + `latency_cycles` on. `pop` may depend
    on `head` of the same cycle.

    Members
    -------
    write : In(1), data : In(shape)  writes an entry; not while `full`.
    full, empty : Out(1)  empty : nothing is in the queue, not even on its way to the head.
    almost_full : Out(1)  fewer than `margin` places are free, counted a cycle late.
    valid : Out(1), head : Out(shape)
    pop : In(1)  drops the head; only while `valid`.
    """

    latency_cycles = 2

    def __init__(self, shape: ShapeLike, depth: int, margin: int = 4) -> None:
        assert depth > margin and not depth & (depth - 1), depth
        self.depth, self.margin = depth, margin
        self.shape = shape
        super().__init__(
            {
                "write": In(1),
                "data": In(shape),
                "full": Out(1),
                "empty": Out(1),
                "almost_full": Out(1),
                "valid": Out(1),
                "head": Out(shape),
                "pop": In(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.shape, depth=self.depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        places = range(2 * self.depth)
        tail, first, next_first = Signal(places), Signal(places), Signal(places)
        used = Signal(range(self.depth + 1))

        m.d.comb += [
            self.full.eq(tail == first ^ self.depth),
            self.empty.eq(tail == first),
            used.eq(tail - first),
            write.en.eq(self.write),
            write.addr.eq(tail),
            write.data.eq(self.data),
        ]
        m.d.sync += [
            self.almost_full.eq(used > self.depth - self.margin),
            tail.eq(tail + self.write),
            Assert(~(self.write & self.full), Format("a write to a full queue")),
            Assert(~(self.pop & ~self.valid), Format("a pop of an empty queue")),
        ]

        # the next head is read while this one is looked at
        m.d.comb += [
            next_first.eq(first + self.pop),
            read.addr.eq(next_first),
            self.head.eq(read.data),
        ]
        m.d.sync += [
            first.eq(next_first),
            self.valid.eq(next_first != tail),
        ]
        return m
