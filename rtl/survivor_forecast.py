"""Survivor forecast: which of the scores so far will pass the filter, told while they come."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["SurvivorForecast"]

IDS_WAITING = 32


class SurvivorForecast(wiring.Component):
    """Names the ids that would survive if the scores to come were like those that came.

    After j of n scores the filter's k are k * j / n: an id is named if no more than that many
    came so far in bins above its own. This is the filter's own rule at j = n. Ids that find the
    queue full are not named.

    Members
    -------
    start_stb : In(1)  of a stage, with k and items (n), which then hold
    scored_stb : In(1)  a score has come
    stored_stb, stored_id, stored_bin : In  of BucketFilter
    active : In(1)  else the queue is emptied
    id : Out(stream of 32 bits)
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start_stb": In(1),
                "k": In(32),
                "items": In(range(config.max_items + 1)),
                "scored_stb": In(1),
                "stored_stb": In(1),
                "stored_id": In(32),
                "stored_bin": In(range(config.bins)),
                "active": In(1),
                "id": Out(stream.Signature(unsigned(32))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        counts = range(self.config.max_items + 1)
        # k * j / n: the part below 1 grows by k / n with each score; k <= n
        quota, part = Signal(counts), Signal(range(2 * self.config.max_items + 1))
        grown = Signal.like(part)
        m.d.comb += grown.eq(part + self.k)
        with m.If(self.start_stb):
            m.d.sync += [quota.eq(0), part.eq(0)]
        with m.Elif(self.scored_stb):
            with m.If(grown >= self.items):
                m.d.sync += [part.eq(grown - self.items), quota.eq(quota + 1)]
            with m.Else():
                m.d.sync += part.eq(grown)

        # scores in the bins above each
        above = Array(Signal(counts, name=f"above{i}") for i in range(self.config.bins))
        for number, count in enumerate(above):
            with m.If(self.start_stb):
                m.d.sync += count.eq(0)
            with m.Elif(self.stored_stb & (self.stored_bin > number)):
                m.d.sync += count.eq(count + 1)

        m.submodules.queue = queue = SyncFIFOBuffered(width=32, depth=IDS_WAITING)
        m.d.comb += [
            queue.w_data.eq(self.stored_id),
            queue.w_en.eq(self.active & self.stored_stb & (above[self.stored_bin] <= quota)),
            self.id.valid.eq(queue.r_rdy & self.active),
            self.id.payload.eq(queue.r_data),
            queue.r_en.eq(Mux(self.active, self.id.ready, 1)),
        ]
        return m
