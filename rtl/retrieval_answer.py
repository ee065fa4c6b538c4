"""Retrieval answer: what scans find into memory, queries on to funnels or to their completion."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.entry_writer import EntryWriter
from rpaccel.rtl.interfaces import STATUS_BITS, WritePort, struct
from rpaccel.rtl.retrieval_facts import report_layout
from rpaccel.rtl.retrieval_fetch import failed_layout
from rpaccel.rtl.retrieval_query import found_layout, note_layout, passed_layout
from rpaccel.rtl.retrieval_selector import scored_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import COMPLETION, ISA_VERSION, MAX_STAGES, Status, StatusFlag

__all__ = ["STAGE_COUNTERS", "RetrievalAnswer", "merge_found"]

STAGE_FIELDS = (
    "kind",
    "model",
    "sub_batch",
    "k",
    "task_k",
    "lanes",
    "task_items",
    "mode",
    "options",
)
STAGE_COUNTERS = (
    "items", "stage_cycles", "gather_cycles", "array_cycles", "interaction_cycles", "filter_cycles"
)  # fmt: skip


def merge_found(m: Module, completion: data.View, found: data.View, cycles: Value) -> None:
    """Put a stage that retrieved and took `cycles` into `completion`, as its stage 0."""
    own = (
        found.rows,
        cycles,
        found.scan_cycles,
        found.beats,
        found.epoch,
        found.stalled_cycles,
    )
    for name, value in zip(STAGE_COUNTERS, own, strict=True):
        m.d.comb += completion[f"{name}0"].eq(value)


class RetrievalAnswer(wiring.Component):
    """Takes the answers of a scan, a query at a time, places in turn.

    A query whose only stage retrieves gets RETRIEVED entries and completes. Any other goes on with
    its ids as list of candidates, its stages counted from 0; with none found it completes. With
    an error, LATE or ABORTED nothing is written. Memory has acknowledged all that was written
    before a query leaves.

    Members
    -------
    note : In(stream of note_layout()), report : In(stream of report_layout()),
    result : In(stream of scored_layout())  per query place.
    failed : In(stream of failed_layout())
    clock : In(32), give_up : In(1)
    port : Out(WritePort)
    passed : Out(stream of passed_layout())
    done : Out(stream of struct(COMPLETION))  its results are in memory.
    idle : Out(1)
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        places, sizes = config.retrieval_queries, config.retrieval
        super().__init__(
            {
                "note": In(stream.Signature(note_layout(config))).array(places),
                "report": In(stream.Signature(report_layout())).array(places),
                "result": In(stream.Signature(scored_layout(sizes))).array(places),
                "failed": In(stream.Signature(failed_layout())),
                "clock": In(32),
                "give_up": In(1),
                "port": Out(WritePort(config)),
                "passed": Out(stream.Signature(passed_layout())),
                "done": Out(stream.Signature(struct(COMPLETION))),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        places = range(config.retrieval_queries)
        m.submodules.writer = writer = EntryWriter(config)
        wiring.connect(m, writer.port, wiring.flipped(self.port))
        turn = Signal(range(len(places)))
        note, report = Signal(note_layout(config)), Signal(report_layout())
        status, count = Signal(STATUS_BITS), Signal(16)
        query = note.query.descriptor
        result = Signal(scored_layout(config.retrieval))
        here, take = Signal(), Signal()
        m.d.comb += [
            result.eq(Array(one.payload.as_value() for one in self.result)[turn]),
            here.eq(Array(one.valid for one in self.result)[turn]),
            *(one.ready.eq(take & (turn == place)) for place, one in enumerate(self.result)),
            writer.entry.payload.id.eq(result.id),
            writer.entry.payload.score.eq(result.score),
            writer.start.payload.scores.eq(query.stages == 1),
            writer.start.payload.address.eq(
                Mux(query.stages == 1, query.result_address, note.list)
            ),
            writer.start.payload.count.eq(count),
        ]
        ended_at = Signal(32)
        self._tell(m, note, report, count, status, ended_at)
        with m.FSM() as fsm:
            m.d.comb += self.idle.eq(fsm.ongoing("PICK"))
            m.d.sync += ended_at.eq(Mux(fsm.ongoing("DONE"), ended_at, self.clock))
            self._pick(m, turn, note, report, count, status)
            self._judge(m, note, report, count, status)
            with m.State("START"):
                m.d.comb += writer.start.valid.eq(1)
                with m.If(writer.start.ready):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += [
                    writer.entry.valid.eq(here & ~result.end),
                    take.eq(writer.entry.ready & ~result.end),
                ]
                with m.If(writer.done):
                    m.next = "DROP"
                    with m.If(writer.status != 0):
                        m.d.sync += [status.eq(writer.status), count.eq(0)]
            with m.State("DROP"):  # at least the end
                m.d.comb += take.eq(1)
                with m.If(here & result.end):
                    m.next = "PASS"
                    with m.If((status != 0) | (query.stages == 1) | (count == 0)):
                        m.next = "DONE"
            for name, out in (("PASS", self.passed), ("DONE", self.done)):
                with m.State(name):
                    m.d.comb += out.valid.eq(1)
                    with m.If(out.ready):
                        m.next = "PICK"
        return m

    def _pick(
        self,
        m: Module,
        turn: Signal,
        note: data.View,
        report: data.View,
        count: Signal,
        status: Signal,
    ) -> None:
        """Take a query that failed, or the report of the next place that has one."""
        failed, places = self.failed, len(self.note)
        with m.State("PICK"):
            m.d.sync += turn.eq(Mux(turn == places - 1, 0, turn + 1))
            with m.If(failed.valid):
                m.d.comb += failed.ready.eq(1)
                m.d.sync += [
                    note.eq(0),
                    note.query.eq(failed.payload.query),
                    report.eq(0),
                    count.eq(0),
                    status.eq(failed.payload.status),
                ]
                m.next = "DONE"
            with m.Else(), m.Switch(turn):
                for place in range(places):
                    asked, told = self.note[place], self.report[place]
                    with m.Case(place), m.If(asked.valid & told.valid):
                        m.d.comb += [asked.ready.eq(1), told.ready.eq(1)]
                        m.d.sync += [
                            note.eq(asked.payload),
                            report.eq(told.payload),
                            turn.eq(turn),
                        ]
                        m.next = "JUDGE"

    def _judge(
        self, m: Module, note: data.View, report: data.View, count: Signal, status: Signal
    ) -> None:
        """Say what became of a query, and how many rows it gets."""
        query = note.query.descriptor
        k, deadline = query.stage0_k, query.deadline_cycles
        late = (deadline != 0) & ((self.clock - note.query.fetched_at)[:32] >= deadline)
        given_up, bad = Mux(self.give_up, Status.ABORTED, Status.OK), Signal(STATUS_BITS)
        read = Mux(note.status != 0, note.status, report.status)
        m.d.comb += bad.eq(Mux(read != 0, read, Mux(late, Status.LATE, given_up)))
        with m.State("JUDGE"):
            m.d.sync += [status.eq(bad), count.eq(Mux(report.found < k, report.found, k))]
            m.next = "START"
            with m.If(bad != 0):
                m.d.sync += count.eq(0)
                m.next = "DROP"

    def _tell(
        self,
        m: Module,
        note: data.View,
        report: data.View,
        count: Signal,
        status: Signal,
        ended_at: Signal,
    ) -> None:
        """Say what was found: to a funnel, or in a completion."""
        query, found = note.query.descriptor, Signal(found_layout())
        few = report.found < query.stage0_k
        m.d.comb += [
            found.fetched_at.eq(note.query.fetched_at),
            found.accepted_at.eq(note.query.accepted_at),
            found.rows.eq(note.rows),
            found.scan_cycles.eq(report.scan_cycles),
            found.beats.eq(report.beats),
            found.epoch.eq(note.epoch),
            found.stalled_cycles.eq(report.stalled_cycles),
            found.overshoot.eq(report.found - count),
            found.flags.eq(
                Mux(few, StatusFlag.UNDERFILL, 0)
                | Mux(note.floor & (report.found > count), StatusFlag.OVERFILL, 0)
            ),
        ]
        on, done = self.passed.payload, self.done.payload
        m.d.comb += [
            on.found.eq(found),
            on.descriptor.eq(query),
            on.descriptor.stages.eq(query.stages - 1),
            on.descriptor.items.eq(count),
            on.descriptor.candidates_address.eq(note.list),
        ]
        for stage in range(MAX_STAGES):
            for name in STAGE_FIELDS:
                after = query[f"stage{stage + 1}_{name}"] if stage < MAX_STAGES - 1 else 0
                m.d.comb += on.descriptor[f"stage{stage}_{name}"].eq(after)
        total = ended_at - note.query.accepted_at
        m.d.comb += [
            done.tag.eq(query.tag),
            done.version.eq(ISA_VERSION),
            done.status.eq(status),
            done.count.eq(count),
            done.total_cycles.eq(total),
            done.queue_cycles.eq(note.query.accepted_at - note.query.fetched_at),
            done.ended_at.eq(ended_at),
        ]
        with m.If(status == Status.OK):
            m.d.comb += [done.flags.eq(found.flags), done.overshoot.eq(found.overshoot)]
            merge_found(m, done, found, total)
