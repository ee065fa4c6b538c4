"""Runs INTERACT instructions on a lane's engines: pair dots, concatenation, products."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.delay_line import delayed
from rpaccel.rtl.dot_order import result_lanes, step_layout
from rpaccel.rtl.interaction_engine import (
    OPERAND_CYCLE,
    SELECT_CYCLE,
    InteractionEngine,
    engine_control,
    join_cycle,
)
from rpaccel.rtl.interfaces import LoadBus, VectorWrite, struct
from rpaccel.rtl.item_banks import BANK_BITS
from rpaccel.rtl.layer_engine import BottomWrite
from rpaccel.rtl.pair_issue import PLACE_CYCLES, PairIssue, read_layout
from rpaccel.rtl.pair_packer import PackControl
from rpaccel.rtl.repeated import repeated
from rpaccel.rtl.requantise import SHIFT_BITS, Requantise
from rpaccel.rtl.vector_memories import WordRead
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import INSTRUCTION, Target

__all__ = ["Interaction", "PairParameters"]

_PAIR = data.StructLayout({"multiplier": 16, "shift": SHIFT_BITS})


class PairParameters(wiring.Component):
    """PAIR memory: the parameters of the next results, as many as an engine makes per cycle.

    Entry n lies in bank n % lanes, so that consecutive ones come from all banks at once.

    Members:
      load           fills PAIR.
      base, restart  the results of this cycle are an item's first: they begin at entry `base`.
      advance        entries that the results of this cycle use up.
      one            (a cycle later) all results take the first entry.
      copy           (a cycle later) all results take multiplier 1 and shift 0.
      multiplier     2 cycles later. shift : as much later as Requantise takes it later.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        lanes = result_lanes(config)
        super().__init__(
            {
                "load": In(LoadBus(config)),
                "base": In(16), "restart": In(1), "advance": In(range(lanes + 1)),
                "one": In(1), "copy": In(1),
                "multiplier": Out(data.ArrayLayout(16, lanes)),
                "shift": Out(data.ArrayLayout(SHIFT_BITS, lanes)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        lanes = result_lanes(self.config)
        lane_bits = lanes.bit_length() - 1

        # Next entry; banks in front of its own hold entries of the next row.
        entry, following = Signal(16), Signal(16)
        m.d.comb += entry.eq(Mux(self.restart, self.base, following))
        m.d.sync += following.eq(entry + self.advance)
        rotate = Signal(lane_bits)
        m.d.sync += rotate.eq(entry)
        banks = [
            self._bank(m, n, (entry >> lane_bits) + (entry[:lane_bits] > n)) for n in range(lanes)
        ]

        # Choice, then the wait of the shift.
        wait = Requantise.shift_cycle - Requantise.multiplier_cycle
        words = Cat(banks)
        first = Signal(_PAIR)
        m.d.comb += first.eq(words.word_select(rotate, _PAIR.size))
        for n in range(lanes):
            chosen, taken = Signal(_PAIR), Signal(_PAIR)
            turned = words.word_select((rotate + n)[:lane_bits], _PAIR.size)
            m.d.comb += chosen.eq(Mux(self.one, first, turned))
            m.d.sync += taken.eq(Mux(self.copy, _PAIR.const({"multiplier": 1}), chosen))
            m.d.comb += [
                self.multiplier[n].eq(taken.multiplier),
                self.shift[n].eq(delayed(m, taken.shift, wait, f"shift_{n}", resets=0)),
            ]
        return m

    def _bank(self, m: Module, number: int, address: Value) -> Value:
        config, lanes = self.config, result_lanes(self.config)
        m.submodules[f"bank_{number}"] = memory = Memory(
            shape=_PAIR, depth=-(-config.pair_entries // lanes), init=[]
        )
        write, read = memory.write_port(), memory.read_port()
        index = self.load.index
        lane_bits = lanes.bit_length() - 1
        mine = (self.load.target == Target.PAIR) & (index[:lane_bits] == number)
        m.d.comb += [
            write.en.eq(self.load.valid & mine),
            write.addr.eq(index >> lane_bits),
            write.data.eq(self.load.data[: _PAIR.size]),
            read.addr.eq(address),
        ]
        return Value.cast(read.data)


class Interaction(wiring.Component):
    """E engines in lockstep on E items, group after group; see perfmodel.interaction for rates.

    Item n lies in engine n % E. An output row is vector 0, then the results of the kind, without
    a gap, padded with zeros to words. Busy for exactly `interaction_cycles` of perfmodel. At least
    one vector besides vector 0; PRODUCT: at least one on each side. It works on its banks while
    the others of every memory are written and read by others.

    Members:
      load          fills PAIR.
      start         begin `instruction` (an INTERACT) with `items` items, whose vectors are in
                    `item_bank`, BOTTOM and CROSS in `bank`, and the user of `user_bank`, laid
                    out as row_bytes, item_vector_words (of the slot) say; all constant until done.
      busy          from the cycle after start to the cycle of done.
      done          one cycle, the last; what was written can be read from the next one on.
      vectors       gathered vectors; can be read from 2 cycles later on.
      bottom        slices of BOTTOM words: address (bank * engine_bottom_words + item // E *
                    words per vector + word) * E + item % E; can be read from 2 cycles later on.
      cross         slices of CROSS words: address (bank * engine_cross_words + item // E *
                    destination_stride + word) * E + item % E.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "load": In(LoadBus(config)),
                "start": In(1),
                "instruction": In(struct(INSTRUCTION)),
                "items": In(16),
                "item_bank": In(BANK_BITS),
                "bank": In(1),
                "user_bank": In(1),
                "row_bytes": In(16),
                "item_vector_words": In(16),
                "busy": Out(1),
                "done": Out(1),
                "vectors": In(VectorWrite(config)).array(config.gather_ports),
                "bottom": In(BottomWrite(config)).array(config.blocks),
                "cross": In(WordRead(config)).array(config.blocks),
            }
        )

    @property
    def drain_cycles(self) -> int:
        """Cycles from an instruction's last step to `done`."""
        return PLACE_CYCLES + self._done_cycle + 1

    @property
    def _sum_cycle(self) -> int:
        """Cycle in which chunks of a vector are added up; 0: their addresses are at the engines."""
        return join_cycle(self.config, (result_lanes(self.config) - 1).bit_length())

    @property
    def _done_cycle(self) -> int:
        pack, left_over = 1, 1  # the item's last word can be followed by one more
        return self._sum_cycle + Requantise.latency_cycles + pack + left_over

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config, code = self.config, self.instruction

        # Steps, kept as long as anything depends on them.
        m.submodules.issue = issue = PairIssue(config)
        m.d.comb += [
            issue.start.eq(self.start),
            issue.instruction.eq(code),
            issue.items.eq(self.items),
            issue.item_bank.eq(self.item_bank),
            issue.bank.eq(self.bank),
            issue.user_bank.eq(self.user_bank),
            issue.row_bytes.eq(self.row_bytes),
            issue.item_vector_words.eq(self.item_vector_words),
            issue.drained.eq(self.done),
            self.busy.eq(issue.busy),
        ]
        steps = [Signal(step_layout(config), name=f"step_{n}") for n in range(self._done_cycle + 1)]
        reads = [Signal(read_layout(config), name=f"read_{n}") for n in range(SELECT_CYCLE + 1)]
        for line, value in ((steps, issue.step), (reads, issue.read)):
            m.d.sync += line[0].eq(value)
            m.d.sync += [after.eq(before) for before, after in pairwise(line)]

        # What the engines are told.
        control = Signal(engine_control(config))
        m.d.comb += [control.read.eq(reads[0]), control.select.eq(reads[SELECT_CYCLE])]
        self._operands(m, control, steps)
        self._parameters(m, control, steps)
        self._pack(m, control, steps)
        self._engines(m, control)
        return m

    def _operands(self, m: Module, control: data.View, steps: list[data.View]) -> None:
        config, lanes = self.config, result_lanes(self.config)
        joins = (lanes - 1).bit_length()
        operands, total = steps[OPERAND_CYCLE], steps[self._sum_cycle]
        m.d.comb += [control.step.eq(operands), control.more.eq(total.more)]
        for level in range(joins + 1):
            # A vector has 2**level lanes, or at least as many as there are.
            fits = Signal(name=f"lanes_{1 << level}")
            m.d.sync += fits.eq(
                self.row_bytes == 4 << level if level < joins else self.row_bytes >= 4 * lanes
            )
            m.d.comb += control.moves[level].eq(fits)
            with m.If(fits):
                for n in range(lanes):
                    row = (operands.row << level)[: max(joins, 1)]
                    m.d.comb += control.lanes[n].eq(row | (n & ((1 << level) - 1)))
        for level in range(joins):
            longer = Signal(name=f"longer_than_{1 << level}")
            m.d.sync += longer.eq(self.row_bytes >= 8 << level)
            step = steps[join_cycle(config, level)]
            m.d.comb += control.join[level].eq(~step.bytewise & longer)
            if level == 0:
                m.d.comb += control.wide.eq(~total.bytewise & longer)

    def _parameters(self, m: Module, control: data.View, steps: list[data.View]) -> None:
        m.submodules.parameters = parameters = PairParameters(self.config)
        wiring.connect(m, wiring.flipped(self.load), parameters.load)
        step, answered = steps[self._sum_cycle], steps[self._sum_cycle + 1]
        m.d.comb += [
            parameters.base.eq(self.instruction.param_base),
            parameters.restart.eq(step.restart),
            parameters.advance.eq(step.advance),
            parameters.one.eq(answered.bytewise),
            parameters.copy.eq(answered.copy),
            control.multiplier.eq(parameters.multiplier),
            control.shift.eq(parameters.shift),
        ]

    def _pack(self, m: Module, control: data.View, steps: list[data.View]) -> None:
        m.submodules.pack = pack = PackControl(self.config)
        step = steps[self._sum_cycle + Requantise.latency_cycles]
        m.d.comb += [
            pack.start.eq(self.start),
            pack.base.eq(Mux(self.bank, self.config.engine_cross_words, 0)),
            pack.stride.eq(self.instruction.destination_stride),
            pack.count.eq(step.count),
            pack.last.eq(step.last),
            control.pack.eq(pack.o),
            self.done.eq(steps[self._done_cycle].final),
        ]

    def _engines(self, m: Module, control: data.View) -> None:
        """Place the engines; outside addresses have the engine in their low bits."""
        config = self.config
        engine_bits = config.engines.bit_length() - 1
        engines = [InteractionEngine(config) for _ in range(config.engines)]
        for n, engine in enumerate(engines):
            m.submodules[f"engine_{n}"] = repeated(engine)
            m.d.comb += engine.control.eq(control)
        self._write_vectors(m, engines, engine_bits)

        for j, (bottom, cross) in enumerate(zip(self.bottom, self.cross, strict=True)):
            written, read = (_registered(m, bottom, j), Signal(engine_bits, name=f"read_from_{j}"))
            valid, address, slice_data = written
            m.d.sync += read.eq(cross.address)
            for n, engine in enumerate(engines):
                m.d.comb += [
                    engine.bottom_valid[j].eq(valid & (address[:engine_bits] == n)),
                    engine.bottom_address[j].eq(address >> engine_bits),
                    engine.bottom_data[j].eq(slice_data),
                    engine.cross_address[j].eq(cross.address >> engine_bits),
                ]
            read_data = Cat(engine.cross_data[j] for engine in engines)
            m.d.comb += cross.data.eq(read_data.word_select(read, 8 * config.block_size))

    def _write_vectors(self, m: Module, engines: list[InteractionEngine], engine_bits: int) -> None:
        """User-side vectors go to all engines, an item's to its own; a register in between."""
        config, ports = self.config, []
        for n, vectors in enumerate(self.vectors):
            port = SimpleNamespace(
                address=Signal.like(engines[0].vector_address, name=f"vector_{n}_address"),
                mask=Signal(config.vector_word_bytes // 4, name=f"vector_{n}_mask"),
                data=Signal(8 * config.vector_word_bytes, name=f"vector_{n}_data"),
                user=Signal(name=f"vector_{n}_user"),
                engine=Signal(engine_bits, name=f"vector_{n}_engine"),
            )
            item_address = 2 * config.user_vector_words + (vectors.address >> engine_bits)
            m.d.sync += [
                port.address.eq(Mux(vectors.user, vectors.address, item_address)),
                port.mask.eq(Mux(vectors.valid & vectors.vector, vectors.mask, 0)),
                port.data.eq(vectors.data),
                port.user.eq(vectors.user),
                port.engine.eq(vectors.address),
            ]
            ports.append(port)
        for n, engine in enumerate(engines):
            port, users = ports[n % len(ports)], ports[0]
            m.d.comb += [
                engine.vector_address.eq(port.address),
                engine.vector_data.eq(port.data),
                engine.vector_enable.eq(Mux(port.user | (port.engine == n), port.mask, 0)),
            ]
            if port is not users:
                with m.If(users.user & users.mask.any()):
                    m.d.comb += [
                        engine.vector_address.eq(users.address),
                        engine.vector_data.eq(users.data),
                        engine.vector_enable.eq(users.mask),
                    ]


def _registered(m: Module, bottom: wiring.PureInterface, number: int) -> tuple[Signal, ...]:
    """Return valid, address and data of a write port, one cycle later."""
    signals = []
    for name in ("valid", "address", "data"):
        value = getattr(bottom, name)
        signals.append(Signal.like(value, name=f"bottom_{number}_{name}"))
        m.d.sync += signals[-1].eq(value)
    return tuple(signals)
