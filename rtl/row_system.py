"""Row network and memory fabric by themselves, as a netlist of their own for long simulations."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.axi import Axi4
from rpaccel.rtl.interfaces import BURST_BITS, STATUS_BITS
from rpaccel.rtl.look_ahead_cache import COUNTERS
from rpaccel.rtl.memory_fabric import MemoryFabric
from rpaccel.rtl.row_network import RowNetwork
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["RowSystem"]


class RowSystem(wiring.Component):
    """RowNetwork on MemoryFabric; memory is one region of `limit` bytes from address 0 on.

    Members, for each reader i (a ReadPort, flat):
      row<i>_valid, row<i>_address, row<i>_beats   In, row<i>_ready  Out
      row<i>_answer_valid, row<i>_data, row<i>_last, row<i>_error  Out, row<i>_answer_ready  In
    and
      limit, clear  In
      idle, and each of COUNTERS  Out, summed over banks
      m_axi         Out  Axi4 x memory_ports
    """

    def __init__(self, config: AcceleratorConfig, readers: int) -> None:
        self.config, self.count = config, readers
        members = {
            "m_axi": Out(Axi4(config)).array(config.memory_ports),
            "limit": In(config.axi_address_bits),
            "clear": In(1),
            "idle": Out(1),
        } | {name: Out(32) for name in COUNTERS}
        for i in range(readers):
            members |= {
                f"row{i}_valid": In(1),
                f"row{i}_ready": Out(1),
                f"row{i}_address": In(config.axi_address_bits),
                f"row{i}_beats": In(BURST_BITS),
                f"row{i}_answer_valid": Out(1),
                f"row{i}_answer_ready": In(1),
                f"row{i}_data": Out(config.axi_data_bits),
                f"row{i}_last": Out(1),
                f"row{i}_error": Out(STATUS_BITS),
            }
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.rows = rows = RowNetwork(self.config, self.count)
        m.submodules.fabric = fabric = MemoryFabric(self.config)
        for bank in range(self.config.banks):
            wiring.connect(m, rows.memory[bank], fabric.banks[bank])
        for inner, outer in zip(fabric.axi, self.m_axi, strict=True):
            wiring.connect(m, inner, wiring.flipped(outer))
        m.d.comb += [
            fabric.regions[0].limit.eq(self.limit),
            fabric.regions[0].permission.eq(3),
            rows.clear.eq(self.clear),
            self.idle.eq(rows.idle),
        ]
        for name in COUNTERS:
            banks = (rows.counters[bank][name] for bank in range(self.config.banks))
            m.d.comb += getattr(self, name).eq(sum(banks))
        for i, reader in enumerate(rows.readers):
            request, response = reader.request, reader.response
            m.d.comb += [
                request.valid.eq(getattr(self, f"row{i}_valid")),
                request.payload.address.eq(getattr(self, f"row{i}_address")),
                request.payload.beats.eq(getattr(self, f"row{i}_beats")),
                getattr(self, f"row{i}_ready").eq(request.ready),
                getattr(self, f"row{i}_answer_valid").eq(response.valid),
                response.ready.eq(getattr(self, f"row{i}_answer_ready")),
                getattr(self, f"row{i}_data").eq(response.payload.data),
                getattr(self, f"row{i}_last").eq(response.payload.last),
                getattr(self, f"row{i}_error").eq(response.payload.error),
            ]
        return m
