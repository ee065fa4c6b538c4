"""Row network: the gather units' way to the row banks, which share out memory among them."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import PlacedReadPort, ReadPort
from rpaccel.rtl.look_ahead_cache import COUNTERS
from rpaccel.rtl.read_crossbar import ReadCrossbar
from rpaccel.rtl.read_order import ReadOrder
from rpaccel.rtl.repeated import repeated
from rpaccel.rtl.row_bank import RowBank
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.stripe import bank_of

__all__ = ["RowNetwork", "row_slots"]


def row_slots(config: AcceleratorConfig) -> int:
    """Return the rows that a gather unit has asked for and not got: a power of two."""
    return 1 << (config.reads_in_flight.bit_length() - 1)


class RowNetwork(wiring.Component):
    """Rows for several readers, in order for each; a row's bank is that of its address.

    A reader gets one beat per cycle while no two readers meet at a bank; see ReadCrossbar, RowBank.

    Members:
      readers   In   ReadPort x readers; a request is a row
      memory    Out  PlacedReadPort x banks
      clear     In   empty the caches: a pulse, when no row is on its way
      idle      Out  no bank has anything on the way
      counters  Out  per bank, see LookAheadCache
    """

    hit_cycles = RowBank.hit_cycles + ReadOrder.latency_cycles

    def __init__(self, config: AcceleratorConfig, readers: int) -> None:
        self.config, self.count = config, readers
        counts = data.StructLayout(dict.fromkeys(COUNTERS, unsigned(32)))
        super().__init__(
            {
                "readers": In(ReadPort(config)).array(readers),
                "memory": Out(PlacedReadPort(config, config.row_reads)).array(config.banks),
                "clear": In(1),
                "idle": Out(1),
                "counters": Out(data.ArrayLayout(counts, config.banks)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        slots, beats = row_slots(config), config.row_beats_max
        places = [slots * beats] * self.count
        m.submodules.crossbar = crossbar = ReadCrossbar(
            config, places, config.banks, lambda address: bank_of(config, address)
        )
        for i in range(self.count):
            order = ReadOrder(config, slots, beats)
            m.submodules[f"order_{i}"] = repeated(order)
            wiring.connect(m, wiring.flipped(self.readers[i]), order.reader)
            wiring.connect(m, order.memory, crossbar.readers[i])
        banks = [RowBank(config, self.count, max(places)) for _ in range(config.banks)]
        for i, bank in enumerate(banks):
            m.submodules[f"bank_{i}"] = repeated(bank)
            wiring.connect(m, crossbar.targets[i], bank.port)
            wiring.connect(m, bank.memory, wiring.flipped(self.memory[i]))
            m.d.comb += [bank.clear.eq(self.clear), self.counters[i].eq(bank.counters)]
        m.d.comb += self.idle.eq(Cat(bank.idle for bank in banks).all())
        return m
