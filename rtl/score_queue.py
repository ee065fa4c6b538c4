"""From logits of the last layer to the score stream, with room for a whole sub-batch."""

from __future__ import annotations

from amaranth.hdl import Assert, Cat, Elaboratable, Format, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.sigmoid import Sigmoid
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["ScoreQueue", "logit_layout"]


def logit_layout() -> data.StructLayout:
    """A scored item of a sub-batch, in item order."""
    return data.StructLayout({"logit": signed(16), "ctr": unsigned(16)})


class ScoreQueue(wiring.Component):
    """Sigmoid and a FIFO of sub_batch_max scores; places are claimed before they are needed.

    Members:
      items      of the sub-batch that wants to start its last layer.
      room       `items` more scores fit.
      claim      reserve them; only while `room`.
      i_valid, i_logit   int16; no back-pressure, at most as many as were claimed.
      score      Out(stream of logit_layout()).
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "items": In(16),
                "room": Out(1),
                "claim": In(1),
                "i_valid": In(1),
                "i_logit": In(signed(16)),
                "score": Out(stream.Signature(logit_layout())),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        depth = self.config.sub_batch_max
        m.submodules.sigmoid = sigmoid = Sigmoid()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=32, depth=depth)

        # Scores.
        m.d.comb += [
            sigmoid.i_valid.eq(self.i_valid),
            sigmoid.i_logit.eq(self.i_logit),
            fifo.w_en.eq(sigmoid.o_valid),
            fifo.w_data.eq(Cat(sigmoid.o_logit, sigmoid.o_ctr)),
            self.score.valid.eq(fifo.r_rdy),
            self.score.payload.eq(fifo.r_data),
            fifo.r_en.eq(self.score.ready),
        ]
        with m.If(fifo.w_en):
            m.d.sync += Assert(fifo.w_rdy, Format("a score without room"))

        # Places: claimed and not yet read.
        claimed = Signal(range(depth + 1))
        read = self.score.valid & self.score.ready
        m.d.comb += self.room.eq(claimed + self.items <= depth)
        m.d.sync += claimed.eq(claimed + Mux(self.claim, self.items, 0) - read)
        return m
