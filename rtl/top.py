"""The whole accelerator."""

from __future__ import annotations

from amaranth import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rpaccel.rtl.axi import Axi4, AxiLite
from rpaccel.rtl.compute_core import join_tiles
from rpaccel.rtl.dispatcher import Dispatcher
from rpaccel.rtl.funnels import Funnels
from rpaccel.rtl.lane import Lane
from rpaccel.rtl.loader import Loader
from rpaccel.rtl.memory_fabric import LaneReader, MemoryFabric, lane_reader, reader_count
from rpaccel.rtl.registers import Registers
from rpaccel.rtl.repeated import repeated
from rpaccel.rtl.row_network import RowNetwork
from rpaccel.rtl.row_updater import RowUpdater
from rpaccel.rtl.systolic_array import SystolicArray
from rpaccel.rtl.write_share import WriteShare
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["Top"]


class Top(wiring.Component):
    """Registers, dispatcher, funnels, loader, lanes, their array, row banks, memory fabric.

    Members
    -------
    s_axil : In(AxiLite)  registers, see spec.registers.
    m_axi : Out(Axi4) per memory port; each takes the reads and writes of its stripes.
    irq : Out(1)  level, high while IRQ_STATUS & IRQ_ENABLE.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "s_axil": In(AxiLite()),
                "m_axi": Out(Axi4(config)).array(config.memory_ports),
                "irq": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.registers = registers = Registers(config)
        m.submodules.dispatcher = dispatcher = Dispatcher(config)
        m.submodules.funnels = funnels = Funnels(config)
        m.submodules.loader = loader = Loader(config)
        m.submodules.fabric = fabric = MemoryFabric(config)
        m.submodules.rows = rows = RowNetwork(config, sum(config.lane_gather_ports), config.lanes)
        m.submodules.updater = updater = RowUpdater(config)
        m.submodules.write_share = writers = WriteShare(config, 2)
        m.submodules.array = array = SystolicArray(config, config.lanes)
        lanes = [Lane(config.lane(i)) for i in range(config.lanes)]
        for i, lane in enumerate(lanes):
            m.submodules[f"lane{i}"] = repeated(lane)

        # Host side.
        connect(m, flipped(self.s_axil), registers.axil)
        m.d.comb += [
            self.irq.eq(registers.irq),
            dispatcher.rings.eq(registers.rings),
            fabric.regions.eq(registers.regions),
        ]
        for name in ("sq_head", "cq_tail", "queries", "busy", "completion_stb"):
            m.d.comb += getattr(registers, name).eq(getattr(dispatcher, name))
        m.d.comb += [
            dispatcher.hold.eq(registers.partition_wanted),
            registers.lanes_idle.eq(dispatcher.held),
        ]
        for name in ("stb", "address", "status", "write", "requester"):
            m.d.comb += getattr(registers, f"error_{name}").eq(getattr(fabric, f"error_{name}"))

        # Loader: one load bus into every lane.
        m.d.comb += registers.loaded_word_stb.eq(loader.word_stb)
        connect(m, dispatcher.load, loader.start)
        connect(m, loader.done, dispatcher.loaded)

        # Funnels.
        for f in range(config.funnels):
            connect(m, dispatcher.query[f], funnels.query[f])
            connect(m, funnels.completion[f], dispatcher.done[f])
            connect(m, funnels.result[f], dispatcher.result[f])
            m.d.comb += registers.funnel_counters[f].eq(funnels.counters[f])
        m.d.comb += [
            dispatcher.funnel_idle.eq(funnels.idle),
            funnels.lane_owns.eq(dispatcher.lane_owns),
            funnels.prefetch.eq(registers.prefetch),
        ]

        # Lanes.
        row_readers = iter(rows.readers)
        for i, lane in enumerate(lanes):
            owned = registers.partition[i]
            m.d.comb += [
                array.partition[i].eq(owned),
                dispatcher.lane_owns[i].eq((owned.rows != 0) & (owned.cols != 0)),
            ]
            for bus in (lane.load, array.lane[i].load):
                for name in bus.signature.members:
                    m.d.comb += getattr(bus, name).eq(getattr(loader.load, name))
                m.d.comb += bus.valid.eq(loader.load.valid & dispatcher.load_lanes[i])
            join_tiles(m, lane.tokens, lane.outs, array.lane[i])
            port = funnels.lane[i]
            for name in ("task", "ids", "edges", "score", "done", "ahead_ids"):
                source, sink = getattr(port, name), getattr(lane, name)
                connect(m, source, sink)
            m.d.comb += [
                port.ids_from.eq(lane.ids_from),
                port.ids_wanted.eq(lane.ids_wanted),
                lane.to_read.eq(port.to_read),
                dispatcher.lane_idle[i].eq(lane.idle),
                dispatcher.lane_loaded[i].eq(lane.loaded),
                registers.counters[i].eq(lane.counters),
            ]
            for kind, port in ((LaneReader.LIST, lane.list), (LaneReader.AHEAD, lane.ahead)):
                connect(m, port, fabric.readers[lane_reader(config, i, kind)])
            for n, (record, row) in enumerate(zip(lane.record, lane.row, strict=True)):
                number = lane_reader(config, i, LaneReader.RECORD, n)
                connect(m, record, fabric.readers[number])
                connect(m, row, next(row_readers))
            connect(m, lane.prefetched, rows.prefetch[i])
            m.d.comb += rows.epochs[i].eq(funnels.epochs[i])

        # Memory side.
        for reader, port in enumerate(
            (dispatcher.descriptor, loader.memory, updater.read), reader_count(config) - 3
        ):
            connect(m, port, fabric.readers[reader])
        connect(m, dispatcher.port, writers.writers[0])
        connect(m, updater.write, writers.writers[1])
        connect(m, writers.port, fabric.writer)
        for bank in range(config.banks):
            connect(m, rows.memory[bank], fabric.banks[bank])
        # a model's tables may have been written anew
        m.d.comb += rows.clear.eq(loader.start.valid & loader.start.ready)
        self._update_rows(m, registers, updater, rows, dispatcher)
        for name in rows.load.signature.members:
            m.d.comb += getattr(rows.load, name).eq(getattr(loader.load, name))
        for inner, outer in zip(fabric.axi, self.m_axi, strict=True):
            connect(m, inner, flipped(outer))
        m.d.comb += [
            registers.read_beat_stb.eq(Cat(axi.rvalid & axi.rready for axi in fabric.axi)),
            registers.write_beat_stb.eq(Cat(axi.wvalid & axi.wready for axi in fabric.axi)),
        ]
        return m

    def _update_rows(
        self,
        m: Module,
        registers: Registers,
        updater: RowUpdater,
        rows: RowNetwork,
        dispatcher: Dispatcher,
    ) -> None:
        """Row updates while queries run; none while a model is loaded."""
        connect(m, updater.row, rows.update)
        m.d.comb += [
            updater.queue.eq(registers.updates),
            updater.hold.eq(dispatcher.loads),
            dispatcher.quiet.eq(updater.idle & rows.idle),
            registers.update_head.eq(updater.head),
            registers.update_stb.eq(updater.done_stb),
            registers.update_status.eq(updater.status),
            rows.split.eq(registers.static_split),
        ]
        m.d.comb += [
            registers.row_counters[i].eq(rows.counters[i]) for i in range(len(rows.counters))
        ]
