"""Memory fabric: every requester's way to the AXI ports."""

from __future__ import annotations

from enum import IntEnum

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.axi import Axi4
from rpaccel.rtl.interfaces import PlacedReadPort, ReadPort, WritePort
from rpaccel.rtl.read_channel import ReadChannel, access_error_layout
from rpaccel.rtl.read_crossbar import ReadCrossbar
from rpaccel.rtl.read_order import ReadOrder
from rpaccel.rtl.region_check import regions_layout
from rpaccel.rtl.repeated import repeated
from rpaccel.rtl.write_channel import WriteChannel
from rpaccel.spec.accelerator import BURST_BEATS, AcceleratorConfig
from rpaccel.spec.stripe import port_of

__all__ = [
    "LaneReader",
    "MemoryFabric",
    "lane_reader",
    "own_reader",
    "reader_count",
    "requester_names",
    "requester_of_bank",
]

WRITE_MEMBERS = ("aw", "w", "b")
LIST_SLOTS = 4  # bursts in flight of a list, a descriptor or an image
RECORD_SLOTS = 16
SCAN_SLOTS = 8  # 8 KiB at 64 bytes a beat


class LaneReader(IntEnum):
    """Readers of a lane, in order; RECORD one per gather port. See lane_reader."""

    LIST = 0
    RECORD = 1
    AHEAD = 2


def _lane_kinds(config: AcceleratorConfig) -> list[tuple[int, LaneReader, int]]:
    """Return (lane, kind, port) of each reader of the lanes."""
    return [
        (lane, kind, port)
        for lane, ports in enumerate(config.lane_gather_ports)
        for kind in LaneReader
        for port in range(ports if kind is LaneReader.RECORD else 1)
    ]


def lane_reader(config: AcceleratorConfig, lane: int, kind: LaneReader, port: int = 0) -> int:
    """Return the number of a lane's reader; `port`: of its gather ports, if it is RECORD."""
    return _lane_kinds(config).index((lane, kind, port))


def _own_readers(config: AcceleratorConfig) -> list[str]:
    """Return the readers behind the lanes', in order."""
    names = ["descriptor", "image", "update"]
    if config.retrieval_queries:
        names += ["retrieval", "bitmap", *(f"scan{port}" for port in range(config.memory_ports))]
    return names


def own_reader(config: AcceleratorConfig, name: str) -> int:
    """Return the number of a reader that is no lane's: "descriptor", "image", "update";
    "retrieval", "bitmap", "scan0" and so on per memory port with a retrieval engine.
    """
    return len(_lane_kinds(config)) + _own_readers(config).index(name)


def reader_count(config: AcceleratorConfig) -> int:
    """Return the readers: the lanes', then the others."""
    return len(_lane_kinds(config)) + len(_own_readers(config))


def requester_names(config: AcceleratorConfig) -> list[str]:
    """Return the name of each requester number; records of several gather ports are numbered."""
    several = [ports > 1 for ports in config.lane_gather_ports]
    lanes = [
        f"lane{lane}_{kind.name.lower()}"
        + (str(port) if several[lane] and kind is LaneReader.RECORD else "")
        for lane, kind, port in _lane_kinds(config)
    ]
    return [
        *lanes,
        *_own_readers(config),
        *(f"row_bank{bank}" for bank in range(config.banks)),
    ]


def requester_of_bank(config: AcceleratorConfig, bank: int) -> int:
    """Return the requester number of a row bank, as errors are reported with."""
    return reader_count(config) + bank


def reader_slots(config: AcceleratorConfig, reader: int) -> tuple[int, int]:
    """Return (bursts in flight, beats of the longest burst) of a reader, powers of two."""
    kinds = [kind for _, kind, _ in _lane_kinds(config)]
    if config.retrieval_queries and reader >= own_reader(config, "scan0"):
        return SCAN_SLOTS, BURST_BEATS
    kind = kinds[reader] if reader < len(kinds) else LaneReader.LIST
    slots = RECORD_SLOTS if kind == LaneReader.RECORD else LIST_SLOTS
    in_flight = 1 << (min(slots, config.reads_in_flight).bit_length() - 1)
    return in_flight, BURST_BEATS if kind == LaneReader.LIST else config.record_burst_beats


