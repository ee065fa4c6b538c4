"""A lane's compute: vector memories, layer engine, interaction and their sequencer."""

from __future__ import annotations

from amaranth.hdl import Assert, Cat, Elaboratable, Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interaction import Interaction
from rpaccel.rtl.interfaces import LoadBus, VectorWrite, batch_layout, struct
from rpaccel.rtl.layer_engine import LayerEngine
from rpaccel.rtl.score_queue import ScoreQueue, logit_layout
from rpaccel.rtl.sequencer import Sequencer
from rpaccel.rtl.systolic_array import SystolicArray
from rpaccel.rtl.tokens import tile_input_layout, tile_output_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import SLOT

__all__ = ["ComputeCore", "LaneCompute", "join_tiles"]


def join_tiles(m: Module, rows: list, outs: list, tiles: wiring.PureInterface) -> None:
    """Join a lane's rows and outs with its ports of the array, whose fields may be wider."""
    for token, row, results, collected in zip(rows, tiles.i, outs, tiles.out, strict=False):
        m.d.comb += [row[name].eq(token[name]) for name, _ in token.shape()]
        for n in range(results.shape().length):
            result = results[n]
            m.d.comb += [result[name].eq(collected[n][name]) for name, _ in result.shape()]


def _members(config: AcceleratorConfig) -> dict[str, wiring.Member]:
    """Return what a lane's compute and a core have in common."""
    return {
        "load": In(LoadBus(config)),
        "vectors": In(VectorWrite(config)).array(config.gather_ports),
        "slot": In(struct(SLOT)),
        "batch": In(stream.Signature(batch_layout())),
        "user_bank": In(1),
        "stage_done_stb": Out(1),
        "release_stb": Out(1),
        "score": Out(stream.Signature(logit_layout())),
        "array_busy": Out(1),
        "array_stalled_input": Out(1),
        "interaction_busy": Out(1),
        "array_user_bank": Out(1),
        "interaction_user_bank": Out(1),
        "score_stalled": Out(1),
        "weights_busy": Out(1),
        "weights_exposed": Out(1),
        "tile_stb": Out(1),
    }


