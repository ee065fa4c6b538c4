"""A lane of the score filter: keeps what may matter until the selector has time for it."""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module, Signal, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from rpaccel.rtl.retrieval_fifo import HeadFifo
from rpaccel.rtl.retrieval_selector import key_of, threshold_layout
from rpaccel.spec.retrieval import RetrievalConfig

__all__ = ["FilterLane", "row_layout"]


def row_layout(config: RetrievalConfig) -> data.StructLayout:
    """A lane's scored row of a cycle; not `valid`: none, or one that must not be found."""
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "score": signed(config.score_bits),
            "id": unsigned(config.id_bits),
        }
    )


class FilterLane(Component):
    """Queues rows whose scores reach `floor`; a head at or below the threshold is dropped.

    Takes a row per cycle while not `almost_full`, drops or gives one per cycle. A row is given
    `latency_cycles` after it came if nothing is before it.

    Members
    -------
    row : In(row_layout())  no back-pressure.
    floor : In(struct {valid, score})  while `valid`, lower scores do not matter.
    threshold : In(threshold_layout())
    key : Out(stream of key)  was above the threshold when it left the queue.
    almost_full : Out(1)  no row may come from the next cycle on.
    empty : Out(1)  no row is inside, `row` of this cycle not counted.
    queued : Out(1)  a row enters the queue.
    left : Out(1)  a row leaves it.
    """

    latency_cycles = 1 + HeadFifo.latency_cycles + 1  # comparison, queue, output register

    def __init__(self, config: RetrievalConfig) -> None:
        self.config = config
        floor = data.StructLayout({"valid": unsigned(1), "score": signed(config.score_bits)})
        super().__init__(
            {
                "row": In(row_layout(config)),
                "floor": In(floor),
                "threshold": In(threshold_layout(config)),
                "key": Out(stream.Signature(unsigned(config.key_bits))),
                "almost_full": Out(1),
                "empty": Out(1),
                "queued": Out(1),
                "left": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self.config
        m.submodules.queue = queue = HeadFifo(unsigned(config.key_bits), config.fifo_depth)

        reaches = Signal()
        m.d.sync += [
            reaches.eq(self.row.valid & (~self.floor.valid | (self.row.score >= self.floor.score))),
            queue.data.eq(key_of(self.row.score, self.row.id)),
        ]
        m.d.comb += [
            queue.write.eq(reaches),
            self.queued.eq(reaches),
            self.left.eq(queue.pop),
        ]

        # a stale head goes at once, another one when the output register is free
        stale, space, leaves = Signal(), Signal(), Signal()
        m.d.comb += [
            stale.eq(self.threshold.valid & (queue.head <= self.threshold.key)),
            space.eq(~self.key.valid | self.key.ready),
            leaves.eq(queue.valid & ~stale & space),
            queue.pop.eq(queue.valid & (stale | space)),
            self.almost_full.eq(queue.almost_full),
            self.empty.eq(~reaches & queue.empty & ~self.key.valid),
        ]
        with m.If(space):
            m.d.sync += [self.key.valid.eq(leaves), self.key.payload.eq(queue.head)]
        return m
