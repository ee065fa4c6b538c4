"""The rule of weight tokens: what the controller guarantees and what a tile relies on."""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class WeightRule(wiring.Component):
    """Watches one block row's tokens.

    Parameters
    ----------
    size : int    block_size: loads that make a tile. The first of them comes `size` - 2 cycles
                  after a `first` row, or later.
    settle : int  Fewest cycles from the last of them to the tile's `first` row.
    early : int   By how many cycles the loads may come too early: for rules that must not do.

    Members:
      load, first         the tokens of this cycle.
      load_ok, first_ok   they keep the rule, or are absent.
      count               loads since the last `first`, before this cycle's load.
      quiet               cycles since the last load; stops at `settle`.
      phase               cycles since the last `first`, 0 with it; stops at 2 * size.
    """

    def __init__(self, size: int, settle: int, early: int = 0) -> None:
        self.size, self.settle, self.early = size, settle, early
        super().__init__(
            {
                "load": In(1), "first": In(1), "load_ok": Out(1), "first_ok": Out(1),
                "quiet": Out(range(settle + 1)), "count": Out(range(size + 1)),
                "phase": Out(range(2 * size + 1)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        size, settle = self.size, self.settle
        loads, count = Signal(range(size + 2)), Signal(range(size + 2))
        since = Signal(range(2 * size + 1), init=2 * size)
        quiet = Signal(range(settle + 1), init=settle)
        m.d.comb += self.quiet.eq(quiet)
        m.d.comb += [
            count.eq(Mux(self.first, 0, loads)),
            self.count.eq(count),
            self.phase.eq(Mux(self.first, 0, since)),
            self.load_ok.eq(~self.load | ((count < size) & (self.phase + 2 + self.early >= size))),
            self.first_ok.eq(~self.first | ((loads == size) & (quiet == settle))),
        ]
        m.d.sync += [
            loads.eq(Mux(count == size + 1, count, count + self.load)),
            since.eq(Mux(self.phase == 2 * size, self.phase, self.phase + 1)),
            quiet.eq(Mux(self.load, 1, Mux(quiet == settle, settle, quiet + 1))),
        ]
        return m
