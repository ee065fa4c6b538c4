"""Layer engines on the array that they share, without what feeds them."""

from __future__ import annotations

from pathlib import Path

from amaranth.hdl import Cat, Elaboratable, Module, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from rpaccel.host.verilator import digest_of
from rpaccel.rtl.compute_core import join_tiles
from rpaccel.rtl.layer_engine import LayerEngine
from rpaccel.rtl.systolic_array import SystolicArray, partition_layout
from rpaccel.rtl.tile_issue import job_layout
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["JOBS_MAX", "NAME", "QUEUE_CYCLES", "LayerArray"]

JOBS_MAX = 32  # that wait for a lane
QUEUE_CYCLES = 2  # from a job's way into the queue to its offer
NAME = f"layers_{digest_of([Path(__file__).read_bytes()])[:8]}"  # cached_netlist reads rtl/ alone


class LayerArray(wiring.Component):
    """A LayerEngine per lane of `config`, each with a queue of jobs, on one SystolicArray.

    Members:
      push, job   In, [lanes]: the job goes into the lane's queue.
      partition   In, [lanes]: see SystolicArray.
      taken       Out, a bit per lane: its engine takes a job.
      row         Out, a bit per lane: a row is read.
      results     Out, [lanes]: a bit per tile of its rectangle, row by row: a result leaves it.
      done        Out, a bit per lane: a chain of layers has ended (bottom or score).
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        lanes = config.lanes
        super().__init__(
            {
                "push": In(1).array(lanes),
                "job": In(job_layout()).array(lanes),
                "partition": In(partition_layout(config)).array(lanes),
                "taken": Out(lanes),
                "row": Out(lanes),
                "results": Out(config.block_rows * config.block_cols).array(lanes),
                "done": Out(lanes),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        """Join engines, queues and array."""
        m = Module()
        config = self.config
        m.submodules.array = array = SystolicArray(config, config.lanes)
        for n in range(config.lanes):
            lane = config.lane(n)
            m.submodules[f"engine_{n}"] = engine = LayerEngine(lane)
            m.submodules[f"queue_{n}"] = queue = SyncFIFOBuffered(
                width=job_layout().size, depth=JOBS_MAX
            )
            m.d.comb += [
                queue.w_en.eq(self.push[n]),
                queue.w_data.eq(Value.cast(self.job[n])),
                queue.r_en.eq(engine.job.ready),
                engine.job.valid.eq(queue.r_rdy),
                Value.cast(engine.job.payload).eq(queue.r_data),
                array.partition[n].eq(self.partition[n]),
            ]
            join_tiles(m, engine.rows, engine.outs, array.lane[n])
            outs = [row[c] for row in engine.outs for c in range(lane.block_cols)]
            m.d.comb += [
                self.taken[n].eq(engine.job.valid & engine.job.ready),
                self.row[n].eq(engine.busy),
                self.results[n].eq(Cat(out.valid for out in outs)),
                self.done[n].eq(engine.bottom_done_stb | engine.score_done_stb),
            ]
        return m
