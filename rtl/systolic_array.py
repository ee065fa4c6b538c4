"""Weight-stationary int8 array: square blocks of cells with skewed edges."""

from __future__ import annotations

from amaranth.hdl import Cat, Elaboratable, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.delay_line import delayed
from rpaccel.rtl.pe import PE

__all__ = ["Block", "SystolicArray", "array_cycles"]


def array_cycles(size: int) -> int:
    """Return the cycles from a row to its sums: down the last column, whole words outside."""
    return 2 * (size - 1) + PE.latency_cycles


class Block(wiring.Component):
    """A square of `size` x `size` cells; edges carry what neighbouring blocks exchange.

    Activations enter row by row from the left, sums and shadow weights from above. The load
    enable moves right one column per cycle, in step with the skewed weights.

    Members: i_row, i_swap, o_row, o_swap [size]; i_load, o_load; i_weight, o_weight, i_sum,
    o_sum [size].
    """

    def __init__(self, size: int) -> None:
        self.size = size
        bytes_, sums = data.ArrayLayout(signed(8), size), data.ArrayLayout(signed(32), size)
        super().__init__(
            {
                "i_row": In(bytes_), "i_swap": In(size), "i_load": In(1),
                "i_weight": In(bytes_), "i_sum": In(sums),
                "o_row": Out(bytes_), "o_swap": Out(size), "o_load": Out(1),
                "o_weight": Out(bytes_), "o_sum": Out(sums),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        size = self.size

        # Column c takes its load enable c cycles after column 0.
        load = Signal(size)
        m.d.sync += load.eq(Cat(self.i_load, load))
        enable = Cat(self.i_load, load[:-1])
        m.d.comb += self.o_load.eq(load[-1])

        cells = [[PE() for _ in range(size)] for _ in range(size)]
        for r in range(size):
            for c in range(size):
                cell, left, above = cells[r][c], cells[r][c - 1], cells[r - 1][c]
                m.submodules[f"pe_{r}_{c}"] = cell
                m.d.comb += [
                    cell.i_row.eq(left.o_row if c else self.i_row[r]),
                    cell.i_swap.eq(left.o_swap if c else self.i_swap[r]),
                    cell.i_load.eq(enable[c]),
                    cell.i_weight.eq(above.o_weight if r else self.i_weight[c]),
                    cell.i_sum.eq(above.o_sum if r else self.i_sum[c]),
                ]

        for n in range(size):
            m.d.comb += [
                self.o_row[n].eq(cells[n][-1].o_row),
                self.o_swap[n].eq(cells[n][-1].o_swap),
                self.o_weight[n].eq(cells[-1][n].o_weight),
                self.o_sum[n].eq(cells[-1][n].o_sum),
            ]
        return m


class SystolicArray(wiring.Component):
    """Sums of row x tile, one row of activations in and one row of sums out per cycle.

    A row at cycle t gives its sums at cycle t + `latency_cycles`. A tile is loaded in A cycles,
    last row first. Loading may start A cycles after the first row (swap high) of the tile in use,
    and the first row of the new tile may enter A cycles after the first loaded row: tiles can
    start every `tile_cycles`, and a row of activations enters on any of the cycles between.

    Members:
      i_row     int8[A], row of activations.
      i_swap    the row is the first of a new tile.
      i_load    `i_weight` is a row of the next tile.
      i_weight  int8[A], one row of the tile, column 0 lowest.
      o_sum     int32[A].
    """

    def __init__(self, size: int, block_size: int) -> None:
        self.size = size
        self.block_size = block_size
        word = data.ArrayLayout(signed(8), size)
        super().__init__(
            {
                "i_row": In(word),
                "i_swap": In(1),
                "i_load": In(1),
                "i_weight": In(word),
                "o_sum": Out(data.ArrayLayout(signed(32), size)),
            }
        )

    @property
    def latency_cycles(self) -> int:
        """Cycles from a row to its sums."""
        return array_cycles(self.size)

    @property
    def tile_cycles(self) -> int:
        """Fewest cycles between the first rows of two tiles."""
        return 2 * self.size

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        size = self.block_size
        count = self.size // size

        # Input skew: row r waits r cycles, and so do the weights of column r.
        rows = [delayed(m, self.i_row[r], r, f"row_{r}") for r in range(self.size)]
        weights = [delayed(m, self.i_weight[c], c, f"weight_{c}") for c in range(self.size)]
        swaps = Signal(self.size)  # bit r - 1 is the swap bit r cycles later
        m.d.sync += swaps.eq(Cat(self.i_swap, swaps))
        swap = Cat(self.i_swap, swaps[:-1])

        # Blocks: activations and load enables move right, sums and weights move down.
        blocks = [[Block(size) for _ in range(count)] for _ in range(count)]
        for r in range(count):
            for c in range(count):
                block, left, above = blocks[r][c], blocks[r][c - 1], blocks[r - 1][c]
                m.submodules[f"block_{r}_{c}"] = block
                down, right = slice(r * size, (r + 1) * size), slice(c * size, (c + 1) * size)
                m.d.comb += [
                    Value.cast(block.i_row).eq(left.o_row if c else Cat(*rows[down])),
                    block.i_swap.eq(left.o_swap if c else swap[down]),
                    block.i_load.eq(left.o_load if c else self.i_load),
                    Value.cast(block.i_weight).eq(above.o_weight if r else Cat(*weights[right])),
                ]
                if r:
                    m.d.comb += block.i_sum.eq(above.o_sum)

        # Output deskew: column c waits for the last one.
        for c in range(self.size):
            total = blocks[-1][c // size].o_sum[c % size]
            m.d.comb += self.o_sum[c].eq(delayed(m, total, self.size - 1 - c, f"sum_{c}"))
        return m
