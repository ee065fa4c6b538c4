"""The retrieval engine by itself on AXI4 ports of its own, as a netlist for long simulations."""

from __future__ import annotations

from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.axi import Axi4
from rpaccel.rtl.memory_fabric import LIST_SLOTS, SCAN_SLOTS
from rpaccel.rtl.read_channel import ReadChannel
from rpaccel.rtl.read_crossbar import ReadCrossbar
from rpaccel.rtl.read_order import ReadOrder
from rpaccel.rtl.repeated import repeated
from rpaccel.rtl.retrieval_engine import (
    RetrievalEngine,
    report_layout,
    scan_layout,
    word_layout,
)
from rpaccel.rtl.retrieval_selector import scored_layout
from rpaccel.spec.accelerator import BURST_BEATS, AcceleratorConfig
from rpaccel.spec.registers import Permission
from rpaccel.spec.stripe import port_of

__all__ = ["RetrievalSystem"]

_SCAN = ("rows", "row_size", "metric", "base", "live", "scales")
_REPORT = ("status", "found", "scan_cycles", "beats", "stalled_cycles")


class RetrievalSystem(wiring.Component):
    """RetrievalEngine on read channels; memory is one region of `limit` bytes from 0 on.

    Members, flat, of the engine's streams:
      word_valid, word_query, word_index, word_data  In, word_ready  Out
      start_valid, and the fields of scan_layout()  In, start_ready  Out; of each query place q
      valid<q>, k<q>, bucket_base<q>, shift<q>, bitmap<q>, floor_valid<q>, floor<q>,
      page_valid<q>, page_score<q>, page_id<q>  In
      result<q>_valid, result<q>_score, result<q>_id, result<q>_end  Out, result<q>_ready  In
      report<q>_valid, and the fields of report_layout() as report<q>_...  Out, taken at once
    and
      limit, give_up  In, idle  Out, m_axi  Out  Axi4 x memory_ports
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        scan, report = scan_layout(config), report_layout()
        row, word = scored_layout(config.retrieval), word_layout(config)
        asked = scan["queries"].shape.elem_shape
        address = config.axi_address_bits
        score = signed(config.retrieval.score_bits)
        members = {
            "m_axi": Out(Axi4(config)).array(config.memory_ports),
            "limit": In(address),
            "give_up": In(1),
            "idle": Out(1),
            "word_valid": In(1),
            "word_ready": Out(1),
            "start_valid": In(1),
            "start_ready": Out(1),
        }
        members |= {f"word_{name}": In(word[name].shape) for name in ("query", "index", "data")}
        members |= {name: In(scan[name].shape) for name in _SCAN}
        filters = asked["filter"].shape
        for q in range(config.retrieval_queries):
            members |= {
                f"valid{q}": In(1),
                f"k{q}": In(filters["k"].shape),
                f"bucket_base{q}": In(score),
                f"shift{q}": In(filters["shift"].shape),
                f"bitmap{q}": In(address),
                f"floor_valid{q}": In(1),
                f"floor{q}": In(score),
                f"page_valid{q}": In(1),
                f"page_score{q}": In(score),
                f"page_id{q}": In(config.retrieval.id_bits),
                f"result{q}_valid": Out(1),
                f"result{q}_ready": In(1),
                f"report{q}_valid": Out(1),
            }
            members |= {
                f"result{q}_{name}": Out(row[name].shape) for name in ("score", "id", "end")
            }
            members |= {f"report{q}_{name}": Out(report[name].shape) for name in _REPORT}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.engine = engine = RetrievalEngine(config)
        self._memory(m, engine)
        word, start = engine.word, engine.start
        m.d.comb += [
            word.valid.eq(self.word_valid),
            self.word_ready.eq(word.ready),
            word.payload.query.eq(self.word_query),
            word.payload.index.eq(self.word_index),
            word.payload.data.eq(self.word_data),
            start.valid.eq(self.start_valid),
            self.start_ready.eq(start.ready),
            engine.give_up.eq(self.give_up),
            self.idle.eq(engine.idle),
            *(start.payload[name].eq(getattr(self, name)) for name in _SCAN),
        ]
        for q in range(config.retrieval_queries):
            asked = start.payload.queries[q]
            for target, name in [
                (asked.valid, "valid"),
                (asked["filter"].k, "k"),
                (asked["filter"].base, "bucket_base"),
                (asked["filter"].shift, "shift"),
                (asked.bitmap, "bitmap"),
                (asked.floor.valid, "floor_valid"),
                (asked.floor.score, "floor"),
                (asked.page.valid, "page_valid"),
                (asked.page.score, "page_score"),
                (asked.page.id, "page_id"),
            ]:
                m.d.comb += target.eq(getattr(self, f"{name}{q}"))
            result, report = engine.result[q], engine.report[q]
            m.d.comb += [
                getattr(self, f"result{q}_valid").eq(result.valid),
                result.ready.eq(getattr(self, f"result{q}_ready")),
                getattr(self, f"report{q}_valid").eq(report.valid),
                report.ready.eq(1),
            ]
            for name in ("score", "id", "end"):
                m.d.comb += getattr(self, f"result{q}_{name}").eq(result.payload[name])
            for name in _REPORT:
                m.d.comb += getattr(self, f"report{q}_{name}").eq(report.payload[name])
        return m

    def _memory(self, m: Module, engine: RetrievalEngine) -> None:
        """Every port reads what belongs to it; scales and bitmaps may lie behind any."""
        config = self.config
        readers = [*engine.memory, engine.bitmap]
        slots = [SCAN_SLOTS] * config.memory_ports + [LIST_SLOTS]
        orders = [ReadOrder(config, count, BURST_BEATS) for count in slots]
        places = [order.slots * order.slot_beats for order in orders]
        m.submodules.crossbar = crossbar = ReadCrossbar(
            config, places, config.memory_ports, lambda address: port_of(config, address)
        )
        for number, (order, reader) in enumerate(zip(orders, readers, strict=True)):
            m.submodules[f"order{number}"] = repeated(order)
            wiring.connect(m, reader, order.reader)
            wiring.connect(m, order.memory, crossbar.readers[number])
        for port, axi in enumerate(self.m_axi):
            channel = ReadChannel(config, len(places), max(places))
            m.submodules[f"read{port}"] = repeated(channel)
            m.d.comb += [
                channel.regions[0].limit.eq(self.limit),
                channel.regions[0].permission.eq(Permission.READ),
            ]
            wiring.connect(m, crossbar.targets[port], channel.port)
            wiring.connect(m, channel.axi, wiring.flipped(axi))
