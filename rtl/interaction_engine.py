"""One interaction engine: the memories of its items, multipliers, requantise lanes, packer."""

from __future__ import annotations

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.dot_order import held_chunks, result_lanes, step_layout
from rpaccel.rtl.pair_issue import read_layout
from rpaccel.rtl.pair_packer import PairPacker, pack_layout
from rpaccel.rtl.repeated import repeated
from rpaccel.rtl.requantise import SHIFT_BITS, Requantise
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["OPERAND_CYCLE", "SELECT_CYCLE", "InteractionEngine", "engine_control", "join_cycle"]

# From the cycle of an address to that in which its chunks are chosen, and their bytes.
SELECT_CYCLE = 1
OPERAND_CYCLE = 2
_SUM_BITS = 23  # 128 products of 15 bits and a sign


def join_cycle(config: AcceleratorConfig, level: int) -> int:
    """Return the cycles from an address to adding neighbouring sums of 4 bytes << `level`.

    The level behind the last one stands for the sum over the chunks of a vector.
    """
    multiply, add_four = 1, 2
    return OPERAND_CYCLE + 1 + multiply + add_four + level


def _joins(config: AcceleratorConfig) -> int:
    return (result_lanes(config) - 1).bit_length()


def engine_control(config: AcceleratorConfig) -> data.StructLayout:
    """What all engines do in this cycle; each member belongs to another stage.

    read : addresses. select : the same, SELECT_CYCLE later; chooses the chunks.
    step : operands, OPERAND_CYCLE later. with, at the same time: lanes, which lane (4 bytes) of
    the held chunk each lane of the stream meets, and moves, bit n: vectors take 2**n lanes
    (the highest: or more).
    join : neighbouring sums are added, a bit per level at its join_cycle. wide, more : join[0]
    and the step's `more` at the last join_cycle. multiplier, shift : see Requantise; multiplier 0
    cycles after it takes them. pack : of the results.
    """
    lanes = result_lanes(config)
    return data.StructLayout(
        {
            "read": read_layout(config),
            "select": read_layout(config),
            "step": step_layout(config),
            "lanes": data.ArrayLayout(range(lanes), lanes),
            "moves": unsigned(_joins(config) + 1),
            "join": unsigned(_joins(config)),
            "wide": unsigned(1),
            "more": unsigned(1),
            "multiplier": data.ArrayLayout(16, lanes),
            "shift": data.ArrayLayout(SHIFT_BITS, lanes),
            "pack": pack_layout(config),
        }
    )


