"""Row network, updater and memory fabric by themselves, as a netlist for long simulations."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.axi import Axi4
from rpaccel.rtl.interfaces import BURST_BITS, STATUS_BITS, row_size
from rpaccel.rtl.memory_fabric import MemoryFabric, own_reader
from rpaccel.rtl.row_network import RowNetwork
from rpaccel.rtl.row_updater import RowUpdater
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import PIN_ENTRY_BITS
from rpaccel.spec.registers import ROW_COUNTERS

__all__ = ["RowSystem"]

INDEX_BITS = 16


class RowSystem(wiring.Component):
    """RowNetwork and RowUpdater on MemoryFabric; memory is one region of `limit` bytes from 0 on.

    Members, for each reader i (a ReadPort with rows, flat):
      row<i>_valid, row<i>_address, row<i>_beats, row<i>_stage, row<i>_size   In, row<i>_ready  Out
      row<i>_answer_valid, row<i>_data, row<i>_last, row<i>_error  Out, row<i>_answer_ready  In
    for each prefetcher i:
      prefetch<i>_valid, prefetch<i>_address, prefetch<i>_beats  In, prefetch<i>_ready  Out
      epoch<i>  In; stage 1, and the size of all its beats
    and
      limit, clear, split  In
      load_valid, load_target, load_index, load_data  In, as of LoadBus
      queue_base, queue_size, queue_tail  In, queue_head  Out: row updates
      idle, and each of ROW_COUNTERS  Out, summed over banks
      m_axi         Out  Axi4 x memory_ports
    """

    def __init__(self, config: AcceleratorConfig, readers: int, prefetchers: int = 0) -> None:
        self.config, self.count, self.prefetchers = config, readers, prefetchers
        members = {
            "m_axi": Out(Axi4(config)).array(config.memory_ports),
            "limit": In(config.axi_address_bits),
            "clear": In(1),
            "split": In(range(max(1, config.static_cache_lines) + 1)),
            "load_valid": In(1),
            "load_target": In(4),
            "load_index": In(24),
            "load_data": In(PIN_ENTRY_BITS),
            "queue_base": In(config.axi_address_bits),
            "queue_size": In(INDEX_BITS),
            "queue_tail": In(INDEX_BITS),
            "queue_head": Out(INDEX_BITS),
            "idle": Out(1),
        } | {name: Out(32) for name in ROW_COUNTERS}
        for i in range(readers):
            members |= {
                f"row{i}_valid": In(1),
                f"row{i}_ready": Out(1),
                f"row{i}_address": In(config.axi_address_bits),
                f"row{i}_beats": In(BURST_BITS),
                f"row{i}_stage": In(1),
                f"row{i}_size": In(row_size(config)),
                f"row{i}_answer_valid": Out(1),
                f"row{i}_answer_ready": In(1),
                f"row{i}_data": Out(config.axi_data_bits),
                f"row{i}_last": Out(1),
                f"row{i}_error": Out(STATUS_BITS),
            }
        for i in range(prefetchers):
            members |= {
                f"prefetch{i}_valid": In(1),
                f"prefetch{i}_ready": Out(1),
                f"prefetch{i}_address": In(config.axi_address_bits),
                f"prefetch{i}_beats": In(BURST_BITS),
                f"epoch{i}": In(2),
            }
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.rows = rows = RowNetwork(self.config, self.count, self.prefetchers)
        m.submodules.updater = updater = RowUpdater(self.config)
        m.submodules.fabric = fabric = MemoryFabric(self.config)
        for bank in range(self.config.banks):
            wiring.connect(m, rows.memory[bank], fabric.banks[bank])
        wiring.connect(m, updater.row, rows.update)
        wiring.connect(m, updater.read, fabric.readers[own_reader(self.config, "update")])
        wiring.connect(m, updater.write, fabric.writer)
        for inner, outer in zip(fabric.axi, self.m_axi, strict=True):
            wiring.connect(m, inner, wiring.flipped(outer))
        m.d.comb += [
            fabric.regions[0].limit.eq(self.limit),
            fabric.regions[0].permission.eq(3),
            rows.clear.eq(self.clear),
            rows.split.eq(self.split),
            self.idle.eq(rows.idle & updater.idle),
            updater.queue.enable.eq(1),
            updater.queue.base.eq(self.queue_base),
            updater.queue.size.eq(self.queue_size),
            updater.queue.tail.eq(self.queue_tail),
            self.queue_head.eq(updater.head),
        ]
        for name in ("valid", "target", "index", "data"):
            m.d.comb += getattr(rows.load, name).eq(getattr(self, f"load_{name}"))
        for name in ROW_COUNTERS:
            banks = (rows.counters[bank][name] for bank in range(self.config.banks))
            m.d.comb += getattr(self, name).eq(sum(banks))
        for i, reader in enumerate(rows.readers):
            request, response = reader.request, reader.response
            m.d.comb += [
                request.valid.eq(getattr(self, f"row{i}_valid")),
                request.payload.address.eq(getattr(self, f"row{i}_address")),
                request.payload.beats.eq(getattr(self, f"row{i}_beats")),
                request.payload.row.stage.eq(getattr(self, f"row{i}_stage")),
                request.payload.row.size.eq(getattr(self, f"row{i}_size")),
                getattr(self, f"row{i}_ready").eq(request.ready),
                getattr(self, f"row{i}_answer_valid").eq(response.valid),
                response.ready.eq(getattr(self, f"row{i}_answer_ready")),
                getattr(self, f"row{i}_data").eq(response.payload.data),
                getattr(self, f"row{i}_last").eq(response.payload.last),
                getattr(self, f"row{i}_error").eq(response.payload.error),
            ]
        largest = max(row_size(self.config))
        for i, prefetch in enumerate(rows.prefetch):
            m.d.comb += [
                prefetch.valid.eq(getattr(self, f"prefetch{i}_valid")),
                prefetch.payload.address.eq(getattr(self, f"prefetch{i}_address")),
                prefetch.payload.beats.eq(getattr(self, f"prefetch{i}_beats")),
                prefetch.payload.row.stage.eq(1),
                prefetch.payload.row.size.eq(largest),
                getattr(self, f"prefetch{i}_ready").eq(prefetch.ready),
                rows.epochs[i].eq(getattr(self, f"epoch{i}")),
            ]
        return m
