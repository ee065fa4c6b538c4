"""Queues, arbiter and bounds of the score filter beside models of one entry, source or key."""

from __future__ import annotations

from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from rpaccel.rtl.retrieval_arbiter import Arbiter
from rpaccel.rtl.retrieval_fifo import HeadFifo
from rpaccel.rtl.retrieval_histogram import Histogram
from rpaccel.rtl.retrieval_recent import RecentBound
from rpaccel.rtl.retrieval_threshold import Threshold


class FifoProperties(wiring.Component):
    """Writes and pops as their rules allow; the entry numbered `watched` is followed."""

    def __init__(self, dut: HeadFifo) -> None:
        self.dut = dut
        super().__init__(
            {"write": In(1), "data": In(2), "wants": In(1), "watched": In(range(4 * dut.depth))}
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.dut = dut = self.dut
        counts = range(8 * dut.depth)
        written, popped, value = Signal(counts), Signal(counts), Signal(2)
        watched, begun = Signal.like(self.watched), Signal()
        pop = self.wants & dut.valid
        m.d.comb += [
            Assume(~(self.write & dut.full)),
            Assume(~begun | (watched == self.watched)),
            dut.write.eq(self.write),
            dut.data.eq(self.data),
            dut.pop.eq(pop),
        ]
        m.d.sync += [
            begun.eq(1),
            watched.eq(self.watched),
            written.eq(written + self.write),
            popped.eq(popped + pop),
        ]
        with m.If(self.write & (written == self.watched)):
            m.d.sync += value.eq(self.data)
        here = dut.valid & (popped == self.watched)
        m.d.comb += [
            Assert(popped <= written, "nothing comes twice"),
            Assert(~here | (popped < written), "nothing comes that was not written"),
            Assert(~here | (dut.head == value), "entries come in order, as they were written"),
            Assert(dut.empty == (popped == written), "empty: all have been taken"),
            Assert(dut.full == (written - popped == dut.depth), "full: no place is free"),
            Cover(popped == dut.depth + 1, "a place is used again"),
        ]
        # an entry is at the head two cycles after it was written
        before = Signal(counts)
        m.d.sync += before.eq(written)
        last = Signal(counts)
        m.d.sync += last.eq(before)
        m.d.comb += Assert(~(last > popped) | dut.valid, "what is inside comes to the head")
        return m


class ArbiterProperties(wiring.Component):
    """Any sources, any stalls; tokens carry their source and one free bit."""

    def __init__(self, dut: Arbiter, source_bits: int) -> None:
        self.dut, self.source_bits = dut, source_bits
        super().__init__(
            {"valid": In(dut.count), "bit": In(dut.count), "ready": In(1),
             "watched": In(range(dut.count))}
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.dut = dut = self.dut
        begun, watched = Signal(), Signal.like(self.watched)
        taken, given = Signal(8), Signal(8)
        ones_in, ones_out = Signal(8), Signal(8)
        held_valid, held_bit = Signal(dut.count), Signal(dut.count)
        m.d.comb += [
            Assume(self.watched < dut.count),
            Assume(~begun | (watched == self.watched)),
            dut.o.ready.eq(self.ready),
        ]
        m.d.sync += [begun.eq(1), watched.eq(self.watched)]
        came = Signal()
        one = Signal()
        for number, source in enumerate(dut.sources):
            m.d.comb += [
                # a token that waits stays
                Assume(~held_valid[number] | self.valid[number]),
                Assume(~held_valid[number] | (self.bit[number] == held_bit[number])),
                source.valid.eq(self.valid[number]),
                source.payload.eq(Cat(self.bit[number], self._number(number))),
            ]
            m.d.sync += [
                held_valid[number].eq(source.valid & ~source.ready),
                held_bit[number].eq(self.bit[number]),
            ]
            with m.If(self.watched == number):
                m.d.comb += [came.eq(source.valid & source.ready), one.eq(self.bit[number])]
        leaves = dut.o.valid & dut.o.ready & (dut.o.payload[1:] == self.watched)
        m.d.sync += [
            taken.eq(taken + came),
            given.eq(given + leaves),
            ones_in.eq(ones_in + (came & one)),
            ones_out.eq(ones_out + (leaves & dut.o.payload[0])),
        ]
        m.d.comb += [
            Assert(given <= taken, "a source's tokens leave once"),
            Assert(ones_out <= ones_in, "as they were"),
            Assert(~dut.empty | (given == taken), "none is lost"),
            Assert(~dut.empty | (ones_out == ones_in), "none is changed"),
            Cover(given == 2, "two tokens of a source leave"),
        ]
        # in turn: a source that waits is passed by each other one a bounded number of times
        waits, passed = Signal(), Signal(8)
        m.d.comb += waits.eq(((self.valid >> self.watched) & 1) == 1)
        others = Cat(s.valid & s.ready for s in dut.sources).any() & ~came
        with m.If(waits & ~came):
            m.d.sync += passed.eq(passed + others)
        with m.Else():
            m.d.sync += passed.eq(0)
        m.d.comb += Assert(passed < 2 * dut.count, "a source waits for one of each other")
        return m

    def _number(self, number: int) -> Signal:
        return Signal(self.source_bits, init=number, name=f"number{number}")


class BoundProperties(wiring.Component):
    """A Histogram or a RecentBound under any scores of one query; `least`: any score.

    Counts the scores from `least` on. A bound that is `least` promises k of them.
    """

    def __init__(self, dut: Histogram | RecentBound) -> None:
        self.dut, self.config = dut, dut.config
        config = self.config
        bits = config.score_bits
        super().__init__(
            {
                "valid": In(config.lanes),
                "scores": In(bits).array(config.lanes),
                "least": In(bits),
                "k": In(config.count_bits),
                "base": In(bits),
                "shift": In(range(bits + 1)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.dut = dut = self.dut
        config = self.config
        begun, started = Signal(), Signal()
        sweeps = hasattr(dut, "base")  # a histogram, a mutant of one included
        ready = dut.ready if sweeps else Const(1)
        kept = Signal(len(self.least) + len(self.k) + len(self.base) + len(self.shift))
        free = Cat(self.least, self.k, self.base, self.shift)
        m.d.sync += [begun.eq(1), kept.eq(free), started.eq(started | dut.start)]
        m.d.comb += [
            Assume(~begun | (kept == free)),
            Assume((self.k >= 1) & (self.k <= config.k_max)),
            dut.k.eq(self.k),
            dut.start.eq(~started & ready),
            Assume(~started | ready),
        ]
        if sweeps:
            m.d.comb += [dut.base.eq(self.base), dut.shift.eq(self.shift)]
        came = Signal(config.lanes)
        for lane in range(config.lanes):
            score = self.scores[lane].as_signed()
            m.d.comb += [
                dut.scores[lane].valid.eq(self.valid[lane] & started),
                dut.scores[lane].score.eq(score),
                came[lane].eq(self.valid[lane] & started & (score >= self.least.as_signed())),
            ]
        count = Signal(8)
        m.d.sync += count.eq(count + sum(came))
        claims = started & dut.bound.valid & (dut.bound.score == self.least.as_signed())
        m.d.comb += [
            Assert(~claims | (count >= self.k), "a bound has k scores at or above it"),
            Cover(claims & (self.k == 2), "a bound of two"),
        ]
        return m


class ThresholdProperties(wiring.Component):
    """A Threshold under any bounds that are true; `key`: any key.

    `enough` : at least k keys at or above `key` have been scanned; once so, it stays so until the
    next query. Every bound at its input is true, so what it says is true.
    """

    def __init__(self, dut: Threshold) -> None:
        self.dut = dut
        bits = dut.config.key_bits
        score = dut.config.score_bits
        super().__init__(
            {
                "key": In(bits),
                "enough": In(1),
                "start": In(1),
                "valid": In(3),
                "swept": In(score),
                "recent": In(score),
                "selected": In(bits),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.dut = dut = self.dut
        config = dut.config
        begun, key, was = Signal(), Signal.like(self.key), Signal()
        m.d.sync += [begun.eq(1), key.eq(self.key), was.eq(self.enough & ~self.start)]
        m.d.comb += [
            Assume(~begun | (key == self.key)),
            Assume(begun | self.start),
            Assume(~was | self.enough),
            dut.start.eq(self.start),
            dut.swept.valid.eq(self.valid[0]),
            dut.swept.score.eq(self.swept),
            dut.recent.valid.eq(self.valid[1]),
            dut.recent.score.eq(self.recent),
            dut.selected.valid.eq(self.valid[2]),
            dut.selected.key.eq(self.selected),
        ]
        key_score = Cat(self.key[config.id_bits : -1], ~self.key[-1]).as_signed()
        for number, bound in enumerate((dut.swept, dut.recent)):
            # a score bound at or above the key's score promises k keys above the key, if it is
            # above; at the key's score it promises k keys with that score or more
            promises = bound.valid & (
                (bound.score > key_score)
                | (bound.score == key_score) & (self.key[: config.id_bits] == 0)
            )
            m.d.comb += Assume(~promises | self.enough)
            del number
        m.d.comb += Assume(~(dut.selected.valid & (dut.selected.key >= self.key)) | self.enough)
        told = begun & dut.threshold.valid & (dut.threshold.key >= self.key)
        floor = begun & dut.floor.valid & (dut.floor.score > key_score)
        m.d.comb += [
            Assert(~told | was, "the threshold is at most the K-th best"),
            Assert(~floor | was, "and so is the floor"),
            Assert(~floor | dut.threshold.valid, "a floor comes with a threshold"),
            Cover(told & ~Mux(dut.selected.valid, dut.selected.key >= self.key, 0), "kept"),
        ]
        return m
