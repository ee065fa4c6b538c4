"""Control and status registers on AXI4-Lite, exactly the map of spec.registers."""

from __future__ import annotations

from collections.abc import Iterable

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import Value, ValueLike, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.axi import AxiLite
from rpaccel.rtl.region_check import regions_layout
from rpaccel.rtl.retrieval_query import retrieval_counters_layout
from rpaccel.rtl.row_network import row_counters_layout
from rpaccel.rtl.row_updater import update_queue_layout
from rpaccel.rtl.submission_queue import INDEX_BITS, rings_layout
from rpaccel.rtl.systolic_array import partition_layout
from rpaccel.rtl.task_log import log_settings_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import DESCRIPTOR, Status
from rpaccel.spec.registers import (
    ADDRESS,
    COUNTER_BASE,
    COUNTER_LANE_STRIDE,
    COUNTER_UNIT_STRIDE,
    COUNTER_UNITS,
    COUNTER_WORDS,
    FUNNEL_COUNTER_UNITS,
    LANES_MAX,
    PORT_COUNTER_BASE,
    REGIONS,
    REGISTERS,
    RETRIEVAL_COUNTER_BASE,
    RETRIEVAL_COUNTERS,
    ROW_COUNTERS,
    Control,
    Irq,
    Permission,
    config_registers,
    funnel_counter_address,
    partition_word,
    row_counter_address,
)

__all__ = ["Registers", "counters_layout"]

PORT_COUNTER_STRIDE = 0x10


def counters_layout(units: Iterable[str] = COUNTER_UNITS) -> data.StructLayout:
    """Counters of a lane, or of other units: unit -> word -> 32 bits (names of spec.registers)."""
    words = data.StructLayout({word: unsigned(32) for word in COUNTER_WORDS})
    return data.StructLayout({unit: words for unit in units})


