"""Look-ahead cache: set-associative rows on chip, filled by reads that miss and by prefetches.

Ref: RecPipe (MICRO 2021), O.4: the look-ahead cache of the embedding gather unit.
"""

from __future__ import annotations

from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory, ReadPort, WritePort
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.look_ahead_step import (
    EPOCH_BITS,
    CacheEvent,
    CacheOperation,
    LookAheadCacheConfig,
    LookAheadStep,
    marks_of_now,
    state_layout,
)

__all__ = [
    "COUNTERS",
    "LookAheadCache",
    "answer_layout",
    "request_layout",
    "set_of",
]

COUNTERS = (
    "hits", "merged", "misses", "refused", "evictions", "prefetches", "dropped", "used", "late",
    "unused",
)  # fmt: skip
WORD_BITS = 32  # of a row, that an UPDATE writes or leaves


def request_layout(config: LookAheadCacheConfig) -> data.StructLayout:
    """One operation.

    key : of LOOK, PREFETCH, UPDATE. owner : of PREFETCH, below `owners`. mask : of UPDATE, a bit
    per word (32 bits) of the row. kept, line : of FILL, ABORT: from the answer of the LOOK or
    PREFETCH. row : of FILL, UPDATE.
    """
    return data.StructLayout(
        {
            "operation": unsigned(3),
            "key": unsigned(config.key_bits),
            "owner": range(config.owners),
            "mask": unsigned(8 * config.row_bytes // WORD_BITS),
            "kept": unsigned(1),
            "line": range(config.rows),
            "row": unsigned(8 * config.row_bytes),
        }
    )


def answer_layout(config: LookAheadCacheConfig) -> data.StructLayout:
    """What an operation came to.

    event : CacheEvent. kept : the row is to be read into `line` (way * sets + set): a MISS.
    line : of HIT, MERGED, MISS too. evicted, victim : a MISS replaced this key. present, row : of a
    LOOK that hits.
    """
    return data.StructLayout(
        {
            "event": unsigned(3),
            "kept": unsigned(1),
            "line": range(config.rows),
            "evicted": unsigned(1),
            "victim": unsigned(config.key_bits),
            "present": unsigned(1),
            "row": unsigned(8 * config.row_bytes),
        }
    )


def set_of(key: Value, set_bits: int) -> Value:
    """Return the set of `key`: its slices of `set_bits` bits, exclusive-or."""
    if set_bits == 0:
        return Const(0, 0)
    return reduce(xor, (key[low : low + set_bits] for low in range(0, len(key), set_bits)))


def _tag_layout(config: LookAheadCacheConfig) -> data.StructLayout:
    return data.StructLayout({"valid": 1, "key": config.key_bits})


class _Stage:
    """Registers of an operation on its way; at : its set."""

    def __init__(self, config: LookAheadCacheConfig, name: str) -> None:
        self.valid = Signal(name=f"{name}_valid")
        self.at = Signal(config.set_bits, name=f"{name}_set")
        self.request = Signal(request_layout(config), name=f"{name}_request")


class LookAheadCache(wiring.Component):
    """Takes one operation per cycle, answers in order `latency_cycles` later.

    A row belongs to one set (`set_of`). A LOOK or PREFETCH of a row without a line replaces the
    first way that is not held, searched upwards from the set's pointer, which then goes one past
    it: MISS, the row is to be read, and its line is flying until a FILL, or an ABORT, which empties
    it. If every way is held it is REFUSED: a LOOK's row is read and not kept, a PREFETCH dropped.
    With a line it is a HIT, or MERGED while the line is flying: nothing is to be read.

    Marks leave `free_ways` lines of every set to LOOKs: a PREFETCH that would leave less is REFUSED
    if its row has no line, and marks nothing if it has one. Else a PREFETCH marks the line ahead,
    with its owner and the owner's epoch; the last one's mark counts. A LOOK clears the mark. A line
    is held while it is flying, or marked in the present epoch of the mark's owner; a held line is
    never replaced. The owner's client advances the epoch (modulo 4) when what it prefetched for is
    over: other marks hold nothing. A mark from four epochs ago holds again: harmless, as a held
    line costs a refusal at most.

    No deadlock: `request.ready` depends on `answer.ready` and on clearing, which takes
    `clear_cycles`, never on what lines hold. No operation waits for another one, so the answer
    comes at any size down to one row.

    Sizing: reads in flight and rows marked ahead hold at most as many lines as they are. With that
    many ways nothing is refused for want of a line; with fewer, a refusal costs one read.

    UPDATE overwrites the words of the line's row that `mask` names, counts as no access, clears no
    mark, and is sent when memory holds the new version. Without a line it is IGNORED. A client
    sends no UPDATE of a row that is on its way: that is IGNORED, and the FILL may be older.

    FILL or ABORT with kept = 0, or of a line that is not flying, is IGNORED.

    After reset, and on `clear`, all lines are emptied and counters return to 0: only when no row
    is on its way. Counters wrap at 2**32.

    Members
    -------
    request : In(stream of request_layout())
    answer : Out(stream of answer_layout())
    epochs : In(2 bits x owners)  the present ones, as an operation meets them that is taken now.
    clear : In(1)  a pulse; from the next cycle on no operation is accepted; those accepted before
        are answered first. Then it takes `clear_cycles`.
    idle : Out(1)  nothing is on the way, no answer waits, nothing is being cleared.
    counters : Out(struct of COUNTERS)  hits, merged, misses, refused: LOOKs by event; evictions;
        prefetches, dropped: PREFETCHes that missed, that were refused; used, late: rows that a
        PREFETCH missed and a LOOK then found, those not filled by then; unused: rows that a
        PREFETCH missed and that were replaced unread.
    """

    latency_cycles = 3  # tags and state read, keys compared, state updated

    def __init__(self, config: LookAheadCacheConfig) -> None:
        self.config = config
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(config))),
                "answer": Out(stream.Signature(answer_layout(config))),
                "epochs": In(config.epochs_shape),
                "clear": In(1),
                "idle": Out(1),
                "counters": Out(data.StructLayout(dict.fromkeys(COUNTERS, unsigned(32)))),
            }
        )

    @property
    def clear_cycles(self) -> int:
        """Cycles of emptying all lines."""
        return self.config.sets

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self.config
        tags_layout = data.ArrayLayout(_tag_layout(config), config.ways)
        m.submodules.tags = tags = Memory(shape=tags_layout, depth=config.sets, init=[])
        m.submodules.states = states = Memory(
            shape=state_layout(config), depth=config.sets, init=[]
        )
        tag_write, state_write = tags.write_port(granularity=1), states.write_port()
        tag_read = tags.read_port(transparent_for=(tag_write,))
        state_read = states.read_port(transparent_for=(state_write,))
        m.submodules.step = step = LookAheadStep(config)
        advance = Signal()
        m.d.comb += advance.eq(~self.answer.valid | self.answer.ready)

        # stage 0: the set; its tags and its state are read
        compared, updated = _Stage(config, "compared"), _Stage(config, "updated")
        self._enter(m, compared, advance, tag_read, state_read)

        # stage 1: the keys are compared
        match, state = Signal(config.ways), Signal(state_layout(config))
        old_tags, replaced = Signal(tags_layout), Signal(config.ways)
        dropped = Signal(config.ways)
        same_set = updated.valid & (updated.at == compared.at)
        same_key = updated.request.key == compared.request.key
        self._marks(m, step, advance, (compared, updated), same_set, state_read.data)
        with m.If(advance):
            m.d.sync += [
                updated.valid.eq(compared.valid),
                updated.at.eq(compared.at),
                updated.request.eq(compared.request),
                # What the operation ahead writes now is not in the ports' data. Its key can match,
                # but never leave: that line is flying.
                old_tags.eq(tag_read.data),
                state.eq(Mux(same_set, step.new_state, state_read.data)),
            ]
            for way in range(config.ways):
                stored = tag_read.data[way]
                found = stored.valid & (stored.key == compared.request.key)
                gone = same_set & dropped[way]
                m.d.sync += match[way].eq(Mux(same_set & replaced[way], same_key, found & ~gone))
                with m.If(gone):
                    m.d.sync += old_tags[way].valid.eq(0)

        # stage 2: the set's state after the operation is written, the row read or written
        m.d.comb += [
            step.operation.eq(updated.request.operation),
            step.match.eq(match),
            step.kept.eq(updated.request.kept),
            step.way.eq(updated.request.line[config.set_bits :]),
            step.owner.eq(updated.request.owner),
            step.state.eq(state),
            replaced.eq(Mux(step.effect.replace, step.effect.way, 0)),
            dropped.eq(Mux(step.effect.drop, step.effect.way, 0)),
            state_write.addr.eq(updated.at),
            state_write.data.eq(step.new_state),
            state_write.en.eq(advance & updated.valid),
            tag_write.addr.eq(updated.at),
            tag_write.en.eq(Mux(advance & updated.valid, replaced | dropped, 0)),
        ]
        for way in range(config.ways):
            m.d.comb += tag_write.data[way].valid.eq(~dropped[way])
            m.d.comb += tag_write.data[way].key.eq(updated.request.key)
        self._answer(m, updated, step.effect, old_tags, advance)
        self._clear(m, advance, compared.valid | updated.valid, (tag_write, state_write))
        return m

    def _enter(
        self, m: Module, stage: _Stage, advance: Signal, tags: ReadPort, states: ReadPort
    ) -> None:
        """Take an operation and read its set."""
        bits, request = self.config.set_bits, self.request.payload
        names_line = (request.operation == CacheOperation.FILL) | (
            request.operation == CacheOperation.ABORT
        )
        at = Signal(bits)
        m.d.comb += at.eq(Mux(names_line, request.line[:bits], set_of(request.key, bits)))
        for port in (tags, states):
            m.d.comb += [port.addr.eq(at), port.en.eq(advance)]
        with m.If(advance):
            m.d.sync += [
                stage.valid.eq(self.request.valid & self.request.ready),
                stage.at.eq(at),
                stage.request.eq(request),
            ]

    def _marks(
        self,
        m: Module,
        step: LookAheadStep,
        advance: Signal,
        stages: tuple[_Stage, _Stage],
        same_set: Value,
        state: data.View,
    ) -> None:
        """Compare the epochs of a set's marks with those of now; beside the step ahead.

        state : before the operation ahead, which makes one new mark at most.
        """
        compared, updated = stages
        epochs, owner = Signal(self.config.epochs_shape), compared.request.owner
        fresh = Signal(self.config.ways)
        with m.If(same_set & (updated.request.operation == CacheOperation.PREFETCH)):
            m.d.comb += fresh.eq(step.effect.way)
        of_fresh = (epochs[updated.request.owner] == step.epoch).replicate(self.config.ways)
        now, epoch = Signal(self.config.ways), Signal(EPOCH_BITS)
        m.d.comb += [step.now.eq(now), step.epoch.eq(epoch)]
        with m.If(advance):
            m.d.sync += [
                epochs.eq(self.epochs),
                epoch.eq(epochs[owner]),
                now.eq((marks_of_now(state, epochs) & ~fresh) | (of_fresh & fresh)),
            ]

    def _answer(
        self, m: Module, updated: _Stage, effect: data.View, tags: data.View, advance: Signal
    ) -> None:
        """Read or write the row, register the answer, count."""
        config = self.config
        m.submodules.rows = rows = Memory(
            shape=unsigned(8 * config.row_bytes), depth=config.rows, init=[]
        )
        write, read = rows.write_port(granularity=WORD_BITS), rows.read_port()
        operation, event = updated.request.operation, effect.event
        moves = advance & updated.valid
        line, victim = Signal(range(config.rows)), Signal(_tag_layout(config))
        for way in range(config.ways):
            with m.If(effect.way[way]):
                m.d.comb += line.eq(Cat(updated.at, Const(way, range(config.ways))))
                m.d.comb += victim.eq(tags[way])
        answer = self.answer.payload
        words = Mux(operation == CacheOperation.UPDATE, updated.request.mask, ~0)
        m.d.comb += [
            write.addr.eq(line),
            write.data.eq(updated.request.row),
            write.en.eq(Mux(moves & effect.write, words, 0)),
            read.addr.eq(line),
            read.en.eq(moves & effect.read),
            answer.row.eq(read.data),
        ]
        with m.If(advance):
            m.d.sync += [
                self.answer.valid.eq(updated.valid),
                answer.event.eq(effect.event),
                answer.kept.eq(effect.replace),
                answer.line.eq(line),
                answer.evicted.eq(effect.replace & victim.valid),
                answer.victim.eq(victim.key),
                answer.present.eq(effect.read),
            ]

        looks = operation == CacheOperation.LOOK
        ahead = operation == CacheOperation.PREFETCH
        happens = {
            "hits": looks & (event == CacheEvent.HIT),
            "merged": looks & (event == CacheEvent.MERGED),
            "misses": looks & (event == CacheEvent.MISS),
            "refused": looks & (event == CacheEvent.REFUSED),
            "prefetches": ahead & (event == CacheEvent.MISS),
            "dropped": ahead & (event == CacheEvent.REFUSED),
            "evictions": effect.replace & victim.valid,
            "used": effect.used,
            "late": effect.late,
            "unused": effect.unused,
        }
        for name in COUNTERS:
            with m.If(moves & happens[name]):
                m.d.sync += self.counters[name].eq(self.counters[name] + 1)

    def _clear(
        self, m: Module, advance: Signal, moving: Value, ports: tuple[WritePort, WritePort]
    ) -> None:
        """Empty set by set, after reset and on `clear`."""
        at, due = Signal(self.config.set_bits), Signal()
        with m.If(self.clear):
            m.d.sync += due.eq(1)
        with m.FSM(init="CLEAR"):
            with m.State("CLEAR"):
                m.d.sync += [at.eq(at + 1), self.counters.eq(0)]
                for port in ports:
                    m.d.comb += [port.addr.eq(at), port.data.eq(0), port.en.eq(~0)]
                with m.If(at == self.config.sets - 1):
                    m.d.sync += due.eq(self.clear)
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += self.request.ready.eq(advance & ~due)
                m.d.comb += self.idle.eq(~moving & ~self.answer.valid & ~due)
                with m.If(due & ~moving):
                    m.next = "CLEAR"
