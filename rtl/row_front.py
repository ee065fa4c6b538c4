"""Row front: rows taken apart into beats; those of pinned rows are answered, the others looked for.

Ref: RecPipe (MICRO 2021), O.4: a static cache for both stages, in front of the look-ahead cache.
"""

from __future__ import annotations

from amaranth.hdl import Assert, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import RowUpdatePort, SharedReadPort
from rpaccel.rtl.static_cache import STAGES, StaticCache, StaticCacheConfig, load_layout
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["RowFront", "bank_pins", "look_layout"]

ROWS_WAITING = 16  # before a bank, so that a bank that is behind does not stop its readers
WORD_BITS = 2  # of a byte's address, below that of its word


def bank_pins(config: AcceleratorConfig) -> StaticCacheConfig:
    """Return the size of a bank's static cache: a line is a beat, a key is a word's address."""
    return StaticCacheConfig(
        sets=config.static_cache_sets,
        ways=config.static_cache_ways,
        lines=max(1, config.static_cache_lines),
        line_bytes=config.beat_bytes,
        key_bits=config.axi_address_bits - WORD_BITS,
    )


def look_layout(config: AcceleratorConfig, request: data.StructLayout) -> data.StructLayout:
    """A beat of a row to look for.

    owner : who gets it, and its place there. key : number of the beat in memory. beat, last : of
    its row. pinned : answered already; there because a row's beats stay together.
    """
    owner = {"reader": request["reader"].shape, "place": request["burst"].shape["place"].shape}
    return data.StructLayout(
        {
            "owner": data.StructLayout(owner),
            "key": config.axi_address_bits - (config.beat_bytes.bit_length() - 1),
            "beat": range(max(2, config.row_beats_max)),
            "last": 1,
            "pinned": 1,
        }
    )


