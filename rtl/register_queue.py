"""Keeps the K best of a stream in a sorted shift register: what the selector is compared with.

Ref: register queues of FPGA top-K engines (FANNS, SC 2023; SNARY, USENIX ATC 2025), in their
simplest form: all entries compare at once. No engine here uses it.
"""

from __future__ import annotations

from amaranth.hdl import Assert, Cat, Elaboratable, Format, Module, Mux, Signal, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import Component

from rpaccel.rtl.retrieval_selector import key_of, selector_members
from rpaccel.spec.retrieval import RetrievalConfig

__all__ = ["RegisterQueue"]


class RegisterQueue(Component):
    """Takes candidates, gives the k best by (score descending, id ascending), 1 <= k <= k_max.

    One candidate per cycle. Every entry compares its key with the candidate's; the entries from the
    insertion point on move one place and the last one falls out. One query at a time: a query of k
    begins with k_max - k cycles that pin the first entries, and its answer leaves behind as many.

    Members
    -------
    start : In(stream of {k})  opens a query.
    candidate : In(stream of scored_layout())  ids of a query are distinct; `end` closes it.
    result : Out(stream of scored_layout())  min(k, candidates) rows, best first, then the end.
    threshold : Out(threshold_layout())  of the query that is open, over all its candidates.
    enters : Out(1)  a candidate enters the queue.
    idle : Out(1)  no query is inside.
    """

    def __init__(self, config: RetrievalConfig) -> None:
        self.config = config
        super().__init__(selector_members(config))

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self.config
        entry = data.StructLayout({"key": unsigned(config.key_bits), "full": 1, "pinned": 1})
        entries = [Signal(entry, name=f"entry{place}") for place in range(config.k_max)]
        row, new = self.candidate.payload, Signal(entry)
        insert, drain, left = Signal(), Signal(), Signal(config.count_bits)

        # an entry below the new one takes it, or its neighbour's if that is below it too
        below = [~kept.pinned & (~kept.full | (new.key > kept.key)) for kept in entries]
        for place, kept in enumerate(entries):
            behind = entries[place + 1] if place + 1 < len(entries) else entry.const(None)
            with m.If(drain):
                m.d.sync += kept.eq(behind)
            with m.Elif(insert & (new.pinned | below[place])):
                before = entries[place - 1].as_value() if place else new.as_value()
                moves = new.pinned | below[place - 1] if place else 0
                m.d.sync += kept.eq(Mux(moves, before, new.as_value()))

        best, worst = entries[0], entries[-1]
        m.d.comb += [
            new.key.eq(key_of(row.score, row.id)),
            new.full.eq(1),
            self.threshold.valid.eq(worst.full),
            self.threshold.key.eq(worst.key),
            self.result.payload.id.eq(~best.key[: config.id_bits]),
            self.result.payload.score.eq(
                Cat(best.key[config.id_bits : -1], ~best.key[-1]).as_signed()
            ),
            self.result.payload.end.eq(~best.full),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.start.ready.eq(1), self.idle.eq(1)]
                m.d.sync += left.eq(config.k_max - self.start.payload.k)
                with m.If(self.start.valid):
                    k = self.start.payload.k
                    m.d.sync += Assert(
                        (k >= 1) & (k <= config.k_max), Format("k {} out of range", k)
                    )
                    m.next = "PIN"
            with m.State("PIN"):
                m.d.comb += [new.pinned.eq(1), insert.eq(left != 0)]
                m.d.sync += left.eq(left - insert)
                with m.If(left == 0):
                    m.next = "OPEN"
            with m.State("OPEN"):
                m.d.comb += [
                    self.candidate.ready.eq(1),
                    insert.eq(self.candidate.valid & ~row.end),
                    self.enters.eq(insert & below[-1]),
                ]
                with m.If(self.candidate.valid & row.end):
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.comb += [
                    self.result.valid.eq(~best.pinned),
                    drain.eq(best.pinned | (self.result.valid & self.result.ready)),
                ]
                with m.If(self.result.valid & self.result.ready & ~best.full):
                    m.next = "IDLE"
        return m
