"""Many streams into one, in turn."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Elaboratable, Module, ShapeLike, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

__all__ = ["Arbiter"]

RADIX = 4  # a bit of a multiplexer of 4 is one look-up table with 6 inputs


class Arbiter(Component):
    """Passes one payload per cycle on, of the next source in turn that has one.

    A tree of nodes of up to 4 sources, each with an output register: `latency_cycles`. A source
    that is valid waits for less than 4 others at every node.

    Members
    -------
    sources : In(stream(shape)) x count
    o : Out(stream(shape))
    empty : Out(1)  nothing is inside.
    """

    def __init__(self, shape: ShapeLike, count: int) -> None:
        self.shape, self.count = shape, count
        source = stream.Signature(shape)
        super().__init__({"sources": In(source).array(count), "o": Out(source), "empty": Out(1)})

    @property
    def latency_cycles(self) -> int:
        """Cycles from a source to the output: the nodes on the way."""
        cycles, width = 0, self.count
        while not cycles or width > 1:
            cycles, width = cycles + 1, -(-width // RADIX)
        return cycles

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        level = list(self.sources)
        registers: list[Signal] = []
        while not registers or len(level) > 1:
            groups = [level[first : first + RADIX] for first in range(0, len(level), RADIX)]
            level = [self._node(m, group) for group in groups]
            registers += [node.valid for node in level]
        m.d.comb += [
            self.o.valid.eq(level[0].valid),
            self.o.payload.eq(level[0].payload),
            level[0].ready.eq(self.o.ready),
            self.empty.eq(~Cat(registers).any()),
        ]
        return m

    def _node(self, m: Module, sources: list[stream.Interface]) -> stream.Interface:
        """Return the output register of a node, with the sources connected."""
        node = stream.Interface(stream.Signature(self.shape))
        turn, choice = (Signal(range(max(2, len(sources)))) for _ in range(2))
        payloads = Array(source.payload for source in sources)
        space = ~node.valid | node.ready
        # the last of these that is valid wins: those before the turn, then those from it on
        for number in reversed(range(len(sources))):
            with m.If(sources[number].valid):
                m.d.comb += choice.eq(number)
        for number in reversed(range(len(sources))):
            with m.If(sources[number].valid & (number >= turn)):
                m.d.comb += choice.eq(number)
        for number, source in enumerate(sources):
            m.d.comb += source.ready.eq(space & (choice == number))
        with m.If(space):
            valid = Cat(source.valid for source in sources).any()
            m.d.sync += [node.valid.eq(valid), node.payload.eq(payloads[choice])]
            with m.If(valid):
                m.d.sync += turn.eq(choice + 1)
        return node
