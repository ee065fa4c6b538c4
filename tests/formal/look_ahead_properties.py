"""LookAheadCache beside a model of one line that sees only requests and answers."""

from __future__ import annotations

from amaranth.hdl import Assert, Assume, Cat, Cover, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from rpaccel.rtl.look_ahead_cache import LookAheadCache
from rpaccel.rtl.look_ahead_step import CacheEvent, CacheOperation


class LookAheadProperties(wiring.Component):
    """Any operations in any cycle, legal or not, against any readiness; one line, any of them.

    Rows are all ones or all zeros: they are only moved.

    Members:
      valid, operation, key, kept, named, row   the request.
      ready  the answer may leave.
      line   the line of the model; constant.
    """

    def __init__(self, dut: LookAheadCache) -> None:
        self.dut, self.config = dut, dut.config
        super().__init__(
            {
                "valid": In(1), "operation": In(3), "key": In(dut.config.key_bits),
                "kept": In(1), "named": In(range(max(2, dut.config.rows))), "row": In(1),
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
            Assume(self.operation <= CacheOperation.UPDATE),
            dut.request.valid.eq(self.valid),
            asked.operation.eq(self.operation),
            asked.key.eq(self.key),
            asked.kept.eq(self.kept),
            asked.line.eq(self.named),
            asked.row.eq(Cat(*[self.row] * len(asked.row))),
            dut.answer.ready.eq(self.ready),
        ]
        request = self._waiting(m)
        self._line(m, request)
        return m

    def _waiting(self, m: Module) -> data.View:
        """Return the request that the next answer belongs to; bound the way of each."""
        dut, layout = self.dut, self.dut.request.payload.shape()
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
            m.d.sync += queue[n].eq(
                Mux(push & (left == n), dut.request.payload, Mux(pop, behind, queue[n]))
            )
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
        return queue[0]

    def _line(self, m: Module, request: data.View) -> None:
        """Follow the model's line through the answers."""
        dut, config = self.dut, self.config
        answer, line = dut.answer.payload, self.line
        reads, ahead = (Signal(range(config.references + 2), name=n) for n in ("reads", "ahead"))
        holds = Signal(range(2 * config.references + 3))
        valid, flying, newer, row = Signal(), Signal(), Signal(), Signal()
        key = Signal(config.key_bits)
        m.d.comb += holds.eq(reads + ahead)
        owns = valid & (request.key == key)
        here = answer.line == line

        def event(*names: CacheEvent) -> Value:
            return Cat(answer.event == name for name in names).any()

        def operation(*names: CacheOperation) -> Value:
            return Cat(request.operation == name for name in names).any()

        asks = operation(CacheOperation.READ, CacheOperation.PREFETCH)
        releases, cancels = (
            operation(name) for name in (CacheOperation.RELEASE, CacheOperation.CANCEL)
        )
        takes_over = operation(CacheOperation.READ) & (ahead != 0)
        fills, updates = operation(CacheOperation.FILL), operation(CacheOperation.UPDATE)
        done, kept = event(CacheEvent.DONE), event(*list(CacheEvent)[:3])
        moved, misses = dut.answer.valid, event(CacheEvent.MISS)
        with m.If(moved):
            m.d.comb += [
                Assert(~answer.kept | (asks & kept), "a reference belongs to an access"),
                Assert(asks | (done | event(CacheEvent.IGNORED)), "other operations are done"),
                Assert(~(asks & misses & owns), "a row with a line is not fetched again"),
            ]
        with m.If(moved & here & (asks & kept)):
            m.d.comb += [
                Assert(answer.kept, "an access to a line takes a reference"),
                Assert(
                    takes_over | misses | (holds < config.references),
                    "references stay in their limit",
                ),
                Assert(misses | owns, "the line holds the row that is found"),
                Assert(~event(CacheEvent.HIT) | ~flying, "a hit has been filled"),
                Assert(~event(CacheEvent.MERGED) | flying, "a merged row is flying"),
            ]
        with m.If(moved & here & misses):
            m.d.comb += [
                Assert((holds == 0) & ~flying, "a held line is never replaced"),
                Assert(answer.evicted == valid, "a victim is a row that was there"),
                Assert(~valid | (answer.victim == key), "the victim is the line's row"),
            ]
        with m.If(moved & here & done):
            m.d.comb += [
                Assert(~releases | (reads != 0), "reads never underflow"),
                Assert(~cancels | (ahead != 0), "prefetches never underflow"),
            ]
        with m.If(moved & here & done & fills):
            m.d.comb += Assert(flying, "a fill is of a flying line")
        with m.If(moved & here & answer.present):
            m.d.comb += [
                Assert(valid & ~flying, "a row that is given is there"),
                Assert(answer.row == Cat(*[row] * len(answer.row)), "it is the newest version"),
            ]

        with m.If(moved & dut.answer.ready & here):
            reading = answer.kept & operation(CacheOperation.READ)
            prefetching = answer.kept & operation(CacheOperation.PREFETCH)
            m.d.sync += [
                reads.eq(reads + reading - (done & releases)),
                ahead.eq(ahead + prefetching - (reading & takes_over) - (done & cancels)),
            ]
            with m.If(misses):
                m.d.sync += [valid.eq(1), key.eq(request.key), flying.eq(1), newer.eq(0)]
            with m.If(done & fills):
                m.d.sync += [flying.eq(0), newer.eq(0)]
                with m.If(~newer):
                    m.d.sync += row.eq(request.row[0])
            with m.If(done & updates):
                m.d.sync += [row.eq(request.row[0]), newer.eq(flying)]
        m.d.comb += [
            Cover(moved & here & misses & valid, "a row is replaced"),
            Cover(moved & here & answer.present & (holds == config.references), "all references"),
        ]
        refused = moved & event(CacheEvent.REFUSED)
        m.d.comb += Cover(refused & ~owns & (holds != 0) & ~flying, "refused: all held")
