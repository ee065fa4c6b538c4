"""A tile: a block of cells with all that it needs to run on its own."""

from __future__ import annotations

from amaranth.hdl import Cat, Elaboratable, Module, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.accumulator import Accumulator
from rpaccel.rtl.block import Block
from rpaccel.rtl.delay_line import delayed
from rpaccel.rtl.pe import sum_bits
from rpaccel.rtl.repeated import repeated
from rpaccel.rtl.tokens import TOKEN_FLAGS, tile_input_layout, tile_load_layout, tile_output_layout
from rpaccel.rtl.vector_unit import VectorUnit
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Destination

__all__ = ["Tile", "tile_latency_cycles"]


def tile_latency_cycles(config: AcceleratorConfig) -> int:
    """Return Tile.latency_cycles: a cycle before the tap, then accumulator and vector unit."""
    return 2 * config.block_size + Accumulator.latency_cycles + VectorUnit.latency_cycles


class Tile(wiring.Component):
    """Block of b x b cells, weight bank, parameter bank, accumulator, b requantise lanes.

    A row with `tap` and `last_k` leaves `latency_cycles` after it came; one row per cycle. Weight
    tiles follow each other every `spacing_cycles` at the tightest: with a `first` row in cycle 0,
    the next tile's `load` tokens come in cycles b - 2 .. 2b - 3 or later, the last of them at
    least 2 cycles before its first row; `fetch` tokens in the same cycles, for the rows that
    began in cycle 0.

    `data` is skewed here, at both ends: byte n belongs to the token of n cycles ago.

    Members:
      load          writes into the banks; usable from the next cycle on.
      i, o          tokens from the left; to the right, b cycles later.
      i_sum, o_sum  sums from above and to below, as in Block: the tile below has the row b cycles
                    later.
      out           finished rows.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        sums = data.ArrayLayout(signed(sum_bits(config.array_size)), config.block_size)
        super().__init__(
            {
                "load": In(tile_load_layout(config)),
                "i": In(tile_input_layout(config)),
                "o": Out(tile_input_layout(config)),
                "i_sum": In(sums),
                "o_sum": Out(sums),
                "out": Out(tile_output_layout(config)),
            }
        )

    @property
    def latency_cycles(self) -> int:
        """Cycles from the last K fold's row to its result."""
        return tile_latency_cycles(self.config)

    @property
    def spacing_cycles(self) -> int:
        """Fewest cycles between the first rows of two weight tiles."""
        return 2 * self.config.block_size

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        size = self.config.block_size
        block = Block(self.config)
        m.submodules.block = repeated(block)
        m.submodules.accumulator = accumulator = Accumulator(self.config)
        m.submodules.vector_unit = vector_unit = VectorUnit(self.config)
        m.d.comb += vector_unit.load.eq(self.load)
        self._weights(m, block)

        # Cells; the token keeps step with its activations.
        control = Value.cast(self.i)[: -8 * size]
        token = delayed(m, control, size, "token", resets=TOKEN_FLAGS)
        m.d.comb += [
            Value.cast(block.i_row).eq(self.i.data),
            block.first.eq(self.i.row & self.i.first),
            block.cut.eq(self.i.cut),
            block.i_sum.eq(self.i_sum),
            self.o_sum.eq(block.o_sum),
            Value.cast(self.o).eq(Cat(token, block.o_row)),
            vector_unit.fetch.eq(self.i.fetch),
            vector_unit.address.eq(self.i.param_address),
        ]

        # Accumulator: control comes a cycle before the sums are at the tap.
        row = self._row(m, size)
        m.d.comb += [
            accumulator.row.eq(row.tap),
            accumulator.first.eq(row.first),
            accumulator.first_k.eq(row.first_k),
            accumulator.last_k.eq(row.last_k),
            accumulator.i_sum.eq(block.o_tap),
            vector_unit.i_sum.eq(accumulator.o_sum),
            vector_unit.swap.eq(accumulator.o_swap),
        ]

        # Requantisation.
        at = Cat(row.destination, row.address, row.relu)
        at = delayed(m, at, accumulator.latency_cycles, "total", resets=0)
        destination = at[: len(row.destination)]
        latency = vector_unit.latency_cycles
        m.d.comb += [
            vector_unit.relu.eq(at[-1]),
            vector_unit.logit.eq(destination == Destination.SCORE),
            self.out.valid.eq(delayed(m, accumulator.o_valid, latency, "valid")),
            Cat(self.out.destination, self.out.address).eq(
                delayed(m, at[:-1], latency, "at", resets=0)
            ),
            self.out.data.eq(vector_unit.o_data),
            self.out.logit.eq(vector_unit.o_logit),
        ]
        return m

    def _weights(self, m: Module, block: Block) -> None:
        """Add the weight bank: a row read in one cycle is shifted in in the next."""
        size, depth = self.config.block_size, self.config.tile_weight_rows
        m.submodules.weights = weights = Memory(shape=8 * size, depth=depth, init=[])
        write, read = weights.write_port(), weights.read_port()
        m.d.comb += [
            write.en.eq(self.load.weight),
            write.addr.eq(self.load.address),
            write.data.eq(self.load.data),
            read.addr.eq(self.i.weight_address),
            Value.cast(block.i_weight).eq(read.data),
        ]
        m.d.sync += block.load.eq(self.i.load)

    def _row(self, m: Module, cycles: int) -> data.View:
        """Return what the accumulator and its successors need of token `o`, `cycles` later."""
        o = self.o
        names = ("first", "first_k", "last_k", "relu", "destination", "address")
        layout = data.StructLayout(
            {"tap": unsigned(1), **{name: unsigned(len(o[name])) for name in names}}
        )
        row = Signal(layout)
        here = Cat(o.row & o.tap, *(o[name] for name in names))
        m.d.comb += row.eq(delayed(m, here, cycles, "row", resets=1))
        return row