class Registers(wiring.Component):
    """AXI4-Lite subordinate: one write and one read outstanding; AW and W in any order.

    A read answers 2 cycles after AR. Ring bases are rounded down to 128 bytes. Bits above
    axi_address_bits read 0. CYCLES_HI is the value that belongs to the last CYCLES_LO read.

    Members
    -------
    axil : In(AxiLite())
    irq : Out(1)  IRQ_STATUS & IRQ_ENABLE.
    rings : Out(rings_layout()), regions : Out(regions_layout())
    partition : Out(partition_layout()) per lane: the rectangles in use. At reset lane 0 owns all.
    partition_wanted : Out(1)  PARTITION_APPLY was written: no lane may get a query any more.
    lanes_idle : In(1)  all lanes are idle and get no query while `partition_wanted`.
    sq_head, cq_tail : In(16), queries : In(32), busy : In(1), completion_stb : In(1)
    error_stb, error_address, error_status, error_write, error_requester : In
        the memory fabric's pulses; the first one since IRQ_STATUS.ERROR was cleared is kept.
    loaded_word_stb : In(1)  the loader takes 8 bytes.
    updates : Out(update_queue_layout()); update_head : In(16); update_stb, update_status : In  an
        update is dealt with.
    clock : Out(32)  low bits of the cycle counter.
    task_log : Out(log_settings_layout()), task_log_tail, task_log_dropped : In
    prefetch : Out(1)  CONTROL's bit 1. soft_reset : Out(1)  its bit 2, until soft_reset_done.
    watchdog_cycles : Out(32), lane_reset : Out(lanes)  a pulse each; lane_resets_stb : In(lanes).
    static_split : Out  lines of a row bank's static cache that belong to the front end.
    counters : In(counters_layout()) per lane
    funnel_counters : In(counters_layout(FUNNEL_COUNTER_UNITS)) per funnel
    row_counters : In(row_counters_layout()) per row bank
    retrieval_counters : In(retrieval_counters_layout())  with a retrieval engine.
    read_beat_stb, write_beat_stb : In(1) per memory port
    """

    read_latency_cycles = 2

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "axil": In(AxiLite()),
                "irq": Out(1),
                "rings": Out(rings_layout(config)),
                "regions": Out(regions_layout(config)),
                "partition": Out(partition_layout(config)).array(config.lanes),
                "partition_wanted": Out(1),
                "lanes_idle": In(1),
                "sq_head": In(INDEX_BITS),
                "cq_tail": In(INDEX_BITS),
                "queries": In(32),
                "busy": In(1),
                "completion_stb": In(1),
                "error_stb": In(1),
                "error_address": In(config.axi_address_bits),
                "error_status": In(8),
                "error_write": In(1),
                "error_requester": In(8),
                "loaded_word_stb": In(1),
                "updates": Out(update_queue_layout(config)),
                "update_head": In(INDEX_BITS),
                "update_stb": In(1),
                "update_status": In(8),
                "clock": Out(32),
                "task_log": Out(log_settings_layout(config)),
                "task_log_tail": In(INDEX_BITS),
                "task_log_dropped": In(32),
                "prefetch": Out(1),
                "soft_reset": Out(1),
                "soft_reset_done": In(1),
                "watchdog_cycles": Out(32),
                "lane_reset": Out(config.lanes),
                "lane_resets_stb": In(config.lanes),
                "static_split": Out(range(max(1, config.static_cache_lines) + 1)),
                "counters": In(counters_layout()).array(config.lanes),
                "funnel_counters": In(counters_layout(FUNNEL_COUNTER_UNITS)).array(config.funnels),
                "row_counters": In(row_counters_layout()).array(config.banks),
                "read_beat_stb": In(config.memory_ports),
                "write_beat_stb": In(config.memory_ports),
            }
            | (
                {"retrieval_counters": In(retrieval_counters_layout())}
                if config.retrieval_queries
                else {}
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        stored = self._storage()
        write_stb, write_word = Signal(), Signal(14)
        write_data, write_mask = Signal(32), Signal(32)
        self._write_channel(m, write_stb, write_word, write_data, write_mask)

        # Plain registers.
        with m.Switch(write_word):
            for name, value in stored.items():
                with m.Case(ADDRESS[name] >> 2), m.If(write_stb):
                    m.d.sync += value.eq(value & ~write_mask | write_data & write_mask)
        self._outputs(m, stored)
        self._partition(m, stored)
        lane_resets = self._resets(m, stored)

        # Interrupt and the first error.
        irq_status = Signal(len(Irq))
        clear = Signal.like(irq_status)
        emptied = Signal()  # the queue of updates
        next_head = (self.update_head + 1)[:INDEX_BITS]
        m.d.comb += emptied.eq(self.update_stb & (self.updates.tail == next_head))
        events = Cat(self._coalesced(m, stored["IRQ_COALESCE"]), self.error_stb, emptied)
        with m.If(write_stb & (write_word == ADDRESS["IRQ_STATUS"] >> 2)):
            m.d.comb += clear.eq(write_data & write_mask)
        m.d.sync += irq_status.eq(irq_status & ~clear | events)
        m.d.comb += self.irq.eq((irq_status & stored["IRQ_ENABLE"]).any())
        captured = irq_status[1]
        error_address, error_info = Signal(64), Signal(32)
        with m.If(clear[1]):
            m.d.sync += [error_address.eq(0), error_info.eq(0)]
        with m.If(self.error_stb & (~captured | clear[1])):
            m.d.sync += [
                error_address.eq(self.error_address),
                error_info.eq(
                    Cat(self.error_status, self.error_write, Const(0, 7), self.error_requester)
                ),
            ]

        # Everything that can be read, by word address.
        loaded_words = Signal(32)
        m.d.sync += loaded_words.eq(loaded_words + self.loaded_word_stb)
        updates = self._count_updates(m)
        cycles, cycles_high = Signal(64), Signal(32)
        m.d.sync += cycles.eq(cycles + 1)
        m.d.comb += self.clock.eq(cycles)
        values: dict[int, ValueLike] = {
            ADDRESS[name]: value
            for name, value in {
                **config_registers(self.config),
                **stored,
                "STATUS": Cat(self.busy, captured),
                "IRQ_STATUS": irq_status,
                "SQ_HEAD": self.sq_head,
                "CQ_TAIL": self.cq_tail,
                "ERROR_LO": error_address[:32],
                "ERROR_HI": error_address[32:],
                "ERROR_INFO": error_info,
                "CYCLES_LO": cycles[:32],
                "CYCLES_HI": cycles_high,
                "QUERIES": self.queries,
                "LOADED_WORDS": loaded_words,
                "LANE_RESETS": lane_resets,
                "TASK_LOG_TAIL": self.task_log_tail,
                "TASK_LOG_DROPPED": self.task_log_dropped,
                "UQ_HEAD": self.update_head,
                **updates,
            }.items()
        }
        lo_read = self._read_channel(m, values | self._counters(m))
        with m.If(lo_read):
            m.d.sync += cycles_high.eq(cycles[32:])
        return m

    def _storage(self) -> dict[str, Signal]:
        """Return the registers that the host writes, as wide as their use."""
        address_bits = self.config.axi_address_bits

        widths = {"CONTROL": len(Control), "IRQ_ENABLE": len(Irq), "PARTITION_APPLY": 1}
        widths |= {"WATCHDOG": 32, "LANE_RESET": self.config.lanes, "IRQ_COALESCE": 32}
        endings = {
            "_HI": max(0, address_bits - 32),
            "_LO": min(32, address_bits),
            "_PERMISSION": len(Permission),
        }
        widths |= {f"PARTITION{lane}": 32 for lane in range(LANES_MAX)}

        def bits(name: str) -> int:
            ending = name[name.rfind("_") :] if "_" in name else ""
            return widths.get(name, endings.get(ending, INDEX_BITS))

        absent = {f"PARTITION{lane}" for lane in range(self.config.lanes, LANES_MAX)}
        whole = partition_word(0, 0, self.config.blocks, self.config.blocks)
        return {
            register.name: Signal(
                bits(register.name),
                name=register.name.lower(),
                init=whole if register.name == "PARTITION0" else 0,
            )
            for register in REGISTERS
            if register.access == "rw" and register.name not in absent
        }

    def _partition(self, m: Module, stored: dict[str, Signal]) -> None:
        """Use the rectangles that the host wrote when no lane works; until then, keep the old."""
        wanted = stored["PARTITION_APPLY"]
        m.d.comb += self.partition_wanted.eq(wanted)
        for lane, used in enumerate(self.partition):
            word = Signal(32, name=f"partition_in_use{lane}", init=stored[f"PARTITION{lane}"].init)
            with m.If(wanted & self.lanes_idle):
                m.d.sync += word.eq(stored[f"PARTITION{lane}"])
            m.d.comb += [
                used.row.eq(word[:8]),
                used.col.eq(word[8:16]),
                used.rows.eq(word[16:24]),
                used.cols.eq(word[24:]),
            ]
        with m.If(wanted & self.lanes_idle):
            m.d.sync += wanted.eq(0)

    def _coalesced(self, m: Module, settings: Signal) -> Signal:
        """Return the pulse that says that completions are there: of each one if settings are 0.

        Else when as many have come as the low 8 bits say, or so many cycles after the first one as
        the other bits say; 0 there: no such limit.
        """
        count, cycles = settings[:8], settings[8:]
        waiting, age = Signal(8), Signal(24)
        now = Signal(8)
        stb = Signal()
        m.d.comb += [
            now.eq(waiting + (self.completion_stb & ~waiting.all())),
            stb.eq((now != 0) & ((now >= count) | ((cycles != 0) & (age >= cycles)))),
        ]
        m.d.sync += [
            waiting.eq(Mux(stb, 0, now)),
            age.eq(Mux(stb | (now == 0), 0, age + ~age.all())),
        ]
        return stb

    def _resets(self, m: Module, stored: dict[str, Signal]) -> Signal:
        """Soft reset, lanes' resets; return how many lanes were reset."""
        control, lanes = stored["CONTROL"], stored["LANE_RESET"]
        bit = Control.RESET.bit_length() - 1
        m.d.comb += [
            self.soft_reset.eq(control[bit]),
            self.watchdog_cycles.eq(stored["WATCHDOG"]),
            self.lane_reset.eq(lanes),
        ]
        with m.If(lanes != 0):
            m.d.sync += lanes.eq(0)
        with m.If(self.soft_reset_done):
            m.d.sync += control[bit].eq(0)
        count = Signal(32)
        m.d.sync += count.eq(count + sum(self.lane_resets_stb))
        return count

    def _count_updates(self, m: Module) -> dict[str, Signal]:
        """Count updates by what they came to."""
        status = self.update_status
        ends = {
            "UPDATES_APPLIED": status == Status.OK,
            "UPDATES_STALE": status == Status.STALE,
            "UPDATES_FAILED": (status != Status.OK) & (status != Status.STALE),
        }
        counts = {name: Signal(32, name=name.lower()) for name in ends}
        for name, count in counts.items():
            m.d.sync += count.eq(count + (self.update_stb & ends[name]))
        return counts

    def _outputs(self, m: Module, stored: dict[str, Signal]) -> None:
        """Join the halves of addresses."""

        def joined(prefix: str) -> Value:
            return Cat(stored[f"{prefix}_LO"], stored[f"{prefix}_HI"])

        aligned = ~(DESCRIPTOR.bytes - 1)
        m.d.comb += [
            self.rings.enable.eq(stored["CONTROL"] & Control.RUN),
            self.prefetch.eq((stored["CONTROL"] & Control.PREFETCH) != 0),
            self.rings.sq_base.eq(joined("SQ_BASE") & aligned),
            self.rings.cq_base.eq(joined("CQ_BASE") & aligned),
            self.rings.sq_size.eq(stored["SQ_SIZE"]),
            self.rings.sq_tail.eq(stored["SQ_TAIL"]),
            self.rings.cq_size.eq(stored["CQ_SIZE"]),
            self.rings.cq_head.eq(stored["CQ_HEAD"]),
        ]
        entry = ~(self.config.update_entry_bytes - 1)
        m.d.comb += [
            self.updates.enable.eq(stored["CONTROL"] & Control.RUN),
            self.updates.base.eq(joined("UQ_BASE") & entry),
            self.updates.size.eq(stored["UQ_SIZE"]),
            self.updates.tail.eq(stored["UQ_TAIL"]),
            self.static_split.eq(stored["STATIC_SPLIT"]),
            self.task_log.base.eq(joined("TASK_LOG") & ~63),
            self.task_log.size.eq(stored["TASK_LOG_SIZE"]),
        ]
        for i in range(REGIONS):
            region = self.regions[i]
            m.d.comb += [
                region.base.eq(joined(f"REGION{i}_BASE")),
                region.limit.eq(joined(f"REGION{i}_LIMIT")),
                region.permission.eq(stored[f"REGION{i}_PERMISSION"]),
            ]

    def _counters(self, m: Module) -> dict[int, ValueLike]:
        """Return the counter windows of lanes and ports; count the ports' beats."""
        values: dict[int, ValueLike] = {}
        for lane, counters in enumerate(self.counters):
            for i, unit in enumerate(COUNTER_UNITS):
                base = COUNTER_BASE + lane * COUNTER_LANE_STRIDE + i * COUNTER_UNIT_STRIDE
                values |= {base + 4 * j: counters[unit][w] for j, w in enumerate(COUNTER_WORDS)}
        for funnel, counters in enumerate(self.funnel_counters):
            values |= {
                funnel_counter_address(funnel, unit, word): counters[unit][word]
                for unit in FUNNEL_COUNTER_UNITS
                for word in COUNTER_WORDS
            }
        for bank, counters in enumerate(self.row_counters):
            values |= {row_counter_address(bank, name): counters[name] for name in ROW_COUNTERS}
        if self.config.retrieval_queries:
            for j, name in enumerate(RETRIEVAL_COUNTERS):
                values[RETRIEVAL_COUNTER_BASE + 4 * j] = self.retrieval_counters[name]
        for port in range(self.config.memory_ports):
            for j, stb in enumerate((self.read_beat_stb[port], self.write_beat_stb[port])):
                beats = Signal(32, name=f"port{port}_{('read', 'write')[j]}_beats")
                m.d.sync += beats.eq(beats + stb)
                values[PORT_COUNTER_BASE + port * PORT_COUNTER_STRIDE + 4 * j] = beats
        return values

    def _write_channel(
        self, m: Module, stb: Signal, word: Signal, payload: Signal, mask: Signal
    ) -> None:
        """Take AW and W as they come; write when both are there; answer OKAY."""
        axil = self.axil
        have_address, have_data = Signal(), Signal()
        strobe = Signal(4)
        m.d.comb += [
            axil.awready.eq(~have_address),
            axil.wready.eq(~have_data),
            stb.eq(have_address & have_data & ~axil.bvalid),
            mask.eq(Cat(bit.replicate(8) for bit in strobe)),
        ]
        with m.If(axil.awvalid & axil.awready):
            m.d.sync += [word.eq(axil.awaddr >> 2), have_address.eq(1)]
        with m.If(axil.wvalid & axil.wready):
            m.d.sync += [payload.eq(axil.wdata), strobe.eq(axil.wstrb), have_data.eq(1)]
        with m.If(stb):
            m.d.sync += [have_address.eq(0), have_data.eq(0), axil.bvalid.eq(1)]
        with m.Elif(axil.bready):
            m.d.sync += axil.bvalid.eq(0)

    def _read_channel(self, m: Module, values: dict[int, ValueLike]) -> Signal:
        """Answer reads; return a pulse in the cycle in which CYCLES_LO is sampled."""
        axil = self.axil
        pending = Signal()
        word = Signal(14)
        low_stb = Signal()
        m.d.comb += axil.arready.eq(~pending & ~axil.rvalid)
        with m.If(axil.arvalid & axil.arready):
            m.d.sync += [word.eq(axil.araddr >> 2), pending.eq(1)]
        with m.If(pending):
            m.d.sync += [pending.eq(0), axil.rvalid.eq(1), axil.rdata.eq(0)]
            m.d.comb += low_stb.eq(word == ADDRESS["CYCLES_LO"] >> 2)
            with m.Switch(word):
                for address, value in values.items():
                    with m.Case(address >> 2):
                        m.d.sync += axil.rdata.eq(value)
        with m.Elif(axil.rready):
            m.d.sync += axil.rvalid.eq(0)
        return low_stb
