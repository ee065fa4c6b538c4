"""Retrieval fetch: queries into scans."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import STATUS_BITS, ReadPort, struct
from rpaccel.rtl.retrieval_check import RetrievalCheck
from rpaccel.rtl.retrieval_engine import asked_layout, scan_layout, word_layout
from rpaccel.rtl.retrieval_query import note_layout, retrieve_layout
from rpaccel.rtl.retrieval_score import ROW_SIZES
from rpaccel.rtl.word_reader import WordReader
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import CORPUS, RETRIEVAL, RetrievalFlag, Status
from rpaccel.spec.retrieval import MIN_ROW_BYTES

__all__ = ["RetrievalFetch", "failed_layout"]


def failed_layout() -> data.StructLayout:
    """A query that no scan was begun for."""
    return data.StructLayout({"query": retrieve_layout(), "status": unsigned(STATUS_BITS)})


class RetrievalFetch(wiring.Component):
    """Reads what queries ask for; begins a scan for those in a row that are of one corpus.

    A scan has as many queries as there are when the engine can take it, retrieval_queries at most.
    Rows are not changed while it begins, and its number of rows is read then, so it sees the
    corpus as of `epoch`. Before it, the updates that waited when the scan before had been read are
    dealt with; with none waiting, it begins while that one is scored.

    Refused, with the first that applies: REGION or MEMORY of what is read; BAD_CORPUS: a version,
    the row size, metric, an alignment; REGION: an address that the bus has not; LATE and ABORTED.

    Members
    -------
    query : In(stream of retrieve_layout())
    clock : In(32), give_up : In(1)
    memory : Out(ReadPort)
    word : Out(stream of word_layout()), start : Out(stream of scan_layout())  to the engine.
    unread : In(1)  a scan has rows to read.
    note : Out(stream of note_layout()) per query place  given with `start`: all are ready then.
    failed : Out(stream of failed_layout())
    pause : Out(1), paused : In(1)  no row is changed.
    updates_head, updates_tail : In(16), updates_wait : In(1)  of the queue of row updates.
    idle : Out(1)
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "query": In(stream.Signature(retrieve_layout())),
                "clock": In(32),
                "give_up": In(1),
                "memory": Out(ReadPort(config)),
                "word": Out(stream.Signature(word_layout(config))),
                "start": Out(stream.Signature(scan_layout(config))),
                "unread": In(1),
                "note": Out(stream.Signature(note_layout(config))).array(config.retrieval_queries),
                "failed": Out(stream.Signature(failed_layout())),
                "pause": Out(1),
                "paused": In(1),
                "updates_head": In(16),
                "updates_tail": In(16),
                "updates_wait": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.reader = self.reader = WordReader(config, config.axi_data_bits)
        wiring.connect(m, self.reader.memory, wiring.flipped(self.memory))
        self.taken = Signal(retrieve_layout())  # the query that is prepared
        self.record = Signal(struct(RETRIEVAL))
        self.corpus = Signal(struct(CORPUS))
        self.address = Signal(64)  # of the corpus of the scan
        self.count = Signal(range(config.retrieval_queries + 1))  # queries of the scan
        self.status, self.error = Signal(STATUS_BITS), Signal(STATUS_BITS)
        self.row_size = Signal(range(ROW_SIZES))
        self.carried = Signal()  # the query that is prepared waits until a scan has begun
        self.notes = [
            Signal(note_layout(config), name=f"note{place}")
            for place in range(config.retrieval_queries)
        ]
        self.asked = [
            Signal(asked_layout(config), name=f"asked{place}")
            for place in range(config.retrieval_queries)
        ]
        self.beats = Signal(range(512 // config.beat_bytes + 1))
        self.filled = Signal(config.axi_data_bits)
        self.changed = Signal()  # a row, since the corpus was asked for
        self.leaver = Signal(range(config.retrieval_queries))
        m.submodules.check = self.check = RetrievalCheck(config)
        m.d.comb += [
            self.check.record.eq(self.record),
            self.check.corpus.eq(self.corpus),
            self.row_size.eq(self.check.row_size),
        ]
        self._shape(m)
        self._find_late(m)
        with m.FSM() as fsm:
            m.d.comb += self.idle.eq(fsm.ongoing("IDLE") & (self.count == 0))
            self._take(m)
            self._read_records(m)
            self._read_vector(m)
            self._begin(m)
            self._lose(m)
        with m.If(~self.paused):
            m.d.sync += self.changed.eq(1)
        return m

    @property
    def _record_beats(self) -> int:
        return max(1, RETRIEVAL.bytes // self.config.beat_bytes)

    def _ask(self, m: Module, address: Value, beats: Value | int) -> Value:
        """Begin to read; return whether it begins."""
        start = self.reader.start
        m.d.comb += [
            start.valid.eq(1),
            start.payload.address.eq(address),
            start.payload.items.eq(beats),
        ]
        m.d.sync += self.error.eq(0)
        return start.ready

    def _fail(self, m: Module, status: Value | Status) -> None:
        m.d.sync += self.status.eq(status)
        m.next = "FAIL"

    def _late(self, query: data.View) -> Value:
        deadline = query.descriptor.deadline_cycles
        return (deadline != 0) & ((self.clock - query.fetched_at)[:32] >= deadline)

    def _take(self, m: Module) -> None:
        """Take a query, or begin the scan of those that there are."""
        config, taken, query = self.config, self.taken, self.query
        full = self.count == config.retrieval_queries
        with m.State("IDLE"):
            m.d.comb += query.ready.eq(~full)
            m.d.sync += taken.eq(query.payload)
            with m.If(query.valid & query.ready):
                m.next = "OPEN"
            with m.Elif((self.count != 0) & self.start.ready):
                m.next = "BOUNDARY"
        with m.State("OPEN"):
            late = self._late(taken)
            with m.If(self._ask(m, taken.descriptor.candidates_address, self._record_beats)):
                m.next = "RECORD"
            with m.If(late | self.give_up):
                m.d.comb += self.reader.start.valid.eq(0)
                self._fail(m, Mux(late, Status.LATE, Status.ABORTED))
        with m.State("FAIL"), m.If(self._tell(m, taken)):
            m.next = "IDLE"

    def _tell(self, m: Module, query: data.View | Value) -> Value:
        """Offer a query that failed with `status`; return whether it is taken."""
        m.d.comb += [
            self.failed.valid.eq(1),
            self.failed.payload.query.eq(query),
            self.failed.payload.status.eq(self.status),
        ]
        return self.failed.ready

    def _collect(self, m: Module, target: data.View) -> None:
        """Shift what is read into `target`; keep the first error."""
        words = self.reader.words
        bits = target.as_value()
        m.d.comb += words.ready.eq(1)
        with m.If(words.valid):
            new = words.payload[: len(bits)]  # of a beat that is longer, the rest is not its own
            m.d.sync += bits.eq(Cat(bits, new)[len(new) :])
        with m.If(self.reader.status != 0):
            m.d.sync += self.error.eq(self.reader.status)

    def _read_records(self, m: Module) -> None:
        """Read the record; the corpus too, if it is the scan's first query."""
        with m.State("RECORD"):
            self._collect(m, self.record)
            with m.If(~self.reader.busy):
                m.next = "WHOSE"
        with m.State("WHOSE"):
            with m.If(self.error != 0):
                self._fail(m, self.error)
            with m.Elif(self.check.corpus_status != 0):
                self._fail(m, self.check.corpus_status)
            with m.Elif(self.count == 0):
                m.next = "ASK_CORPUS"
            with m.Elif(self.record.corpus == self.address):
                m.next = "CHECK"
            with m.Elif(self.start.ready):  # it is the next scan's first
                m.d.sync += self.carried.eq(1)
                m.next = "BOUNDARY"
        with m.State("ASK_CORPUS"):
            m.d.sync += self.changed.eq(0)
            with m.If(self._ask(m, self.record.corpus, self._record_beats)):
                m.next = "CORPUS"
        with m.State("CORPUS"):
            self._collect(m, self.corpus)
            m.d.sync += self.address.eq(self.record.corpus)
            with m.If(~self.reader.busy):
                m.next = "CHECK"
        with m.State("CHECK"):
            with m.If(self.error != 0):
                self._fail(m, self.error)
            with m.Elif(self.check.status != 0):
                self._fail(m, self.check.status)
            with m.Else():
                m.next = "VECTOR"

    def _shape(self, m: Module) -> None:
        """Say how many beats a vector has, and fill its word if it is shorter than a beat."""
        config, words = self.config, self.reader.words
        beats, filled = self.beats, self.filled
        m.d.comb += [beats.eq(1), filled.eq(words.payload)]
        with m.Switch(self.row_size):
            for size in range(ROW_SIZES):
                row_bytes = MIN_ROW_BYTES << size
                with m.Case(size):
                    if row_bytes < config.beat_bytes:
                        times = config.beat_bytes // row_bytes
                        m.d.comb += filled.eq(words.payload[: 8 * row_bytes].replicate(times))
                    else:
                        m.d.comb += beats.eq(row_bytes // config.beat_bytes)

    def _read_vector(self, m: Module) -> None:
        """Hand the vector's words to the engine, and note the query."""
        words = self.reader.words
        beats, index, filled = self.beats, Signal(8), self.filled
        with m.State("VECTOR"):
            m.d.sync += index.eq(0)
            with m.If(self._ask(m, self.record.vector, beats)):
                m.next = "WORDS"
        with m.State("WORDS"):
            word = self.word.payload
            m.d.comb += [
                self.word.valid.eq(words.valid),
                words.ready.eq(self.word.ready),
                word.query.eq(self.count),
                word.index.eq(index),
                word.data.eq(filled),
            ]
            with m.If(words.valid & words.ready):
                m.d.sync += index.eq(index + 1)
            with m.If(self.reader.status != 0):
                m.d.sync += self.error.eq(self.reader.status)
            with m.If(~self.reader.busy):
                m.next = "NOTE"
        with m.State("NOTE"):
            for place, note in enumerate(self.notes):
                with m.If(self.count == place):
                    m.d.sync += [
                        note.query.eq(self.taken),
                        note.list.eq(self.record.list),
                        note.floor.eq((self.record.flags & RetrievalFlag.FLOOR) != 0),
                    ]
                    self._asked(m, self.asked[place])
            m.d.sync += self.count.eq(self.count + 1)
            m.next = "IDLE"
            with m.If(self.error != 0):
                m.d.sync += self.count.eq(self.count)
                self._fail(m, self.error)

    def _asked(self, m: Module, asked: data.View) -> None:
        """Keep what a query asks of the engine."""
        record = self.record
        m.d.sync += [
            asked.valid.eq(self.error == 0),
            asked["filter"].k.eq(self.taken.descriptor.stage0_k),
            asked["filter"].base.eq(record.base),
            asked["filter"].shift.eq(Mux(record.shift > 32, 32, record.shift)),
            asked.bitmap.eq(record.bitmap),
            asked.floor.valid.eq((record.flags & RetrievalFlag.FLOOR) != 0),
            asked.floor.score.eq(record.floor),
            asked.page.valid.eq((record.flags & RetrievalFlag.PAGE) != 0),
            asked.page.score.eq(record.page_score),
            asked.page.id.eq(record.page_id),
        ]

    def _begin(self, m: Module) -> None:
        """Let writers have their turn, stop them, read the number of rows, begin."""
        start = self.start.payload
        until, rows = Signal(16), Signal(32)
        ready = Cat(note.ready for note in self.note).all()
        with m.State("BOUNDARY"):
            # writers are stopped in the cycle in which none is seen: updates that were rung for
            # together are dealt with before the scan, or behind it
            m.d.comb += self.pause.eq(~self.updates_wait)
            m.d.sync += until.eq(self.updates_tail)
            with m.If(~self.updates_wait):
                m.next = "PAUSE"
                with m.If(self.paused & ~self.changed):  # it is as it was read
                    m.d.sync += [rows.eq(self.corpus.rows), self.error.eq(0)]
                    m.next = "START"
            with m.Elif(~self.unread):
                m.next = "DRAIN"
        with m.State("DRAIN"):
            m.d.comb += self.pause.eq((self.updates_head == until) | ~self.updates_wait)
            with m.If(self.pause):
                m.next = "PAUSE"
        with m.State("PAUSE"):
            m.d.comb += self.pause.eq(1)
            with m.If(self.paused), m.If(self._ask(m, self.address, 1)):
                m.next = "ROWS"
        with m.State("ROWS"):
            m.d.comb += [self.pause.eq(1), self.reader.words.ready.eq(1)]
            with m.If(self.reader.words.valid):
                m.d.sync += rows.eq(self.reader.words.payload[:32])
            with m.If(self.reader.status != 0):
                m.d.sync += self.error.eq(self.reader.status)
            with m.If(~self.reader.busy):
                m.next = "START"
        with m.State("START"):
            m.d.comb += [self.pause.eq(1), self.start.valid.eq(ready & ~self.lost)]
            with m.If(self.lost):
                m.next = "LOSE"
            with m.Elif(self.start.valid & self.start.ready):
                self._leave(m)
        m.d.comb += [
            start.rows.eq(Mux(self.error != 0, 0, rows)),
            start.row_size.eq(self.row_size),
            start.metric.eq(self.corpus.metric),
            start.base.eq(self.corpus.base),
            start.live.eq(self.corpus.live),
            start.scales.eq(self.corpus.scales),
            *(start.queries[place].eq(asked) for place, asked in enumerate(self.asked)),
        ]
        for place, out in enumerate(self.note):
            m.d.comb += [
                out.valid.eq(self.start.valid & self.start.ready & self.asked[place].valid),
                out.payload.eq(self.notes[place]),
                out.payload.rows.eq(start.rows),
                out.payload.epoch.eq(self.updates_head),
                out.payload.status.eq(self.error),
            ]

    def _leave(self, m: Module) -> None:
        """The next scan: with the query that waits for it, if there is one."""
        m.d.sync += [self.count.eq(0), self.carried.eq(0)]
        m.d.sync += [asked.valid.eq(0) for asked in self.asked]
        m.next = "IDLE"
        with m.If(self.carried):
            m.d.sync += self.error.eq(0)
            m.next = "WHOSE"

    def _find_late(self, m: Module) -> None:
        """Look for a query of the scan that is about to begin that must not be in it."""
        late, self.lost, self.loser = Signal(len(self.notes)), Signal(), Signal.like(self.leaver)
        for place in reversed(range(len(self.notes))):
            m.d.sync += late[place].eq(self._late(self.notes[place].query))
            with m.If(self.asked[place].valid & (late[place] | self.give_up)):
                m.d.comb += [self.lost.eq(1), self.loser.eq(place)]
        self.reason = Mux(Array(late)[self.loser], Status.LATE, Status.ABORTED)

    def _lose(self, m: Module) -> None:
        """Take that query out of the scan."""
        with m.State("LOSE"):
            m.d.sync += [self.status.eq(self.reason), self.leaver.eq(self.loser)]
            m.d.sync += Array(asked.valid for asked in self.asked)[self.loser].eq(0)
            m.next = "LOST"
        leaver = Array(note.query.as_value() for note in self.notes)[self.leaver]
        with m.State("LOST"), m.If(self._tell(m, leaver)):
            m.next = "BOUNDARY"
            with m.If(~Cat(asked.valid for asked in self.asked).any()):
                self._leave(m)
