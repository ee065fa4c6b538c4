"""Runs a slot's program over each sub-batch."""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import LoadBus, batch_layout, struct
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import INSTRUCTION, SLOT, Destination, Op, Target

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Fetches instructions and starts the layer engine or the interaction, one after the other.

    An instruction takes its unit's busy cycles plus `instruction_cycles`, a sub-batch
    `batch_cycles` more; see perfmodel.sequencer. Unknown opcodes are skipped.

    Members:
      load          fills PROGRAM.
      slot          program to run; constant from a batch's transfer to its release.
      batch         In(stream of batch_layout()).
      release_stb   the batch's program is finished: its FEATURE bank and USER are free.
      instruction, items, bank   what runs; constant while a unit is busy.
      start_layer, start_interaction   one cycle each.
      done          the running unit's last cycle.
      score_room    the scores of `items` items fit; a SCORE layer waits for it.
      claim_score   a SCORE layer starts.
      waiting       idle without a batch.
      score_stalled a SCORE layer waits for room.
    """

    instruction_cycles = 3  # fetch, latch, start
    batch_cycles = 2  # transfer, release

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "load": In(LoadBus(config)), "slot": In(struct(SLOT)),
                "batch": In(stream.Signature(batch_layout())), "release_stb": Out(1),
                "instruction": Out(struct(INSTRUCTION)), "items": Out(16), "bank": Out(1),
                "start_layer": Out(1), "start_interaction": Out(1), "done": In(1),
                "score_room": In(1), "claim_score": Out(1),
                "waiting": Out(1), "score_stalled": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config, code = self.config, self.instruction
        m.submodules.program = memory = Memory(
            shape=INSTRUCTION.bits, depth=config.program_entries, init=[]
        )
        write, read = memory.write_port(), memory.read_port()
        counter, left = Signal(range(config.program_entries)), Signal(8)
        m.d.comb += [
            write.en.eq(self.load.valid & (self.load.target == Target.PROGRAM)),
            write.addr.eq(self.load.index),
            write.data.eq(self.load.data),
            read.addr.eq(counter),
        ]

        is_layer, is_score = Signal(), Signal()
        m.d.comb += [
            is_layer.eq(code.op == Op.LAYER),
            is_score.eq(is_layer & (code.destination == Destination.SCORE)),
        ]
        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.comb += [self.batch.ready.eq(1), self.waiting.eq(~self.batch.valid)]
                m.d.sync += [
                    self.items.eq(self.batch.payload.items),
                    self.bank.eq(self.batch.payload.bank),
                    counter.eq(self.slot.program_base),
                    left.eq(self.slot.program_length),
                ]
                with m.If(self.batch.valid):
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.next = "LATCH"
                with m.If(left == 0):
                    m.d.comb += self.release_stb.eq(1)
                    m.next = "IDLE"
            with m.State("LATCH"):
                m.d.sync += [code.eq(read.data), counter.eq(counter + 1), left.eq(left - 1)]
                m.next = "START"
            with m.State("START"):
                with m.If(is_score & ~self.score_room):
                    m.d.comb += self.score_stalled.eq(1)
                with m.Elif(is_layer):
                    m.d.comb += [self.start_layer.eq(1), self.claim_score.eq(is_score)]
                    m.next = "RUN"
                with m.Elif(code.op == Op.INTERACT):
                    m.d.comb += self.start_interaction.eq(1)
                    m.next = "RUN"
                with m.Else():
                    m.next = "FETCH"
            with m.State("RUN"), m.If(self.done):
                m.next = "FETCH"
        return m
