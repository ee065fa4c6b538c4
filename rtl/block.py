"""A square of cells: the granularity at which the array is split, stacked and loaded."""

from __future__ import annotations

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.delay_line import delayed
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
        weights = [delayed(m, self.i_weight[c], c, f"weight_{c}") for c in range(size)]

        # Cells: activations move right, sums and shadow weights move down.
        cells = [[PE(self.i_sum.shape().elem_shape.width) for _ in range(size)] for _ in weights]
        for r in range(size):
            for c in range(size):
                cell, left, above = cells[r][c], cells[r][c - 1], cells[r - 1][c]
                m.submodules[f"pe_{r}_{c}"] = repeated(cell)
                m.d.comb += [
                    cell.i_row.eq(left.o_row if c else self.i_row[r]),
                    cell.swap.eq(swap[r + c]),
                    cell.load.eq(load[c]),
                    cell.i_weight.eq(above.o_weight if r else weights[c]),
                    cell.i_sum.eq(above.o_sum if r else Mux(cut[c], 0, self.i_sum[c])),
                ]

        # Edges: the tap waits for the last column.
        m.d.comb += [self.o_row[r].eq(cells[r][-1].o_row) for r in range(size)]
        for c in range(size):
            total = cells[-1][c].o_sum
            m.d.comb += self.o_sum[c].eq(total)
            m.d.comb += self.o_tap[c].eq(delayed(m, total, size - 1 - c, f"tap_{c}"))
        return m

    def _line(self, m: Module, value: Value, length: int, name: str) -> Value:
        """Return `length` bits: bit n is `value` n cycles ago."""
        line = Signal(length - 1, name=name)
        m.d.sync += line.eq(Cat(value, line))
        return Cat(value, line)
