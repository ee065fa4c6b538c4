"""A Tile beside a model of one cell's weights: which weight does each row meet?"""

from __future__ import annotations

from amaranth.hdl import (
    Array,
    Assert,
    Assume,
    Cover,
    Elaboratable,
    Module,
    Mux,
    Signal,
    Value,
)  # fmt: skip
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from rpaccel.rtl.delay_line import delayed
from rpaccel.rtl.tile import Tile
from tests.formal.weight_rule import WeightRule


class WeightProperties(wiring.Component):
    """Any tokens that keep the weight rule, any writes into the bank, one cell of the block.

    Only the cell's block row gets activations, 0 or 1: the sum of its column below is the weight
    that the row met, or 0. The cell's weight must be the one that was loaded for the tile.
    Weights are 0 or 1 too: they are only moved, and one bit tells two of them apart.

    Parameters
    ----------
    cell : (int, int)    Row and column. Cells share no state but the chains they are links of.
    settle, early : int  The rule assumed; by default no more than TileIssue is proved to keep.

    Members:
      load, row, first, address   the tokens.
      write, write_address, data  of the weight bank.
      active                      activation of the chosen row of the block, skewed.
    """

    def __init__(
        self, dut: Tile, cell: tuple[int, int], *, settle: int = 2, early: int = 0
    ) -> None:
        self.dut, self.config, self.cell = dut, dut.config, cell
        self.rule = WeightRule(dut.config.block_size, settle, early)
        depth = range(dut.config.tile_weight_rows)
        super().__init__(
            {
                "load": In(1), "row": In(1), "first": In(1), "address": In(depth),
                "write": In(1), "write_address": In(depth), "data": In(1), "active": In(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.dut = self.dut
        size = self.config.block_size
        r, c = self.cell
        begins = Signal()
        m.d.comb += begins.eq(self.row & self.first)
        self._drive(m, r, c)
        self._assume_rule(m, begins)

        # The model: a tile's weights are loaded last row first; a first row puts them to use.
        loaded, used = Signal(), Signal()
        bank = Array(Signal(name=f"bank_{n}") for n in range(self.config.tile_weight_rows))
        with m.If(self.write):
            m.d.sync += bank[self.write_address].eq(self.data)
        with m.If(self.load & (self.rule.count + r == size - 1)):
            m.d.sync += loaded.eq(bank[self.address])
        m.d.sync += used.eq(meets := Mux(begins, loaded, used))

        # The row meets the weight r cycles later; its sum is below b + 2 + c cycles after it came.
        value: Value = meets
        for n in range(size):
            product = Signal(name=f"product_{n}")
            m.d.comb += product.eq(value & (self.active if n == r else 1))
            value = delayed(m, product, 1, f"product_{n}")
        expected = Signal()
        m.d.comb += expected.eq(delayed(m, value, 2 + c, "sum"))
        below = self.dut.o_sum[c]
        m.d.comb += Assert(below == expected, "the row meets the weight of its tile")

        swaps = Signal(3)
        m.d.sync += swaps.eq(swaps + (begins & (swaps != 7)))
        m.d.comb += [
            Cover((swaps == 3) & (below == 1), "the third tile's weight comes out"),
            Cover((swaps == 2) & (self.rule.phase == size) & (self.rule.count == 2), "overlap"),
        ]
        return m

    def _drive(self, m: Module, r: int, c: int) -> None:
        """Give the tile the tokens; weights of other columns are 0, other activations too."""
        i, load = self.dut.i, self.dut.load
        m.d.comb += [
            i.load.eq(self.load),
            i.row.eq(self.row),
            i.first.eq(self.first),
            i.cut.eq(1),
            i.weight_address.eq(self.address),
            i.data.word_select(r, 8).eq(self.active),
            load.weight.eq(self.write),
            load.address.eq(self.write_address),
            load.data.word_select(c, 8).eq(self.data),
        ]

    def _assume_rule(self, m: Module, begins: Signal) -> None:
        m.submodules.rule = rule = self.rule
        m.d.comb += [
            rule.load.eq(self.load),
            rule.first.eq(begins),
            Assume(rule.load_ok),
            Assume(rule.first_ok),
        ]
