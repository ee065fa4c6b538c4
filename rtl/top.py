"""The whole accelerator."""

from __future__ import annotations

from types import SimpleNamespace

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rpaccel.rtl.axi import Axi4, AxiLite
from rpaccel.rtl.compute_core import join_tiles
from rpaccel.rtl.dispatcher import Dispatcher
from rpaccel.rtl.funnels import Funnels
from rpaccel.rtl.guarded_lane import GuardedLane
from rpaccel.rtl.loader import Loader
from rpaccel.rtl.memory_fabric import LaneReader, MemoryFabric, lane_reader, own_reader
from rpaccel.rtl.registers import Registers
from rpaccel.rtl.repeated import repeated
from rpaccel.rtl.retriever import Retriever
from rpaccel.rtl.row_network import RowNetwork
from rpaccel.rtl.row_updater import RowUpdater
from rpaccel.rtl.systolic_array import SystolicArray
from rpaccel.rtl.task_log import TaskLog
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
        m.submodules.task_log = log = TaskLog(config)
        m.submodules.write_share = writers = WriteShare(
            config, 4 if config.retrieval_queries else 3
        )
        m.submodules.array = array = SystolicArray(config, config.lanes)
        lanes = [GuardedLane(config.lane(i)) for i in range(config.lanes)]
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

        units = SimpleNamespace(
            registers=registers,
            dispatcher=dispatcher,
            funnels=funnels,
            loader=loader,
            fabric=fabric,
            rows=rows,
            row_readers=iter(rows.readers),
            array=array,
        )
        self._connect_funnels(m, units)
        for i, lane in enumerate(lanes):
            self._connect_lane(m, i, lane, units)

        # Memory side.
        for name, port in (
            ("descriptor", dispatcher.descriptor),
            ("image", loader.memory),
            ("update", updater.read),
        ):
            connect(m, port, fabric.readers[own_reader(config, name)])
        connect(m, dispatcher.port, writers.writers[0])
        connect(m, updater.write, writers.writers[1])
        connect(m, log.port, writers.writers[2])
        m.d.comb += [
            log.settings.eq(registers.task_log),
            log.stb.eq(funnels.log_stb),
            log.entry.eq(funnels.log),
            registers.task_log_tail.eq(log.tail),
            registers.task_log_dropped.eq(log.dropped),
            dispatcher.clock.eq(registers.clock),
        ]
        if config.retrieval_queries:
            self._connect_retriever(m, units, updater, writers)
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

    def _connect_funnels(self, m: Module, u: SimpleNamespace) -> None:
        """Dispatcher to funnels; soft reset."""
        for f in range(self.config.funnels):
            connect(m, u.dispatcher.query[f], u.funnels.query[f])
            connect(m, u.funnels.completion[f], u.dispatcher.done[f])
            connect(m, u.funnels.result[f], u.dispatcher.result[f])
            m.d.comb += u.registers.funnel_counters[f].eq(u.funnels.counters[f])
        m.d.comb += [
            u.dispatcher.funnel_idle.eq(u.funnels.idle),
            u.funnels.lane_owns.eq(u.dispatcher.lane_owns),
            u.funnels.prefetch.eq(u.registers.prefetch),
            u.funnels.clock.eq(u.registers.clock),
            u.funnels.give_up.eq(u.registers.soft_reset),
            u.dispatcher.give_up.eq(u.registers.soft_reset),
        ]
        # Soft reset: lanes once, then until every query has been answered.
        resetting, self.reset_stb = Signal(), Signal()
        m.d.sync += resetting.eq(u.registers.soft_reset)
        idle = u.funnels.idle.all() & u.dispatcher.lane_idle.all() & ~u.dispatcher.busy
        m.d.comb += [
            self.reset_stb.eq(u.registers.soft_reset & ~resetting),
            u.registers.soft_reset_done.eq(resetting & idle),
        ]

    def _connect_lane(self, m: Module, i: int, lane: GuardedLane, u: SimpleNamespace) -> None:
        """A lane to its funnels, tiles and readers."""
        owned = u.registers.partition[i]
        m.d.comb += [
            u.array.partition[i].eq(owned),
            u.dispatcher.lane_owns[i].eq((owned.rows != 0) & (owned.cols != 0)),
        ]
        for bus in (lane.load, u.array.lane[i].load):
            for name in bus.signature.members:
                m.d.comb += getattr(bus, name).eq(getattr(u.loader.load, name))
            m.d.comb += bus.valid.eq(u.loader.load.valid & u.dispatcher.load_lanes[i])
        join_tiles(m, lane.tokens, lane.outs, u.array.lane[i])
        port = u.funnels.lane[i]
        for name in ("task", "ids", "edges", "score", "done", "ahead_ids"):
            source, sink = getattr(port, name), getattr(lane, name)
            connect(m, source, sink)
        m.d.comb += [
            port.ids_from.eq(lane.ids_from),
            port.ids_wanted.eq(lane.ids_wanted),
            lane.to_read.eq(port.to_read),
            lane.clock.eq(u.registers.clock),
            u.dispatcher.lane_idle[i].eq(lane.idle),
            u.dispatcher.lane_loaded[i].eq(lane.loaded),
            u.registers.counters[i].eq(lane.counters),
            lane.watchdog_cycles.eq(u.registers.watchdog_cycles),
            lane.reset_stb.eq(u.registers.lane_reset[i] | self.reset_stb),
            u.registers.lane_resets_stb[i].eq(lane.resets_stb),
        ]
        for kind, port in ((LaneReader.LIST, lane.list), (LaneReader.AHEAD, lane.ahead)):
            connect(m, port, u.fabric.readers[lane_reader(self.config, i, kind)])
        for n, (record, row) in enumerate(zip(lane.record, lane.row, strict=True)):
            number = lane_reader(self.config, i, LaneReader.RECORD, n)
            connect(m, record, u.fabric.readers[number])
            connect(m, row, next(u.row_readers))
        connect(m, lane.prefetched, u.rows.prefetch[i])
        m.d.comb += u.rows.epochs[i].eq(u.funnels.epochs[i])

    def _connect_retriever(
        self, m: Module, u: SimpleNamespace, updater: RowUpdater, writers: WriteShare
    ) -> None:
        """The retrieval engine: in front of the funnels, beside the row updater."""
        config = self.config
        m.submodules.retriever = retriever = Retriever(config)
        connect(m, u.dispatcher.retrieve, retriever.query)
        connect(m, retriever.passed, u.dispatcher.passed)
        connect(m, retriever.done, u.dispatcher.retrieved)
        connect(m, retriever.port, writers.writers[3])
        readers = {"retrieval": retriever.memory, "bitmap": retriever.bitmap}
        readers |= {f"scan{port}": rows for port, rows in enumerate(retriever.rows)}
        for name, port in readers.items():
            connect(m, port, u.fabric.readers[own_reader(config, name)])
        m.d.comb += [
            retriever.clock.eq(u.registers.clock),
            retriever.give_up.eq(u.registers.soft_reset),
            u.dispatcher.retriever_idle.eq(retriever.idle),
            u.registers.retrieval_counters.eq(retriever.counters),
            updater.pause.eq(retriever.pause),
            *(updater.guards[i].eq(guard) for i, guard in enumerate(retriever.guards)),
            retriever.paused.eq(updater.idle),
            retriever.updates_head.eq(updater.head),
            retriever.updates_tail.eq(u.registers.updates.tail),
            retriever.updates_wait.eq(updater.waiting),
        ]

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
        loads = dispatcher.loads
        if self.config.retrieval_queries:  # a LOAD waits for scans, which may wait for updates
            loads &= dispatcher.retriever_idle
        m.d.comb += [
            updater.queue.eq(registers.updates),
            updater.hold.eq(loads),
            dispatcher.quiet.eq(updater.idle & rows.idle),
            registers.update_head.eq(updater.head),
            registers.update_stb.eq(updater.done_stb),
            registers.update_status.eq(updater.status),
            rows.split.eq(registers.static_split),
        ]
        m.d.comb += [
            registers.row_counters[i].eq(rows.counters[i]) for i in range(len(rows.counters))
        ]
