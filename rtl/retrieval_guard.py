"""What a scan has yet to read of its rows."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["GUARDS", "ScanGuard", "guard_layout"]

GUARDS = 3  # of a scan: rows, the bitmap of live rows, scales


def guard_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Addresses low..high-1 that a scan has yet to read; low >= high: none."""
    address = unsigned(config.axi_address_bits + 1)
    return data.StructLayout({"low": address, "high": address})


class ScanGuard(wiring.Component):
    """A lower bound of what is yet to be read. It goes up once in memory_ports + 1 cycles.

    Members
    -------
    begin : In(1), rows : In(guard_layout())  a scan of these addresses begins.
    hold : In(1)  the bound stays: the scan before is not over.
    ended : In(1)  the scheduler has given all bursts. next : In(address)  those below it.
    waits : In(1) per port  it has bursts. oldest : In(address) per port  the first of them.
    guard : Out(guard_layout())
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        address, ports = unsigned(config.axi_address_bits), config.memory_ports
        super().__init__(
            {
                "begin": In(1),
                "rows": In(guard_layout(config)),
                "hold": In(1),
                "ended": In(1),
                "next": In(address),
                "waits": In(ports),
                "oldest": In(address).array(ports),
                "guard": Out(guard_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ports = self.config.memory_ports
        none = (1 << self.config.axi_address_bits + 1) - 1
        turn = Signal(range(ports + 1))
        seen, here, least = (Signal.like(self.guard.low, name=n) for n in ("seen", "here", "least"))
        # the scheduler is looked at first: what it gives meanwhile is above what it had left
        with m.If(turn == ports):
            m.d.comb += here.eq(Mux(self.ended, none, self.next))
        with m.Else():
            of_port = Array(self.oldest[number] for number in range(ports))[turn]
            m.d.comb += here.eq(Mux(Array(self.waits)[turn], of_port, none))
        m.d.comb += least.eq(Mux(here < seen, here, seen))
        first = turn == ports
        m.d.sync += [turn.eq(Mux(first, 0, turn + 1)), seen.eq(Mux(first, here, least))]
        with m.If(turn == ports - 1):
            m.d.sync += self.guard.low.eq(least)
        with m.If(self.hold):
            m.d.sync += [turn.eq(ports), self.guard.low.eq(self.guard.low)]
        with m.If(self.begin):
            m.d.sync += [turn.eq(ports), self.guard.eq(self.rows)]
        return m
