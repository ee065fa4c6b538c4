"""A lane's compute: vector memories, layer engine, interaction and their sequencer."""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interaction import Interaction
from rpaccel.rtl.interfaces import LoadBus, VectorWrite, batch_layout, struct
from rpaccel.rtl.layer_engine import LayerEngine
from rpaccel.rtl.score_queue import ScoreQueue, logit_layout
from rpaccel.rtl.sequencer import Sequencer
from rpaccel.rtl.vector_memories import VectorMemories
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import SLOT

__all__ = ["ComputeCore"]


class ComputeCore(wiring.Component):
    """Runs the slot's program over gathered sub-batches and scores every item.

    A sub-batch takes exactly `perfmodel.sequencer.program_cycles` cycles from its transfer to the
    next possible one, plus the cycles of `score_stalled`; `release_stb` comes in the last of them.

    Members:
      load          fills PROGRAM, WEIGHT, PARAM and PAIR.
      vectors       fills USER and FEATURE.
      slot          constant while a stage runs.
      batch         In(stream of batch_layout()): gathered sub-batches.
      release_stb   the oldest batch is finished and its bank is free.
      score         Out(stream of logit_layout()): one per item, in item order of each batch.
      array_busy, interaction_busy   the unit works on an instruction.
      array_stalled_input   nothing to do: no batch.
      score_stalled         the last layer waits for readers of `score`.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "load": In(LoadBus(config)),
                "vectors": In(VectorWrite(config)),
                "slot": In(struct(SLOT)),
                "batch": In(stream.Signature(batch_layout())),
                "release_stb": Out(1),
                "score": Out(stream.Signature(logit_layout())),
                "array_busy": Out(1),
                "array_stalled_input": Out(1),
                "interaction_busy": Out(1),
                "score_stalled": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.sequencer = sequencer = Sequencer(self.config)
        m.submodules.memories = memories = VectorMemories(self.config)
        m.submodules.layer_engine = layer = LayerEngine(self.config)
        m.submodules.interaction = interaction = Interaction(self.config)
        m.submodules.scores = scores = ScoreQueue(self.config)

        # From outside.
        wiring.connect(m, wiring.flipped(self.vectors), memories.vectors)
        wiring.connect(m, wiring.flipped(self.batch), sequencer.batch)
        for unit in (sequencer, layer, interaction):
            wiring.connect(m, wiring.flipped(self.load), unit.load)

        # Instructions.
        for unit in (layer, interaction):
            m.d.comb += [
                unit.instruction.eq(sequencer.instruction),
                unit.items.eq(sequencer.items),
                unit.bank.eq(sequencer.bank),
            ]
        m.d.comb += [
            sequencer.slot.eq(self.slot),
            layer.start.eq(sequencer.start_layer),
            interaction.start.eq(sequencer.start_interaction),
            interaction.item_words.eq(self.slot.item_words),
            sequencer.done.eq(layer.done | interaction.done),
        ]

        # One reader and writer at a time.
        self._share(m, memories.read, "address", layer.read, interaction.read, interaction.busy)
        self._share(m, memories.read, "source", layer.read, interaction.read, interaction.busy)
        for name in ("valid", "act1", "address", "data"):
            self._share(m, memories.write, name, layer.write, interaction.write, interaction.busy)
        m.d.comb += [
            layer.read.data.eq(memories.read.data),
            interaction.read.data.eq(memories.read.data),
        ]

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
            self.array_busy.eq(layer.busy),
            self.interaction_busy.eq(interaction.busy),
            self.array_stalled_input.eq(sequencer.waiting),
            self.score_stalled.eq(sequencer.score_stalled),
        ]
        return m

    def _share(
        self, m: Module, bus: object, name: str, first: object, second: object, choice: object
    ) -> None:
        mine, other = getattr(first, name), getattr(second, name)
        m.d.comb += getattr(bus, name).eq(Mux(choice, other, mine))
