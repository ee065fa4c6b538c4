"""Keeps the K best of a stream in block RAM, for any K up to 4096, at one candidate per cycle.

Ref: Matsumoto, Nakano, Ito: Optimal parallel hardware K-sorter and top K-sorter (ISPDC 2015).
"""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Array, Assert, Cat, Elaboratable, Format, Module, Signal, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Member, Out, connect

from rpaccel.rtl.retrieval_keeper import Keeper
from rpaccel.rtl.retrieval_merge import MergeStage
from rpaccel.spec.retrieval import MIN_RUN, RetrievalConfig

__all__ = ["Selector", "key_of", "scored_layout", "selector_members", "threshold_layout"]

QUERIES = 3  # in the selector at a time


def scored_layout(config: RetrievalConfig) -> data.StructLayout:
    """A scored row; `end`: no row, the query's list is complete (score and id mean nothing)."""
    return data.StructLayout(
        {
            "score": signed(config.score_bits),
            "id": unsigned(config.id_bits),
            "end": unsigned(1),
        }
    )


def threshold_layout(config: RetrievalConfig) -> data.StructLayout:
    """While `valid`, only keys above `key` matter."""
    return data.StructLayout({"valid": unsigned(1), "key": unsigned(config.key_bits)})


def key_of(score: Signal, name: Signal) -> Cat:
    """Return the key of a score and an id as an unsigned number: larger is better."""
    return Cat(~name, score[:-1], ~score[-1])


def selector_members(config: RetrievalConfig) -> dict[str, Member]:
    """Members of a unit that keeps the k best of a stream."""
    start = data.StructLayout({"k": unsigned(config.count_bits)})
    return {
        "start": In(stream.Signature(start)),
        "candidate": In(stream.Signature(scored_layout(config))),
        "result": Out(stream.Signature(scored_layout(config))),
        "threshold": Out(threshold_layout(config)),
        "enters": Out(1),
        "idle": Out(1),
    }


class Selector(Component):
    """Takes candidates, gives the k best by (score descending, id ascending), 1 <= k <= k_max.

    A candidate at or below the k-th best merged so far is dropped, one per cycle. The others go
    through a merge sorter, one per cycle, that makes sorted runs of 2**run_levels(k) of them; the
    keeper merges a run with the list in at most k + `Keeper.merge_cycles` cycles, while the next
    run comes. So candidates enter at one per cycle, at worst at run / (k + 1) of that (k = run).

    The answer is the merge of the last run: it leaves while the next query's candidates come.
    Up to `QUERIES` queries are inside. A query with longer or shorter runs than the one before
    waits until that one's candidates have left the sorter.

    Members
    -------
    start : In(stream of {k})  opens a query.
    candidate : In(stream of scored_layout())  ids of a query are distinct; `end` closes it.
    result : Out(stream of scored_layout())  min(k, candidates) rows, best first, then the end.
    threshold : Out(threshold_layout())  of the query that is open or was last, as of the last run
        merged: candidates that are still in the sorter do not count.
    enters : Out(1)  a candidate enters the sorter.
    idle : Out(1)  no query is inside.
    """

    def __init__(self, config: RetrievalConfig) -> None:
        self.config = config
        super().__init__(selector_members(config))

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self.config
        m.submodules.keeper = keeper = Keeper(config)
        stages = [MergeStage(config.key_bits, 1 << level) for level in range(config.levels)]
        for level, stage in enumerate(stages):
            m.submodules[f"merge{level}"] = stage
        for stage, after in pairwise(stages):
            connect(m, stage.o, after.i)
        connect(m, stages[-1].o, keeper.run)

        opened, active = self._queries(m, keeper, stages)
        for level, stage in enumerate(stages):
            m.d.comb += stage.active.eq(active[level])

        # what is not above the threshold is dropped here, the rest are runs of one
        row, sorter = self.candidate.payload, stages[0].i
        key, worse = Signal(config.key_bits), Signal()
        m.d.comb += [
            key.eq(key_of(row.score, row.id)),
            worse.eq(~row.end & self.threshold.valid & (key <= self.threshold.key)),
            sorter.valid.eq(opened & self.candidate.valid & ~worse),
            sorter.payload.key.eq(key),
            sorter.payload.real.eq(~row.end),
            sorter.payload.last.eq(1),
            self.candidate.ready.eq(opened & (worse | sorter.ready)),
            self.enters.eq(sorter.valid & sorter.ready & ~row.end),
        ]

        best = keeper.kept.payload
        m.d.comb += [
            self.result.valid.eq(keeper.kept.valid),
            keeper.kept.ready.eq(self.result.ready),
            self.result.payload.id.eq(~best.key[: config.id_bits]),
            self.result.payload.score.eq(
                Cat(best.key[config.id_bits : -1], ~best.key[-1]).as_signed()
            ),
            self.result.payload.end.eq(best.end),
        ]
        return m

    def _queries(
        self, m: Module, keeper: Keeper, stages: list[MergeStage]
    ) -> tuple[Signal, Signal]:
        """Number the queries inside; return (one is open, the stages that sort)."""
        config = self.config
        opened, active = Signal(), Signal(config.levels)
        numbers = range(QUERIES + 1)
        newest, oldest = Signal(numbers), Signal(numbers, init=1)
        inside, sorting = Signal(numbers), Signal(numbers)  # queries; those in the sorter
        wanted = Array(Signal(config.count_bits, name=f"k{number}") for number in numbers)

        k = self.start.payload.k
        stages_of_k, started, ended, sorted_stb = (
            Signal(config.levels),
            Signal(),
            Signal(),
            Signal(),
        )
        mark = stages[-1].o
        m.d.comb += [
            stages_of_k.eq(
                Cat(
                    ((k - 1) >> level).any() | (1 << level < MIN_RUN)
                    for level in range(len(stages))
                )
            ),
            self.start.ready.eq(
                ~opened & (inside != QUERIES) & ((stages_of_k == active) | (sorting == 0))
            ),
            started.eq(self.start.valid & self.start.ready),
            ended.eq(self.candidate.valid & self.candidate.ready & self.candidate.payload.end),
            sorted_stb.eq(mark.valid & mark.ready & ~mark.payload.real),
            keeper.k.eq(wanted[oldest]),
            self.threshold.valid.eq(keeper.threshold.valid & (oldest == newest)),
            self.threshold.key.eq(keeper.threshold.key),
            self.idle.eq(inside == 0),
        ]
        m.d.sync += [
            inside.eq(inside + started - keeper.end_stb),
            sorting.eq(sorting + started - sorted_stb),
            oldest.eq(oldest + keeper.end_stb),
        ]
        with m.If(started):
            following = (newest + 1)[: len(newest)]
            m.d.sync += [
                Assert((k >= 1) & (k <= config.k_max), Format("k {} out of range", k)),
                opened.eq(1),
                newest.eq(following),
                wanted[following].eq(k),
                active.eq(stages_of_k),
            ]
        with m.If(ended):
            m.d.sync += opened.eq(0)
        return opened, active
