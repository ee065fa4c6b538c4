"""A lower bound of the K-th best that keeps up with rising scores: a recent score with K above it.

A histogram's bucket may hold many times K rows. Where scores rise from row to row, all rows of such
a bucket pass until K of them lie above its edge; this bound lags behind by 3/2 K rows at most.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from rpaccel.rtl.retrieval_histogram import bound_layout, scores_layout
from rpaccel.spec.retrieval import RetrievalConfig

__all__ = ["RecentBound"]


class RecentBound(Component):
    """Takes the last lane's score as a trial, counts the scores from it on, of rows after it.

    With k of them the trial is the bound. Then, or after 2 k rows, its successor begins. A second
    trial is half of that behind the first.

    Members
    -------
    start : In(1)  a query begins; no score comes in this cycle.
    k : In(count)  constant from the cycle after `start` on.
    scores : In(scores_layout())  one set per cycle.
    bound : Out(bound_layout())  of the trial that succeeded last; it may fall from one trial to
        the next. Valid `latency_cycles` after the row that proves it.
    """

    latency_cycles = 4  # comparison, number of lanes, sum, bound

    def __init__(self, config: RetrievalConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "k": In(config.count_bits),
                "scores": In(scores_layout(config)),
                "bound": Out(bound_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        counting, half = Signal(2), Signal(2)
        may_begin = Cat(half[1] | ~counting[1], half[0] & counting[0])
        for number in range(2):
            self._trial(m, number, may_begin[number], counting[number], half[number])
        with m.If(self.start):
            m.d.sync += self.bound.valid.eq(0)
        return m

    def _trial(
        self, m: Module, number: int, may_begin: Value, counting: Value, half: Value
    ) -> None:
        """Make a trial after the other: it begins when it may, says when half of it is over."""
        config = self.config
        last = self.scores[config.lanes - 1]
        trial = Signal.like(last.score, name=f"trial{number}")

        # stages: which lanes reach the trial, how many, their sum
        reach = Signal(config.lanes, name=f"reach{number}")
        lanes = Signal(range(config.lanes + 1), name=f"lanes{number}")
        total = Signal(range(config.k_max + config.lanes + 1), name=f"total{number}")
        rows = Signal(range(2 * config.k_max + 4 * config.lanes), name=f"rows{number}")
        came, enough, over = (Signal(name=f"{name}{number}") for name in ("came", "enough", "over"))
        m.d.comb += [
            enough.eq(total >= self.k),
            over.eq(rows >= self.k << 1),
            half.eq((total >= self.k >> 1) | (rows >= self.k)),
        ]
        m.d.sync += [
            reach.eq(Cat(row.valid & (row.score >= trial) & counting for row in self.scores)),
            came.eq(counting & Cat(row.valid for row in self.scores).any()),
            lanes.eq(sum(reach)),
        ]
        with m.If(~enough):
            m.d.sync += [total.eq(total + lanes), rows.eq(rows + Mux(came, config.lanes, 0))]

        with m.FSM(name=f"fsm{number}"):
            with m.State("TRY"):
                m.d.sync += [trial.eq(last.score), total.eq(0), rows.eq(0)]
                with m.If(last.valid & may_begin & ~self.start):
                    m.next = "COUNT"
            with m.State("COUNT"):
                m.d.comb += counting.eq(~self.start)
                with m.If(enough):
                    m.d.sync += [self.bound.valid.eq(1), self.bound.score.eq(trial)]
                with m.If(enough | over | self.start):
                    m.next = "LEAVE"
            with m.State("LEAVE"):  # what was counted for this trial
                m.next = "TRY"
