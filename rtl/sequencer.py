"""Runs a slot's program over each sub-batch, array and interaction side by side."""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import LoadBus, batch_layout, struct
from rpaccel.rtl.item_banks import BANK_BITS
from rpaccel.rtl.tile_issue import job_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import INSTRUCTION, SLOT, Destination, Target

__all__ = ["Sequencer"]

COUNT_BITS = 3  # sub-batches are counted modulo 8; at most 3 are between bottom and score
WINDOW = 4  # sub-batches whose items are remembered


class Sequencer(wiring.Component):
    """Offers layers to the layer engine and starts the interaction.

    A program is the bottom chain (ends with the layer that writes BOTTOM), an INTERACT, the top
    chain (ends with SCORE). Sub-batch j's bottom chain may begin when its data are there and the
    top chain of j - 2 has begun, its interaction when its bottom chain is written and the top chain
    of j - 2 is done, its top chain when its interaction is done. When the array is free to choose,
    a bottom chain goes first: the order is B0 B1 T0 B2 T1 ... if data are there in time.
    perfmodel.sequencer is exact.

    Members:
      load          fills PROGRAM.
      slot          program to run; constant from a stage's first batch to its last score.
      batch         In(stream of batch_layout()). user_bank : of its user's data.
      release_stb   the oldest batch's gathered data have been used.
      job           Out(stream of job_layout()), to the layer engine.
      bottom_done, score_done   a chain's results are all there.
      stage_done_stb   the last chain of a stage (a batch that was its last) is done.
      interact      INTERACT to run, with its sub-batch's items and bank; constant while it runs.
      start_interaction, interaction_done   one cycle each.
      items         of the SCORE layer that is offered.
      score_room    the scores of `items` items fit; a SCORE layer waits for it.
      claim_score   a SCORE layer is taken.
      waiting       nothing to do: no batch.
      score_stalled a SCORE layer waits for room.
    """

    choose_cycles = 1
    fetch_cycles = 2  # from a layer that is taken (or a chain that is chosen) to the next offer
    interact_cycles = 3  # from the last bottom layer that is taken to the next choice

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "load": In(LoadBus(config)),
                "slot": In(struct(SLOT)),
                "batch": In(stream.Signature(batch_layout())),
                "user_bank": In(1),
                "stage_done_stb": Out(1),
                "release_stb": Out(1),
                "job": Out(stream.Signature(job_layout())),
                "bottom_done": In(1),
                "score_done": In(1),
                "interact": Out(job_layout()),
                "start_interaction": Out(1),
                "interaction_done": In(1),
                "items": Out(16),
                "score_room": In(1),
                "claim_score": Out(1),
                "waiting": Out(1),
                "score_stalled": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        counters = {
            name: unsigned(COUNT_BITS)
            for name in ("bottom", "bottom_done", "cross", "cross_done", "top", "top_done")
        }  # sub-batches whose ... has been started, is done
        self.counts = Signal(data.StructLayout(counters))
        kept = data.StructLayout(
            {"items": unsigned(16), "item_bank": BANK_BITS, "user_bank": 1, "last": 1}
        )
        self.batches = Signal(data.ArrayLayout(kept, WINDOW))
        self._chains(m)
        self._interaction(m)
        for name, stb in (("bottom_done", self.bottom_done), ("top_done", self.score_done)):
            m.d.sync += self.counts[name].eq(self.counts[name] + stb)
        ended = self.batches[self.counts.top_done[:2]]
        m.d.comb += self.stage_done_stb.eq(self.score_done & ended.last)
        return m

    def _ahead(self, one: str, other: str) -> Signal:
        """Return how many sub-batches `one` is ahead of `other`."""
        return (self.counts[one] - self.counts[other])[:COUNT_BITS]

    def _program(self, m: Module, counter: Signal) -> Signal:
        """Add the program memory; return the instruction at `counter`, a cycle later."""
        m.submodules.program = memory = Memory(
            shape=INSTRUCTION.bits, depth=self.config.program_entries, init=[]
        )
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.en.eq(self.load.valid & (self.load.target == Target.PROGRAM)),
            write.addr.eq(self.load.index),
            write.data.eq(self.load.data),
            read.addr.eq(counter),
        ]
        return data.View(struct(INSTRUCTION), read.data)

    def _chains(self, m: Module) -> None:
        """Choose a chain, offer its layers one by one."""
        counts, job = self.counts, self.job
        counter = Signal(range(self.config.program_entries))
        top_start = Signal.like(counter)
        code = self._program(m, counter)
        number = Signal(2)  # of the chain's sub-batch, modulo WINDOW
        may_bottom, may_top = Signal(), Signal()
        is_score = code.destination == Destination.SCORE
        m.d.comb += [
            may_bottom.eq(self.batch.valid & (self._ahead("bottom", "top") < 2)),
            may_top.eq(self._ahead("cross_done", "top") != 0),
            self.items.eq(self.batches[number].items),
            job.payload.code.eq(code),
            job.payload.items.eq(self.items),
            job.payload.item_bank.eq(self.batches[number].item_bank),
            job.payload.bank.eq(number[0]),
            job.payload.user_bank.eq(self.batches[number].user_bank),
        ]
        with m.FSM(name="state") as state:
            with m.State("CHOOSE"):
                with m.If(may_bottom):
                    m.d.comb += self.batch.ready.eq(1)
                    m.d.sync += [
                        number.eq(counts.bottom),
                        counts.bottom.eq(counts.bottom + 1),
                        counter.eq(self.slot.program_base),
                    ]
                    taken = self.batches[counts.bottom[:2]]
                    m.d.sync += [
                        taken.items.eq(self.batch.payload.items),
                        taken.item_bank.eq(self.batch.payload.bank),
                        taken.user_bank.eq(self.user_bank),
                        taken.last.eq(self.batch.payload.last),
                    ]
                    m.next = "FETCH"
                with m.Elif(may_top):
                    m.d.sync += [
                        number.eq(counts.top),
                        counts.top.eq(counts.top + 1),
                        counter.eq(top_start),
                    ]
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += [
                    job.valid.eq(~is_score | self.score_room),
                    self.score_stalled.eq(is_score & ~self.score_room),
                ]
                with m.If(job.valid & job.ready):
                    m.d.comb += self.claim_score.eq(is_score)
                    m.d.sync += counter.eq(counter + 1)
                    m.next = "FETCH"
                    with m.If(code.destination == Destination.BOTTOM):
                        m.next = "FETCH_INTERACT"
                    with m.If(is_score):
                        m.next = "CHOOSE"
            with m.State("FETCH_INTERACT"):
                m.d.sync += top_start.eq(counter + 1)
                m.next = "LATCH_INTERACT"
            with m.State("LATCH_INTERACT"):
                m.d.sync += self.interact.code.eq(code)
                m.next = "CHOOSE"
        m.d.comb += self.waiting.eq(
            state.ongoing("CHOOSE") & ~self.batch.valid & (counts.top_done == counts.bottom)
        )

    def _interaction(self, m: Module) -> None:
        """Start the interaction of the next sub-batch; free its bank when it is done."""
        counts, interact = self.counts, self.interact
        with m.FSM(name="interaction"):
            with m.State("IDLE"):
                may = (self._ahead("bottom_done", "cross") != 0) & (
                    self._ahead("cross", "top_done") < 2
                )
                with m.If(may):
                    m.d.sync += [
                        interact.items.eq(self.batches[counts.cross[:2]].items),
                        interact.item_bank.eq(self.batches[counts.cross[:2]].item_bank),
                        interact.user_bank.eq(self.batches[counts.cross[:2]].user_bank),
                        interact.bank.eq(counts.cross[0]),
                        counts.cross.eq(counts.cross + 1),
                    ]
                    m.next = "START"
            with m.State("START"):
                m.d.comb += self.start_interaction.eq(1)
                m.next = "RUN"
            with m.State("RUN"), m.If(self.interaction_done):
                m.d.comb += self.release_stb.eq(1)
                m.d.sync += counts.cross_done.eq(counts.cross_done + 1)
                m.next = "IDLE"
