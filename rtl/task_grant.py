"""Task grant: which funnel's task goes to which lane."""

from __future__ import annotations

from amaranth import Array, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.funnel import offer_layout
from rpaccel.rtl.task import task_layout
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["TaskGrant"]


class TaskGrant(wiring.Component):
    """Gives a task to a lane that is ready for it; the query that was accepted first goes first.

    So no query that came later takes a lane from a query that could use it: a query waits for
    those that came before, of which there are at most funnels - 1, and for no other. Of several
    lanes the one of lowest number is taken. One task in 2 cycles, a cycle after it is offered.

    Members
    -------
    accepted_stb : In(funnels)  the funnel takes a query: it is now the youngest.
    offer : In(offer_layout()) x funnels
    lane_ready : In(lanes)  the lane takes a task; stays until it is given one.
    grant_stb : Out(funnels), task_stb : Out(lanes)  the task goes over in this cycle.
    lane : Out, task : Out(task_layout())
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "accepted_stb": In(config.funnels),
                "offer": In(offer_layout(config)).array(config.funnels),
                "lane_ready": In(config.lanes),
                "grant_stb": Out(config.funnels),
                "task_stb": Out(config.lanes),
                "lane": Out(range(max(2, config.lanes))),
                "task": Out(task_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = self.config.funnels
        able = Array(Signal(self.config.lanes, name=f"able_{f}") for f in range(count))
        eligible, oldest = Signal(count), Signal(count)
        # older[f][g]: g was accepted before f
        older = [Signal(count, name=f"older_than_{f}") for f in range(count)]
        for f, offer in enumerate(self.offer):
            m.d.comb += [
                able[f].eq(offer.lanes & self.lane_ready),
                eligible[f].eq(offer.valid & able[f].any()),
                oldest[f].eq(eligible[f] & ~(older[f] & eligible).any()),
            ]
            with m.If(self.accepted_stb[f]):
                m.d.sync += older[f].eq(~(1 << f))
            with m.Else():
                m.d.sync += older[f].eq(older[f] & ~self.accepted_stb)

        funnel = Signal(range(max(2, count)))
        lane = Signal.like(self.lane)
        for f in range(count):
            with m.If(oldest[f]):
                m.d.comb += funnel.eq(f)
        for i in reversed(range(self.config.lanes)):
            with m.If(able[funnel].bit_select(i, 1)):
                m.d.comb += lane.eq(i)
        granting = Cat(self.grant_stb).any()
        m.d.sync += [self.grant_stb.eq(0), self.task_stb.eq(0)]
        with m.If(eligible.any() & ~granting):
            m.d.sync += [
                self.grant_stb.eq(1 << funnel),
                self.task_stb.eq(1 << lane),
                self.lane.eq(lane),
                self.task.eq(Array(offer.task for offer in self.offer)[funnel]),
            ]
        return m
