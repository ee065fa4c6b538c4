"""LookAheadCache beside a model of one line that sees only requests and answers."""

from __future__ import annotations

from amaranth.hdl import Assert, Assume, Cat, Cover, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from rpaccel.rtl.look_ahead_cache import WORD_BITS, LookAheadCache, set_of
from rpaccel.rtl.look_ahead_step import CacheEvent, CacheOperation


class LookAheadProperties(wiring.Component):
    """Any operations in any cycle, legal or not, against any readiness; one line, any of them.

    Epochs are free in every cycle. Words of rows are all ones or all zeros: they are only moved.

    Members:
      valid, operation, key, owner, mask, kept, named, row   the request.
      epochs  of the owners.
      ready  the answer may leave.
      line   the line of the model; constant.
    """

    def __init__(self, dut: LookAheadCache) -> None:
        self.dut, self.config = dut, dut.config
        self.words = dut.config.row_bytes // 4
        super().__init__(
            {
                "valid": In(1), "operation": In(3), "key": In(dut.config.key_bits),
                "owner": In(range(max(2, dut.config.owners))), "mask": In(self.words),
                "epochs": In(dut.config.epochs_shape), "kept": In(1),
                "named": In(range(max(2, dut.config.rows))), "row": In(self.words),
                "ready": In(1), "line": In(range(max(2, dut.config.rows))),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.dut = dut = self.dut
        asked, begun, line = dut.request.payload, Signal(), Signal.like(self.line)
        m.d.sync += [begun.eq(1), line.eq(self.line)]
        m.d.comb += [
            Assume(~begun | (self.line == line)),
            Assume(self.line < self.config.rows),
            Assume(self.owner < self.config.owners),
            dut.request.valid.eq(self.valid),
            asked.operation.eq(self.operation),
            asked.key.eq(self.key),
            asked.owner.eq(self.owner),
            asked.mask.eq(self.mask),
            asked.kept.eq(self.kept),
            asked.line.eq(self.named),
            asked.row.eq(self._row(self.row)),
            dut.epochs.eq(self.epochs),
            dut.answer.ready.eq(self.ready),
        ]
        request, epochs = self._waiting(m)
        self._line(m, request, epochs)
        return m

    def _row(self, bits: Value) -> Value:
        """Return the row whose words are these bits."""
        return Cat(bit.replicate(WORD_BITS) for bit in bits)

    def _waiting(self, m: Module) -> tuple[data.View, data.View]:
        """Return the request and epochs that the next answer belongs to; bound the way of each."""
        dut = self.dut
        layout = data.StructLayout(
            {"request": dut.request.payload.shape(), "epochs": self.config.epochs_shape}
        )
        entry = Signal(layout)
        m.d.comb += [entry.request.eq(dut.request.payload), entry.epochs.eq(dut.epochs)]
        depth = dut.latency_cycles
        queue = [Signal(layout, name=f"waiting_{n}") for n in range(depth)]
        count, late = Signal(range(depth + 2)), Signal(range(depth + 2))
        push = dut.request.valid & dut.request.ready
        pop = dut.answer.valid & dut.answer.ready
        left = Signal.like(count)
        m.d.comb += left.eq(count - pop)
        m.d.sync += count.eq(left + push)
        for n in range(depth):
            behind = queue[n + 1] if n + 1 < depth else queue[n]
            m.d.sync += queue[n].eq(Mux(push & (left == n), entry, Mux(pop, behind, queue[n])))
        cleared = Signal(range(dut.clear_cycles + 1))
        with m.If(cleared != dut.clear_cycles):
            m.d.sync += cleared.eq(cleared + 1)
        runs = cleared == dut.clear_cycles
        m.d.sync += late.eq(Mux((count != 0) & ~dut.answer.valid, late + 1, 0))
        m.d.comb += [
            Assert(~dut.answer.valid | (count != 0), "an answer belongs to a request"),
            Assert(late < depth, "an answer comes in time"),
            Assert(
                ~runs | (dut.request.ready == (~dut.answer.valid | dut.answer.ready)),
                "only an answer that waits stops a request",
            ),
        ]
        return queue[0].request, queue[0].epochs

    def _line(self, m: Module, request: data.View, epochs: data.View) -> None:
        """Follow the model's line through the answers."""
        dut, config = self.dut, self.config
        answer, line = dut.answer.payload, self.line
        valid, flying, ahead, row = Signal(), Signal(), Signal(), Signal(self.words)
        key, owner, epoch = Signal(config.key_bits), Signal.like(self.owner), Signal(2)
        held, owns, here = Signal(), Signal(), Signal()
        set_bits = config.set_bits
        elsewhere = set_of(request.key, set_bits) != line[:set_bits]
        m.d.comb += [
            held.eq(valid & (flying | (ahead & (epoch == epochs[owner])))),
            owns.eq(valid & (request.key == key)),
            here.eq(answer.line == line),
        ]

        def event(*names: CacheEvent) -> Value:
            return Cat(answer.event == name for name in names).any()

        def operation(*names: CacheOperation) -> Value:
            return Cat(request.operation == name for name in names).any()

        looks, prefetches = operation(CacheOperation.LOOK), operation(CacheOperation.PREFETCH)
        fills, aborts = operation(CacheOperation.FILL), operation(CacheOperation.ABORT)
        updates, asks = operation(CacheOperation.UPDATE), looks | prefetches
        done, found = event(CacheEvent.DONE), event(*list(CacheEvent)[:3])
        moved, misses = dut.answer.valid, event(CacheEvent.MISS)
        refused = asks & event(CacheEvent.REFUSED)
        with m.If(moved):
            m.d.comb += [
                Assert(answer.kept == (asks & misses), "a row that was missed is kept"),
                Assert(asks | (done | event(CacheEvent.IGNORED)), "other operations are done"),
                Assert(~done | fills | aborts | updates, "and only these"),
                Assert(~(asks & misses & owns), "a row with a line is not fetched again"),
                Assert(
                    ~refused | (~owns & (held | elsewhere)),
                    "refused only while every line is held",
                ),
            ]
        with m.If(moved & here & asks & found):
            m.d.comb += [
                Assert(misses | owns, "the line holds the row that is found"),
                Assert(~event(CacheEvent.HIT) | ~flying, "a hit has been filled"),
                Assert(~event(CacheEvent.MERGED) | flying, "a merged row is flying"),
                Assert(answer.present == (looks & event(CacheEvent.HIT)), "a look gets its row"),
            ]
        with m.If(moved & here & misses):
            m.d.comb += [
                Assert(~held, "a held line is never replaced"),
                Assert(answer.evicted == valid, "a victim is a row that was there"),
                Assert(~valid | (answer.victim == key), "the victim is the line's row"),
            ]
        with m.If(moved & here & done):
            m.d.comb += [
                Assert(~(fills | aborts) | (request.kept & flying), "a fill is of a flying line"),
                Assert(~updates | (owns & ~flying), "an update is of a row that is there"),
            ]
        with m.If(moved & updates & owns & ~flying):
            m.d.comb += Assert(done & here, "a row that is there is updated")
        with m.If(moved & (fills | aborts) & request.kept & (request.line == line) & flying):
            m.d.comb += Assert(done & here, "a flying line is filled")
        with m.If(moved & here & answer.present):
            m.d.comb += [
                Assert(valid & ~flying, "a row that is given is there"),
                Assert(answer.row == self._row(row), "it is the newest version"),
            ]

        with m.If(moved & dut.answer.ready & here):
            with m.If(asks & found):
                m.d.sync += [ahead.eq(prefetches), owner.eq(request.owner)]
                m.d.sync += epoch.eq(epochs[request.owner])
            with m.If(misses):
                m.d.sync += [valid.eq(1), key.eq(request.key), flying.eq(1)]
            with m.If(done & (fills | aborts)):
                m.d.sync += [flying.eq(0), valid.eq(fills)]
            with m.If(done & (fills | updates)):
                for n in range(self.words):
                    with m.If(fills | request.mask[n]):
                        m.d.sync += row[n].eq(request.row[WORD_BITS * n])
        m.d.comb += [
            Cover(moved & here & misses & valid & ahead, "a marked row is replaced"),
            Cover(moved & here & answer.present & ~row.all() & row.any(), "a row of two versions"),
            Cover(moved & refused & ~owns & held & ~flying, "refused: held by marks"),
        ]
