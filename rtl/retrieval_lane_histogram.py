"""A lane's histogram of all scores of a scan, in block RAM."""

from __future__ import annotations

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from rpaccel.spec.retrieval import BUCKETS, RetrievalConfig

__all__ = ["LaneHistogram", "shift_bits"]


def shift_bits(config: RetrievalConfig) -> range:
    """Return the shape of a bucket's shift: a score's bits at most."""
    return range(config.score_bits + 1)


class LaneHistogram(Component):
    """Counts scores by bucket = clamp((score - base) >> shift, 0, 255), one score per cycle.

    A score is counted `latency_cycles` after it came. Counters stop at their largest value: a
    count may be too small, never too large. A counter belongs to a generation, and reads as 0 in
    every other one; a new generation must be cleared if it was in use before.

    Members
    -------
    base : In(score), shift : In(0..score_bits), generation : In  constant while scores come.
    valid : In(1), score : In(score)
    restart : In(1)  forgets `top`; no score is inside.
    clear : In(1), clear_bucket : In(bucket)  clears a counter; no score is inside.
    read_bucket : In(bucket), count : Out  `count` one cycle after `read_bucket`.
    top : Out(bucket)  the highest bucket counted.
    busy : Out(1)  a score is inside.
    """

    latency_cycles = 4  # difference, bucket, count read, count written

    def __init__(self, config: RetrievalConfig) -> None:
        self.config = config
        bucket = range(BUCKETS)
        super().__init__(
            {
                "base": In(signed(config.score_bits)),
                "shift": In(shift_bits(config)),
                "generation": In(config.generation_bits),
                "valid": In(1),
                "score": In(signed(config.score_bits)),
                "restart": In(1),
                "clear": In(1),
                "clear_bucket": In(bucket),
                "read_bucket": In(bucket),
                "count": Out(config.count_bits),
                "top": Out(bucket),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self.config
        layout = data.StructLayout(
            {"generation": config.generation_bits, "count": unsigned(config.count_bits)}
        )

        # the bucket: what lies below base is in bucket 0, what lies above 255 in 255
        valid = Signal(3)
        above = Signal(config.score_bits)
        difference = Signal(signed(config.score_bits + 1))
        bucket = Signal(range(BUCKETS))
        shifted = Signal(config.score_bits)
        m.d.comb += [
            difference.eq(self.score - self.base),
            shifted.eq(above >> self.shift),
        ]
        m.d.sync += [
            valid.eq(Cat(self.valid, valid)),
            above.eq(Mux(difference < 0, 0, difference)),
            bucket.eq(Mux(shifted >= BUCKETS, BUCKETS - 1, shifted)),
        ]
        m.d.comb += self.busy.eq(valid.any() | self.valid)

        # read the counter, write it in the next cycle; a second read of it sees the old one then
        counters, copies = (Memory(shape=layout, depth=BUCKETS, init=[]) for _ in range(2))
        m.submodules.counters, m.submodules.copies = counters, copies
        read, sweep = counters.read_port(), copies.read_port()
        write, copy = counters.write_port(), copies.write_port()
        place, again, before = Signal(range(BUCKETS)), Signal(), Signal(config.count_bits)
        count, more = Signal(config.count_bits), Signal(config.count_bits)
        current = Mux(read.data.generation == self.generation, read.data.count, 0)
        m.d.comb += [
            read.addr.eq(bucket),
            count.eq(Mux(again, before, current)),
            more.eq(Mux(count.all(), count, count + 1)),
            write.en.eq(valid[2] | self.clear),
            write.addr.eq(Mux(self.clear, self.clear_bucket, place)),
            write.data.generation.eq(Mux(self.clear, 0, self.generation)),
            write.data.count.eq(more),
            copy.en.eq(write.en),
            copy.addr.eq(write.addr),
            copy.data.eq(write.data),
            sweep.addr.eq(self.read_bucket),
            self.count.eq(Mux(sweep.data.generation == self.generation, sweep.data.count, 0)),
        ]
        m.d.sync += [
            place.eq(bucket),
            before.eq(more),
            again.eq(valid[2] & valid[1] & (bucket == place)),
        ]
        with m.If(valid[2] & (place > self.top)):
            m.d.sync += self.top.eq(place)
        with m.If(self.restart):
            m.d.sync += self.top.eq(0)
        return m
