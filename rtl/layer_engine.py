"""Runs layers: order of the tiles, words from the vector memories, rows to and from the array."""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.delay_line import delayed
from rpaccel.rtl.interfaces import VectorWrite
from rpaccel.rtl.systolic_array import SystolicArray
from rpaccel.rtl.tile import tile_latency_cycles
from rpaccel.rtl.tile_issue import STEP_FLAGS, TileIssue, job_layout, step_layout
from rpaccel.rtl.tokens import TOKEN_FLAGS, address_bits, tile_input_layout, tile_output_layout
from rpaccel.rtl.vector_memories import READ_CYCLES, VectorSlice, WordRead
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Destination

__all__ = ["BottomWrite", "LayerEngine"]


class BottomWrite(wiring.Signature):
    """A slice of a word of vector 0. Members (all Out): valid, address, data."""

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            {
                "valid": Out(1),
                "address": Out(address_bits(config)),
                "data": Out(8 * config.block_size),
            }
        )


class LayerEngine(wiring.Component):
    """Layers as they come: rows to the array, results into ACT0, ACT1, BOTTOM, or out as logits.

    Block row i lags i * block_size cycles behind the first one, results of block column j as much:
    reading, writing and the array's control are delayed, not the data. The first slice of a row is
    read `score_cycles` before its logit leaves, `row_cycles` before its last result is written.

    Members:
      job       In(stream of job_layout()).
      vectors   dense words from gather.
      rows      Out: what enters the block rows of the lane's rectangle.
      outs      In: what leaves its tiles, by block row and block column.
      cross     the slices' read ports of the interaction's outputs.
      bottom    the slices of vector 0.
      o_valid, o_logit   int16, one per item in item order.
      bottom_done_stb   a chain of layers has ended, vector 0 of all its items is written.
      score_done_stb    a chain of layers has ended with this cycle's logit.
      busy      a row enters the array, of user `user_bank`.
      weights_busy, weights_exposed, tile_stb   a row of weights goes into the array; rows wait for
                weights; a weight tile comes into use.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        blocks = config.blocks
        outs = data.ArrayLayout(tile_output_layout(config), config.block_cols)
        super().__init__(
            {
                "job": In(stream.Signature(job_layout())),
                "vectors": In(VectorWrite(config)),
                "rows": Out(tile_input_layout(config)).array(config.block_rows),
                "outs": In(outs).array(config.block_rows),
                "cross": Out(WordRead(config)).array(blocks),
                "bottom": Out(BottomWrite(config)).array(blocks),
                "o_valid": Out(1),
                "o_logit": Out(signed(16)),
                "bottom_done_stb": Out(1),
                "score_done_stb": Out(1),
                "busy": Out(1),
                "user_bank": Out(1),
                "weights_busy": Out(1),
                "weights_exposed": Out(1),
                "tile_stb": Out(1),
            }
        )

    @property
    def score_cycles(self) -> int:
        """Cycles from reading a row's first slice to the result of the first block column."""
        lag = self.config.array_size - self.config.block_size
        array = SystolicArray.input_cycles + SystolicArray.output_cycles
        return READ_CYCLES + array + tile_latency_cycles(self.config) + lag

    @property
    def row_cycles(self) -> int:
        """Cycles from reading a row's first slice to writing its result's last one."""
        return self.score_cycles + self.config.array_size - self.config.block_size

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config, blocks = self.config, self.config.blocks
        m.submodules.issue = issue = TileIssue(config)
        wiring.connect(m, wiring.flipped(self.job), issue.job)
        m.d.comb += [
            self.busy.eq(issue.step.row),
            self.user_bank.eq(issue.user_bank),
            self.weights_busy.eq(issue.step.load),
            self.weights_exposed.eq(issue.exposed),
            self.tile_stb.eq(issue.step.first),
        ]

        # Steps: block row i sees them i * b cycles later.
        steps = [issue.step]
        for i in range(1, blocks):
            step = Signal(step_layout(config), name=f"step_{i}")
            late = delayed(
                m, Value.cast(steps[-1]), config.block_size, f"step_{i}", resets=STEP_FLAGS
            )
            m.d.comb += Value.cast(step).eq(late)
            steps.append(step)

        # Words: slice i is read by the step of block row i.
        slices = []
        for i, step in enumerate(steps):
            m.submodules[f"slice_{i}"] = part = VectorSlice(config, i)
            wiring.connect(m, wiring.flipped(self.vectors), part.vectors)
            wiring.connect(m, part.cross, wiring.flipped(self.cross[i]))
            m.d.comb += [part.source.eq(step.source), part.address.eq(step.read_address)]
            self._outs(m, i, part)
            slices.append(part)

        for i in range(config.block_rows):
            self._row(m, i, steps, slices)
        self._results(m)
        score = issue.step.destination == Destination.SCORE
        for stb, end, cycles, name in (
            (self.score_done_stb, issue.step.end & score, self.score_cycles, "score_end"),
            (self.bottom_done_stb, issue.step.end & ~score, self.row_cycles, "bottom_end"),
        ):
            m.d.comb += stb.eq(delayed(m, end, cycles, name))
        return m

    def _outs(self, m: Module, i: int, part: VectorSlice) -> None:
        """Give slice i the outputs of its block column in every square across, each a word on."""
        across = self.config.groups_across
        for r, row in enumerate(self.outs):
            for square in range(across):
                out, mine = row[square * self.config.blocks + i], part.outs[r * across + square]
                m.d.comb += [mine.eq(out), mine.address.eq(out.address + square)]

    def _row(self, m: Module, i: int, steps: list[Signal], slices: list[VectorSlice]) -> None:
        """Give block row i the step of its place in its group, in every way of grouping.

        With 2**stack groups of h block rows, row i takes the step and the slice of row i mod h.
        Only layers that write ACT0 or ACT1 have results of more than one group.
        """
        config, rows = self.config, self.config.block_rows
        token = Signal(tile_input_layout(config), name=f"token_{i}")
        words = []
        for stack in range(config.groups_down.bit_length() - 1, rows.bit_length()):
            height = rows >> stack
            step = steps[i % height]
            is_act = (step.destination == Destination.ACT0) | (step.destination == Destination.ACT1)
            word = i // height * config.groups_across
            row, load = Signal(name=f"row_{i}_{stack}"), Signal(name=f"load_{i}_{stack}")
            fetch = Signal(name=f"fetch_{i}_{stack}")
            m.d.comb += [
                row.eq(step.row & (step.stack == stack)),
                load.eq(step.load & (step.load_stack == stack)),
                fetch.eq(step.fetch & (step.stack == stack)),
            ]
            with m.If(row):
                m.d.comb += [
                    token.row.eq(1),
                    token.cut.eq(i % height == 0),
                    token.tap.eq((is_act | (i < height)) & (i % height == height - 1)),
                    token.address.eq(step.address + word),
                ]
                names = ("first", "first_k", "last_k", "relu", "destination")
                m.d.comb += [token[name].eq(step[name]) for name in names]
            with m.If(load):
                m.d.comb += [token.load.eq(1), token.weight_address.eq(step.weight_address)]
            with m.If(fetch):
                m.d.comb += [token.fetch.eq(1), token.param_address.eq(step.param_address)]
            chosen = delayed(m, row, READ_CYCLES, f"chosen_{i}_{stack}")
            words.append(Mux(chosen, slices[i % height].data, 0))
        word = words[0]
        for other in words[1:]:
            word = word | other
        late = Signal.like(token, name=f"late_{i}")
        m.d.comb += [
            Value.cast(late).eq(
                delayed(m, Value.cast(token), READ_CYCLES, f"token_{i}", resets=TOKEN_FLAGS)
            ),
            self.rows[i].eq(late),
            self.rows[i].data.eq(word),
        ]

    def _results(self, m: Module) -> None:
        """Vector 0 goes to the interaction, channel 0 of a SCORE layer is the logit."""
        for j in range(self.config.blocks):
            for row in self.outs:
                out = row[j]
                with m.If(out.valid & (out.destination == Destination.BOTTOM)):
                    m.d.comb += [
                        self.bottom[j].valid.eq(1),
                        self.bottom[j].address.eq(out.address),
                        self.bottom[j].data.eq(out.data),
                    ]
        for row in self.outs:
            out = row[0]
            with m.If(out.valid & (out.destination == Destination.SCORE)):
                m.d.comb += [self.o_valid.eq(1), self.o_logit.eq(out.logit)]
