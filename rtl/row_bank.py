"""Row bank: embedding rows of a share of memory, from its caches or from its port."""

from __future__ import annotations

from amaranth.hdl import Assert, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import PlacedReadPort, RowUpdatePort, SharedReadPort
from rpaccel.rtl.look_ahead_cache import COUNTERS, LookAheadCache
from rpaccel.rtl.look_ahead_step import CacheEvent, CacheOperation, LookAheadCacheConfig
from rpaccel.rtl.row_front import RowFront, bank_pins
from rpaccel.rtl.row_reads import RowReads
from rpaccel.rtl.row_waiters import RowWaiters
from rpaccel.rtl.static_cache import load_layout
from rpaccel.rtl.stream_buffer import StreamBuffer
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["RowBank", "bank_cache"]


def bank_cache(config: AcceleratorConfig, owners: int = 1) -> LookAheadCacheConfig:
    """Return the size of a bank's look-ahead cache: its rows are beats; owners: prefetchers.

    Prefetches hold half of the ways at most: the other rows need lines too, if only to be merged.
    """
    offset_bits = config.beat_bytes.bit_length() - 1
    return LookAheadCacheConfig(
        sets=config.row_cache_sets,
        ways=config.row_cache_ways,
        row_bytes=config.beat_bytes,
        key_bits=config.axi_address_bits - offset_bits,
        owners=owners,
        free_ways=config.row_cache_ways // 2,
    )