class InteractionEngine(wiring.Component):
    """Does what `control` says to its items; all engines get the same control.

    A word written in cycle t can be read from cycle t + 1 on.

    Members:
      control        see engine_control.
      vector_address, vector_data, vector_enable   write of a vector word, 4 bytes per enable.
      bottom_valid, bottom_address, bottom_data    writes of the slices of BOTTOM words.
      cross_address, cross_data   reads of the slices of CROSS words; data come one cycle later.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        blocks, slice_bits = config.blocks, 8 * config.block_size
        bottom, cross = range(2 * config.engine_bottom_words), range(2 * config.engine_cross_words)
        super().__init__(
            {
                "control": In(engine_control(config)),
                "vector_address": In(read_layout(config)["vector"].shape),
                "vector_data": In(8 * config.vector_word_bytes),
                "vector_enable": In(config.vector_word_bytes // 4),
                "bottom_valid": In(blocks),
                "bottom_address": In(data.ArrayLayout(bottom, blocks)),
                "bottom_data": In(data.ArrayLayout(slice_bits, blocks)),
                "cross_address": In(data.ArrayLayout(cross, blocks)),
                "cross_data": Out(data.ArrayLayout(slice_bits, blocks)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        control, lanes, size = self.control, result_lanes(self.config), self.config.chunk_bytes

        # A chunk of each memory.
        vector, bottom = (
            Signal(data.ArrayLayout(32, lanes), name=n, reset_less=True)
            for n in ("vector", "bottom")
        )
        m.d.sync += [
            vector.as_value().eq(
                self._vectors(m).word_select(control.select.vector_chunk, 8 * size)
            ),
            bottom.as_value().eq(
                self._bottom(m).word_select(control.select.bottom_chunk, 8 * size)
            ),
        ]

        # Sums of four products; joined, those of longer vectors.
        left, right = self._operands(m, vector, bottom)
        sums = _registers(m, "product", [a * b for a, b in zip(left, right, strict=True)])
        for name in ("two", "four"):
            sums = _registers(m, name, [a + b for a, b in zip(sums[::2], sums[1::2], strict=True)])
        for level in range(_joins(self.config)):
            sums = _joined(m, sums, level, control.join[level])

        # Over the chunks of a vector; then there is one sum per cycle at most.
        totals = [
            Signal(signed(_SUM_BITS), name=f"total_{n}", reset_less=True) for n in range(lanes)
        ]
        m.d.sync += [total.eq(value) for total, value in zip(totals, sums, strict=True)]
        m.d.sync += totals[0].eq(Mux(control.more, totals[0], 0) + sums[0])
        if lanes == 4:
            m.d.sync += totals[1].eq(Mux(control.wide, sums[2], sums[1]))

        # Requantise and pack.
        packer = PairPacker(self.config)
        m.submodules.packer = packer
        m.d.comb += packer.control.eq(control.pack)
        for n in range(lanes):
            requantise = Requantise(wide=False)
            m.submodules[f"requantise_{n}"] = repeated(requantise)
            m.d.comb += [
                requantise.i_sum.eq(totals[n]),
                requantise.i_multiplier.eq(control.multiplier[n]),
                requantise.i_shift.eq(control.shift[n]),
                packer.results[n].eq(requantise.o),
            ]
        self._cross(m, packer.word.as_value())
        return m

    def _operands(
        self, m: Module, vector: data.View, bottom: data.View
    ) -> tuple[list[Value], list[Value]]:
        """Choose the bytes that are multiplied: of the held chunk, and of the stream."""
        step, lanes = self.control.step, result_lanes(self.config)
        chunk = vector.shape()
        held = Signal(data.ArrayLayout(chunk, held_chunks(self.config)), reset_less=True)
        fetched = Signal(chunk, reset_less=True)
        own, stream = Signal(chunk), Signal(chunk)
        with m.If(step.fetch):
            m.d.sync += fetched.eq(vector)
        m.d.comb += [
            own.eq(Mux(step.swap, fetched, Mux(step.load, vector, held[step.chunk]))),
            stream.eq(Mux(step.bottom, bottom, Mux(step.diagonal, own, vector))),
        ]
        m.d.sync += held[step.chunk].eq(own)
        moved = self._moved(m, stream, bottom)

        # A product alone takes the first byte of its lane; copies are products with 1.
        own_bytes, stream_bytes = (
            value.as_value().word_select(step.quarter, 8 * lanes) for value in (own, stream)
        )
        left, right = (Signal(chunk, name=name, reset_less=True) for name in ("left", "right"))
        for n in range(lanes):
            single = own_bytes.word_select(n, 8)
            m.d.sync += [
                left[n].eq(
                    Mux(step.bytewise, Mux(step.copy, 1, single), own[self.control.lanes[n]])
                ),
                right[n].eq(Mux(step.bytewise, stream_bytes.word_select(n, 8), moved[n])),
            ]
        return _int8(left), _int8(right)

    def _moved(self, m: Module, stream: data.View, bottom: data.View) -> list[Signal]:
        """Return the stream's lanes, a vector further up if the step says so."""
        step, moves, lanes = self.control.step, self.control.moves, result_lanes(self.config)
        # Of the chunk before.
        last = [Signal(32, name=f"last_{n}", reset_less=True) for n in range(lanes // 2)]
        moved = [Signal(32, name=f"moved_{n}") for n in range(lanes)]
        m.d.comb += [lane.eq(stream[n]) for n, lane in enumerate(moved)]
        for level in range(_joins(self.config) + 1):
            width = 1 << level
            with m.If(step.shift & moves[level]):
                for n, lane in enumerate(moved):
                    before = Mux(step.first, bottom[n], last[n] if n < lanes // 2 else 0)
                    m.d.comb += lane.eq(before if n < width else stream[n - width])
            if width <= lanes // 2:
                with m.If(moves[level]):
                    m.d.sync += [last[n].eq(stream[lanes - width + n]) for n in range(width)]
        return moved

    def _vectors(self, m: Module) -> Value:
        """Return the word of the vector memory: two banks of users, then those of items."""
        config = self.config
        depth = 2 * (config.user_vector_words + config.engine_vector_words)
        m.submodules.vectors = memory = Memory(
            shape=unsigned(8 * config.vector_word_bytes), depth=depth, init=[]
        )
        write, read = memory.write_port(granularity=32), memory.read_port()
        m.d.comb += [
            write.addr.eq(self.vector_address),
            write.data.eq(self.vector_data),
            write.en.eq(self.vector_enable),
            read.addr.eq(self.control.read.vector),
        ]
        return read.data

    def _bottom(self, m: Module) -> Value:
        config = self.config
        slices = []
        for n in range(config.blocks):
            m.submodules[f"bottom_{n}"] = memory = Memory(
                shape=unsigned(8 * config.block_size), depth=2 * config.engine_bottom_words, init=[]
            )
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.addr.eq(self.bottom_address[n]),
                write.data.eq(self.bottom_data[n]),
                write.en.eq(self.bottom_valid[n]),
                read.addr.eq(self.control.read.bottom),
            ]
            slices.append(read.data)
        return Cat(slices)

    def _cross(self, m: Module, word: Value) -> None:
        config, pack = self.config, self.control.pack
        width = 8 * config.block_size
        for n in range(config.blocks):
            m.submodules[f"cross_{n}"] = memory = Memory(
                shape=unsigned(width), depth=2 * config.engine_cross_words, init=[]
            )
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.addr.eq(pack.address),
                write.data.eq(word.word_select(n, width)),
                write.en.eq(pack.write),
                read.addr.eq(self.cross_address[n]),
                self.cross_data[n].eq(read.data),
            ]


def _int8(chunk: data.View) -> list[Value]:
    value = chunk.as_value()
    return [value[n : n + 8].as_signed() for n in range(0, len(value), 8)]


def _registers(m: Module, name: str, values: list[Value]) -> list[Value]:
    registers = [
        Signal(value.shape(), name=f"{name}_{n}", reset_less=True) for n, value in enumerate(values)
    ]
    m.d.sync += [register.eq(value) for register, value in zip(registers, values, strict=True)]
    return registers


def _joined(m: Module, sums: list[Value], level: int, join: Value) -> list[Value]:
    """Add sums that lie 2**level lanes apart into the lower one of each pair, if `join`."""
    distance = 1 << level
    added = [
        value + Mux(join, sums[n + distance], 0) if n % (2 * distance) == 0 else value
        for n, value in enumerate(sums)
    ]
    return _registers(m, f"join_{distance}", added)
