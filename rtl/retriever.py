"""Retriever: the retrieval engine as stage 0 of queries, from memory to memory."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from rpaccel.rtl.interfaces import ReadPort, WritePort, struct
from rpaccel.rtl.retrieval_answer import RetrievalAnswer
from rpaccel.rtl.retrieval_engine import RetrievalEngine
from rpaccel.rtl.retrieval_fetch import RetrievalFetch
from rpaccel.rtl.retrieval_guard import GUARDS, guard_layout
from rpaccel.rtl.retrieval_query import (
    note_layout,
    passed_layout,
    retrieval_counters_layout,
    retrieve_layout,
)
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import COMPLETION

__all__ = ["Retriever"]

NOTES = 4  # of a place: its scan, and the answers that a filter has inside


class Retriever(wiring.Component):
    """Scans for queries whose stage 0 retrieves.

    Members
    -------
    query : In(stream of retrieve_layout())
    clock : In(32), give_up : In(1)  ends all with ABORTED.
    passed : Out(stream of passed_layout())  goes on to a funnel.
    done : Out(stream of struct(COMPLETION))  its results are in memory.
    memory : Out(ReadPort)  records, corpora's headers, vectors. bitmap : Out(ReadPort)
    rows : Out(ReadPort) per memory port
    port : Out(WritePort)
    pause : Out(1), paused : In(1), guards : Out(guard_layout()) x 3, updates_head, updates_tail :
        In(16), updates_wait : In(1)  between it and the row updater.
    idle : Out(1)
    counters : Out(retrieval_counters_layout())
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "query": In(stream.Signature(retrieve_layout())),
                "clock": In(32),
                "give_up": In(1),
                "passed": Out(stream.Signature(passed_layout())),
                "done": Out(stream.Signature(struct(COMPLETION))),
                "memory": Out(ReadPort(config)),
                "bitmap": Out(ReadPort(config)),
                "rows": Out(ReadPort(config)).array(config.memory_ports),
                "port": Out(WritePort(config)),
                "pause": Out(1),
                "paused": In(1),
                "guards": Out(guard_layout(config)).array(GUARDS),
                "updates_head": In(16),
                "updates_tail": In(16),
                "updates_wait": In(1),
                "idle": Out(1),
                "counters": Out(retrieval_counters_layout()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.fetch = fetch = RetrievalFetch(config)
        m.submodules.engine = engine = RetrievalEngine(config)
        m.submodules.answer = answer = RetrievalAnswer(config)
        m.submodules.waiting = waiting = SyncFIFOBuffered(
            width=retrieve_layout().size, depth=2 * config.retrieval_queries + 1
        )
        connect(m, fetch.word, engine.word)
        connect(m, fetch.start, engine.start)
        connect(m, fetch.failed, answer.failed)
        connect(m, fetch.memory, flipped(self.memory))
        connect(m, engine.bitmap, flipped(self.bitmap))
        for rows, outer in zip(engine.memory, self.rows, strict=True):
            connect(m, rows, flipped(outer))
        connect(m, answer.port, flipped(self.port))
        connect(m, answer.passed, flipped(self.passed))
        connect(m, answer.done, flipped(self.done))
        empty = waiting.level == 0
        for place in range(config.retrieval_queries):
            m.submodules[f"notes{place}"] = notes = SyncFIFOBuffered(
                width=note_layout(config).size, depth=NOTES + 1
            )
            m.d.comb += [
                notes.w_data.eq(fetch.note[place].payload),
                notes.w_en.eq(fetch.note[place].valid),
                fetch.note[place].ready.eq(notes.w_rdy),
                answer.note[place].payload.eq(notes.r_data),
                answer.note[place].valid.eq(notes.r_rdy),
                notes.r_en.eq(answer.note[place].ready),
            ]
            connect(m, engine.report[place], answer.report[place])
            connect(m, engine.result[place], answer.result[place])
            empty &= notes.level == 0
        unread = engine.rows_guard.low < engine.rows_guard.high
        m.d.comb += [
            waiting.w_data.eq(self.query.payload),
            waiting.w_en.eq(self.query.valid),
            self.query.ready.eq(waiting.w_rdy),
            fetch.query.payload.eq(waiting.r_data),
            fetch.query.valid.eq(waiting.r_rdy),
            waiting.r_en.eq(fetch.query.ready),
            *(unit.clock.eq(self.clock) for unit in (fetch, answer)),
            *(unit.give_up.eq(self.give_up) for unit in (fetch, engine, answer)),
            fetch.unread.eq(unread),
            self.pause.eq(fetch.pause),
            fetch.paused.eq(self.paused),
            fetch.updates_head.eq(self.updates_head),
            fetch.updates_tail.eq(self.updates_tail),
            fetch.updates_wait.eq(self.updates_wait),
            self.guards[0].eq(engine.rows_guard),
            self.guards[1].eq(engine.live_guard),
            self.guards[2].eq(engine.scales_guard),
            self.idle.eq(fetch.idle & engine.idle & answer.idle & empty),
        ]
        self._count(m, fetch, answer)
        return m

    def _count(self, m: Module, fetch: RetrievalFetch, answer: RetrievalAnswer) -> None:
        """Count scans, and of the queries that were in one what their reports say."""
        counters = self.counters
        with m.If(fetch.start.valid & fetch.start.ready):
            m.d.sync += counters.scans.eq(counters.scans + 1)
        for report in answer.report:
            with m.If(report.valid & report.ready):
                told = report.payload
                m.d.sync += [
                    counters.queries.eq(counters.queries + 1),
                    counters.beats.eq(counters.beats + told.beats),
                    counters.stalled_cycles.eq(counters.stalled_cycles + told.stalled_cycles),
                ]