class RowBank(wiring.Component):
    """Answers a beat of a row per cycle while they hit; a beat that misses takes two.

    A row is taken apart into beats (RowFront, with the static cache). A beat that is in the
    look-ahead cache is answered at once; one that is on its way is waited for, and not read again;
    any other is read from memory, and kept if its set has a line that nothing holds. Beats next to
    each other that miss are one burst. Answers come as they are ready, in any order. An answer that
    failed is given to all that wait for it, and its line is emptied.

    A row that is asked for by a prefetcher is read and kept if there is a line for it, and else
    forgotten. It is held for the prefetcher until it is used, or until its epoch moves on.

    An update of a row waits until nothing that was asked for before it is on its way; rows that
    share a beat with it wait meanwhile, all others go on.

    No deadlock: a beat enters the cache only when reads for its row and a waiter are free, whatever
    it comes to; answers of memory are always taken, for their place is the read's number; and what
    leaves towards the readers is always taken, as they have room for it. A prefetch waits for
    nothing but reads, and an update for nothing but reads that are on their way.

    Parameters
    ----------
    readers, prefetchers : the port's readers are `readers`, then `prefetchers` that get no answers.
    places : of a reader.

    Members
    -------
    port : In(SharedReadPort)  of rows; a request that waits may be replaced by another one
    memory : Out(PlacedReadPort)  place: number of the read
    update : In(RowUpdatePort)
    epochs : In(2 bits)  per prefetcher: see LookAheadCache
    load, split : In  see RowFront
    clear : In(1)  a pulse: nothing is pinned any more; empties the look-ahead cache when the reads
        in flight have been answered; nothing is taken until then. Counters return to 0.
    idle : Out(1)  nothing is on the way
    counters : Out(struct of COUNTERS)  of beats. pinned : Out(32)  beats, never set to 0
    """

    def __init__(
        self, config: AcceleratorConfig, readers: int, places: int, prefetchers: int = 0
    ) -> None:
        self.config, self.answering, self.prefetchers = config, readers, prefetchers
        port = SharedReadPort(config, readers + prefetchers, places, rows=True)
        pins = bank_pins(config)
        super().__init__(
            {
                "port": In(port),
                "memory": Out(PlacedReadPort(config, config.row_reads)),
                "update": In(RowUpdatePort(config)),
                "epochs": In(2).array(max(1, prefetchers)),
                "load": In(load_layout(pins)),
                "split": In(range(pins.lines + 1)),
                "clear": In(1),
                "idle": Out(1),
                "counters": Out(data.StructLayout(dict.fromkeys(COUNTERS, unsigned(32)))),
                "pinned": Out(32),
            }
        )

    @staticmethod
    def hit_cycles(config: AcceleratorConfig) -> int:
        """Return the cycles from the request of a row that hits to its answer."""
        lookup = RowFront.lookup_cycles if config.static_cache_lines else 0
        return 2 + lookup + LookAheadCache.latency_cycles + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, reads = self.config, self.config.row_reads
        m.submodules.cache = self.cache = cache = LookAheadCache(
            bank_cache(config, max(1, self.prefetchers))
        )
        port = self.port.signature
        m.submodules.front = self.front = front = RowFront(config, port, self.prefetchers)
        wiring.connect(m, wiring.flipped(self.port.request), front.request)
        m.d.comb += [
            self.counters.eq(cache.counters),
            self.pinned.eq(front.pinned),
            front.load.eq(self.load),
            front.split.eq(self.split),
            front.clear.eq(self.clear),
        ]
        m.d.comb += [cache.epochs[i].eq(epoch) for i, epoch in enumerate(self.epochs)]
        owner = front.look_shape["owner"].shape
        work = data.StructLayout(
            dict(front.look_shape.members)
            | {"fill": 1, "update": 1, "refused": 1, "failed": 1, "read": range(max(2, reads))}
        )
        line = data.StructLayout({"kept": 1, "line": cache.answer.payload.line.shape()})
        m.submodules.lines = self.lines = Memory(shape=line, depth=reads, init=[])
        beat = unsigned(config.axi_data_bits)
        m.submodules.store = self.store = Memory(shape=beat, depth=reads, init=[])
        m.submodules.reads = self.reads = RowReads(config, len(cache.request.payload.key))
        wiring.connect(m, self.reads.request, wiring.flipped(self.memory.request))
        m.submodules.waiters = self.waiters = RowWaiters(owner, reads, reads)

        # what a look may use: reads for a row, and a waiter; given back here
        self.may_look, self.looked = Signal(), Signal()
        self.row_begun, self.inside = Signal(), Signal()  # inside: of a row
        self.waiter_back = Signal()

        self.fill = fill = stream.Signature(work).create()
        update = self._update(m)
        self._fills(m, fill)
        self._resolve(m, self._enter(m, fill, update))
        self._credit(m)
        return m

    def _update(self, m: Module) -> Signal:
        """Hold a row until it is written; return "its beat is for the look-ahead cache"."""
        inner, outer, cached = self.front.update, self.update, Signal()
        behind, waiting, held = Signal.like(self.reads.busy), Signal(), Signal()
        self.updated = Signal()  # the look-ahead cache takes the beat
        m.d.comb += [
            inner.valid.eq(outer.valid),
            inner.address.eq(outer.address),
            inner.size.eq(outer.size),
            inner.write.payload.eq(outer.write.payload),
            outer.held.eq(held & outer.valid),
        ]
        # the reads in flight when what came before has passed
        with m.If(~outer.valid):
            m.d.sync += [waiting.eq(0), held.eq(0)]
        with m.Elif(inner.held & ~waiting):
            m.d.sync += [waiting.eq(1), behind.eq(self.reads.busy)]
        with m.Elif(waiting):
            m.d.sync += behind.eq(behind & self.reads.busy)
            m.d.sync += held.eq(held | ~(behind & self.reads.busy).any())

        # a beat goes to both caches
        front_done, cache_done = Signal(), Signal()
        front_now, cache_now = Signal(), Signal()
        m.d.comb += [
            inner.write.valid.eq(outer.write.valid & ~front_done),
            cached.eq(outer.write.valid & ~cache_done),
            front_now.eq(front_done | (inner.write.valid & inner.write.ready)),
            cache_now.eq(cache_done | self.updated),
            outer.write.ready.eq(front_now & cache_now),
        ]
        with m.If(outer.write.valid):
            m.d.sync += [
                front_done.eq(front_now & ~outer.write.ready),
                cache_done.eq(cache_now & ~outer.write.ready),
            ]
        self.beats_written = Signal(range(max(2, self.config.row_beats_max)))
        with m.If(~outer.valid):
            m.d.sync += self.beats_written.eq(0)
        with m.Elif(outer.write.valid & outer.write.ready):
            m.d.sync += self.beats_written.eq(self.beats_written + 1)
        return cached

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

    def _enter(self, m: Module, fill: stream.Interface, update: Signal) -> stream.Interface:
        """Fills, updates and looks into the cache, in this order; return what it answers about."""
        cache, look, layout = self.cache, self.front.look, fill.payload.shape()
        m.submodules.works = works = SyncFIFO(
            width=layout.size, depth=LookAheadCache.latency_cycles + 1
        )
        request, line = cache.request, self.lines.read_port(domain="comb")
        bad = fill.payload.refused | fill.payload.failed
        prefetch = Signal()
        found = stream.Signature(layout).create()
        work, looks = Signal(layout), Signal()
        offset_bits = self.config.beat_bytes.bit_length() - 1
        m.d.comb += [
            line.addr.eq(fill.payload.read),
            prefetch.eq(look.payload.owner.reader >= self.answering),
            looks.eq(look.valid & self.may_look & ~fill.valid & ~update),
            request.valid.eq(fill.valid | update | looks),
            request.payload.owner.eq(look.payload.owner.reader - self.answering),
            request.payload.mask.eq(self.update.write.payload.mask),
            fill.ready.eq(request.ready),
            self.updated.eq(update & request.ready & ~fill.valid),
            look.ready.eq(request.ready & self.may_look & ~fill.valid & ~update),
            self.looked.eq(looks & request.ready),
            self.row_begun.eq(self.looked & ~self.inside),
            works.w_en.eq(request.valid & request.ready),
            works.w_data.eq(work),
            found.valid.eq(works.r_rdy & cache.answer.valid),
            found.payload.eq(works.r_data),
            works.r_en.eq(found.valid & found.ready),
            cache.answer.ready.eq(found.ready),
        ]
        operation, key, row = (request.payload[n] for n in ("operation", "key", "row"))
        with m.If(fill.valid):
            m.d.comb += [
                operation.eq(Mux(bad, CacheOperation.ABORT, CacheOperation.FILL)),
                row.eq(self.filled_row.data),
                request.payload.kept.eq(line.data.kept),
                request.payload.line.eq(line.data.line),
                work.eq(fill.payload),
            ]
        with m.Elif(update):
            m.d.comb += [
                operation.eq(CacheOperation.UPDATE),
                key.eq((self.update.address >> offset_bits) + self.beats_written),
                row.eq(self.update.write.payload.data),
                work.update.eq(1),
            ]
        with m.Else():
            # a pinned beat only takes its turn: a fill of no line is ignored
            asked = Mux(prefetch, CacheOperation.PREFETCH, CacheOperation.LOOK)
            m.d.comb += [
                operation.eq(Mux(look.payload.pinned, CacheOperation.FILL, asked)),
                key.eq(look.payload.key),
            ]
            m.d.comb += [work[name].eq(look.payload[name]) for name, _ in look.payload.shape()]
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

        look, fills, hit, merged, missed, prefetch = (
            Signal(name=name) for name in ("look", "fills", "hit", "merged", "missed", "prefetch")
        )
        looked_stb, number = Signal(), Signal.like(work.read)  # number: of the read, if it misses
        answers = self._answers(m)
        filled_stb, wanted, answerable = Signal(), Signal(), Signal()
        waiters, reads = self.waiters, self.reads
        may_leave = ~reads.due | reads.ready
        m.d.comb += [
            reads.look.eq(look),
            reads.missed.eq(missed),
            reads.looked_stb.eq(looked_stb),
            reads.fill.eq(work.fill),
            reads.filled_stb.eq(filled_stb),
            reads.leaves.eq(~hit | answers.ready),
            number.eq(reads.number),
        ]
        m.d.comb += [getattr(reads, n).eq(work[n]) for n in ("key", "beat", "last", "read")]
        m.d.comb += [
            look.eq(valid & ~work.fill & ~work.update),
            fills.eq(valid & work.fill),
            prefetch.eq(work.owner.reader >= self.answering),
            hit.eq(look & ~work.pinned & ~prefetch & (event == CacheEvent.HIT)),
            merged.eq(look & ~work.pinned & ~prefetch & (event == CacheEvent.MERGED)),
            # a prefetch that finds its row, or no line, is over
            missed.eq(
                look
                & ~work.pinned
                & ((event == CacheEvent.MISS) | ((event == CacheEvent.REFUSED) & ~prefetch))
            ),
            looked_stb.eq(look & may_leave & (~hit | answers.ready)),
            # the first that waits for a read may be a prefetcher
            wanted.eq(waiters.waiter.reader < self.answering),
            answerable.eq(~wanted | answers.ready),
            filled_stb.eq(fills & answerable & ~waiters.more),
            ends.eq(looked_stb | filled_stb | (valid & work.update)),
            self.front.looked_stb.eq(looked_stb),
            set_line.en.eq(missed),
            set_line.addr.eq(number),
            set_line.data.kept.eq(kept),
            set_line.data.line.eq(line),
            set_reading.en.eq(missed & kept),
            set_reading.addr.eq(line),
            set_reading.data.eq(number),
        ]

        beat = answers.payload.beat
        m.d.comb += [
            waiters.owner.eq(work.owner),
            waiters.open_stb.eq(missed),
            waiters.join_stb.eq(looked_stb & merged),
            waiters.read.eq(Mux(merged, get_reading.data, Mux(missed, number, work.read))),
            waiters.next_stb.eq(fills & answerable),
            self.waiter_back.eq(waiters.back_stb | (looked_stb & ~merged)),
            answers.valid.eq((fills & wanted) | (hit & may_leave)),
        ]
        with m.If(work.fill):
            m.d.comb += [
                answers.payload.reader.eq(waiters.waiter.reader),
                beat.place.eq(waiters.waiter.place),
                beat.data.eq(filled_row.data),
                beat.refused.eq(work.refused),
                beat.failed.eq(work.failed),
            ]
        with m.Else():
            m.d.comb += [
                answers.payload.reader.eq(work.owner.reader),
                beat.place.eq(work.owner.place),
                beat.data.eq(row),
            ]

    def _answers(self, m: Module) -> stream.Interface:
        """Return the stream that shares the way to the readers with the pinned rows, in turn."""
        answer = self.port.answer.payload.shape()
        m.submodules.answers = out = StreamBuffer(answer)
        wiring.connect(m, out.o, wiring.flipped(self.port.answer))
        inner, pinned = stream.Signature(answer).create(), self.front.answer
        turn, first = Signal(), Signal()  # first: pinned rows
        m.d.comb += [
            first.eq(pinned.valid & (turn | ~inner.valid)),
            out.i.valid.eq(pinned.valid | inner.valid),
            out.i.payload.eq(Mux(first, pinned.payload.as_value(), inner.payload.as_value())),
            pinned.ready.eq(out.i.ready & first),
            inner.ready.eq(out.i.ready & ~first),
        ]
        with m.If(out.i.valid & out.i.ready):
            m.d.sync += turn.eq(~first)
        return inner

    def _credit(self, m: Module) -> None:
        """A look may enter while reads for its row and a waiter are left."""
        groups = self.reads.groups
        rows = Signal(range(groups + 1), init=groups)
        waiters = Signal(range(self.config.row_reads + 1), init=self.config.row_reads)
        clearing, quiet = Signal(), Signal()
        m.d.sync += rows.eq(rows + self.reads.back_stb - self.row_begun)
        m.d.sync += waiters.eq(waiters + self.waiter_back - self.looked)
        with m.If(self.clear):
            m.d.sync += clearing.eq(1)
        with m.Elif(clearing & quiet):
            m.d.sync += clearing.eq(0)
        m.d.comb += [
            quiet.eq((rows == groups) & (waiters == self.config.row_reads) & self.cache.idle),
            self.cache.clear.eq(clearing & quiet),
            self.may_look.eq((waiters != 0) & (self.inside | ((rows != 0) & ~clearing))),
            self.idle.eq(quiet & self.front.idle),
        ]
