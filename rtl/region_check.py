"""Region check: whether a burst may leave the device."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import BURST_BITS
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.registers import REGIONS, Permission

__all__ = ["RegionCheck", "regions_layout"]


def regions_layout(config: AcceleratorConfig) -> data.ArrayLayout:
    """Return the region table: REGIONS x {base, limit, permission (spec.registers.Permission)}."""
    return data.ArrayLayout(
        data.StructLayout(
            {
                "base": unsigned(config.axi_address_bits),
                "limit": unsigned(config.axi_address_bits),
                "permission": unsigned(2),
            }
        ),
        REGIONS,
    )


class RegionCheck(wiring.Component):
    """Marks bursts that lie in one region with `permission`. Latency 2 cycles; 1 burst per cycle.

    Members:
      i        In   stream {tag, address, beats}; the tag is carried along
      o        Out  stream {tag, address, beats, allowed}
      regions  In   table of regions; bytes base .. limit - 1
    """

    latency_cycles = 2

    def __init__(
        self, config: AcceleratorConfig, permission: Permission, tag_bits: int = 1
    ) -> None:
        self.config = config
        self.permission = permission
        burst = {
            "tag": unsigned(tag_bits),
            "address": unsigned(config.axi_address_bits),
            "beats": unsigned(BURST_BITS),
        }
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout(burst))),
                "o": Out(stream.Signature(data.StructLayout(burst | {"allowed": unsigned(1)}))),
                "regions": In(regions_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bit = self.permission.bit_length() - 1

        # stage 1: first byte after the burst, one bit wider so that it cannot wrap round
        first = Signal.like(self.i.payload)
        first_valid = Signal()
        end = Signal(self.config.axi_address_bits + 1)
        first_ready = Signal()
        second_ready = Signal()
        m.d.comb += first_ready.eq(~first_valid | second_ready)
        m.d.comb += self.i.ready.eq(first_ready)
        with m.If(first_ready):
            m.d.sync += [
                first_valid.eq(self.i.valid),
                first.eq(self.i.payload),
                end.eq(self.i.payload.address + self.i.payload.beats * self.config.beat_bytes),
            ]

        # stage 2: all regions at once
        inside = Cat(
            (first.address >= region.base) & (end <= region.limit) & region.permission[bit]
            for region in (self.regions[index] for index in range(REGIONS))
        )
        m.d.comb += second_ready.eq(~self.o.valid | self.o.ready)
        with m.If(second_ready):
            m.d.sync += [
                self.o.valid.eq(first_valid),
                self.o.payload.tag.eq(first.tag),
                self.o.payload.address.eq(first.address),
                self.o.payload.beats.eq(first.beats),
                self.o.payload.allowed.eq(inside.any()),
            ]
        return m
