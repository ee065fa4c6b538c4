"""A square of cells: the granularity at which the array is split, stacked and loaded."""

from __future__ import annotations

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.delay_line import delayed
from rpaccel.rtl.pair_pe import PairPE
from rpaccel.rtl.pe import PE, sum_bits
from rpaccel.rtl.repeated import repeated
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["Block"]


class Block(wiring.Component):
    """b x b cells, one row of activations in and one row of sums out per cycle.

    Edges are skewed as the cells are: with a row in cycle t, byte n of it enters at the left in
    t + n and leaves at the right in t + b + n; the sum of column c comes from above in
    t + 2 + c and leaves below in t + b + 2 + c. All sums of the row are at the tap, together, in
    t + `latency_cycles`.

    The shadow weights are shifted in, last row first: b loads between two rows with `first`,
    the first at b - 1 cycles after the one row, the last at least a cycle before the other.

    With config.macs_per_dsp = 2 columns 2c and 2c + 1 are one `PairPE`, which shifts in and swaps
    both weights when column 2c does; nothing outside of the block tells the difference.

    Members:
      i_row, o_row    int8[b].
      first           in cycle t: use the shadow weights from this row on.
      cut             in cycle t: the row's sums start from zero instead of from above.
      load, i_weight  int8[b]: the next row of shadow weights, column 0 lowest, not skewed.
      i_sum, o_sum    partial sums [b], wide enough for a column of the whole array.
      o_tap           the sums below, not skewed.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        size = config.block_size
        row = data.ArrayLayout(signed(8), size)
        sums = data.ArrayLayout(signed(sum_bits(config.array_size)), size)
        super().__init__(
            {
                "i_row": In(row), "o_row": Out(row), "first": In(1), "cut": In(1),
                "load": In(1), "i_weight": In(row),
                "i_sum": In(sums), "o_sum": Out(sums), "o_tap": Out(sums),
            }
        )  # fmt: skip

    @property
    def latency_cycles(self) -> int:
        """Cycles from a row to its sums at the tap: down the last column."""
        return 2 * (self.config.block_size - 1) + PE.latency_cycles

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        size = self.config.block_size

        # Control, once for the block: cell (r, c) is r + c cycles behind cell (0, 0).
        swap = self._line(m, self.first, 2 * size - 1, "swap")
        load = self._line(m, self.load, size, "load")
        cut = self._line(m, self.cut, size + PE.latency_cycles - 1, "cut")[PE.latency_cycles - 1 :]

        # Cells, `across` of them in one: activations move right, sums and shadow weights move down.
        across = self.config.macs_per_dsp
        width = self.i_sum.shape().elem_shape.width
        columns = range(0, size, across)
        cells = [
            {c: PairPE(width) if across == 2 else PE(width) for c in columns} for _ in range(size)
        ]
        above_sums = [Mux(cut[c], 0, self.i_sum[c]) for c in range(size)]
        for c in columns:
            word = Cat(self.i_weight[c : c + across])
            weight = delayed(m, word, c, f"weight_{c}", resets=0)
            for r in range(size):
                cell = cells[r][c]
                m.submodules[f"pe_{r}_{c}"] = repeated(cell)
                m.d.comb += [
                    cell.i_row.eq(cells[r][c - across].o_row if c else self.i_row[r]),
                    cell.swap.eq(swap[r + c]),
                    cell.load.eq(load[c]),
                    cell.i_weight.eq(cells[r - 1][c].o_weight if r else weight),
                    cell.i_sum.eq(cells[r - 1][c].o_sum if r else Cat(above_sums[c : c + across])),
                ]

        # Edges: the tap waits for the last column.
        m.d.comb += [self.o_row[r].eq(cells[r][columns[-1]].o_row) for r in range(size)]
        m.d.comb += self.o_sum.eq(Cat(Value.cast(cells[-1][c].o_sum) for c in columns))
        for c in range(size):
            tap = delayed(m, self.o_sum[c], size - 1 - c, f"tap_{c}", resets=0)
            m.d.comb += self.o_tap[c].eq(tap)
        return m

    def _line(self, m: Module, value: Value, length: int, name: str) -> Value:
        """Return `length` bits: bit n is `value` n cycles ago."""
        line = Signal(length - 1, name=name)
        m.d.sync += line.eq(Cat(value, line))
        return Cat(value, line)
