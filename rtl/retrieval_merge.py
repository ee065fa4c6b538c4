"""A stage of a merge sorter on a stream: two sorted runs become one.

Ref: Matsumoto, Nakano, Ito: Optimal parallel hardware K-sorter and top K-sorter (ISPDC 2015).
"""

from __future__ import annotations

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from rpaccel.rtl.retrieval_fifo import HeadFifo

__all__ = ["MergeStage", "run_depth", "token_layout"]

SHALLOW = 32  # entries of a queue in look-up tables
BLOCK_RAM = 512  # entries of a block RAM as wide as a key


def token_layout(key_bits: int) -> data.StructLayout:
    """An element of a run, largest key first.

    real : 0 for the mark behind a query's last candidate, below every key. last : of its run.
    A mark is the last element of its run.
    """
    return data.StructLayout({"key": unsigned(key_bits), "real": unsigned(1), "last": unsigned(1)})


def run_depth(run: int) -> int:
    """Return the entries of each of a stage's two queues: 2 runs where that costs no memory."""
    return max(min(max(2 * run, SHALLOW), BLOCK_RAM), run)


class MergeStage(Component):
    """Merges runs of up to `run` elements pairwise, one element per cycle.

    A run that ends with a mark is the last of its query and may be shorter; without a partner it
    leaves alone. A stage that is not `active` passes every run on. Elements leave
    `latency_cycles` after the later of the two runs' heads came, if nothing is before them.

    Members
    -------
    active : In(1)  constant while elements are inside.
    i, o : In, Out(stream of token_layout(key_bits))
    """

    latency_cycles = HeadFifo.latency_cycles + 1  # output register

    def __init__(self, key_bits: int, run: int) -> None:
        self.key_bits, self.run = key_bits, run
        layout = token_layout(key_bits)
        super().__init__(
            {
                "active": In(1),
                "i": In(stream.Signature(layout)),
                "o": Out(stream.Signature(layout)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        layout = token_layout(self.key_bits)
        depth = run_depth(self.run)
        m.submodules.first = first = HeadFifo(layout, depth)
        m.submodules.second = second = HeadFifo(layout, depth)

        # runs go to the two queues in turn; a mark without a partner run is its own partner
        element, taken, side = self.i.payload, Signal(), Signal()
        alone = self.active & ~element.real & ~side
        m.d.comb += [
            self.i.ready.eq(Mux(side, ~second.full, ~first.full & ~(alone & second.full))),
            taken.eq(self.i.valid & self.i.ready),
            first.data.eq(element),
            second.data.eq(element),
            first.write.eq(taken & ~side),
            second.write.eq(taken & (side | alone)),
        ]
        with m.If(taken & element.last):
            m.d.sync += side.eq(self.active & ~side & element.real)

        # the larger head leaves; of two marks one does
        first_over, second_over = Signal(), Signal()  # this run has left
        second_out = second_over | ~self.active
        marks, larger, fire = Signal(), Signal(), Signal()
        a, b = first.head, second.head
        m.d.comb += [
            larger.eq(Cat(a.key, a.real) > Cat(b.key, b.real)),
            marks.eq(~a.real & ~b.real & ~first_over & ~second_out),
            fire.eq(
                (first_over | first.valid)
                & (second_out | second.valid)
                & (~self.o.valid | self.o.ready)
            ),
            first.pop.eq(fire & ~first_over & (second_out | larger | marks)),
            second.pop.eq(fire & ~second_out & (first_over | ~larger)),
        ]
        ends = (first_over | first.pop & a.last) & (second_out | second.pop & b.last)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [
                self.o.valid.eq(fire),
                self.o.payload.key.eq(Mux(first.pop, a.key, b.key)),
                self.o.payload.real.eq(Mux(first.pop, a.real, b.real)),
                self.o.payload.last.eq(ends),
            ]
        with m.If(fire):
            m.d.sync += [
                first_over.eq(~ends & (first_over | first.pop & a.last)),
                second_over.eq(~ends & (second_over | second.pop & b.last)),
            ]
        return m
