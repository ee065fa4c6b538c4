"""Sums over the K folds of a tile column."""

from __future__ import annotations

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.pe import sum_bits
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["Accumulator"]


class Accumulator(wiring.Component):
    """Adds the sums of a K fold to those of the folds before, per row of a weight tile.

    Control comes in cycle t, the block's sums in t + 1, the total leaves in t + `latency_cycles`
    if the fold is the last one; otherwise it is kept for the row's next fold, which may come
    3 cycles later at the earliest. One row per cycle.

    Members:
      row, first, first_k, last_k   of the sums that arrive in the next cycle; rows are counted
                        from `first`.
      i_sum             partial sums [b].
      o_valid, o_sum    int32[b], wraps.
      o_swap            in the cycle before the first row of a total.
    """

    latency_cycles = 2

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        size = config.block_size
        super().__init__(
            {
                "row": In(1), "first": In(1), "first_k": In(1), "last_k": In(1),
                "i_sum": In(data.ArrayLayout(signed(sum_bits(config.array_size)), size)),
                "o_valid": Out(1), "o_sum": Out(data.ArrayLayout(signed(32), size)),
                "o_swap": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        size, depth = self.config.block_size, self.config.sub_batch_max
        m.submodules.memory = memory = Memory(shape=32 * size, depth=depth, init=[])
        write, read = memory.write_port(), memory.read_port()

        # Address: count the rows of a weight tile.
        count, item = Signal(range(depth)), Signal(range(depth))
        m.d.comb += [item.eq(Mux(self.first, 0, count)), read.addr.eq(item)]
        with m.If(self.row):
            m.d.sync += count.eq(item + 1)

        # Add.
        kept, last = Signal(), Signal()
        items = Signal(data.ArrayLayout(item.shape(), 2), reset_less=True)
        m.d.sync += [
            items.eq(Cat(item, items)),
            kept.eq(~self.first_k),
            last.eq(self.row & self.last_k),
            self.o_swap.eq(self.row & self.last_k & self.first),
            self.o_valid.eq(last),
        ]
        old = data.View(self.o_sum.shape(), read.data)
        total = Signal(self.o_sum.shape(), reset_less=True)
        m.d.comb += self.o_sum.eq(total)
        m.d.sync += [total[c].eq(self.i_sum[c] + Mux(kept, old[c], 0)) for c in range(size)]

        # Keep.
        rows = Signal(2)
        m.d.sync += rows.eq(Cat(self.row & ~self.last_k, rows))
        m.d.comb += [
            write.en.eq(rows[1]),
            write.addr.eq(items[1]),
            write.data.eq(self.o_sum),
        ]
        return m
