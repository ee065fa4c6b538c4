"""After the last stage: the ordered list of the best candidates."""

from __future__ import annotations

from amaranth import Cat, Module, Signal
from amaranth.hdl import Assert, Format, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import result_layout, score_layout
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["OrderedTopN"]

KEY_BITS = 48  # logit with its sign flipped, then the inverted id: larger is better


class OrderedTopN(wiring.Component):
    """Keeps the best `max_top_n` scores sorted by (logit descending, id ascending).

    A row of registers, each with its comparator: a new score enters at its place and pushes the
    worse ones one place down in the same cycle, so the list is always sorted and results leave
    from its head. (A systolic chain would need a second register per place and a drain.)
    One score per cycle; the first result is valid `latency_cycles` after the last score, then one
    per cycle.

    Members
    -------
    start : In(stream of {top_n: 16})  opens a list; 1 <= top_n <= max_top_n. Accepted when idle.
    score : In(stream of score_layout())  `last` closes the list.
    result : Out(stream of result_layout())  exactly `count` of them, best first.
    count : Out  min(top_n, scores), valid from the first result until the next start.
    draining : Out(1)  the list is closed and results are being offered.
    idle : Out(1)
    busy, stalled_input, stalled_output : Out(1)  disjoint: works, lacks a score, lacks a reader.
    """

    latency_cycles = 2  # input register, list register

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(stream.Signature(data.StructLayout({"top_n": unsigned(16)}))),
                "score": In(stream.Signature(score_layout())),
                "result": Out(stream.Signature(result_layout())),
                "count": Out(range(config.max_top_n + 1)),
                "draining": Out(1),
                "idle": Out(1),
                "busy": Out(1),
                "stalled_input": Out(1),
                "stalled_output": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        score = self.score.payload
        taken = Signal()
        m.d.comb += taken.eq(self.score.valid & self.score.ready)

        # Input register: the score goes to every place at once.
        new_valid = Signal()
        new_key = Signal(KEY_BITS)
        new_ctr = Signal(16)
        m.d.sync += new_valid.eq(taken)
        with m.If(taken):
            m.d.sync += [
                new_key.eq(Cat(~score.id, score.logit[:15], ~score.logit[15])),
                new_ctr.eq(score.ctr),
            ]

        # The list: place i takes the new score, its better neighbour's (push), or its worse
        # neighbour's (pop). An equal key stays before the new one.
        clear_stb, pop_stb = Signal(), Signal()
        keys, ctrs, better = self._places(m, new_key)
        for i, (key, ctr) in enumerate(zip(keys, ctrs, strict=True)):
            with m.If(new_valid & better[i]):
                m.d.sync += [key.eq(Cat(new_key, 1)), ctr.eq(new_ctr)]
                if i > 0:
                    with m.If(better[i - 1]):
                        m.d.sync += [key.eq(keys[i - 1]), ctr.eq(ctrs[i - 1])]
            if i + 1 < len(keys):
                with m.If(pop_stb):
                    m.d.sync += [key.eq(keys[i + 1]), ctr.eq(ctrs[i + 1])]
            with m.If(clear_stb):
                m.d.sync += key.eq(0)

        m.d.comb += [
            self.result.payload.id.eq(~keys[0][:32]),
            self.result.payload.logit.eq(Cat(keys[0][32:47], ~keys[0][47]).as_signed()),
            self.result.payload.ctr.eq(ctrs[0]),
        ]
        self._control(m, taken, clear_stb, pop_stb)
        return m

    def _places(self, m: Module, new_key: Signal) -> tuple[list[Signal], list[Signal], Signal]:
        """Return the registers (key with a valid bit on top) and which are worse than `new_key`."""
        places = range(self.config.max_top_n)
        keys = [Signal(KEY_BITS + 1, name=f"key{i}") for i in places]
        ctrs = [Signal(16, name=f"ctr{i}") for i in places]
        better = Signal(len(keys))
        m.d.comb += better.eq(Cat(Cat(new_key, 1) > key for key in keys))
        return keys, ctrs, better

    def _control(self, m: Module, taken: Signal, clear_stb: Signal, pop_stb: Signal) -> None:
        """Collect scores, then offer the best `count`."""
        top_n = Signal.like(self.count)
        left = Signal.like(self.count)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.idle.eq(1), self.start.ready.eq(1)]
                with m.If(self.start.valid):
                    m.d.comb += clear_stb.eq(1)
                    m.d.sync += [
                        Assert(
                            (self.start.payload.top_n >= 1)
                            & (self.start.payload.top_n <= self.config.max_top_n),
                            Format("top_n {} out of range", self.start.payload.top_n),
                        ),
                        top_n.eq(self.start.payload.top_n),
                        self.count.eq(0),
                    ]
                    m.next = "COLLECT"
            with m.State("COLLECT"):
                m.d.comb += [
                    self.score.ready.eq(1),
                    self.busy.eq(self.score.valid),
                    self.stalled_input.eq(~self.score.valid),
                ]
                with m.If(taken & (self.count != top_n)):
                    m.d.sync += self.count.eq(self.count + 1)
                with m.If(taken & self.score.payload.last):
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.comb += self.busy.eq(1)
                m.d.sync += left.eq(self.count)
                m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.comb += [
                    self.draining.eq(1),
                    self.result.valid.eq(1),
                    self.busy.eq(self.result.ready),
                    self.stalled_output.eq(~self.result.ready),
                    pop_stb.eq(self.result.ready),
                ]
                with m.If(self.result.ready):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "IDLE"
