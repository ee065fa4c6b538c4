"""LookAheadStep in a loop: one set, any operation in every step, beside a model of one line."""

from __future__ import annotations

from amaranth.hdl import Array, Assert, Assume, Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from rpaccel.rtl.look_ahead_step import CacheEvent, CacheOperation, LookAheadStep, state_layout


class LookAheadStepProperties(wiring.Component):
    """Any operation in every step, legal or not; keys of `key_bits`; one way, any of them.

    lemmas : bool  Assert also what relates the set's state to the model: carries the induction.
    """

    def __init__(self, dut: LookAheadStep, *, lemmas: bool = True) -> None:
        self.dut, self.config, self.lemmas = dut, dut.config, lemmas
        ways = range(max(2, dut.config.ways))
        super().__init__(
            {
                "operation": In(3), "key": In(dut.config.key_bits), "kept": In(1),
                "named": In(ways), "way": In(ways),
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
            Assume(self.operation <= CacheOperation.UPDATE),
            dut.operation.eq(self.operation),
            dut.match.eq(Cat(match)),
            dut.kept.eq(self.kept),
            dut.way.eq(self.named),
            dut.state.eq(state),
        ]
        for n in range(config.ways):
            with m.If(effect.replace & effect.way[n]):
                m.d.sync += [keys[n].eq(self.key), valid[n].eq(1)]

        reads, ahead, flying = self._model(m)
        here = effect.way.bit_select(self.way, 1)
        held = (reads != 0) | (ahead != 0) | flying
        asks = self.operation <= CacheOperation.PREFETCH
        done = effect.event == CacheEvent.DONE
        one = effect.way & (effect.way - 1)
        m.d.comb += [
            Assert(one[: config.ways] == 0, "an operation is about one line at most"),
            Assert(~(effect.replace & here) | ~held, "a held line is never replaced"),
            Assert(
                ~(here & done & (self.operation == CacheOperation.RELEASE)) | (reads != 0),
                "reads never underflow",
            ),
            Assert(
                ~(here & done & (self.operation == CacheOperation.CANCEL)) | (ahead != 0),
                "prefetches never underflow",
            ),
            Assert(reads + ahead <= config.references, "references stay in their limit"),
            Assert(
                ~(asks & (effect.event == CacheEvent.REFUSED))
                | held
                | (Cat(match).any() & ~match_of(match, self.way)),
                "refused only while every line is held, or the row's own is",
            ),
        ]
        if self.lemmas:
            self._lemmas(m, state, keys, valid, (reads, ahead, flying))
        return m

    def _model(self, m: Module) -> tuple[Signal, Signal, Signal]:
        """Follow the line by the events alone."""
        effect, limit = self.dut.effect, 2 * self.config.references + 2
        reads, ahead = Signal(range(limit)), Signal(range(limit))
        flying = Signal()
        here = effect.way.bit_select(self.way, 1)
        is_read = self.operation == CacheOperation.READ
        takes = here & effect.kept
        over = takes & is_read & (ahead != 0)
        done = here & (effect.event == CacheEvent.DONE)
        m.d.sync += [
            reads.eq(
                reads + (takes & is_read) - (done & (self.operation == CacheOperation.RELEASE))
            ),
            ahead.eq(
                ahead
                + (takes & ~is_read)
                - over
                - (done & (self.operation == CacheOperation.CANCEL))
            ),
        ]
        filled = done & (self.operation == CacheOperation.FILL)
        m.d.sync += flying.eq(Mux(here & effect.replace, 1, flying & ~filled))
        return reads, ahead, flying

    def _lemmas(self, m: Module, state: object, keys: Array, valid: Signal, model: tuple) -> None:
        reads, ahead, flying = model
        for n in range(self.config.ways):
            line = state.lines[n]
            m.d.comb += [
                Assert(line.ahead <= line.references, "lemma: references of prefetches are some"),
                Assert(line.references <= self.config.references, "lemma: the limit"),
                Assert(valid[n] | (line.as_value() == 0), "lemma: a line without a row is empty"),
            ]
            with m.If(self.way == n):
                m.d.comb += [
                    Assert(line.references == reads + ahead, "lemma: references are counted"),
                    Assert(line.ahead == ahead, "lemma: prefetches are counted"),
                    Assert(line.flying == flying, "lemma: flying is followed"),
                ]
            for other in range(n):
                same = valid[n] & valid[other] & (keys[n] == keys[other])
                m.d.comb += Assert(~same, "lemma: a row has one line")
        m.d.comb += Assert(state.next_way < self.config.ways, "lemma: the pointer is a way")


def match_of(match: list, way: Signal) -> Signal:
    """Return whether `way` holds the key."""
    return Cat(match).bit_select(way, 1)
