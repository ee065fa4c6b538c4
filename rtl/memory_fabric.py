"""Memory fabric: every requester's way to the AXI ports."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.axi import Axi4
from rpaccel.rtl.interfaces import ReadPort, WritePort
from rpaccel.rtl.read_channel import ReadChannel, access_error_layout
from rpaccel.rtl.region_check import regions_layout
from rpaccel.rtl.write_channel import WriteChannel
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["MemoryFabric", "port_of_requester", "requester_count"]

REQUESTERS_PER_LANE = 4  # candidate list, records, rows, unused
WRITE_MEMBERS = ("aw", "w", "b")


def requester_count(config: AcceleratorConfig) -> int:
    """Return the number of read ids: four per lane and two of the dispatcher."""
    return REQUESTERS_PER_LANE * config.lanes + 2


def port_of_requester(config: AcceleratorConfig, requester: int) -> int | None:
    """Return the memory port of a read id; None for the unused fourth id of a lane."""
    lane, kind = divmod(requester, REQUESTERS_PER_LANE)
    if lane == config.lanes:
        return 0
    return None if kind == REQUESTERS_PER_LANE - 1 else lane % config.memory_ports


class MemoryFabric(wiring.Component):
    """Requesters to AXI4 ports: arbitration, region check, id routing, error capture.

    Throughput and latency: see ReadChannel and WriteChannel. Lane i uses port i % memory_ports,
    the dispatcher port 0. AXI id = index of the requester; the writer's id is 4 * lanes.

    Members:
      readers  In   ReadPort x (4 * lanes + 2); index lane * 4 + 3 is never ready
      writer   In   WritePort
      regions  In   region table, see regions_layout
      axi      Out  Axi4 x memory_ports
      error_stb, error_address, error_status, error_write, error_requester
               Out  pulse of a refused burst or failed beat (if several fall into one cycle, one)
    """

    request_latency_cycles = ReadChannel.request_latency_cycles
    response_latency_cycles = ReadChannel.response_latency_cycles

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        error = access_error_layout(config)
        super().__init__(
            {
                "readers": In(ReadPort(config)).array(requester_count(config)),
                "writer": In(WritePort(config)),
                "regions": In(regions_layout(config)),
                "axi": Out(Axi4(config)).array(config.memory_ports),
            }
            | {f"error_{name}": Out(error[name].shape) for name in error.members}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        errors = []
        for port in range(self.config.memory_ports):
            identities = [
                requester
                for requester in range(requester_count(self.config))
                if port_of_requester(self.config, requester) == port
            ]
            if not identities:
                continue  # more ports than lanes: this one stays silent
            channel = ReadChannel(self.config, identities)
            m.submodules[f"read_{port}"] = channel
            m.d.comb += channel.regions.eq(self.regions)
            for reader, identity in zip(channel.readers, identities, strict=True):
                wiring.connect(m, wiring.flipped(self.readers[identity]), reader)
            self._join(m, self.axi[port], channel.axi, write=False)
            errors.append(channel.error)

        writer = WriteChannel(self.config, REQUESTERS_PER_LANE * self.config.lanes)
        m.submodules.write = writer
        m.d.comb += writer.regions.eq(self.regions)
        wiring.connect(m, wiring.flipped(self.writer), writer.writer)
        self._join(m, self.axi[0], writer.axi, write=True)
        errors.append(writer.error)

        # the lowest port wins; a register keeps the choice off the ports' paths
        error = Signal(access_error_layout(self.config))
        with m.If(errors[0].stb):
            m.d.sync += error.eq(errors[0])
        for other in errors[1:]:
            with m.Elif(other.stb):
                m.d.sync += error.eq(other)
        with m.Else():
            m.d.sync += error.stb.eq(0)
        for name in access_error_layout(self.config).members:
            m.d.comb += getattr(self, f"error_{name}").eq(error[name])
        return m

    def _join(self, m: Module, port: object, inner: object, *, write: bool) -> None:
        """Connect the read or the write channels of `inner` to the outer port."""
        for name, member in Axi4(self.config).members.items():
            if name.startswith(WRITE_MEMBERS) is not write:
                continue
            outer_signal, inner_signal = getattr(port, name), getattr(inner, name)
            if member.flow is Out:
                m.d.comb += outer_signal.eq(inner_signal)
            else:
                m.d.comb += inner_signal.eq(outer_signal)
