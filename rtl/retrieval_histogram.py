"""A lower bound of the K-th best of everything scanned, from the lanes' histograms."""

from __future__ import annotations

from functools import reduce
from operator import add

from amaranth.hdl import (
    Array,
    Assert,
    Cat,
    Elaboratable,
    Format,
    Module,
    Signal,
    Value,
    signed,
    unsigned,
)
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from rpaccel.rtl.retrieval_lane_histogram import LaneHistogram, shift_bits
from rpaccel.spec.retrieval import BUCKETS, RetrievalConfig

__all__ = ["Histogram", "bound_layout", "scores_layout"]


def scores_layout(config: RetrievalConfig) -> data.ArrayLayout:
    """The scores of a cycle, one per lane."""
    score = data.StructLayout({"valid": unsigned(1), "score": signed(config.score_bits)})
    return data.ArrayLayout(score, config.lanes)


def bound_layout(config: RetrievalConfig) -> data.StructLayout:
    """While `valid`: at least k of the rows scanned have scores of `score` or more."""
    return data.StructLayout({"valid": unsigned(1), "score": signed(config.score_bits)})


class Histogram(Component):
    """Counts the scores of all lanes; sweeps over the counters for the highest edge with k above.

    A sweep adds the lanes' counters of a bucket per cycle, from the highest bucket in use down, and
    ends when they hold k or at the edge that is known: `sweep_cycles` more than the buckets that it
    reads. Counters that grow meanwhile make the edge too low, never too high. Bucket 0 has no lower
    edge, so k scores in it bound nothing.

    Members
    -------
    start : In(1)  a query begins; only while `ready`, no score is inside. k, base and shift are
        constant from the next cycle on.
    k : In(count), base : In(score), shift : In(0..score_bits)
    scores : In(scores_layout())  one set per cycle, from the cycle after `start` on.
    ready : Out(1)  scores may come; not while counters are cleared: for 256 cycles after reset,
        which memories outlive, and after `start`, once in 2**generation_bits - 1 queries.
    busy : Out(1)  a score is inside.
    bound : Out(bound_layout())
    swept : Out(1)  a sweep is over.
    """

    sweep_cycles = 5  # counters read, sum, comparison, what is behind leaves, start

    def __init__(self, config: RetrievalConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "k": In(config.count_bits),
                "base": In(signed(config.score_bits)),
                "shift": In(shift_bits(config)),
                "scores": In(scores_layout(config)),
                "ready": Out(1),
                "busy": Out(1),
                "bound": Out(bound_layout(config)),
                "swept": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self.config
        lanes = [LaneHistogram(config) for _ in range(config.lanes)]
        for number, lane in enumerate(lanes):
            m.submodules[f"lane{number}"] = lane
        m.d.comb += self.busy.eq(Cat(lane.busy for lane in lanes).any())
        m.d.sync += Assert(~(self.start & (self.busy | ~self.ready)), Format("a start while busy"))

        generation, clear, bucket = self._generations(m)
        for lane, row in zip(lanes, self.scores, strict=True):
            m.d.comb += [
                lane.base.eq(self.base),
                lane.shift.eq(self.shift),
                lane.generation.eq(generation),
                lane.valid.eq(row.valid),
                lane.score.eq(row.score),
                lane.restart.eq(self.start),
                lane.clear.eq(clear),
                lane.clear_bucket.eq(bucket),
            ]
        edge = self._sweep(m, lanes, self._top(m, lanes), clear)
        m.d.sync += [
            self.bound.valid.eq((edge != 0) & ~self.start),
            self.bound.score.eq(self.base + (edge << self.shift)),
        ]
        return m

    def _generations(self, m: Module) -> tuple[Signal, Signal, Signal]:
        """Count queries; return the generation, and (clear, bucket) where all may be in use."""
        generation = Signal(self.config.generation_bits)  # 0: of cleared counters
        clear, bucket = Signal(init=1), Signal(range(BUCKETS))
        m.d.comb += self.ready.eq(~clear)
        with m.If(clear):
            m.d.sync += bucket.eq(bucket + 1)
            with m.If(bucket == BUCKETS - 1):
                m.d.sync += clear.eq(0)
        with m.If(self.start):
            m.d.sync += generation.eq(generation + 1)
            with m.If(generation.all()):
                m.d.sync += [generation.eq(1), clear.eq(1)]
        return generation, clear, bucket

    def _top(self, m: Module, lanes: list[LaneHistogram]) -> Signal:
        """Return the highest bucket of any lane, one lane looked at per cycle."""
        top, turn = Signal(range(BUCKETS)), Signal(range(len(lanes)))
        of_lane = Signal(range(BUCKETS))
        m.d.comb += of_lane.eq(Array(lane.top for lane in lanes)[turn])
        m.d.sync += turn.eq(turn + 1)
        with m.If(of_lane > top):
            m.d.sync += top.eq(of_lane)
        with m.If(self.start):
            m.d.sync += [top.eq(0), turn.eq(0)]
        return top

    def _sweep(self, m: Module, lanes: list[LaneHistogram], top: Value, clear: Value) -> Signal:
        """Return the highest bucket found to hold k together with those above it."""
        at, edge, reads = Signal(range(BUCKETS)), Signal(range(BUCKETS)), Signal()
        for lane in lanes:
            m.d.comb += lane.read_bucket.eq(at)

        # stages: counters of a bucket, their sum, the sum so far
        count_bits = self.config.count_bits
        read, read_bucket = Signal(), Signal(range(BUCKETS))
        summed, sum_bucket = Signal(), Signal(range(BUCKETS))
        counts = reduce(add, (lane.count for lane in lanes))
        bucket_sum, total = Signal(len(counts)), Signal(count_bits)
        so_far = Signal(len(counts) + 1)
        found = Signal()
        m.d.sync += [
            read.eq(reads & ~clear & ~self.start),  # those are an earlier query's
            read_bucket.eq(at),
            summed.eq(read & ~self.start),
            sum_bucket.eq(read_bucket),
            bucket_sum.eq(counts),
        ]
        m.d.comb += [so_far.eq(total + bucket_sum), found.eq(summed & (so_far >= self.k))]
        with m.If(summed):
            m.d.sync += total.eq(so_far)  # below k, or the sweep is over

        with m.FSM() as fsm:
            m.d.comb += self.swept.eq(fsm.ongoing("END2"))
            with m.State("BEGIN"):
                m.d.sync += [at.eq(top), total.eq(0)]
                with m.If(top > edge):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += reads.eq(1)
                m.d.sync += at.eq(at - 1)
                with m.If(at == edge + 1):
                    m.next = "END0"
                with m.If(found):
                    m.d.sync += edge.eq(sum_bucket)
                    m.next = "END1"
            for number, after in enumerate(("END1", "END2", "BEGIN")):
                with m.State(f"END{number}"):
                    m.next = after
                    with m.If(found & (sum_bucket > edge)):
                        m.d.sync += edge.eq(sum_bucket)
        with m.If(self.start):
            m.d.sync += [edge.eq(0), total.eq(0)]
        return edge