class RowFront(wiring.Component):
    """Takes a beat per cycle. Beats of a row stay together, in order; rows stay in order.

    Without a static cache a beat passes in the same cycle. With one, every beat is looked up there
    first, `lookup_cycles`; a row of one beat that is pinned ends here.

    An update: rows that share a beat with the row wait where they are; `passed` is high when
    nothing that came before is left, in the front or behind it.

    Parameters
    ----------
    port : SharedReadPort  readers `port.readers - prefetchers` and above get no answers.

    Members
    -------
    request : In(stream)  of the port
    answer : Out(stream)  of the port: beats of pinned rows
    look : Out(stream of look_layout())
    looked_stb : In(1)  the oldest beat that `look` gave has been dealt with
    update : In(RowUpdatePort)  `held` is `passed`; `write` overwrites pinned copies
    load : In(struct)  of StaticCache. clear : In(1)  nothing is pinned, until the last entry of
        the table has been loaded. Both only while idle.
    split : In  lines of stage 0
    idle : Out(1)  nothing waits and nothing is looked up
    pinned : Out(32)  beats answered here (modulo 2**32)
    """

    lookup_cycles = StaticCache.latency_cycles

    def __init__(self, config: AcceleratorConfig, port: SharedReadPort, prefetchers: int) -> None:
        self.config, self.answering = config, port.readers - prefetchers
        self.row_request, self.row_answer = port.request_shape, port.answer_shape
        self.look_shape = look_layout(config, self.row_request)
        pins = bank_pins(config)
        super().__init__(
            {
                "request": In(stream.Signature(self.row_request)),
                "answer": Out(stream.Signature(self.row_answer)),
                "look": Out(stream.Signature(self.look_shape)),
                "looked_stb": In(1),
                "update": In(RowUpdatePort(config)),
                "load": In(load_layout(pins)),
                "clear": In(1),
                "split": In(range(pins.lines + 1)),
                "idle": Out(1),
                "pinned": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = stream.Signature(self._beat_layout()).create()
        entered, left = Signal(), Signal()
        m.d.comb += entered.eq(beat.valid & beat.ready)
        inside, boundary = self._beats(m, beat)
        if self.config.static_cache_lines:
            self._look_up(m, beat, left)
        else:
            m.d.comb += [
                self.look.valid.eq(beat.valid),
                beat.ready.eq(self.look.ready),
                self.update.write.ready.eq(1),
                left.eq(entered),
            ]
            for name, _ in self.look_shape:
                if name != "pinned":
                    m.d.comb += self.look.payload[name].eq(beat.payload[name])
        self._hold(m, entered, left, boundary)
        m.d.comb += self.idle.eq(~inside & self.front_empty)
        return m

    def _beat_layout(self) -> data.StructLayout:
        """A beat of a row with what its lookup needs: its first word's address, stage and size."""
        note = self.row_request["burst"].shape["row"].shape
        return data.StructLayout(
            dict(self.look_shape.members)
            | dict(note.members)
            | {"word": self.config.axi_address_bits - WORD_BITS, "update": 1}
        )

    def _beats(self, m: Module, out: stream.Interface) -> tuple[Value, Value]:
        """Take rows apart; return "rows wait", and "after this cycle, a row begins"."""
        m.submodules.rows = rows = SyncFIFOBuffered(width=self.row_request.size, depth=ROWS_WAITING)
        head = data.View(self.row_request, rows.r_data)
        burst, beat = head.burst, Signal.like(head.burst.beats)
        offset_bits = self.config.beat_bytes.bit_length() - 1
        moves = out.valid & out.ready
        m.d.comb += [
            rows.w_en.eq(self.request.valid),
            rows.w_data.eq(self.request.payload),
            self.request.ready.eq(rows.w_rdy),
            out.valid.eq(rows.r_rdy & ((beat != 0) | ~self._shares_a_beat(burst.address))),
            out.payload.owner.reader.eq(head.reader),
            out.payload.owner.place.eq(burst.place + beat),
            out.payload.key.eq(burst.address[offset_bits:] + beat),
            out.payload.word.eq(burst.address[WORD_BITS:] + (beat << (offset_bits - WORD_BITS))),
            out.payload.beat.eq(beat),
            out.payload.last.eq(beat + 1 == burst.beats),
            out.payload.stage.eq(burst.row.stage),
            out.payload.size.eq(burst.row.size),
            rows.r_en.eq(moves & out.payload.last),
        ]
        with m.If(moves):
            m.d.sync += beat.eq(Mux(out.payload.last, 0, beat + 1))
        return rows.r_rdy, Mux(moves, out.payload.last, beat == 0)

    def _shares_a_beat(self, address: Value) -> Value:
        """Return whether the row at `address` and the one that is updated share a beat."""
        update, offset_bits = self.update, self.config.beat_bytes.bit_length() - 1
        differs = address ^ update.address
        far = Cat(
            differs[bit] & (update.size + WORD_BITS <= bit)
            for bit in range(offset_bits, len(address))
        ).any()
        return update.valid & ~far

    def _hold(self, m: Module, entered: Value, left: Value, boundary: Value) -> None:
        """Count what is ahead of an update: first in the front, then behind it."""
        most = range(1 << 10)
        front, behind, ahead = (
            Signal(most, name=f"beats_{n}") for n in ("here", "behind", "ahead")
        )
        looked = self.look.valid & self.look.ready
        front_next, behind_next = Signal(most), Signal(most)
        m.d.comb += [
            front_next.eq(front + entered - left),
            behind_next.eq(behind + looked - self.looked_stb),
        ]
        m.d.sync += [front.eq(front_next), behind.eq(behind_next)]
        self.front_empty = front == 0
        update = self.update
        with m.FSM():
            with m.State("NONE"), m.If(update.valid & boundary):
                m.d.sync += ahead.eq(front_next)
                m.next = "FRONT"
            with m.State("FRONT"):
                m.d.sync += ahead.eq(ahead - left)
                with m.If(ahead == 0):
                    m.d.sync += ahead.eq(behind_next)
                    m.next = "BEHIND"
                with m.If(~update.valid):  # given up: the next one counts anew
                    m.next = "NONE"
            with m.State("BEHIND"):
                m.d.sync += ahead.eq(ahead - self.looked_stb)
                with m.If(ahead == 0):
                    m.d.sync += ahead.eq(0)
                    m.next = "PASSED"
                with m.If(~update.valid):
                    m.next = "NONE"
            with m.State("PASSED"):
                m.d.comb += update.held.eq(1)
                with m.If(~update.valid):
                    m.next = "NONE"

    def _look_up(self, m: Module, beat: stream.Interface, left: Signal) -> None:
        """Every beat through the static cache; updates of pinned rows before beats."""
        pins, layout = bank_pins(self.config), self._beat_layout()
        m.submodules.cache = cache = StaticCache(pins)
        m.submodules.works = works = SyncFIFO(
            width=layout.size, depth=StaticCache.latency_cycles + 1
        )
        enable, update = Signal(), self.update
        # an update goes to the rows of both stages, beat by beat
        stage, beats_done = Signal(range(STAGES)), Signal(range(max(2, self.config.row_beats_max)))
        write, request = update.write, cache.request
        beat_size = Signal(range(pins.line_words.bit_length()))
        largest = pins.line_words.bit_length() - 1
        size = Mux(write.valid, update.size, beat.payload.size)
        word_step = self.config.beat_bytes.bit_length() - 1 - WORD_BITS
        entry = Signal(layout)
        m.d.comb += [
            cache.enable.eq(enable),
            cache.split.eq(self.split),
            cache.load.eq(self.load),
            beat_size.eq(Mux(size > largest, largest, size)),
            request.valid.eq((write.valid | beat.valid) & works.w_rdy),
            request.payload.update.eq(write.valid),
            request.payload.size.eq(beat_size),
            request.payload.row.eq(write.payload.data),
            request.payload.stage.eq(Mux(write.valid, stage, beat.payload.stage)),
            request.payload.key.eq(
                Mux(
                    write.valid,
                    update.address[WORD_BITS:] + (beats_done << word_step),
                    beat.payload.word,
                )
            ),
            beat.ready.eq(request.ready & works.w_rdy & ~write.valid),
            write.ready.eq(request.ready & works.w_rdy & (stage == STAGES - 1)),
            entry.eq(beat.payload),
            works.w_en.eq(request.valid & request.ready),
        ]
        m.d.comb += [entry.size.eq(beat_size), entry.update.eq(write.valid)]
        m.d.comb += works.w_data.eq(entry)
        with m.If(works.w_en & write.valid):
            m.d.sync += stage.eq(stage + 1)
            with m.If(stage == STAGES - 1):
                m.d.sync += [stage.eq(0), beats_done.eq(beats_done + 1)]
        with m.If(~update.valid):
            m.d.sync += beats_done.eq(0)
        with m.If(self.clear):
            m.d.sync += enable.eq(0)
        with m.Elif(self.load.valid & self.load.table & (self.load.index == pins.entries - 1)):
            m.d.sync += enable.eq(1)
        self._divide(m, works, cache, left)

    def _divide(self, m: Module, works: SyncFIFO, cache: StaticCache, left: Signal) -> None:
        """Answer what is pinned; pass on the rest, and every beat of a row of several."""
        found, told = data.View(self._beat_layout(), works.r_data), cache.answer
        answered, looked = Signal(), Signal()  # half of a beat is done
        valid, hit, alone = Signal(), Signal(), Signal()
        answers, looks, ends = Signal(), Signal(), Signal()
        row, answer = told.payload.row, self.answer.payload
        words = self.config.beat_bytes // 4
        repeated = Signal(self.config.axi_data_bits)
        with m.Switch(found.size):
            for size in range(words.bit_length()):
                with m.Case(size):
                    m.d.comb += repeated.eq(Cat(row[: 32 << size]).replicate(words >> size))
        m.d.comb += [
            valid.eq(told.valid & works.r_rdy & ~found.update),
            hit.eq(told.payload.hit),
            alone.eq((found.beat == 0) & found.last),
            answers.eq(hit & (found.owner.reader < self.answering)),
            looks.eq(~hit | ~alone),
            self.answer.valid.eq(valid & answers & ~answered),
            answer.reader.eq(found.owner.reader),
            answer.beat.place.eq(found.owner.place),
            answer.beat.data.eq(repeated),
            self.look.valid.eq(valid & looks & ~looked),
            ends.eq(
                (~answers | answered | self.answer.ready) & (~looks | looked | self.look.ready)
            ),
            told.ready.eq(found.update | ends),
            works.r_en.eq(told.valid & told.ready),
            left.eq(valid & ends),
        ]
        for name, _ in self.look_shape:
            if name != "pinned":
                m.d.comb += self.look.payload[name].eq(found[name])
        m.d.comb += self.look.payload.pinned.eq(hit)
        with m.If(valid):
            m.d.sync += [
                answered.eq(~ends & (answered | (answers & self.answer.ready))),
                looked.eq(~ends & (looked | (looks & self.look.ready))),
            ]
        with m.If(valid & ends & answers):
            m.d.sync += self.pinned.eq(self.pinned + 1)
        with m.If(told.valid):
            m.d.sync += Assert(works.r_rdy)
