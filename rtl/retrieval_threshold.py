"""The best lower bound known of a query's K-th best, as a key."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Signal, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from rpaccel.rtl.retrieval_histogram import bound_layout
from rpaccel.rtl.retrieval_selector import threshold_layout
from rpaccel.spec.retrieval import RetrievalConfig

__all__ = ["Threshold"]


class Threshold(Component):
    """Keeps the largest of three bounds, one looked at per cycle, so that one comparator will do.

    A score bound keeps rows of that score: it counts as the largest key below them.

    Members
    -------
    start : In(1)  a query begins: forgets all, and what the bounds are in this cycle.
    swept, recent : In(bound_layout())  of scores.
    selected : In(threshold_layout())  of keys.
    threshold : Out(threshold_layout())  keys at or below it do not matter.
    floor : Out(struct {valid, score})  scores below it do not matter; of the same bound.
    """

    latency_cycles = 3  # a turn: from a bound's change to the threshold's

    def __init__(self, config: RetrievalConfig) -> None:
        self.config = config
        floor = data.StructLayout({"valid": unsigned(1), "score": signed(config.score_bits)})
        super().__init__(
            {
                "start": In(1),
                "swept": In(bound_layout(config)),
                "recent": In(bound_layout(config)),
                "selected": In(threshold_layout(config)),
                "threshold": Out(threshold_layout(config)),
                "floor": Out(floor),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self.config
        ones = Const(-1, config.id_bits)
        keys, valid = [self.selected.key], [self.selected.valid]
        scores = [Cat(self.selected.key[config.id_bits : -1], ~self.selected.key[-1]).as_signed()]
        for bound in (self.swept, self.recent):
            below = Signal(signed(config.score_bits))
            m.d.comb += below.eq(bound.score - 1)
            keys.append(Cat(ones, below[:-1], ~below[-1]))
            # nothing is below the lowest score
            lowest = Cat(bound.score[:-1], ~bound.score[-1]) == 0
            valid.append(bound.valid & ~lowest)
            scores.append(bound.score)

        turn = Signal(range(3))
        m.d.sync += turn.eq(turn + 1)
        with m.If(turn == 2):
            m.d.sync += turn.eq(0)
        key, score = Signal(config.key_bits), Signal(signed(config.score_bits))
        m.d.comb += [key.eq(Array(keys)[turn]), score.eq(Array(scores)[turn])]
        with m.If(Array(valid)[turn] & (~self.threshold.valid | (key > self.threshold.key))):
            m.d.sync += [
                self.threshold.valid.eq(1),
                self.threshold.key.eq(key),
                self.floor.valid.eq(1),
                self.floor.score.eq(score),
            ]
        with m.If(self.start):
            m.d.sync += [self.threshold.valid.eq(0), self.floor.valid.eq(0), turn.eq(0)]
        return m