class LaneCompute(wiring.Component):
    """Runs the slot's program over gathered sub-batches on the tiles that it is given.

    Members:
      load          fills PROGRAM and PAIR.
      vectors       VectorWrite x gather_ports: dense words and vectors from gather.
      slot          constant while a stage runs.
      batch         In(stream of batch_layout()): gathered sub-batches. user_bank : of the user's
                    data that belong to it. Two stages may be at work, of one slot.
      stage_done_stb   the last score of a stage is computed: its user bank is free.
      release_stb   the oldest batch's gathered data have been used: its bank is free.
      score         Out(stream of logit_layout()): one per item, in item order of each batch.
      rows, outs    to and from the tiles, see LayerEngine.
      array_busy, interaction_busy   a row enters the array; an INTERACT runs.
      array_user_bank, interaction_user_bank   for which user.
      array_stalled_input   nothing to do: no batch.
      score_stalled         the last layer waits for readers of `score`.
      weights_busy, weights_exposed, tile_stb   of the weight tiles, see LayerEngine.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        outs = data.ArrayLayout(tile_output_layout(config), config.block_cols)
        super().__init__(
            {
                **_members(config),
                "rows": Out(tile_input_layout(config)).array(config.block_rows),
                "outs": In(outs).array(config.block_rows),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.sequencer = sequencer = Sequencer(self.config)
        m.submodules.layer_engine = layer = LayerEngine(self.config)
        m.submodules.interaction = interaction = Interaction(self.config)
        m.submodules.scores = scores = ScoreQueue(self.config)

        # From outside.
        self._dense(m, layer.vectors)
        for port, vectors in zip(self.vectors, interaction.vectors, strict=True):
            wiring.connect(m, wiring.flipped(port), vectors)
        wiring.connect(m, wiring.flipped(self.batch), sequencer.batch)
        for unit in (sequencer, interaction):
            wiring.connect(m, wiring.flipped(self.load), unit.load)
        m.d.comb += [sequencer.slot.eq(self.slot), sequencer.user_bank.eq(self.user_bank)]

        # Layers.
        wiring.connect(m, sequencer.job, layer.job)
        m.d.comb += [
            sequencer.bottom_done.eq(layer.bottom_done_stb),
            sequencer.score_done.eq(layer.score_done_stb),
        ]
        for i in range(self.config.block_rows):
            m.d.comb += [self.rows[i].eq(layer.rows[i]), layer.outs[i].eq(self.outs[i])]

        # Interaction.
        m.d.comb += [
            interaction.start.eq(sequencer.start_interaction),
            interaction.instruction.eq(sequencer.interact.code),
            interaction.items.eq(sequencer.interact.items),
            interaction.item_bank.eq(sequencer.interact.item_bank),
            interaction.bank.eq(sequencer.interact.bank),
            interaction.user_bank.eq(sequencer.interact.user_bank),
            interaction.row_bytes.eq(self.slot.row_bytes),
            interaction.item_vector_words.eq(self.slot.item_vector_words),
            sequencer.interaction_done.eq(interaction.done),
        ]
        for i in range(self.config.blocks):
            wiring.connect(m, layer.cross[i], interaction.cross[i])
            wiring.connect(m, layer.bottom[i], interaction.bottom[i])

        # Scores.
        m.d.comb += [
            scores.items.eq(sequencer.items),
            scores.claim.eq(sequencer.claim_score),
            sequencer.score_room.eq(scores.room),
            scores.i_valid.eq(layer.o_valid),
            scores.i_logit.eq(layer.o_logit),
        ]
        wiring.connect(m, scores.score, wiring.flipped(self.score))

        # Status.
        m.d.comb += [
            self.release_stb.eq(sequencer.release_stb),
            self.stage_done_stb.eq(sequencer.stage_done_stb),
            self.array_busy.eq(layer.busy),
            self.interaction_busy.eq(interaction.busy),
            self.array_user_bank.eq(layer.user_bank),
            self.interaction_user_bank.eq(sequencer.interact.user_bank),
            self.array_stalled_input.eq(sequencer.waiting),
            self.score_stalled.eq(sequencer.score_stalled),
            self.weights_busy.eq(layer.weights_busy),
            self.weights_exposed.eq(layer.weights_exposed),
            self.tile_stb.eq(layer.tile_stb),
        ]
        return m

    def _dense(self, m: Module, vectors: wiring.PureInterface) -> None:
        """The dense words of all ports, of which one at most has one; then a register behind."""
        if len(self.vectors) == 1:
            wiring.connect(m, wiring.flipped(self.vectors[0]), vectors)
            return
        valid = Cat(port.valid & ~port.vector for port in self.vectors)
        m.d.sync += vectors.valid.eq(valid.any())
        m.d.sync += Assert(valid & (valid - 1) == 0)
        for port, mine in zip(self.vectors, valid, strict=True):
            with m.If(mine):
                m.d.sync += [
                    getattr(vectors, name).eq(getattr(port, name))
                    for name in ("user", "address", "data", "mask")
                ]


class ComputeCore(wiring.Component):
    """A lane's compute with a whole array of its own.

    Members: those of LaneCompute but for rows and outs.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(_members(config))

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.lane = lane = LaneCompute(self.config)
        m.submodules.array = array = SystolicArray(self.config)
        for name in self.signature.members:
            mine, inner = getattr(self, name), getattr(lane, name)
            if name == "vectors":
                for port, vectors in zip(mine, inner, strict=True):
                    wiring.connect(m, wiring.flipped(port), vectors)
            elif hasattr(inner, "signature"):
                if self.signature.members[name].flow is In:
                    wiring.connect(m, wiring.flipped(mine), inner)
                else:
                    wiring.connect(m, inner, wiring.flipped(mine))
            elif self.signature.members[name].flow is In:
                m.d.comb += inner.eq(mine)
            else:
                m.d.comb += mine.eq(inner)

        # The array: all of it belongs to this lane.
        wiring.connect(m, wiring.flipped(self.load), array.lane[0].load)
        m.d.comb += [
            array.partition[0].row.eq(0),
            array.partition[0].col.eq(0),
            array.partition[0].rows.eq(self.config.block_rows),
            array.partition[0].cols.eq(self.config.block_cols),
        ]
        join_tiles(m, lane.rows, lane.outs, array.lane[0])
        return m
