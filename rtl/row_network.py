"""Row network: the gather units' way to the row banks, which share out memory among them."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import (
    LoadBus,
    PlacedReadPort,
    ReadPort,
    RowUpdatePort,
    burst_layout,
)
from rpaccel.rtl.look_ahead_cache import COUNTERS
from rpaccel.rtl.read_crossbar import ReadCrossbar
from rpaccel.rtl.read_order import ReadOrder
from rpaccel.rtl.repeated import repeated
from rpaccel.rtl.row_bank import RowBank
from rpaccel.rtl.row_front import bank_pins
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Target
from rpaccel.spec.registers import ROW_COUNTERS
from rpaccel.spec.stripe import bank_of

__all__ = ["RowNetwork", "row_counters_layout", "row_slots"]


def row_slots(config: AcceleratorConfig) -> int:
    """Return the rows that a gather unit has asked for and not got: a power of two."""
    return 1 << (config.reads_in_flight.bit_length() - 1)


def row_counters_layout() -> data.StructLayout:
    """Counters of a bank, in beats; see RowBank and LookAheadCache."""
    return data.StructLayout(dict.fromkeys(ROW_COUNTERS, unsigned(32)))


class RowNetwork(wiring.Component):
    """Rows for several readers, in order for each; a row's bank is that of its address.

    A reader gets one beat per cycle while no two readers meet at a bank; see ReadCrossbar, RowBank.

    Members:
      readers   In   ReadPort x readers; a request is a row
      prefetch  In   stream of burst_layout with rows x prefetchers
      epochs    In   2 bits per prefetcher; see LookAheadCache
      memory    Out  PlacedReadPort x banks
      update    In   RowUpdatePort: one row at a time
      load      In   LoadBus: PIN_ENTRY and PIN_LINE, bank after bank; only while idle
      split     In   lines of a bank's static cache that belong to the front end
      clear     In   empty the caches: a pulse, when no row is on its way
      idle      Out  no bank has anything on the way
      counters  Out  per bank: row_counters_layout
    """

    def __init__(self, config: AcceleratorConfig, readers: int, prefetchers: int = 0) -> None:
        self.config, self.count, self.prefetchers = config, readers, prefetchers
        prefetch = stream.Signature(burst_layout(config, rows=True))
        super().__init__(
            {
                "readers": In(ReadPort(config, rows=True)).array(readers),
                "prefetch": In(prefetch).array(prefetchers),
                "epochs": In(2).array(max(1, prefetchers)),
                "memory": Out(PlacedReadPort(config, config.row_reads)).array(config.banks),
                "update": In(RowUpdatePort(config)),
                "load": In(LoadBus(config)),
                "split": In(range(bank_pins(config).lines + 1)),
                "clear": In(1),
                "idle": Out(1),
                "counters": Out(data.ArrayLayout(row_counters_layout(), config.banks)),
            }
        )

    @staticmethod
    def hit_cycles(config: AcceleratorConfig) -> int:
        """Return the cycles from the request of a row that hits to its answer."""
        return RowBank.hit_cycles(config) + ReadOrder.latency_cycles

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        slots, beats = row_slots(config), config.row_beats_max
        places = [slots * beats] * self.count + [1] * self.prefetchers
        m.submodules.crossbar = crossbar = ReadCrossbar(
            config,
            places,
            config.banks,
            lambda address: bank_of(config, address),
            rows=True,
            silent=self.prefetchers,
        )
        for i in range(self.count):
            order = ReadOrder(config, slots, beats, rows=True)
            m.submodules[f"order_{i}"] = repeated(order)
            wiring.connect(m, wiring.flipped(self.readers[i]), order.reader)
            wiring.connect(m, order.memory, crossbar.readers[i])
        for i in range(self.prefetchers):
            asked, request = self.prefetch[i], crossbar.readers[self.count + i].request
            m.d.comb += [request.valid.eq(asked.valid), asked.ready.eq(request.ready)]
            for name, _ in burst_layout(config, rows=True):
                m.d.comb += request.payload[name].eq(asked.payload[name])
        banks = [
            RowBank(config, self.count, max(places), self.prefetchers) for _ in range(config.banks)
        ]
        for i, bank in enumerate(banks):
            m.submodules[f"bank_{i}"] = repeated(bank)
            wiring.connect(m, crossbar.targets[i], bank.port)
            wiring.connect(m, bank.memory, wiring.flipped(self.memory[i]))
            m.d.comb += [
                bank.clear.eq(self.clear),
                bank.split.eq(self.split),
                self.counters[i].pinned.eq(bank.pinned),
            ]
            m.d.comb += [self.counters[i][name].eq(bank.counters[name]) for name in COUNTERS]
            m.d.comb += [bank.epochs[n].eq(epoch) for n, epoch in enumerate(self.epochs)]
        self._update(m, banks)
        self._load(m, banks)
        m.d.comb += self.idle.eq(Cat(bank.idle for bank in banks).all())
        return m

    def _update(self, m: Module, banks: list[RowBank]) -> None:
        """Give an update to the bank of its row."""
        update, chosen = self.update, bank_of(self.config, self.update.address)
        for i, bank in enumerate(banks):
            inner, mine = bank.update, chosen == i
            m.d.comb += [
                inner.valid.eq(update.valid & mine),
                inner.address.eq(update.address),
                inner.size.eq(update.size),
                inner.write.valid.eq(update.write.valid & mine),
                inner.write.payload.eq(update.write.payload),
            ]
            with m.If(mine):
                m.d.comb += [
                    update.held.eq(inner.held),
                    update.write.ready.eq(inner.write.ready),
                ]

    def _load(self, m: Module, banks: list[RowBank]) -> None:
        """Give a load to the bank of its index."""
        if not self.config.static_cache_lines:
            return
        pins, load = bank_pins(self.config), self.load
        is_table = load.target == Target.PIN_ENTRY
        for i, bank in enumerate(banks):
            each = Mux(is_table, pins.entries, pins.lines * pins.load_parts)
            base = Mux(is_table, i * pins.entries, i * pins.lines * pins.load_parts)
            mine = (load.index >= base) & (load.index < base + each)
            m.d.comb += [
                bank.load.valid.eq(
                    load.valid & mine & (is_table | (load.target == Target.PIN_LINE))
                ),
                bank.load.table.eq(is_table),
                bank.load.index.eq(load.index - base),
                bank.load.data.eq(load.data),
            ]
