"""Order of the layers: which row enters the array when, and which weights are loaded meanwhile."""

from __future__ import annotations

from amaranth.hdl import (
    Assert,
    Cat,
    Const,
    Elaboratable,
    Format,
    Module,
    Mux,
    Signal,
    signed,
    unsigned,
)
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import struct
from rpaccel.rtl.item_banks import BANK_BITS, bank_base
from rpaccel.rtl.tokens import address_bits
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import INSTRUCTION, Destination, Source

__all__ = ["STEP_FLAGS", "TileIssue", "job_layout", "step_layout"]

STEP_FLAGS = 3  # row, load, fetch


def job_layout() -> data.StructLayout:
    """A LAYER instruction over the `items` of a sub-batch, of user `user_bank`.

    item_bank : of DENSE (rtl.item_banks). bank : of BOTTOM and CROSS.
    """
    return data.StructLayout(
        {
            "code": struct(INSTRUCTION),
            "items": unsigned(16),
            "item_bank": unsigned(BANK_BITS),
            "bank": unsigned(1),
            "user_bank": unsigned(1),
        }
    )


def step_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What happens in a cycle, as seen by the first block row; see rtl.tokens for the names.

    stack, load_stack : log2 of the groups of block rows, for the row (and fetch) and for the load.
    source, read_address : the word that the row is. end : the row ends a chain of layers.
    The first `STEP_FLAGS` bits say what the others are for; reset clears them alone.
    """
    return data.StructLayout(
        {
            "row": unsigned(1),
            "load": unsigned(1),
            "fetch": unsigned(1),
            "first": unsigned(1),
            "end": unsigned(1),
            "first_k": unsigned(1),
            "last_k": unsigned(1),
            "relu": unsigned(1),
            "destination": unsigned(2),
            "address": unsigned(address_bits(config)),
            "stack": unsigned(3),
            "source": unsigned(3),
            "read_address": unsigned(address_bits(config)),
            "load_stack": unsigned(3),
            "weight_address": range(config.tile_weight_rows),
            "param_address": range(config.tile_params),
        }
    )


class TileIssue(wiring.Component):
    """Streams layer after layer through the array: n outer, k inner, the items as rows.

    Tiles follow each other every max(items, 2 b) cycles, across layers too: the next tile is
    loaded while the present one computes. A layer that reads what the layer before wrote begins
    `dependency_cycles` after the first row of that layer's last tile, or later; one that stacks
    otherwise than the one before waits `skew_cycles` more. perfmodel.layer_engine is exact.

    Members:
      job     In(stream of job_layout()): a layer; the next is taken with the first row of the
              last tile of the one before.
      step    Out(step_layout(config)).
      busy    a layer is held, or rows are on their way into the array.
      user_bank   of the row of `step`.
      exposed a layer is held, no row enters, and its weights are not in place yet.
    """

    settle_cycles = 2  # after the last weight row until the first row may be decided

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "job": In(stream.Signature(job_layout())),
                "step": Out(step_layout(config)),
                "busy": Out(1),
                "user_bank": Out(1),
                "exposed": Out(1),
            }
        )

    @property
    def skew_cycles(self) -> int:
        """Cycles by which the last block row lags the first."""
        return self.config.array_size - self.config.block_size

    @property
    def dependency_cycles(self) -> int:
        """Cycles from reading a row to being able to read its result in the next layer."""
        config = self.config
        return config.array_size * config.groups_across + config.block_size + 13

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config, size = self.config, self.config.block_size
        most = max(config.sub_batch_max + self.skew_cycles, self.dependency_cycles, 2 * size)

        # The layer: `code` until its last tile has begun; `now` while a tile's rows are read.
        self.held = Signal()
        self.layer = Signal(job_layout())
        self.now = Signal(job_layout())
        self.go = Signal()  # the loaded tile's first row is read in the next cycle
        self.phase = Signal(range(most + 1), init=most)  # cycles since the tile's first row
        code = self.layer.code
        # Of the present tile, as in `step`.
        self.row, self.first, self.tile_last_k = Signal(), Signal(), Signal()
        self.k, self.n = Signal(13), Signal(12)  # the tile that is loaded, or will be next
        self.last_k, self.last_tile = Signal(), Signal()
        # A cycle late: a tile begins block_size cycles after the one before, or later.
        last_k = self.k + 1 == code.words_a + code.words_b
        m.d.sync += [
            self.last_k.eq(last_k),
            self.last_tile.eq(last_k & (self.n + 1 == code.n_steps)),
        ]
        m.d.comb += [
            self.job.ready.eq(~self.held | (self.go & self.last_tile)),
            self.busy.eq(self.held | self.row),
        ]
        with m.If(self.job.ready):
            m.d.sync += [self.held.eq(self.job.valid), self.layer.eq(self.job.payload)]
            m.d.sync += Assert(
                ~self.job.valid | (self.job.payload.items <= config.sub_batch_max),
                Format("{} items", self.job.payload.items),
            )

        self._load(m)
        m.d.comb += self.exposed.eq(self.held & ~self.row & ~(self.loaded & (self.settle == 0)))
        self._decide(m, most)
        self._rows(m)
        self._fetch(m)
        return m

    def _load(self, m: Module) -> None:
        """Load the next tile when the present one's weights are in use everywhere."""
        size, step, code = self.config.block_size, self.step, self.layer.code
        index_bits = size.bit_length() - 1
        count, tile = Signal(range(size)), Signal(24 - index_bits)
        self.loaded = Signal()
        self.settle = Signal(range(self.settle_cycles + 1))
        busy, may, loads = Signal(), Signal(), Signal()
        changes = code.stack != self.now.code.stack
        free = size - 2
        m.d.comb += [
            may.eq(self.phase >= Mux(changes, free + self.skew_cycles, free)),
            loads.eq(busy | (self.held & ~self.loaded & may)),
            step.load.eq(loads),
            step.load_stack.eq(code.stack),
            step.weight_address.eq(Cat(count, tile)),
        ]
        with m.If(loads):
            m.d.sync += [count.eq(count + 1), busy.eq(1)]
            with m.If(count == size - 1):
                m.d.sync += [
                    busy.eq(0), tile.eq(tile + 1),
                    self.loaded.eq(1), self.settle.eq(self.settle_cycles - 1),
                ]  # fmt: skip
        with m.Elif(self.settle != 0):
            m.d.sync += self.settle.eq(self.settle - 1)
        with m.If(self.go):
            m.d.sync += self.loaded.eq(0)
        with m.If(self.job.ready):
            m.d.sync += tile.eq(self.job.payload.code.weight_base >> index_bits)

    def _decide(self, m: Module, most: int) -> None:
        """Begin a tile when it is loaded, the one before is in, and its inputs are written.

        What it waits for is known a cycle ahead, as far as it is not about loading.
        """
        code, now = self.layer.code, self.now
        self.ahead = ahead = Signal(
            data.StructLayout(
                {
                    "rows_are_in": unsigned(1),
                    "waits": unsigned(1),
                    "written": unsigned(1),
                    "last_row": signed(len(self.phase) + 1),
                }
            )
        )
        reads_act = Signal()
        acts = [source == act for act in (Source.ACT0, Source.ACT1)
                for source in (code.source_a, code.source_b)]  # fmt: skip
        first = (self.k == 0) & (self.n == 0)
        changes = code.stack != now.code.stack
        m.d.sync += [
            ahead.last_row.eq(now.items + Mux(changes, self.skew_cycles, 0) - 1),
            ahead.rows_are_in.eq(self.phase + 1 >= ahead.last_row),
            ahead.waits.eq(first & reads_act),
            ahead.written.eq(self.phase + 1 >= self.dependency_cycles - 1),
        ]
        m.d.comb += [
            reads_act.eq(Cat(*acts).any()),
            self.go.eq(
                self.loaded
                & (self.settle == 0)
                & ahead.rows_are_in
                & (~ahead.waits | ahead.written)
            ),
        ]
        m.d.sync += [self.row.eq(self.phase + 1 < now.items), self.first.eq(self.go)]
        with m.If(self.go):
            m.d.sync += [self.phase.eq(0), now.eq(self.layer), self.k.eq(self.k + 1)]
            m.d.sync += self.row.eq(1)
            with m.If(self.last_k):
                m.d.sync += [self.k.eq(0), self.n.eq(self.n + 1)]
        with m.Elif(self.phase != most):
            m.d.sync += self.phase.eq(self.phase + 1)
        with m.If(self.job.ready):
            m.d.sync += [self.k.eq(0), self.n.eq(0)]

    def _rows(self, m: Module) -> None:
        """Read and write addresses: an item's words lie a stride apart, or in its own engine."""
        config, step, now = self.config, self.step, self.now
        code, ahead = self.now.code, self.layer.code
        tile = Signal(data.StructLayout({"first_k": 1, "last_k": 1, "last": 1, "source": 3}))
        in_a = self.k < ahead.words_a
        word = Mux(in_a, self.k + ahead.offset_a, self.k - ahead.words_a + ahead.offset_b)
        source = Mux(in_a, ahead.source_a, ahead.source_b)
        with m.If(self.go):
            m.d.sync += [
                tile.first_k.eq(self.k == 0),
                tile.last_k.eq(self.last_k),
                tile.last.eq(self.last_tile),
                tile.source.eq(source),
            ]
        read = self._walk(
            m, "read", self._read_base(source) + word,
            Mux(source == Source.USER, 0, Mux(in_a, ahead.stride_a, ahead.stride_b)),
            source == Source.CROSS,
        )  # fmt: skip
        is_bottom = ahead.destination == Destination.BOTTOM
        bottom = Mux(self.layer.bank, config.engine_bottom_words, 0)
        is_act = (ahead.destination == Destination.ACT0) | (ahead.destination == Destination.ACT1)
        word = Mux(is_act, (self.n * config.groups_across) << ahead.stack, self.n)
        write = self._walk(
            m, "write", Mux(is_bottom, bottom, 0) + word, ahead.destination_stride, is_bottom
        )
        ends_chain = (code.destination == Destination.SCORE) | (
            code.destination == Destination.BOTTOM
        )
        m.d.comb += [
            self.tile_last_k.eq(tile.last_k),
            step.row.eq(self.row),
            step.first.eq(self.first),
            step.end.eq(self.row & (self.phase + 1 == now.items) & tile.last & ends_chain),
            step.first_k.eq(tile.first_k),
            step.last_k.eq(tile.last_k),
            step.relu.eq(code.relu),
            self.user_bank.eq(now.user_bank),
            step.destination.eq(code.destination),
            step.stack.eq(code.stack),
            step.source.eq(tile.source),
            step.read_address.eq(read),
            step.address.eq(write),
        ]

    def _read_base(self, source: Signal) -> object:
        """Return the first word of a memory, or of this sub-batch's bank of it."""
        config, bank = self.config, self.layer.bank
        dense = bank_base(config.dense_words, self.layer.item_bank)
        cross = Mux(bank, config.engine_cross_words, 0)
        user = 2 * config.dense_words + Mux(self.layer.user_bank, config.user_words, 0)
        other = Mux(source == Source.USER, user, 0)
        return Mux(source == Source.DENSE, dense, Mux(source == Source.CROSS, cross, other))

    def _walk(self, m: Module, name: str, start: object, stride: object, engines: object) -> object:
        """Return the address of the present row: from `start` in steps of `stride`.

        engines : the words of item i lie in engine i mod E, whose number is the low part.
        """
        bits = (self.config.engines - 1).bit_length()
        place = Signal(address_bits(self.config), name=f"{name}_place")
        engine = Signal(max(bits, 1), name=f"{name}_engine")
        step, apart = Signal(12, name=f"{name}_step"), Signal(name=f"{name}_apart")
        with m.If(self.go):
            m.d.sync += [place.eq(start), engine.eq(0), step.eq(stride), apart.eq(engines)]
        with m.Elif(self.row):
            if bits:
                m.d.sync += engine.eq(engine + apart)
                with m.If(~apart | engine.all()):
                    m.d.sync += place.eq(place + step)
            else:
                m.d.sync += place.eq(place + step)
        return Mux(apart, Cat(engine[:bits], place), place) if bits else place

    def _fetch(self, m: Module) -> None:
        """Fetch the parameters of the tile's output channels, early enough for its first row."""
        size, step, code = self.config.block_size, self.step, self.now.code
        begin = size - 2
        count, n = Signal(range(size)), Signal(12)
        with m.If(self.go):
            m.d.sync += n.eq(self.n)
        fold = code.param_base + n
        m.d.comb += [
            step.fetch.eq(self.tile_last_k & (self.phase >= begin) & (self.phase < begin + size)),
            count.eq(self.phase - Const(begin)),
            step.param_address.eq(Cat(count, fold)),
        ]
