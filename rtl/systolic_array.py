"""Weight-stationary int8 array: a grid of tiles that lanes own as rectangles."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import (
    Assert,
    Cat,
    Elaboratable,
    Format,
    Module,
    Mux,
    Signal,
    Value,
    unsigned,
)
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.delay_line import delayed
from rpaccel.rtl.interfaces import LoadBus
from rpaccel.rtl.repeated import repeated
from rpaccel.rtl.tile import Tile
from rpaccel.rtl.tokens import TOKEN_FLAGS, tile_input_layout, tile_load_layout, tile_output_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import PARAM, Target

__all__ = ["ArrayLane", "SystolicArray", "partition_layout"]

_QUIET, _LEFT, _LANES = 0, 1, 2  # what feeds a tile: nothing, its neighbour, lane rows from here on


def partition_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return a lane's rectangle: corner and extent, in blocks; rows = 0: it owns nothing."""
    rows, cols = config.block_rows, config.block_cols
    return data.StructLayout(
        {"row": range(rows), "col": range(cols), "rows": range(rows + 1), "cols": range(cols + 1)}
    )


class ArrayLane(wiring.Signature):
    """What a lane sees of the array; rows and columns count from the corner of its rectangle.

    Members:
      i     In   tokens of each block row; data not skewed.
      load  In   LoadBus: WEIGHT and PARAM fill the banks of the lane's own tiles.
      out   Out  finished rows, of block row and block column.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        rows, cols = config.block_rows, config.block_cols
        super().__init__(
            {
                "i": In(tile_input_layout(config)).array(rows),
                "load": In(LoadBus(config)),
                "out": Out(tile_output_layout(config)).array(rows, cols),
            }
        )


@dataclass(frozen=True, kw_only=True)
class _Owner:
    """Registers of a tile: its source, its lanes (several while idle), its place in the lane's."""

    source: Signal
    lanes: Signal
    row: Signal
    column: Signal


