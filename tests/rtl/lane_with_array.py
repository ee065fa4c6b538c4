"""A lane and an array that is all its own, for tests of a lane alone."""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module

from rpaccel.rtl.compute_core import join_tiles
from rpaccel.rtl.lane import Lane
from rpaccel.rtl.systolic_array import SystolicArray


class LaneWithArray(Elaboratable):
    """Joins `lane` to an array; loads reach both. The bench uses the lane's own ports."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        lane, config = self.lane, self.lane.config
        m.submodules.lane = lane
        m.submodules.array = array = SystolicArray(lane.config)
        for name in lane.load.signature.members:
            m.d.comb += getattr(array.lane[0].load, name).eq(getattr(lane.load, name))
        m.d.comb += [
            array.partition[0].rows.eq(config.block_rows),
            array.partition[0].cols.eq(config.block_cols),
        ]
        join_tiles(m, lane.tokens, lane.outs, array.lane[0])
        return m