class MemoryFabric(wiring.Component):
    """Requesters to AXI4 ports: order, stripes, arbitration, region check, error capture.

    A read goes to the port of its address (spec.stripe), where every burst has an id of its own;
    readers get their answers in order, row banks as they come. Throughput and latency: ReadOrder,
    ReadChannel, WriteChannel. The writer has id 0 of the write channels.

    Members:
      readers  In   ReadPort x reader_count
      banks    In   PlacedReadPort x config.banks; places 0..row_reads-1
      writer   In   WritePort
      regions  In   region table, see regions_layout
      axi      Out  Axi4 x memory_ports
      error_stb, error_address, error_status, error_write, error_requester
               Out  pulse of a refused burst or failed beat (if several fall into one cycle, one);
                    requester: reader, requester_of_bank, or 255 for the writer
    """

    request_latency_cycles = ReadChannel.request_latency_cycles
    response_latency_cycles = ReadChannel.response_latency_cycles + ReadOrder.latency_cycles

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        error = access_error_layout(config)
        super().__init__(
            {
                "readers": In(ReadPort(config)).array(reader_count(config)),
                "banks": In(PlacedReadPort(config, config.row_reads)).array(config.banks),
                "writer": In(WritePort(config)),
                "regions": In(regions_layout(config)),
                "axi": Out(Axi4(config)).array(config.memory_ports),
            }
            | {f"error_{name}": Out(error[name].shape) for name in error.members}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        orders = [ReadOrder(config, *reader_slots(config, i)) for i in range(reader_count(config))]
        places = [order.slots * order.slot_beats for order in orders]
        places += [config.row_reads] * config.banks
        m.submodules.crossbar = crossbar = ReadCrossbar(
            config, places, config.memory_ports, lambda address: port_of(config, address)
        )
        for i, order in enumerate(orders):
            m.submodules[f"order_{i}"] = repeated(order)
            wiring.connect(m, wiring.flipped(self.readers[i]), order.reader)
            wiring.connect(m, order.memory, crossbar.readers[i])
        for bank in range(config.banks):
            reader = crossbar.readers[requester_of_bank(config, bank)]
            wiring.connect(m, wiring.flipped(self.banks[bank]), reader)

        errors = []
        for port in range(config.memory_ports):
            channel = ReadChannel(config, len(places), max(places))
            m.submodules[f"read_{port}"] = repeated(channel)
            m.d.comb += channel.regions.eq(self.regions)
            wiring.connect(m, crossbar.targets[port], channel.port)
            self._join(m, self.axi[port], channel.axi, write=False)
            errors.append(channel.error)
        errors.append(self._write(m))

        # the lowest port wins; a register keeps the choice off the ports' paths
        error = Signal(access_error_layout(config))
        with m.If(errors[0].stb):
            m.d.sync += error.eq(errors[0])
        for other in errors[1:]:
            with m.Elif(other.stb):
                m.d.sync += error.eq(other)
        with m.Else():
            m.d.sync += error.stb.eq(0)
        for name in access_error_layout(config).members:
            m.d.comb += getattr(self, f"error_{name}").eq(error[name])
        return m

    def _write(self, m: Module) -> Signal:
        """One burst at a time, to the port of its address."""
        m.submodules.write = writer = WriteChannel(self.config)
        m.d.comb += writer.regions.eq(self.regions)
        wiring.connect(m, wiring.flipped(self.writer), writer.writer)
        chosen = port_of(self.config, writer.axi.awaddr)
        for port, axi in enumerate(self.axi):
            self._join(m, axi, writer.axi, write=True, chosen=chosen == port)
        return writer.error

    def _join(
        self, m: Module, port: object, inner: object, *, write: bool, chosen: object = 1
    ) -> None:
        """Connect the read or the write channels of `inner` to the outer port, if it is chosen."""
        for name, member in Axi4(self.config).members.items():
            if name.startswith(WRITE_MEMBERS) is not write:
                continue
            outer_signal, inner_signal = getattr(port, name), getattr(inner, name)
            if member.flow is Out:
                handshake = name.endswith(("valid", "ready"))
                value = Mux(chosen, inner_signal, 0) if handshake else inner_signal
                m.d.comb += outer_signal.eq(value)
            else:
                with m.If(chosen):
                    m.d.comb += inner_signal.eq(outer_signal)
