"""Order of a layer: which row enters the array when, and which weights are loaded meanwhile."""

from __future__ import annotations

from amaranth.hdl import Assert, Elaboratable, Format, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import struct
from rpaccel.rtl.vector_memories import VectorRead, VectorSource
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import INSTRUCTION, Source

__all__ = ["TileIssue"]


class TileIssue(wiring.Component):
    """Issues the tiles of one LAYER: n outer, k inner, the items of the sub-batch as rows.

    The first tile is loaded in A cycles. Then every tile takes max(items, 2 A) cycles: row i is
    read in cycle i; in cycles A..2A-1 the next tile's weights are read, and in the last K fold
    the parameters of its output channels. After the last tile it waits for `drained`.

    Members:
      start        begin with `instruction`, `items` and `bank`, which stay constant until idle.
      drained      the last word of the layer is being written.
      busy         from the cycle after start until the cycle of `drained`.
      source, address      read of a row (VectorRead).
      row, first_row       a row is read; it is the first of a tile.
      first_k, last_k      K fold of the tile.
      weight, weight_address   a weight row is read.
      fetch, param_address     a channel's parameters are read.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        address = VectorRead(config).members["address"].shape
        super().__init__(
            {
                "start": In(1), "drained": In(1), "busy": Out(1),
                "instruction": In(struct(INSTRUCTION)), "items": In(16), "bank": In(1),
                "source": Out(2), "address": Out(address),
                "row": Out(1), "first_row": Out(1), "first_k": Out(1), "last_k": Out(1),
                "weight": Out(1), "weight_address": Out(range(config.weight_words)),
                "fetch": Out(1), "param_address": Out(range(config.param_entries)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        size = self.config.array_size
        code = self.instruction
        k, n, last_fold_k = Signal(9), Signal(8), Signal(9)
        tile = Signal(24)  # first weight row of the tile to load

        # A tile's cycles: in the second A of them the next tile is loaded.
        phase = Signal(range(max(self.config.sub_batch_max, 2 * size)))
        last_phase = Signal.like(phase)
        index = phase[: size.bit_length() - 1]
        window = phase[size.bit_length() - 1 :] == 1
        tile_ends, last_tile = Signal(), Signal()
        m.d.comb += [
            self.first_k.eq(k == 0),
            self.last_k.eq(k == last_fold_k),
            last_tile.eq(self.last_k & (n + 1 == code.n_folds)),
            tile_ends.eq(phase == last_phase),
            self.weight_address.eq(tile + ~index),  # last row first
        ]

        with m.FSM(name="state") as state:
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [
                    phase.eq(0), k.eq(0), n.eq(0), tile.eq(code.weight_base),
                    last_fold_k.eq(code.user_words + code.words - 1),
                    last_phase.eq(Mux(self.items > 2 * size, self.items - 1, 2 * size - 1)),
                    self.param_address.eq(code.param_base),
                    Assert(self.items <= self.config.sub_batch_max, Format("{} items", self.items)),
                ]  # fmt: skip
                m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += self.weight.eq(1)
                m.d.sync += phase.eq(phase + 1)
                with m.If(phase == size - 1):
                    m.d.sync += phase.eq(0)
                    m.next = "STREAM"
            with m.State("STREAM"):
                m.d.comb += [
                    self.row.eq(phase < self.items),
                    self.first_row.eq(phase == 0),
                    self.weight.eq(window & ~last_tile),
                    self.fetch.eq(window & self.last_k),
                ]
                m.d.sync += phase.eq(phase + 1)
                with m.If(tile_ends):
                    m.d.sync += [phase.eq(0), n.eq(n + self.last_k)]
                    m.d.sync += k.eq(Mux(self.last_k, 0, k + 1))
                    with m.If(last_tile):
                        m.next = "DRAIN"
            with m.State("DRAIN"), m.If(self.drained):
                m.next = "IDLE"
        m.d.comb += self.busy.eq(~state.ongoing("IDLE"))

        with m.If(self.weight & index.all()):
            m.d.sync += tile.eq(tile + size)
        with m.If(self.fetch):
            m.d.sync += self.param_address.eq(self.param_address + 1)
        self._rows(m, k, tile_ends)
        return m

    def _rows(self, m: Module, k: Signal, tile_ends: Signal) -> None:
        """Add the row address: the same word for every item in USER, one stride each elsewhere."""
        code = self.instruction
        following = Signal(9)
        user, gathered = Signal(), Signal()
        offset = Signal(range(max(self.config.feature_words, self.config.act_words)))
        m.d.comb += [
            following.eq(Mux(self.last_k, 0, k + 1)),
            user.eq(k < code.user_words),
            gathered.eq(code.source == Source.GATHERED),
            self.source.eq(Mux(user, VectorSource.USER, code.source + 1)),
            self.address.eq(Mux(user, k, offset)),
        ]
        with m.If(~user & gathered & self.bank):
            m.d.comb += self.address.eq(offset + self.config.feature_words)
        with m.If(self.start):
            m.d.sync += offset.eq(0)
        with m.Elif(tile_ends):
            first = following - code.user_words
            m.d.sync += offset.eq(Mux(following < code.user_words, 0, first))
        with m.Elif(self.row):
            m.d.sync += offset.eq(offset + code.source_stride)