class SystolicArray(wiring.Component):
    """A grid of tiles, shared among lanes without reset: each owns a rectangle of them.

    A token in cycle t is at the first tile of its block row in t + `input_cycles`, and in each
    further one b cycles later; a row leaves a tile in its cycle + Tile.latency_cycles and is at
    `out` `output_cycles` after that. Block row n of a group must lag the first one n * b cycles.

    Members:
      lane       [lanes] of ArrayLane.
      partition  [lanes]: takes effect for tokens, loads and results of the same cycle; a lane
                 whose rectangle changes must be idle, nothing of it in the array. Rectangles may
                 overlap only while all their lanes are idle. With lane_blocks, that of a lane has
                 config.lane_shape blocks at most; `i` and `out` beyond them are not used.
    """

    input_cycles = 1
    output_cycles = 1

    def __init__(self, config: AcceleratorConfig, lanes: int = 1) -> None:
        self.config = config
        self.lanes = lanes
        super().__init__(
            {
                "lane": Out(ArrayLane(config)).array(lanes),
                "partition": In(partition_layout(config)).array(lanes),
            }
        )

    def _shape(self, number: int) -> tuple[int, int]:
        """Return the most block rows and columns of a lane."""
        if not self.config.lane_blocks:
            return self.config.block_rows, self.config.block_cols
        return self.config.lane_shape(number)

    def _first_source(self, number: int) -> int:
        """Return the source that stands for the first block row of a lane."""
        return _LANES + sum(self._shape(n)[0] for n in range(number))

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        rows, cols = range(self.config.block_rows), range(self.config.block_cols)

        # Lanes: a register stage; activations are skewed here, once for a row of tiles.
        tokens = [self._tokens(m, lane, n) for n, lane in enumerate(self.lane)]
        loads = [self._load(m, lane, n) for n, lane in enumerate(self.lane)]

        # Grid: tokens move right, sums move down.
        tiles = [[Tile(self.config) for _ in cols] for _ in rows]
        for r in rows:
            for c in cols:
                tile = tiles[r][c]
                m.submodules[f"tile_{r}_{c}"] = repeated(tile)
                m.submodules[f"feed_{r}_{c}"] = feed = Module()
                left = tiles[r][c - 1].o if c else None
                owner = self._owner(feed, (r, c))
                m.d.comb += [
                    tile.i.eq(self._token(feed, owner, (r, c), left, tokens)),
                    tile.load.eq(self._bank_load(feed, owner, c, loads)),
                ]
                if r:
                    m.d.comb += tile.i_sum.eq(tiles[r - 1][c].o_sum)

        # Outputs: each lane collects its rectangle.
        for n in range(self.lanes):
            m.submodules[f"collect_{n}"] = collect = Module()
            self._collect(collect, n, tiles)
        return m

    def _tokens(self, m: Module, lane: wiring.PureInterface, number: int) -> list[Value]:
        """Return the tokens of a lane's block rows, a cycle later and skewed as a tile wants."""
        size = self.config.block_size
        tokens = []
        for r, token in enumerate(lane.i[: self._shape(number)[0]]):
            name = f"lane{number}_row{r}"
            control = Value.cast(token)[: -8 * size]
            control = delayed(m, control, self.input_cycles, name, resets=TOKEN_FLAGS)
            word = token.data
            skewed = [
                delayed(
                    m, word.word_select(n, 8), self.input_cycles + n, f"{name}_byte{n}", resets=0
                )
                for n in range(size)
            ]
            tokens.append(Cat(control, *skewed))
        return tokens

    def _load(self, m: Module, lane: wiring.PureInterface, number: int) -> data.View:
        """Return a lane's load bus, decoded, a cycle later."""
        config, bus = self.config, lane.load
        # index: block row, then address, or for a parameter N fold, block column, channel
        column_bits = (config.block_cols - 1).bit_length()
        channel_bits = (config.block_size - 1).bit_length()
        address_bits = (config.tile_weight_rows - 1).bit_length()
        entry_bits = (config.param_entries - 1).bit_length()
        fold = bus.index[channel_bits + column_bits : entry_bits]
        weight = bus.target == Target.WEIGHT
        load = Signal(_load_layout(config), name=f"lane{number}_load")
        m.d.sync += [
            load.weight.eq(bus.valid & weight),
            load.param.eq(bus.valid & (bus.target == Target.PARAM)),
            load.row.eq(Mux(weight, bus.index[address_bits:], bus.index[entry_bits:])),
            load.column.eq(bus.index[channel_bits : channel_bits + column_bits]),
            load.address.eq(
                Mux(weight, bus.index[:address_bits], Cat(bus.index[:channel_bits], fold))
            ),
            load.data.eq(bus.data),
        ]
        return load

    def _owner(self, m: Module, place: tuple[int, int]) -> _Owner:
        """Add the registers that say whose the tile at `place` is, and where in its rectangle."""
        r, c = place
        owner = _Owner(
            source=Signal(range(self._first_source(self.lanes))),
            lanes=Signal(self.lanes),
            row=Signal(range(r + 1)),
            column=Signal(range(c + 1)),
        )
        m.d.sync += [owner.source.eq(_QUIET), owner.lanes.eq(0)]
        for n, part in enumerate(self.partition):
            inside_rows = (part.row <= r) & (r < part.row + part.rows)
            inside_cols = (part.col <= c) & (c < part.col + part.cols)
            with m.If(inside_rows & inside_cols):
                first = self._first_source(n) + r - part.row
                m.d.sync += [
                    owner.source.eq(Mux(part.col == c, first, _LEFT)),
                    owner.lanes[n].eq(1),
                    owner.row.eq(r - part.row),
                    owner.column.eq(c - part.col),
                ]
        return owner

    def _token(
        self,
        m: Module,
        owner: _Owner,
        place: tuple[int, int],
        left: data.View | None,
        tokens: list[list[Value]],
    ) -> Value:
        """Return what enters the tile at `place`: its left neighbour's token, a lane's, or none."""
        r, c = place
        token = Signal(tile_input_layout(self.config), name="token")
        with m.Switch(owner.source):
            if left is not None:
                with m.Case(_LEFT):
                    m.d.comb += token.eq(left)
            for n, lane in enumerate(tokens):
                for k, entering in enumerate(lane[: r + 1]):
                    with m.Case(self._first_source(n) + k):
                        m.d.comb += Value.cast(token).eq(entering)
        one = owner.lanes.any() & ((owner.lanes & (owner.lanes - 1)) == 0)
        m.d.sync += Assert(one | ~token.row, Format("tile {}, {}: lanes {:b}", r, c, owner.lanes))
        return token

    def _bank_load(self, m: Module, owner: _Owner, col: int, loads: list[data.View]) -> Value:
        """Return what is written into the banks of a tile of block column `col`."""
        size = self.config.block_size
        write = Signal(tile_load_layout(self.config), name="load")
        for n, load in enumerate(loads):
            here = load.row == owner.row
            with m.If(owner.lanes[n]):
                m.d.comb += [
                    write.weight.eq(load.weight & here),
                    write.param.eq(load.param & here & (load.column == owner.column)),
                    write.address.eq(load.address),
                    write.data.eq(load.data),
                ]
                with m.If(load.weight), m.Switch(owner.column):
                    for k in range(min(col + 1, self._shape(n)[1])):
                        with m.Case(k):
                            m.d.comb += write.data.eq(load.data.word_select(k, 8 * size))
        return write

    def _collect(self, m: Module, number: int, tiles: list[list[Tile]]) -> None:
        """Add the outputs of a lane: rows of the tiles of its rectangle, a cycle later."""
        rows, cols = self.config.block_rows, self.config.block_cols
        lane = self.lane[number]
        part = Signal(partition_layout(self.config), name="part")
        m.d.sync += part.eq(self.partition[number])
        most_rows, most_cols = self._shape(number)
        for r in range(most_rows):
            for c in range(most_cols):
                out = lane.out[r][c]
                with m.Switch(Cat(part.col, part.row)):
                    for row in range(rows - r):
                        for col in range(cols - c):
                            with m.Case(row << len(part.col) | col):
                                m.d.sync += out.eq(tiles[r + row][c + col].out)
                with m.If((r >= part.rows) | (c >= part.cols)):
                    m.d.sync += out.valid.eq(0)


def _load_layout(config: AcceleratorConfig) -> data.StructLayout:
    """One write of a lane into the banks of its rectangle."""
    tile = tile_load_layout(config)
    return data.StructLayout(
        {
            "weight": unsigned(1),
            "param": unsigned(1),
            "row": range(config.block_rows),
            "column": range(config.block_cols),
            "address": tile["address"].shape,
            "data": unsigned(max(8 * config.channels_across, PARAM.bits)),
        }
    )
