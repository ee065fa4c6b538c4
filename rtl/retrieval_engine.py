"""Retrieval engine: scans a corpus over all memory ports for several queries at once.

Ref: FAERY (OSDI 2022): a corpus is streamed past the queries; a filter before one selector each.
"""

from __future__ import annotations

from types import SimpleNamespace

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from rpaccel.rtl.interfaces import STATUS_BITS, ReadPort
from rpaccel.rtl.repeated import repeated
from rpaccel.rtl.retrieval_bitmaps import BitmapReader
from rpaccel.rtl.retrieval_blocks import BlockScheduler
from rpaccel.rtl.retrieval_filter import ScoreFilter, start_layout
from rpaccel.rtl.retrieval_gate import RowGate
from rpaccel.rtl.retrieval_port import RetrievalPort
from rpaccel.rtl.retrieval_score import ROW_SIZES, ScoreUnit
from rpaccel.rtl.retrieval_selector import scored_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.retrieval import MAX_ROW_BYTES, Metric

__all__ = [
    "RetrievalEngine", "asked_layout", "guard_layout", "report_layout", "scan_layout", "word_layout"
]  # fmt: skip

REPORTS = 4  # of a query place: its filter has three queries inside at most


def asked_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What one query of a scan asks for. valid : 0: there is no query in this place."""
    sizes = config.retrieval
    score = signed(sizes.score_bits)
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "filter": start_layout(sizes),
            "bitmap": unsigned(config.axi_address_bits),  # 0: all rows are looked at
            "floor": data.StructLayout({"valid": unsigned(1), "score": score}),
            "page": data.StructLayout(
                {"valid": unsigned(1), "score": score, "id": unsigned(sizes.id_bits)}
            ),
        }
    )


def word_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A word of a query's vector, a beat."""
    return data.StructLayout(
        {
            "query": range(config.retrieval_queries),
            "index": range(MAX_ROW_BYTES // config.beat_bytes),
            "data": unsigned(8 * config.beat_bytes),
        }
    )


def scan_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A scan: rows of 16 << row_size bytes at `base`, for one query or several."""
    address = unsigned(config.axi_address_bits)
    return data.StructLayout(
        {
            "rows": unsigned(32),
            "row_size": range(ROW_SIZES),
            "metric": Metric,
            "base": address,
            "live": address,
            "scales": address,
            "queries": data.ArrayLayout(asked_layout(config), config.retrieval_queries),
        }
    )


def report_layout() -> data.StructLayout:
    """Of one query, when its scan is over. status : Status of its first failed read.

    found : rows that qualify. scan_cycles : from the scan's start to its last row. beats : scored.
    stalled_cycles : a beat waits for a filter.
    """
    return data.StructLayout(
        {
            "status": unsigned(STATUS_BITS),
            "found": unsigned(32),
            "scan_cycles": unsigned(32),
            "beats": unsigned(32),
            "stalled_cycles": unsigned(32),
        }
    )


def guard_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Addresses low..high-1 that a scan has yet to read; low = high: none."""
    address = unsigned(config.axi_address_bits + 1)
    return data.StructLayout({"low": address, "high": address})


class RetrievalEngine(wiring.Component):
    """The k best rows of a corpus for each query of a scan, exact, in order.

    `start` is taken when the scan before has asked for all it reads; its query words are loaded
    before, while the scan before runs. An answer leaves while the next scan runs. With a failed
    read a query's list means nothing, and its status says so.

    Members
    -------
    word : In(stream of {query, index, data})  word `index` of a query's vector, a beat each; a
        vector shorter than a beat is repeated to fill word 0. For the next `start`.
    start : In(stream of scan_layout())
    give_up : In(1)  the scan ends early: what it finds means nothing.
    report : Out(stream of report_layout()) per query place, one per valid query of a scan, offered
        before the first row of its result.
    result : Out(stream of scored_layout()) per query place: rows, best first, then the end.
    memory : Out(ReadPort) per memory port  rows and their scales.
    bitmap : Out(ReadPort)
    rows_guard, live_guard : Out(guard_layout())  of rows, and of the bitmap of live rows. Both
        hold from the cycle in which `start` is taken.
    idle : Out(1)  no scan and no result is inside.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        sizes = config.retrieval
        queries = config.retrieval_queries
        super().__init__(
            {
                "word": In(stream.Signature(word_layout(config))),
                "start": In(stream.Signature(scan_layout(config))),
                "give_up": In(1),
                "report": Out(stream.Signature(report_layout())).array(queries),
                "result": Out(stream.Signature(scored_layout(sizes))).array(queries),
                "memory": Out(ReadPort(config)).array(config.memory_ports),
                "bitmap": Out(ReadPort(config)),
                "rows_guard": Out(guard_layout(config)),
                "live_guard": Out(guard_layout(config)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, sizes = self.config, self.config.retrieval
        places = range(config.retrieval_queries)
        m.submodules.bitmaps = bitmaps = BitmapReader(config)
        m.submodules.blocks = blocks = BlockScheduler(config)
        ports, units, gates = [], [], []
        for number in range(config.memory_ports):
            port = RetrievalPort(config)
            unit = ScoreUnit(sizes, len(places))
            gate = RowGate(sizes, len(places), config.retrieval_port_lanes)
            m.submodules[f"port{number}"] = repeated(port)
            m.submodules[f"score{number}"] = repeated(unit)
            m.submodules[f"gate{number}"] = repeated(gate)
            connect(m, blocks.block[number], port.block)
            connect(m, port.memory, flipped(self.memory[number]))
            connect(m, port.beat, unit.beat)
            connect(m, unit.sets, gate.sets)
            ports.append(port)
            units.append(unit)
            gates.append(gate)
        filters = []
        for query in places:
            each = ScoreFilter(sizes)
            m.submodules[f"filter{query}"] = repeated(each)
            connect(m, each.result, flipped(self.result[query]))
            filters.append(each)
        connect(m, bitmaps.chunk, blocks.chunk)
        connect(m, bitmaps.memory, flipped(self.bitmap))

        # `coming` is read ahead; `scan` is scored
        coming, scan = (Signal(scan_layout(config), name=name) for name in ("coming", "scan"))
        pending, running, at_end = Signal(), Signal(), Signal()
        same, begin = Signal(), Signal()
        asked = self.start.payload
        clock, started, opened_at = Signal(32), Signal(32), Signal(32)
        m.d.comb += [
            at_end.eq(Cat(port.at_end for port in ports).all()),
            # a scan's guard covers what is left of the one before if it is of the same rows
            same.eq(
                (asked.base == coming.base)
                & (asked.live == coming.live)
                & (asked.row_size == coming.row_size)
                & (asked.rows >= coming.rows)
            ),
            self.start.ready.eq(bitmaps.start.ready & ~pending & (~running | at_end | same)),
            begin.eq(self.start.valid & self.start.ready),
            bitmaps.start.valid.eq(begin),
            bitmaps.start.payload.rows.eq(asked.rows),
            bitmaps.start.payload.live.eq(asked.live),
            bitmaps.start.payload.valid.eq(Cat(one.valid for one in asked.queries)),
            *(bitmaps.start.payload.bitmaps[q].eq(asked.queries[q].bitmap) for q in places),
            bitmaps.give_up.eq(self.give_up),
            blocks.rows.rows.eq(coming.rows),
            blocks.rows.row_size.eq(coming.row_size),
            blocks.rows.scaled.eq(coming.metric == Metric.COSINE),
            blocks.rows.base.eq(coming.base),
            blocks.rows.scales.eq(coming.scales),
        ]
        m.d.sync += clock.eq(clock + 1)
        with m.If(begin):
            m.d.sync += [coming.eq(asked), pending.eq(1), started.eq(clock)]

        # words of the next scan go into the bank that this one does not read
        bank = Signal()
        word = self.word.payload
        m.d.comb += self.word.ready.eq(~pending)
        for port, unit, gate in zip(ports, units, gates, strict=True):
            m.d.comb += [
                unit.word.valid.eq(self.word.valid & self.word.ready),
                unit.word.query.eq(word.query),
                unit.word.bank.eq(~bank),
                unit.word.index.eq(word.index),
                unit.word.data.eq(word.data),
                unit.bank.eq(bank),
                unit.row_size.eq(scan.row_size),
                unit.metric.eq(scan.metric),
                port.run.eq(running),
                gate.row_size.eq(scan.row_size),
                *(gate.bounds[q].floor.eq(scan.queries[q].floor) for q in places),
                *(gate.bounds[q].page.eq(scan.queries[q].page) for q in places),
            ]

        # rows of all ports to all filters
        offered, last, go, all_ready = Signal(), Signal(), Signal(), Signal()
        valid = Signal(len(places))  # of the scan's queries
        sent_last = Signal(len(places))
        m.d.comb += [
            valid.eq(Cat(one.valid for one in scan.queries)),
            offered.eq(Cat(gate.rows.valid for gate in gates).any()),
            all_ready.eq(Cat(~valid[q] | each.rows.ready for q, each in enumerate(filters)).all()),
            go.eq(running & offered & all_ready),
        ]
        for number, gate in enumerate(gates):
            m.d.comb += gate.rows.ready.eq(go)
            for query, each in enumerate(filters):
                for lane in range(config.retrieval_port_lanes):
                    row = gate.rows.payload.queries[query][lane]
                    to = each.rows.payload.lanes[number * config.retrieval_port_lanes + lane]
                    m.d.comb += [
                        to.eq(row),
                        to.valid.eq(row.valid & gate.rows.valid & ~last),
                    ]
        for query, each in enumerate(filters):
            m.d.comb += [
                each.rows.valid.eq(valid[query] & (go | last & ~sent_last[query])),
                each.rows.payload.last.eq(last),
                each.start.payload.eq(scan.queries[query]["filter"]),
            ]

        # what is told of a scan
        facts = self._facts(m, ports, units, gates, go, offered & ~all_ready & running)
        of_scan = [Signal(STATUS_BITS, name=f"bitmap_status{query}") for query in places]
        with m.If(begin):
            m.d.sync += [mine.eq(bitmaps.status[q]) for q, mine in enumerate(of_scan)]
        reports = []
        for query in places:
            m.submodules[f"reports{query}"] = queue = SyncFIFOBuffered(
                width=report_layout().size, depth=REPORTS + 1
            )
            told = data.View(report_layout(), queue.w_data)
            m.d.comb += [
                told.found.eq(facts.found[query]),
                told.status.eq(
                    Mux(
                        facts.error != 0,
                        facts.error,
                        Mux(pending, of_scan[query], bitmaps.status[query]),
                    )
                ),
                told.scan_cycles.eq(clock - opened_at),
                told.beats.eq(facts.beats),
                told.stalled_cycles.eq(facts.stalled),
                self.report[query].payload.eq(queue.r_data),
                self.report[query].valid.eq(queue.r_rdy),
                queue.r_en.eq(self.report[query].ready),
            ]
            reports.append(queue)

        quiet = Signal()  # nothing is between the ports and the filters
        calm = Signal(range(4))
        m.d.comb += quiet.eq(at_end & Cat(unit.idle for unit in units).all() & ~offered)
        m.d.sync += calm.eq(Mux(quiet, Mux(calm == 3, 3, calm + 1), 0))
        opened = Signal(len(places))
        with m.FSM(name="scan") as fsm:
            m.d.comb += self.idle.eq(
                fsm.ongoing("IDLE")
                & ~pending
                & Cat(each.idle for each in filters).all()
                & ~Cat(queue.r_rdy for queue in reports).any()
            )
            with m.State("IDLE"):
                m.d.sync += [opened.eq(0), sent_last.eq(0)]
                with m.If(pending):
                    m.d.sync += [scan.eq(coming), opened_at.eq(started)]
                    m.next = "OPEN"
            with m.State("OPEN"):
                for query, each in enumerate(filters):
                    wants = valid[query] & ~opened[query]
                    m.d.comb += each.start.valid.eq(wants)
                    with m.If(wants & each.start.ready):
                        m.d.sync += opened[query].eq(1)
                m.d.comb += facts.clear.eq(1)
                with m.If(opened == valid):
                    m.d.sync += [running.eq(1), pending.eq(0), bank.eq(~bank), calm.eq(0)]
                    m.next = "RUN"
            with m.State("RUN"), m.If((calm == 3) & quiet):
                with m.If(Cat(~valid[q] | queue.w_rdy for q, queue in enumerate(reports)).all()):
                    m.d.comb += [queue.w_en.eq(valid[query]) for query, queue in enumerate(reports)]
                    m.next = "LAST"
            with m.State("LAST"):
                m.d.comb += last.eq(1)
                sent = Signal(len(places))
                m.d.comb += sent.eq(
                    sent_last | Cat(each.rows.valid & each.rows.ready for each in filters) | ~valid
                )
                m.d.sync += sent_last.eq(sent)
                with m.If(sent.all()):
                    m.d.comb += [port.pass_end.eq(1) for port in ports]
                    m.d.sync += running.eq(0)
                    m.next = "IDLE"
        self._guards(m, begin, pending, bitmaps, blocks, ports)
        return m

    def _facts(
        self,
        m: Module,
        ports: list[RetrievalPort],
        units: list[ScoreUnit],
        gates: list[RowGate],
        go: Signal,
        stalled: Value,
    ) -> SimpleNamespace:
        """Count what qualifies, beats and waits; keep the Status of the first failed read of rows."""
        places = range(self.config.retrieval_queries)
        facts = SimpleNamespace(
            clear=Signal(name="clear_facts"),
            beats=Signal(32, name="beats"),
            stalled=Signal(32, name="stalled_cycles"),
            found=[Signal(32, name=f"found{query}") for query in places],
            error=Signal(STATUS_BITS, name="row_error"),
        )
        taken = Signal(range(len(units) + 1))
        m.d.sync += [
            taken.eq(sum(unit.beat.valid & unit.beat.ready for unit in units)),
            facts.beats.eq(facts.beats + taken),
            facts.stalled.eq(facts.stalled + stalled),
        ]
        error = facts.error
        for port in ports:
            with m.If((error == 0) & (port.error != 0)):
                m.d.sync += error.eq(port.error)
        lanes = len(gates) * self.config.retrieval_port_lanes
        for query in places:
            here = Signal(range(lanes + 1), name=f"here{query}")
            rows = [
                row.valid & gate.rows.valid
                for gate in gates
                for row in gate.rows.payload.queries[query]
            ]
            m.d.sync += [
                here.eq(Mux(go, sum(rows), 0)),
                facts.found[query].eq(facts.found[query] + here),
            ]
        with m.If(facts.clear):
            m.d.sync += [error.eq(0), facts.beats.eq(0), facts.stalled.eq(0)]
            m.d.sync += [found.eq(0) for found in facts.found]
        return facts

    def _guards(
        self,
        m: Module,
        begin: Signal,
        pending: Signal,
        bitmaps: BitmapReader,
        blocks: BlockScheduler,
        ports: list[RetrievalPort],
    ) -> None:
        """Say what is yet to be read. The bound of rows goes up once in `ports` + 1 cycles.

        The scheduler is looked at first: what it gives meanwhile is above what it had left.
        """
        none = (1 << self.config.axi_address_bits + 1) - 1
        ended, turn = Signal(init=1), Signal(range(len(ports) + 1))
        seen = Signal(self.config.axi_address_bits + 1)
        here = Signal(seen.shape())
        low, guard = self.rows_guard.low, Signal(guard_layout(self.config))
        with m.Switch(turn):
            with m.Case(0):
                m.d.comb += here.eq(Mux(ended, none, blocks.next))
            for number, port in enumerate(ports):
                with m.Case(number + 1):
                    m.d.comb += here.eq(Mux(port.waits, port.oldest, none))
        least = Mux(here < seen, here, seen)
        with m.If(begin):
            asked = self.start.payload
            m.d.sync += [
                ended.eq(0),
                turn.eq(0),
                seen.eq(none),
                guard.low.eq(asked.base),
                guard.high.eq(asked.base + ((asked.rows * 16) << asked.row_size)),
            ]
        with m.Elif(pending):
            m.d.sync += [turn.eq(0), seen.eq(none)]
        with m.Else():
            m.d.sync += [turn.eq(turn + 1), seen.eq(least)]
            with m.If(turn == len(ports)):
                m.d.sync += [turn.eq(0), seen.eq(none), guard.low.eq(least)]
        with m.If(blocks.chunk.valid & blocks.chunk.ready & blocks.chunk.payload.end):
            m.d.sync += ended.eq(1)
        m.d.comb += [
            low.eq(guard.low),
            self.rows_guard.high.eq(guard.high),
            self.live_guard.low.eq(bitmaps.live_read),
            self.live_guard.high.eq(bitmaps.live_end),
        ]
        with m.If(self.start.valid & self.start.ready):
            m.d.comb += [
                self.rows_guard.low.eq(0),
                self.rows_guard.high.eq(none),
                self.live_guard.low.eq(0),
                self.live_guard.high.eq(none),
            ]
