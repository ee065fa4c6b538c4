"""LookAheadStep in a loop: one set, any operation in every step, beside a model of one line."""

from __future__ import annotations

from amaranth.hdl import Array, Assert, Assume, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from rpaccel.rtl.look_ahead_step import (
    CacheEvent,
    CacheOperation,
    LookAheadStep,
    marks_of_now,
    state_layout,
)


class LookAheadStepProperties(wiring.Component):
    """Any operation and any epochs in every step; keys of `key_bits`; one way, any of them.

    lemmas : bool  Assert also what relates the set's state to the model: carries the induction.
    """

    def __init__(self, dut: LookAheadStep, *, lemmas: bool = True) -> None:
        self.dut, self.config, self.lemmas = dut, dut.config, lemmas
        ways = range(max(2, dut.config.ways))
        super().__init__(
            {
                "operation": In(3), "key": In(dut.config.key_bits), "kept": In(1),
                "owner": In(range(max(2, dut.config.owners))), "named": In(ways), "way": In(ways),
                "epochs": In(dut.config.epochs_shape),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.dut = dut = self.dut
        config, effect = self.config, self.dut.effect
        begun, way = Signal(), Signal.like(self.way)
        state = Signal(state_layout(config))
        keys = Array(Signal(config.key_bits, name=f"key_{n}") for n in range(config.ways))
        valid = Signal(config.ways)
        match = [valid[n] & (keys[n] == self.key) for n in range(config.ways)]
        m.d.sync += [begun.eq(1), way.eq(self.way), state.eq(dut.new_state)]
        m.d.comb += [
            Assume(~begun | (self.way == way)),
            Assume((self.way < config.ways) & (self.named < config.ways)),
            Assume(self.owner < config.owners),
            dut.operation.eq(self.operation),
            dut.match.eq(Cat(match)),
            dut.kept.eq(self.kept),
            dut.way.eq(self.named),
            dut.owner.eq(self.owner),
            dut.epoch.eq(self.epochs[self.owner]),
            dut.now.eq(marks_of_now(state, self.epochs)),
            dut.state.eq(state),
        ]
        for n in range(config.ways):
            with m.If(effect.replace & effect.way[n]):
                m.d.sync += [keys[n].eq(self.key), valid[n].eq(1)]
            with m.If(effect.drop & effect.way[n]):
                m.d.sync += valid[n].eq(0)

        here = effect.way.bit_select(self.way, 1)
        flying, mark = self._model(m, here)
        marked = mark.ahead & (mark.epoch == self.epochs[mark.owner])
        held = flying | marked
        asks = self.operation <= CacheOperation.PREFETCH
        refused = asks & (effect.event == CacheEvent.REFUSED)
        # a prefetch may be refused for the lines that marks leave to others
        dropped = (self.operation == CacheOperation.PREFETCH) & (config.free_ways > 0)
        one = effect.way & (effect.way - 1)
        m.d.comb += [
            Assert(one[: config.ways] == 0, "an operation is about one line at most"),
            Assert(~(effect.replace & here) | ~held, "a held line is never replaced"),
            Assert(~effect.replace | asks, "only an access replaces"),
            Assert(~effect.drop | (self.operation == CacheOperation.ABORT), "an abort empties"),
            Assert(~(effect.drop & here) | flying, "an abort is of a flying line"),
            Assert(~refused | held | dropped, "refused only while every line is held"),
            Assert(~refused | ~Cat(match).any(), "a row with a line is not refused"),
        ]
        if self.lemmas:
            self._lemmas(m, state, keys, valid, (flying, mark))
        return m

    def _model(self, m: Module, here: Value) -> tuple[Signal, data.View]:
        """Follow the line by the events alone; return whether it flies, and its mark."""
        effect, config = self.dut.effect, self.config
        mark = Signal(
            data.StructLayout({"ahead": 1, "owner": range(max(2, config.owners)), "epoch": 2})
        )
        flying = Signal()
        found = (
            (effect.event == CacheEvent.HIT)
            | (effect.event == CacheEvent.MERGED)
            | (effect.event == CacheEvent.MISS)
        )
        done = effect.event == CacheEvent.DONE
        ends = (self.operation == CacheOperation.FILL) | (self.operation == CacheOperation.ABORT)
        prefetch = self.operation == CacheOperation.PREFETCH
        # a prefetch of a row that has a line marks it, or not: the lines left to others decide
        after = [self.dut.new_state.lines[n].ahead for n in range(config.ways)]
        marks = prefetch & ((effect.event == CacheEvent.MISS) | Array(after)[self.way])
        others = sum(
            ~(self.dut.state.lines[n].ahead & self.dut.now[n]) & ~effect.way[n]
            for n in range(config.ways)
        )
        m.d.comb += Assert(
            ~(here & found & marks) | (others >= config.free_ways), "marks leave lines to others"
        )
        if not config.free_ways:
            marks = prefetch
        with m.If(here & found):
            m.d.sync += [
                mark.ahead.eq(marks),
                mark.owner.eq(self.owner),
                mark.epoch.eq(self.epochs[self.owner]),
            ]
        with m.If(here & effect.drop):
            m.d.sync += mark.ahead.eq(0)
        m.d.sync += flying.eq(Mux(here & effect.replace, 1, flying & ~(here & done & ends)))
        return flying, mark

    def _lemmas(self, m: Module, state: object, keys: Array, valid: Signal, model: tuple) -> None:
        flying, mark = model
        for n in range(self.config.ways):
            line = state.lines[n]
            m.d.comb += [
                Assert(valid[n] | ~(line.flying | line.ahead), "lemma: no row, nothing held"),
            ]
            with m.If(self.way == n):
                m.d.comb += [
                    Assert(line.flying == flying, "lemma: flying is followed"),
                    Assert(line.ahead == mark.ahead, "lemma: marks are followed"),
                    Assert(~mark.ahead | (line.owner == mark.owner), "lemma: and their owners"),
                    Assert(~mark.ahead | (line.epoch == mark.epoch), "lemma: and their epochs"),
                    Assert(~mark.ahead | (mark.owner < self.config.owners), "lemma: of these"),
                ]
            for other in range(n):
                same = valid[n] & valid[other] & (keys[n] == keys[other])
                m.d.comb += Assert(~same, "a row has one line")
        m.d.comb += Assert(state.next_way < self.config.ways, "lemma: the pointer is a way")
