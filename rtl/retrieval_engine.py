"""Retrieval engine: scans a corpus over all memory ports for several queries at once.

Ref: FAERY (OSDI 2022): a corpus is streamed past the queries; a filter before one selector each.
"""

from __future__ import annotations

from types import SimpleNamespace

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from rpaccel.rtl.interfaces import STATUS_BITS, ReadPort
from rpaccel.rtl.repeated import repeated
from rpaccel.rtl.retrieval_bitmaps import BitmapReader
from rpaccel.rtl.retrieval_blocks import BlockScheduler
from rpaccel.rtl.retrieval_facts import ScanFacts, report_layout
from rpaccel.rtl.retrieval_filter import ScoreFilter, start_layout
from rpaccel.rtl.retrieval_gate import RowGate
from rpaccel.rtl.retrieval_guard import ScanGuard, guard_layout
from rpaccel.rtl.retrieval_port import RetrievalPort
from rpaccel.rtl.retrieval_score import ROW_SIZES, ScoreUnit
from rpaccel.rtl.retrieval_selector import scored_layout
from rpaccel.rtl.retrieval_terms import QueryTerms
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.retrieval import MAX_ROW_BYTES, MIN_ROW_BYTES, Metric

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


class RetrievalEngine(wiring.Component):
    """The k best rows of a corpus for each query of a scan, exact, in order.

    `start` is taken when the scan before has asked for all it reads; its query words are loaded
    before, while the scan before runs. An answer leaves while the next scan runs. With a failed
    read a query's list means nothing, and its status says so; a scan ends early if one of rows
    fails.

    Members
    -------
    word : In(stream of {query, index, data})  word `index` of a query's vector, a beat each, from
        0 on; a vector shorter than a beat is repeated to fill word 0. For the next `start`: the
        last one comes in the cycle in which that is taken, or before.
    start : In(stream of scan_layout())
    give_up : In(1)  the scan ends early: what it finds means nothing.
    report : Out(stream of report_layout()) per query place, one per valid query of a scan, offered
        before the first row of its result.
    result : Out(stream of scored_layout()) per query place: rows, best first, then the end.
    memory : Out(ReadPort) per memory port  rows and their scales.
    bitmap : Out(ReadPort)
    rows_guard, live_guard, scales_guard : Out(guard_layout())  of rows, of the bitmap of live rows,
        of scales. They hold from the cycle in which `start` is taken.
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
                "scales_guard": Out(guard_layout(config)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.bitmaps = bitmaps = BitmapReader(config)
        m.submodules.blocks = blocks = BlockScheduler(config)
        m.submodules.guard = guard = ScanGuard(config)
        m.submodules.facts = facts = ScanFacts(config)
        connect(m, bitmaps.chunk, blocks.chunk)
        connect(m, bitmaps.memory, flipped(self.bitmap))
        # `coming` is read ahead; `scan` is scored, while `running`
        s = SimpleNamespace(
            bitmaps=bitmaps,
            blocks=blocks,
            guard=guard,
            facts=facts,
            coming=Signal(scan_layout(config), name="coming"),
            scan=Signal(scan_layout(config), name="scan"),
            begin=Signal(name="begin"),
            pending=Signal(name="pending"),
            running=Signal(name="running"),
            at_end=Signal(name="at_end"),
            loaded=Signal(name="loaded", init=1),  # all words have come to the units
            opens=Signal(name="opens"),  # the filters have begun
            bank=Signal(name="bank"),
            valid=Signal(config.retrieval_queries, name="valid"),  # queries of the scan
            last=Signal(name="last"),  # the scan is over: told to
            sent_last=Signal(config.retrieval_queries, name="sent_last"),  # these filters
            offered=Signal(name="offered"),
        )
        self._units(m, s)
        self._coming(m, s)
        self._rows(m, s)
        self._reports(m, s)
        self._scan(m, s)
        return m

    def _units(self, m: Module, s: SimpleNamespace) -> None:
        """Make a port, a scoring unit and a gate for each memory port, and the filters."""
        config, sizes = self.config, self.config.retrieval
        queries = config.retrieval_queries
        s.ports, s.units, s.gates = [], [], []
        word = self.word.payload
        for number in range(config.memory_ports):
            port = RetrievalPort(config)
            unit = ScoreUnit(sizes, queries)
            gate = RowGate(sizes, queries, config.retrieval_port_lanes)
            m.submodules[f"port{number}"] = repeated(port)
            m.submodules[f"score{number}"] = repeated(unit)
            m.submodules[f"gate{number}"] = repeated(gate)
            connect(m, s.blocks.block[number], port.block)
            connect(m, port.memory, flipped(self.memory[number]))
            connect(m, port.beat, unit.beat)
            connect(m, unit.sets, gate.sets)
            m.d.comb += [
                # words of the next scan go into the bank that this one does not read
                unit.word.valid.eq(self.word.valid & self.word.ready),
                unit.word.query.eq(word.query),
                unit.word.bank.eq(~s.bank),
                unit.word.index.eq(word.index),
                unit.word.data.eq(word.data),
                unit.bank.eq(s.bank),
                unit.row_size.eq(s.scan.row_size),
                unit.metric.eq(s.scan.metric),
                port.run.eq(s.running),
                gate.row_size.eq(s.scan.row_size),
            ]
            for query, asked in enumerate(gate.bounds):
                m.d.comb += [
                    asked.floor.eq(s.scan.queries[query].floor),
                    asked.page.eq(s.scan.queries[query].page),
                ]
            s.ports.append(port)
            s.units.append(unit)
            s.gates.append(gate)
        if sizes.products_per_dsp == 2:
            self._terms(m, s)
        s.filters = [ScoreFilter(sizes) for _ in range(queries)]
        for query, each in enumerate(s.filters):
            m.submodules[f"filter{query}"] = repeated(each)
            connect(m, each.result, flipped(self.result[query]))
        m.d.comb += [
            self.word.ready.eq(~s.pending),
            s.at_end.eq(Cat(port.at_end for port in s.ports).all()),
            s.valid.eq(Cat(one.valid for one in s.scan.queries)),
        ]

    def _terms(self, m: Module, s: SimpleNamespace) -> None:
        """Sum up the queries' words for the scoring units."""
        word = self.word.payload
        m.submodules.terms = terms = QueryTerms(self.config.retrieval, len(s.valid))
        m.d.comb += [
            terms.word.valid.eq(self.word.valid & self.word.ready),
            terms.word.query.eq(word.query),
            terms.word.first.eq(word.index == 0),
            terms.word.data.eq(word.data),
            s.loaded.eq(terms.idle),
            terms.take.eq(s.opens),
            terms.row_size.eq(s.scan.row_size),
            terms.metric.eq(s.scan.metric),
        ]
        for unit in s.units:
            m.d.comb += [to.eq(term) for to, term in zip(unit.terms, terms.terms, strict=True)]

    def _coming(self, m: Module, s: SimpleNamespace) -> None:
        """Take a scan, read ahead for it, and guard what it has yet to read."""
        asked, coming, wanted = self.start.payload, s.coming, s.bitmaps.start.payload
        same = Signal()  # its guard covers what is left of the scan before
        ended = Signal(init=1)
        m.d.comb += [
            same.eq(
                (asked.base == coming.base)
                & (asked.live == coming.live)
                & (asked.row_size == coming.row_size)
                & (asked.metric == coming.metric)
                & (asked.scales == coming.scales)
                & (asked.rows >= coming.rows)
            ),
            self.start.ready.eq(
                s.bitmaps.start.ready & ~s.pending & (~s.running | s.at_end | same)
            ),
            s.begin.eq(self.start.valid & self.start.ready),
            s.bitmaps.start.valid.eq(s.begin),
            wanted.rows.eq(asked.rows),
            wanted.live.eq(asked.live),
            wanted.valid.eq(Cat(one.valid for one in asked.queries)),
            *(wanted.bitmaps[q].eq(one.bitmap) for q, one in enumerate(asked.queries)),
            # nothing is read on behind a failed read; the next scan is not meant
            s.bitmaps.give_up.eq(self.give_up | s.facts.failed & s.running & ~s.pending),
            s.blocks.rows.rows.eq(coming.rows),
            s.blocks.rows.row_size.eq(coming.row_size),
            s.blocks.rows.scaled.eq(coming.metric == Metric.COSINE),
            s.blocks.rows.base.eq(coming.base),
            s.blocks.rows.scales.eq(coming.scales),
            s.guard.begin.eq(s.begin),
            s.guard.rows.low.eq(asked.base),
            s.guard.rows.high.eq(asked.base + ((asked.rows * MIN_ROW_BYTES) << asked.row_size)),
            s.guard.hold.eq(s.pending),
            s.guard.ended.eq(ended),
            s.guard.next.eq(s.blocks.next),
            s.guard.waits.eq(Cat(port.waits for port in s.ports)),
            *(s.guard.oldest[n].eq(port.oldest) for n, port in enumerate(s.ports)),
            self.rows_guard.eq(s.guard.guard),
            self.live_guard.low.eq(s.bitmaps.live_read),
            self.live_guard.high.eq(s.bitmaps.live_end),
        ]
        chunk = s.blocks.chunk
        with m.If(chunk.valid & chunk.ready & chunk.payload.end):
            m.d.sync += ended.eq(1)
        # a row's scale is read with the row
        guard, rows = self.scales_guard, self.rows_guard
        with m.If(coming.metric == Metric.COSINE):
            m.d.comb += guard.high.eq(coming.scales + (coming.rows << 1))
        with m.Switch(coming.row_size):
            for size in range(ROW_SIZES):
                shift = (MIN_ROW_BYTES << size).bit_length() - 1
                with m.Case(size):
                    unread = (rows.low - coming.base)[: len(rows.low)] >> shift
                    m.d.comb += guard.low.eq(coming.scales + (unread << 1))
        with m.If(s.begin):
            m.d.sync += [coming.eq(asked), s.pending.eq(1), ended.eq(0)]
            for each in (self.rows_guard, self.live_guard, self.scales_guard):
                m.d.comb += [each.low.eq(0), each.high.eq(~0)]

    def _rows(self, m: Module, s: SimpleNamespace) -> None:
        """Give the rows of all ports to all filters at once."""
        width = self.config.retrieval_port_lanes
        go, all_ready = Signal(), Signal()
        m.d.comb += [
            s.offered.eq(Cat(gate.rows.valid for gate in s.gates).any()),
            all_ready.eq(
                Cat(
                    ~valid | each.rows.ready for valid, each in zip(s.valid, s.filters, strict=True)
                ).all()
            ),
            go.eq(s.running & s.offered & all_ready),
            s.facts.stalled.eq(s.running & s.offered & ~all_ready),
            s.facts.taken.eq(Cat(unit.beat.valid & unit.beat.ready for unit in s.units)),
            *(s.facts.errors[number].eq(port.error) for number, port in enumerate(s.ports)),
        ]
        for query, each in enumerate(s.filters):
            lanes = [
                (gate.rows.valid, gate.rows.payload.queries[query][lane])
                for gate in s.gates
                for lane in range(width)
            ]
            for (offers, row), to in zip(lanes, each.rows.payload.lanes, strict=True):
                m.d.comb += [
                    to.valid.eq(row.valid & offers & ~s.last),
                    to.score.eq(row.score),
                    to.id.eq(row.id),
                ]
            m.d.comb += [
                s.facts.qualified[query].eq(
                    Mux(go, Cat(row.valid & offers for offers, row in lanes), 0)
                ),
                each.rows.valid.eq(s.valid[query] & (go | s.last & ~s.sent_last[query])),
                each.rows.payload.last.eq(s.last),
                each.start.payload.eq(s.scan.queries[query]["filter"]),
            ]
        m.d.comb += [gate.rows.ready.eq(go) for gate in s.gates]

    def _reports(self, m: Module, s: SimpleNamespace) -> None:
        """Keep the reports until they are taken."""
        clock, started, opened = Signal(32), Signal(32), Signal(32)
        m.d.sync += clock.eq(clock + 1)
        with m.If(s.begin):
            m.d.sync += started.eq(clock)
        with m.If(~s.running & s.pending):
            m.d.sync += opened.eq(started)
        m.d.comb += s.facts.scan_cycles.eq(clock - opened)
        s.reports = []
        for query, report in enumerate(s.facts.report):
            m.submodules[f"reports{query}"] = queue = SyncFIFOBuffered(
                width=report_layout().size, depth=REPORTS + 1
            )
            # the reader's own is that of `coming`
            status = s.bitmaps.status[query]
            of_scan = Signal(STATUS_BITS, name=f"bitmap_status{query}")
            with m.If(s.begin):
                m.d.sync += of_scan.eq(status)
            m.d.comb += [
                s.facts.bitmap_status[query].eq(Mux(s.pending, of_scan, status)),
                queue.w_data.eq(report),
                self.report[query].payload.eq(queue.r_data),
                self.report[query].valid.eq(queue.r_rdy),
                queue.r_en.eq(self.report[query].ready),
            ]
            s.reports.append(queue)

    def _scan(self, m: Module, s: SimpleNamespace) -> None:
        """Open a scan, let its rows in, close it when they are through."""
        opened, sent = Signal(len(s.valid)), Signal(len(s.valid))
        quiet, calm = Signal(), Signal(range(ScanFacts.latency_cycles + 2))
        room = Cat(~valid | queue.w_rdy for valid, queue in zip(s.valid, s.reports, strict=True))
        m.d.comb += [
            quiet.eq(s.at_end & Cat(unit.idle for unit in s.units).all() & ~s.offered),
            sent.eq(s.sent_last | Cat(f.rows.valid & f.rows.ready for f in s.filters) | ~s.valid),
        ]
        settled = quiet & (calm == ScanFacts.latency_cycles + 1)
        m.d.sync += calm.eq(Mux(quiet & s.running, Mux(settled, calm, calm + 1), 0))
        with m.FSM(name="state") as fsm:
            m.d.comb += self.idle.eq(
                fsm.ongoing("IDLE")
                & ~s.pending
                & Cat(each.idle for each in s.filters).all()
                & ~Cat(queue.r_rdy for queue in s.reports).any()
            )
            with m.State("IDLE"):
                m.d.sync += [opened.eq(0), s.sent_last.eq(0)]
                with m.If(s.pending):
                    m.d.sync += s.scan.eq(s.coming)
                    m.next = "OPEN"
            with m.State("OPEN"):
                m.d.comb += s.facts.clear.eq(1)
                for query, each in enumerate(s.filters):
                    m.d.comb += each.start.valid.eq(s.valid[query] & ~opened[query])
                    with m.If(each.start.valid & each.start.ready):
                        m.d.sync += opened[query].eq(1)
                with m.If((opened == s.valid) & s.loaded):
                    m.d.comb += s.opens.eq(1)
                    m.d.sync += [s.running.eq(1), s.pending.eq(0), s.bank.eq(~s.bank)]
                    m.next = "RUN"
            with m.State("RUN"), m.If(settled & room.all()):
                m.d.comb += [q.w_en.eq(v) for v, q in zip(s.valid, s.reports, strict=True)]
                m.next = "LAST"
            with m.State("LAST"):
                m.d.comb += s.last.eq(1)
                m.d.sync += s.sent_last.eq(sent)
                with m.If(sent.all()):
                    m.d.comb += [port.pass_end.eq(1) for port in s.ports]
                    m.d.sync += s.running.eq(0)
                    m.next = "IDLE"
