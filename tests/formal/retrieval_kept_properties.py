"""What keeps rows, a lane of the filter and the kept list, beside a model of one key."""

from __future__ import annotations

from amaranth.hdl import (
    Array,
    Assert,
    Assume,
    Cat,
    Cover,
    Elaboratable,
    Module,
    Mux,
    Signal,
    Value,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from rpaccel.rtl.retrieval_keeper import Keeper
from rpaccel.rtl.retrieval_lane import FilterLane
from rpaccel.rtl.retrieval_selector import key_of

__all__ = ["KeeperProperties", "LaneProperties"]


class LaneProperties(wiring.Component):
    """A FilterLane under any rows, any floor and a threshold that rises; the row of `key` is one.

    Rows have distinct keys: of the row with the key `key` there is one at most.
    """

    def __init__(self, dut: FilterLane) -> None:
        self.dut, config = dut, dut.config
        super().__init__(
            {
                "key": In(config.key_bits),
                "valid": In(1),
                "score": In(config.score_bits),
                "id": In(config.id_bits),
                "floor_valid": In(1),
                "floor": In(config.score_bits),
                "bound_valid": In(1),
                "bound": In(config.key_bits),
                "ready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.dut = dut = self.dut
        begun, key, almost_full = Signal(), Signal.like(self.key), Signal()
        m.d.sync += [begun.eq(1), key.eq(self.key), almost_full.eq(dut.almost_full)]
        came, wanted, given = Signal(), Signal(), Signal()
        comes = self.valid & (key_of(dut.row.score, dut.row.id) == self.key)
        m.d.comb += [
            Assume(~begun | (key == self.key)),
            Assume(~(almost_full & self.valid)),
            Assume(~(came & comes)),
            dut.row.valid.eq(self.valid),
            dut.row.score.eq(self.score),
            dut.row.id.eq(self.id),
            dut.floor.valid.eq(self.floor_valid),
            dut.floor.score.eq(self.floor),
            dut.threshold.valid.eq(self.bound_valid),
            dut.threshold.key.eq(self.bound),
            dut.key.ready.eq(self.ready),
        ]
        # the threshold of a query rises; what it was when the output's key left the queue
        bound_valid, bound = Signal(), Signal.like(self.bound)
        m.d.sync += [bound_valid.eq(self.bound_valid), bound.eq(self.bound)]
        m.d.comb += Assume(~bound_valid | self.bound_valid & (self.bound >= bound))

        reaches = ~self.floor_valid | (dut.row.score >= self.floor.as_signed())
        with m.If(comes):
            m.d.sync += [came.eq(1), wanted.eq(reaches)]
        leaves = dut.key.valid & self.ready & (dut.key.payload == self.key)
        with m.If(leaves):
            m.d.sync += given.eq(1)
        held, payload = Signal(), Signal.like(self.key)
        m.d.sync += [held.eq(dut.key.valid & ~self.ready), payload.eq(dut.key.payload)]
        below = self.bound_valid & (self.key <= self.bound)
        fresh = begun & dut.key.valid & ~held
        m.d.comb += [
            Assert(~leaves | came & wanted, "a row is given that came and reached the floor"),
            Assert(~(leaves & given), "a row is given once"),
            Assert(~(dut.empty & came & wanted & ~given) | below, "none is lost above the bound"),
            Assert(~fresh | ~bound_valid | (dut.key.payload > bound), "a head is checked again"),
            Assert(~held | dut.key.valid & (dut.key.payload == payload), "a key waits as it is"),
            Cover(given & bound_valid, "a row is given while there is a threshold"),
            Cover(dut.empty & came & wanted & ~given & below, "a row is dropped in the queue"),
            Cover(dut.almost_full, "the queue is almost full"),
        ]
        return m


class KeeperProperties(wiring.Component):
    """A Keeper under any sorted runs of several queries, all of one k; `key` is any key.

    Of a query's keys one at most is `key`. All its runs but the last are whole; that one may be.
    """

    def __init__(self, dut: Keeper) -> None:
        self.dut = dut
        super().__init__(
            {
                "k": In(dut.config.count_bits),
                "key": In(dut.config.key_bits),
                "valid": In(1),
                "element": In(dut.config.key_bits),
                "mark": In(1),
                "more": In(1),  # a mark follows a whole run
                "ready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.dut = dut = self.dut
        config = dut.config
        whole = 1 << config.levels
        begun, kept = Signal(), Signal(len(self.k) + len(self.key))
        free = Cat(self.k, self.key)
        m.d.sync += [begun.eq(1), kept.eq(free)]
        taken = dut.run.valid & dut.run.ready
        place, before = Signal(range(whole + 1)), Signal.like(self.element)  # in the run
        waits, offer = Signal(), Cat(self.element, self.mark, self.more)
        told = Signal(len(offer))
        last = self.mark | (place == whole - 1) & ~self.more
        m.d.comb += [
            Assume(~begun | (kept == free)),
            Assume((self.k >= 1) & (self.k <= config.k_max)),
            Assume(~waits | self.valid & (offer == told)),
            Assume(~self.valid | self.mark | (place != whole)),
            Assume(~self.valid | self.mark | (place == 0) | (self.element < before)),
            dut.k.eq(self.k),
            dut.run.valid.eq(self.valid),
            dut.run.payload.key.eq(self.element),
            dut.run.payload.real.eq(~self.mark),
            dut.run.payload.last.eq(last),
            dut.kept.ready.eq(self.ready),
        ]
        m.d.sync += [waits.eq(dut.run.valid & ~dut.run.ready), told.eq(offer)]
        with m.If(taken):
            m.d.sync += [before.eq(self.element), place.eq(Mux(last, 0, place + 1))]

        count, holds = self._scanned(m, taken)
        self._answer(m, count, holds)
        return m

    def _scanned(self, m: Module, taken: Value) -> tuple[Signal, Signal]:
        """Count keys at or above `key` of the oldest query inside; say if one of them is `key`."""
        dut, real = self.dut, taken & ~self.mark
        # that query, and the two behind it
        counts = [Signal(8, name=f"count{n}") for n in range(3)]
        holds = [Signal(name=f"holds{n}") for n in range(3)]
        query = Signal(range(3))  # that comes
        is_it = self.element == self.key
        m.d.comb += Assume(~(real & is_it & Array(holds)[query]))
        shifts = dut.end_stb
        m.d.sync += query.eq(query + (taken & self.mark) - shifts)
        for number in range(3):
            adds = real & (query == number)
            count = Signal(8, name=f"counted{number}")
            hold = Signal(name=f"held{number}")
            m.d.comb += [
                count.eq(counts[number] + (adds & (self.element >= self.key))),
                hold.eq(holds[number] | adds & is_it),
            ]
            to = number - 1
            with m.If(shifts):
                if number:
                    m.d.sync += [counts[to].eq(count), holds[to].eq(hold)]
                if number == 2:
                    m.d.sync += [counts[2].eq(0), holds[2].eq(0)]
            with m.Else():
                m.d.sync += [counts[number].eq(count), holds[number].eq(hold)]
        return counts[0], holds[0]

    def _answer(self, m: Module, count: Signal, holds: Signal) -> None:
        """Check the threshold, and every answer from the end of the one before it."""
        dut, shifts = self.dut, self.dut.end_stb
        gives = dut.kept.valid & self.ready
        ends = gives & dut.kept.payload.end
        was_count, was_holds, given, opened = Signal(8), Signal(), Signal(), Signal()
        with m.If(shifts):
            m.d.sync += [was_count.eq(count), was_holds.eq(holds), opened.eq(1)]
        answer_count = Mux(opened, was_count, count)
        answer_holds = Mux(opened, was_holds, holds)
        with m.If(ends):
            m.d.sync += [given.eq(0), opened.eq(shifts)]
        it = gives & ~dut.kept.payload.end & (dut.kept.payload.key == self.key)
        with m.If(it):
            m.d.sync += given.eq(1)
        above, key = Signal(), Signal.like(self.key)  # the answer's last key
        with m.If(gives):
            m.d.sync += [above.eq(~dut.kept.payload.end), key.eq(dut.kept.payload.key)]
        claims = dut.threshold.valid & (dut.threshold.key >= self.key)
        m.d.comb += [
            Assert(~claims | (count >= self.k), "the threshold is at most the K-th best"),
            Assert(~it | answer_holds & ~given, "a key is given that came, once"),
            Assert(~it | (answer_count <= self.k), "of the K best"),
            Assert(~(ends & answer_holds & ~given) | (answer_count > self.k), "none is lost"),
            Assert(
                ~(gives & above & ~dut.kept.payload.end) | (dut.kept.payload.key <= key),
                "best first",
            ),
            Cover(claims & (count == self.k), "the K-th best"),
            Cover(ends & answer_holds & ~given, "a key that two runs do not leave among the best"),
        ]
