"""Runs LAYER instructions: a dense layer over the items of a sub-batch."""

from __future__ import annotations

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.accumulator import Accumulator
from rpaccel.rtl.delay_line import delayed
from rpaccel.rtl.interfaces import LoadBus, struct
from rpaccel.rtl.systolic_array import SystolicArray, array_cycles
from rpaccel.rtl.tile_issue import TileIssue
from rpaccel.rtl.vector_memories import READ_CYCLES, ActivationWrite, VectorRead
from rpaccel.rtl.vector_unit import VectorUnit
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import INSTRUCTION, Destination, Target

__all__ = ["LayerEngine"]


class LayerEngine(wiring.Component):
    """Systolic array, weight memory, accumulators and vector unit under one sequencer.

    Busy for exactly `perfmodel.layer_engine.layer_cycles` cycles, whatever the data; the results
    of an instruction are all written when it ends. A row that is read in cycle t is written in
    t + `row_cycles`.

    Members:
      load          fills WEIGHT and PARAM.
      start         begin `instruction` (a LAYER) with `items` rows (1..sub_batch_max) from FEATURE
                    bank `bank`; all three stay constant until done.
      busy          from the cycle after start to the cycle of done.
      done          one cycle, the last.
      read, write   vector memories.
      o_valid, o_logit   int16, one per item in item order, if the destination is SCORE.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "load": In(LoadBus(config)),
                "start": In(1),
                "instruction": In(struct(INSTRUCTION)),
                "items": In(16),
                "bank": In(1),
                "busy": Out(1),
                "done": Out(1),
                "read": Out(VectorRead(config)),
                "write": Out(ActivationWrite(config)),
                "o_valid": Out(1),
                "o_logit": Out(signed(16)),
            }
        )

    @property
    def row_cycles(self) -> int:
        """Cycles from reading a row to writing its result."""
        array = array_cycles(self.config.array_size)
        # The total is formed in the cycle after the array's sums: latency - 1.
        adder = Accumulator.latency_cycles - 1
        return READ_CYCLES + array + adder + VectorUnit.latency_cycles

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config, code = self.config, self.instruction
        m.submodules.issue = issue = TileIssue(config)
        m.submodules.array = array = SystolicArray(config.array_size, config.block_size)
        m.submodules.accumulator = accumulator = Accumulator(config)
        m.submodules.vector_unit = vector = VectorUnit(config)

        # Control.
        m.d.comb += [
            issue.start.eq(self.start),
            issue.instruction.eq(code),
            issue.items.eq(self.items),
            issue.bank.eq(self.bank),
            issue.drained.eq(self.done),
            self.busy.eq(issue.busy),
            self.read.source.eq(issue.source),
            self.read.address.eq(issue.address),
        ]

        # Rows through array and accumulator.
        swap = delayed(m, issue.row & issue.first_row, READ_CYCLES, "swap")
        flags = Cat(issue.row, issue.first_row, issue.first_k, issue.last_k)
        control = delayed(m, flags, READ_CYCLES + array.latency_cycles - 1, "control")
        m.d.comb += [
            Value.cast(array.i_row).eq(self.read.data),
            array.i_swap.eq(swap),
            Cat(accumulator.row, accumulator.first_row, accumulator.first_k, accumulator.last_k).eq(
                control
            ),
            accumulator.i_sum.eq(array.o_sum),
        ]

        # Requantise.
        wiring.connect(m, wiring.flipped(self.load), vector.load)
        m.d.comb += [
            vector.fetch.eq(issue.fetch),
            vector.address.eq(issue.param_address),
            vector.relu.eq(code.relu),
            vector.logit.eq(code.destination == Destination.SCORE),
            vector.swap.eq(accumulator.o_swap),
            vector.i_valid.eq(accumulator.o_valid),
            vector.i_sum.eq(accumulator.o_sum),
        ]
        self._weights(m, issue, array)
        self._store(m, vector)
        return m

    def _weights(self, m: Module, issue: TileIssue, array: SystolicArray) -> None:
        """Add the weight memory; its rows come as late as the activations, in issue order."""
        width = 8 * self.config.array_size
        m.submodules.weight = memory = Memory(shape=width, depth=self.config.weight_words, init=[])
        write, read = memory.write_port(), memory.read_port()
        word = Signal(width)
        m.d.sync += word.eq(read.data)
        m.d.comb += [
            write.en.eq(self.load.valid & (self.load.target == Target.WEIGHT)),
            write.addr.eq(self.load.index),
            write.data.eq(self.load.data),
            read.addr.eq(issue.weight_address),
            Value.cast(array.i_weight).eq(word),
            array.i_load.eq(delayed(m, issue.weight, READ_CYCLES, "load")),
        ]

    def _store(self, m: Module, vector: VectorUnit) -> None:
        """Add the results' addresses: item * destination_stride + n."""
        code = self.instruction
        item, n = Signal(16), Signal(8)
        address = Signal.like(self.write.address)
        last = Signal()
        score = code.destination == Destination.SCORE
        m.d.comb += [
            last.eq(item + 1 == self.items),
            self.done.eq(vector.o_valid & last & (n + 1 == code.n_folds)),
            self.write.valid.eq(vector.o_valid & ~score),
            self.write.act1.eq(code.destination == Destination.ACT1),
            self.write.address.eq(address),
            self.write.data.eq(vector.o_word),
            self.o_valid.eq(vector.o_valid & score),
            self.o_logit.eq(vector.o_logit),
        ]
        with m.If(self.start):
            m.d.sync += [item.eq(0), n.eq(0), address.eq(0)]
        with m.Elif(vector.o_valid):
            m.d.sync += [
                item.eq(Mux(last, 0, item + 1)),
                n.eq(n + last),
                address.eq(Mux(last, n + 1, address + code.destination_stride)),
            ]
