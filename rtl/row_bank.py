"""Row bank: embedding rows of a share of memory, from its look-ahead cache or from its port."""

from __future__ import annotations

from amaranth.hdl import Array, Assert, Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.free_list import FreeList
from rpaccel.rtl.interfaces import PlacedReadPort, SharedReadPort
from rpaccel.rtl.look_ahead_cache import COUNTERS, LookAheadCache
from rpaccel.rtl.look_ahead_step import CacheEvent, CacheOperation, LookAheadCacheConfig
from rpaccel.rtl.row_waiters import RowWaiters
from rpaccel.rtl.stream_buffer import StreamBuffer
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["RowBank", "bank_cache"]

ROWS_WAITING = 16  # before a bank, so that a bank that is behind does not stop its readers


def bank_cache(config: AcceleratorConfig) -> LookAheadCacheConfig:
    """Return the size of a bank's look-ahead cache: its rows are beats of memory."""
    offset_bits = config.beat_bytes.bit_length() - 1
    return LookAheadCacheConfig(
        sets=config.row_cache_sets,
        ways=config.row_cache_ways,
        row_bytes=config.beat_bytes,
        key_bits=config.axi_address_bits - offset_bits,
    )


class RowBank(wiring.Component):
    """Answers a beat of a row per cycle while they hit; a beat that misses takes two.

    A row is taken apart into beats. A beat that is in the cache is answered at once; one that is
    on its way is waited for, and not read again; any other is read from memory, and kept if its
    set has a line that nothing holds. Beats next to each other that miss are one burst. Answers
    come as they are ready, in any order. An answer that failed is given to all that wait for it,
    and its line is emptied.

    No deadlock: a beat enters the cache only when reads for its row and a waiter are free, whatever
    it comes to; answers of memory are always taken, for their place is the read's number; and what
    leaves towards the readers is always taken, as they have room for it.

    Members
    -------
    port : In(SharedReadPort)  readers; a request that waits may be replaced by another one
    memory : Out(PlacedReadPort)  place: number of the read
    clear : In(1)  a pulse: empties the cache when the reads in flight have been answered; nothing
        is taken until then. Counters return to 0.
    idle : Out(1)  nothing is on the way
    counters : Out(struct of COUNTERS)  of beats
    """

    hit_cycles = 2 + LookAheadCache.latency_cycles + 2  # request to answer

    def __init__(self, config: AcceleratorConfig, readers: int, places: int) -> None:
        self.config = config
        self.row_beats = config.row_beats_max
        port = SharedReadPort(config, readers, places)
        self.request, self.answer = port.request_shape, port.answer_shape
        super().__init__(
            {
                "port": In(port),
                "memory": Out(PlacedReadPort(config, config.row_reads)),
                "clear": In(1),
                "idle": Out(1),
                "counters": Out(data.StructLayout(dict.fromkeys(COUNTERS, unsigned(32)))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, reads = self.config, self.config.row_reads
        m.submodules.cache = self.cache = cache = LookAheadCache(bank_cache(config))
        m.d.comb += [self.counters.eq(cache.counters), cache.epochs.eq(0)]
        owner = data.StructLayout(
            {
                "reader": self.request["reader"].shape,
                "place": self.request["burst"].shape["place"].shape,
            }
        )
        work = data.StructLayout(
            {
                "fill": 1, "refused": 1, "failed": 1, "read": range(max(2, reads)),
                "owner": owner, "key": cache.request.payload.key.shape(),
                "beat": range(max(2, self.row_beats)), "last": 1,  # of its row
            }
        )  # fmt: skip
        line = data.StructLayout({"kept": 1, "line": cache.answer.payload.line.shape()})
        m.submodules.lines = self.lines = Memory(shape=line, depth=reads, init=[])
        beat = unsigned(config.axi_data_bits)
        m.submodules.store = self.store = Memory(shape=beat, depth=reads, init=[])
        m.submodules.waiters = self.waiters = RowWaiters(owner, reads, reads)

        # what a look may use: reads for a row, and a waiter; given back here
        self.may_look, self.looked = Signal(), Signal()
        self.row_begun, self.inside = Signal(), Signal()  # inside: of a row
        self.reads_back, self.waiter_back = Signal(), Signal()

        look, fill = stream.Signature(work).create(), stream.Signature(work).create()
        waiting = self._looks(m, look)
        self._fills(m, fill)
        self._resolve(m, self._enter(m, look, fill))
        self._credit(m, waiting)
        return m

    def _looks(self, m: Module, look: stream.Interface) -> Value:
        """Take rows apart into beats to look for; return "there are any"."""
        m.submodules.rows = rows = SyncFIFOBuffered(width=self.request.size, depth=ROWS_WAITING)
        head = data.View(self.request, rows.r_data)
        beat = Signal.like(head.burst.beats)
        offset_bits = self.config.beat_bytes.bit_length() - 1
        m.d.comb += [
            rows.w_en.eq(self.port.request.valid),
            rows.w_data.eq(self.port.request.payload),
            self.port.request.ready.eq(rows.w_rdy),
            look.valid.eq(rows.r_rdy),
            look.payload.owner.reader.eq(head.reader),
            look.payload.owner.place.eq(head.burst.place + beat),
            look.payload.key.eq(head.burst.address[offset_bits:] + beat),
            look.payload.beat.eq(beat),
            look.payload.last.eq(beat + 1 == head.burst.beats),
            rows.r_en.eq(look.valid & look.ready & look.payload.last),
        ]
        with m.If(look.valid & look.ready):
            m.d.sync += beat.eq(Mux(look.payload.last, 0, beat + 1))
        return rows.r_rdy

    def _fills(self, m: Module, fill: stream.Interface) -> None:
        """Keep what memory answers under the read's number, and offer it."""
        answer, write = self.memory.answer, self.store.write_port()
        self.filled_row = self.store.read_port()
        arrival = data.StructLayout({"read": fill.payload.read.shape(), "refused": 1, "failed": 1})
        m.submodules.arrived = arrived = SyncFIFOBuffered(
            width=arrival.size, depth=self.config.row_reads + 1
        )
        entry, head = data.View(arrival, arrived.w_data), data.View(arrival, arrived.r_data)
        move = Signal()
        m.d.comb += [
            write.en.eq(self.memory.answer_valid),
            write.addr.eq(answer.place),
            write.data.eq(answer.data),
            arrived.w_en.eq(self.memory.answer_valid),
            entry.read.eq(answer.place),
            entry.refused.eq(answer.refused),
            entry.failed.eq(answer.failed),
            # its row is read a cycle ahead
            move.eq(~fill.valid | fill.ready),
            arrived.r_en.eq(move),
            self.filled_row.addr.eq(head.read),
            self.filled_row.en.eq(move),
            fill.payload.fill.eq(1),
        ]
        with m.If(self.memory.answer_valid):
            m.d.sync += Assert(arrived.w_rdy)
        with m.If(move):
            m.d.sync += fill.valid.eq(arrived.r_rdy)
            for name, _ in arrival:
                m.d.sync += fill.payload[name].eq(head[name])

    def _enter(self, m: Module, look: stream.Interface, fill: stream.Interface) -> stream.Interface:
        """Fills and looks into the cache, fills first; return what its answers are about."""
        cache, layout = self.cache, look.payload.shape()
        m.submodules.works = works = SyncFIFO(
            width=layout.size, depth=LookAheadCache.latency_cycles + 1
        )
        request, line = cache.request, self.lines.read_port(domain="comb")
        bad = fill.payload.refused | fill.payload.failed
        found = stream.Signature(layout).create()
        m.d.comb += [
            line.addr.eq(fill.payload.read),
            request.valid.eq(fill.valid | (look.valid & self.may_look)),
            request.payload.operation.eq(
                Mux(
                    fill.valid,
                    Mux(bad, CacheOperation.ABORT, CacheOperation.FILL),
                    CacheOperation.LOOK,
                )
            ),
            request.payload.key.eq(look.payload.key),
            request.payload.owner.eq(0),
            request.payload.mask.eq(0),
            request.payload.row.eq(self.filled_row.data),
            request.payload.kept.eq(line.data.kept),
            request.payload.line.eq(line.data.line),
            fill.ready.eq(request.ready),
            look.ready.eq(request.ready & self.may_look & ~fill.valid),
            self.looked.eq(look.valid & look.ready),
            self.row_begun.eq(self.looked & ~self.inside),
            works.w_en.eq(request.valid & request.ready),
            works.w_data.eq(Mux(fill.valid, fill.payload.as_value(), look.payload.as_value())),
            found.valid.eq(works.r_rdy & cache.answer.valid),
            found.payload.eq(works.r_data),
            works.r_en.eq(found.valid & found.ready),
            cache.answer.ready.eq(found.ready),
        ]
        with m.If(self.looked):
            m.d.sync += self.inside.eq(~look.payload.last)
        with m.If(works.w_en):
            m.d.sync += Assert(works.w_rdy)
        return found

    def _resolve(self, m: Module, found: stream.Interface) -> None:
        """Answer, read or wait: one operation per cycle; a fill answers all that wait for it."""
        told = self.cache.answer.payload
        m.submodules.reading = reading = Memory(
            shape=found.payload.read.shape(), depth=bank_cache(self.config).rows, init=[]
        )
        set_reading = reading.write_port()
        get_reading = reading.read_port(transparent_for=(set_reading,))
        filled_row, set_line = self.store.read_port(), self.lines.write_port()

        # a cycle after the cache's answer: who reads its line, and the row of a fill, are known
        valid, work = Signal(), Signal.like(found.payload)
        event, row, kept = Signal.like(told.event), Signal.like(told.row), Signal()
        line, move, ends = Signal.like(told.line), Signal(), Signal()
        m.d.comb += [
            move.eq(~valid | ends),
            found.ready.eq(move),
            get_reading.addr.eq(told.line),
            get_reading.en.eq(move),
            filled_row.addr.eq(found.payload.read),
            filled_row.en.eq(move),
        ]
        with m.If(move):
            m.d.sync += [
                valid.eq(found.valid), work.eq(found.payload), event.eq(told.event),
                row.eq(told.row), kept.eq(told.kept), line.eq(told.line),
            ]  # fmt: skip

        look, fills, hit, merged, missed = (
            Signal(name=name) for name in ("look", "fills", "hit", "merged", "missed")
        )
        looked_stb, number = Signal(), Signal.like(work.read)  # number: of the read, if it misses
        m.submodules.answers = answers = StreamBuffer(self.answer)
        wiring.connect(m, answers.o, wiring.flipped(self.port.answer))
        filled_stb = Signal()
        push, asked_ready = self._ask(
            m, work, look, missed, number, looked_stb, filled_stb, ~hit | answers.i.ready
        )
        m.d.comb += [
            look.eq(valid & ~work.fill),
            fills.eq(valid & work.fill),
            hit.eq(look & (event == CacheEvent.HIT)),
            merged.eq(look & (event == CacheEvent.MERGED)),
            missed.eq(look & ~hit & ~merged),
            looked_stb.eq(look & (~push | asked_ready) & (~hit | answers.i.ready)),
            filled_stb.eq(fills & answers.i.ready & ~self.waiters.more),
            ends.eq(looked_stb | filled_stb),
            set_line.en.eq(missed),
            set_line.addr.eq(number),
            set_line.data.kept.eq(kept),
            set_line.data.line.eq(line),
            set_reading.en.eq(missed & kept),
            set_reading.addr.eq(line),
            set_reading.data.eq(number),
        ]

        waiters, beat = self.waiters, answers.i.payload.beat
        m.d.comb += [
            waiters.owner.eq(work.owner),
            waiters.open_stb.eq(missed),
            waiters.join_stb.eq(looked_stb & merged),
            waiters.read.eq(Mux(merged, get_reading.data, Mux(missed, number, work.read))),
            waiters.next_stb.eq(fills & answers.i.ready),
            self.waiter_back.eq(waiters.back_stb | (looked_stb & ~merged)),
            answers.i.valid.eq(fills | (hit & (~push | asked_ready))),
        ]
        with m.If(work.fill):
            m.d.comb += [
                answers.i.payload.reader.eq(waiters.waiter.reader),
                beat.place.eq(waiters.waiter.place),
                beat.data.eq(filled_row.data),
                beat.refused.eq(work.refused),
                beat.failed.eq(work.failed),
            ]
        with m.Else():
            m.d.comb += [
                answers.i.payload.reader.eq(work.owner.reader),
                beat.place.eq(work.owner.place),
                beat.data.eq(row),
            ]

    def _ask(
        self,
        m: Module,
        work: data.View,
        look: Signal,
        missed: Signal,
        number: Signal,
        looked_stb: Signal,
        filled_stb: Signal,
        answerable: Value,
    ) -> tuple[Value, Value]:
        """Read neighbours that miss in one burst; return ("a burst is due", "it can leave").

        The reads of a row have numbers next to each other: group * row_beats + beat. A burst is due
        with the row's last beat, or with one that does not miss.
        """
        beats, groups = self.row_beats, self.config.row_reads // self.row_beats
        m.submodules.groups = free = FreeList(groups)
        m.submodules.asked = asked = StreamBuffer(self.memory.request.payload.shape())
        wiring.connect(m, asked.o, wiring.flipped(self.memory.request))
        run, run_now = Signal(range(beats + 1)), Signal(range(beats + 1))
        first_key, first_number = Signal.like(work.key), Signal.like(number)
        push, offset_bits = Signal(), self.config.beat_bytes.bit_length() - 1
        m.d.comb += [
            number.eq(free.number.payload * beats + work.beat),
            run_now.eq(run + missed),
            push.eq(look & (work.last | ~missed) & (run_now != 0)),
            asked.i.valid.eq(push & answerable),
            asked.i.payload.address.eq(
                Cat(Const(0, offset_bits), Mux(run == 0, work.key, first_key))
            ),
            asked.i.payload.beats.eq(run_now),
            asked.i.payload.place.eq(Mux(run == 0, number, first_number)),
        ]
        with m.If(looked_stb):
            m.d.sync += run.eq(Mux(push, 0, run_now))
            with m.If(run == 0):
                m.d.sync += [first_key.eq(work.key), first_number.eq(number)]

        # a group is free when its row is through and all its reads are filled, in either order
        misses, misses_now = Signal(range(beats + 1)), Signal(range(beats + 1))
        left = Array(Signal(range(2 * beats), name=f"left_{i}") for i in range(groups))
        current, filled = free.number.payload, work.read >> (beats - 1).bit_length()
        group, now = Signal.like(current), Signal(range(2 * beats))
        row_ends = looked_stb & work.last
        m.d.comb += [
            misses_now.eq(misses + missed),
            free.number.ready.eq(row_ends & (misses_now != 0)),
            group.eq(Mux(work.fill, filled, current)),
            now.eq(left[group] + Mux(work.fill, -1, misses_now)),
            free.back.eq(group),
            free.back_stb.eq(
                (now == 0)
                & Mux(
                    work.fill, filled_stb & ((filled != current) | (misses == 0)), free.number.ready
                )
            ),
            self.reads_back.eq(free.back_stb | (row_ends & (misses_now == 0))),
        ]
        with m.If(filled_stb | free.number.ready):
            m.d.sync += left[group].eq(now)
        with m.If(looked_stb):
            m.d.sync += misses.eq(Mux(work.last, 0, misses_now))
        with m.If(missed):
            m.d.sync += Assert(free.number.valid)
        return push, asked.i.ready

    def _credit(self, m: Module, waiting: Value) -> None:
        """A look may enter while reads for its row and a waiter are left."""
        groups = self.config.row_reads // self.row_beats
        rows = Signal(range(groups + 1), init=groups)
        waiters = Signal(range(self.config.row_reads + 1), init=self.config.row_reads)
        clearing, quiet = Signal(), Signal()
        m.d.sync += rows.eq(rows + self.reads_back - self.row_begun)
        m.d.sync += waiters.eq(waiters + self.waiter_back - self.looked)
        with m.If(self.clear):
            m.d.sync += clearing.eq(1)
        with m.Elif(clearing & quiet):
            m.d.sync += clearing.eq(0)
        m.d.comb += [
            quiet.eq((rows == groups) & (waiters == self.config.row_reads) & self.cache.idle),
            self.cache.clear.eq(clearing & quiet),
            self.may_look.eq((waiters != 0) & (self.inside | ((rows != 0) & ~clearing))),
            self.idle.eq(quiet & ~waiting),
        ]
