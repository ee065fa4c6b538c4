"""What an operation does to a set of the look-ahead cache: sizes, layouts, and one step of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = [
    "EPOCH_BITS",
    "CacheEvent",
    "CacheOperation",
    "LookAheadCacheConfig",
    "LookAheadStep",
    "effect_layout",
    "marks_of_now",
    "state_layout",
]

EPOCH_BITS = 2
MAX_OWNERS = 64
MAX_ROW_BYTES = 128


class CacheOperation(IntEnum):
    """What is asked of the cache. FILL and ABORT name a line, the others a key."""

    LOOK = 0  # a read
    PREFETCH = 1  # as LOOK, but for later
    FILL = 2  # the row that a LOOK or PREFETCH missed has arrived
    ABORT = 3  # instead of a FILL: the row could not be read
    UPDATE = 4  # the row has a new version, already in memory


class CacheEvent(IntEnum):
    """What an operation came to."""

    HIT = 0  # the row is on chip
    MERGED = 1  # the row is on its way: no read of memory
    MISS = 2  # read from memory and kept
    REFUSED = 3  # no place: read from memory, not kept; a prefetch is dropped
    DONE = 4
    IGNORED = 5  # there was no line that it could act on


@dataclass(frozen=True, kw_only=True)
class LookAheadCacheConfig:
    """Size of a look-ahead cache.

    sets : int       a power of two
    ways : int       lines of a set
    row_bytes : int  a power of two, 4..128 [bytes]
    key_bits : int   of a row number, unique over all tables
    owners : int     who prefetches, 1..64
    free_ways : int  lines of a set that marks of prefetches leave to LOOKs, 0..ways
    """

    sets: int
    ways: int
    row_bytes: int
    key_bits: int = 32
    owners: int = 1
    free_ways: int = 0

    def __post_init__(self) -> None:
        if self.sets < 1 or self.sets & (self.sets - 1):
            raise ValueError(f"sets must be a power of two, not {self.sets}")
        if self.ways < 1:
            raise ValueError(f"ways must be at least 1, not {self.ways}")
        size = self.row_bytes
        if not 4 <= size <= MAX_ROW_BYTES or size & (size - 1):
            raise ValueError(f"row_bytes must be a power of two in 4..{MAX_ROW_BYTES}, not {size}")
        if not 1 <= self.key_bits <= 64:
            raise ValueError(f"key_bits must be in 1..64, not {self.key_bits}")
        if not 1 <= self.owners <= MAX_OWNERS:
            raise ValueError(f"owners must be in 1..{MAX_OWNERS}, not {self.owners}")
        if not 0 <= self.free_ways <= self.ways:
            raise ValueError(f"free_ways must be in 0..{self.ways}, not {self.free_ways}")

    @property
    def rows(self) -> int:
        """Rows that the cache holds."""
        return self.sets * self.ways

    @property
    def set_bits(self) -> int:
        """Bits of a set's number: the low bits of a line's."""
        return self.sets.bit_length() - 1

    @property
    def epochs_shape(self) -> data.ArrayLayout:
        """Shape of the owners' epochs."""
        return data.ArrayLayout(unsigned(EPOCH_BITS), self.owners)


def state_layout(config: LookAheadCacheConfig) -> data.StructLayout:
    """State of a set: where the search for a victim begins, and of each line.

    flying : missed and not filled; ahead : marked by a PREFETCH, and no LOOK since; owner, epoch :
    of the mark; unread : missed by a PREFETCH and not read.
    """
    lines = data.ArrayLayout(_line_layout(config), config.ways)
    return data.StructLayout({"next_way": range(config.ways), "lines": lines})


def _line_layout(config: LookAheadCacheConfig) -> data.StructLayout:
    return data.StructLayout(
        {"flying": 1, "ahead": 1, "owner": range(config.owners), "epoch": EPOCH_BITS, "unread": 1}
    )


def effect_layout(config: LookAheadCacheConfig) -> data.StructLayout:
    """What an operation comes to.

    event : CacheEvent. way : the line that it is about, one bit per way. replace : the line gets
    the operation's key. drop : the line is empty now. read, write : of its row. used, late : the
    first LOOK of a row that a PREFETCH missed, while it is flying. unused : no LOOK found it.
    """
    flags = dict.fromkeys(("replace", "drop", "read", "write", "used", "late", "unused"), 1)
    return data.StructLayout({"event": unsigned(3), "way": config.ways, **flags})


def marks_of_now(state: data.View, epochs: data.View) -> Value:
    """Return, a bit per way, whether the epoch of its mark is the present one of its owner."""
    lines = state.lines
    ways = lines.shape().length
    return Cat(lines[way].epoch == epochs[lines[way].owner] for way in range(ways))


class LookAheadStep(wiring.Component):
    """One operation on one set; combinational. The rules are those of `LookAheadCache`.

    Members
    -------
    operation : In(3)  CacheOperation; any other is IGNORED
    match : In(ways)  the ways that hold the operation's key
    kept, way : In  of FILL, ABORT: the operation names a line, in this way
    owner, epoch : In  of PREFETCH: its owner, and the owner's epoch
    now : In(ways)  `marks_of_now`; of a way without a mark: any
    state, new_state : In, Out(state_layout)  before and after
    effect : Out(effect_layout)
    """

    def __init__(self, config: LookAheadCacheConfig) -> None:
        self.config = config
        super().__init__(
            {
                "operation": In(3),
                "match": In(config.ways),
                "kept": In(1),
                "way": In(range(config.ways)),
                "owner": In(range(config.owners)),
                "epoch": In(EPOCH_BITS),
                "now": In(config.ways),
                "state": In(state_layout(config)),
                "new_state": Out(state_layout(config)),
                "effect": Out(effect_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        ways, effect = range(self.config.ways), self.effect
        line = _line_layout(self.config)
        old, new, fresh = (Signal(line, name=name) for name in ("old", "new", "fresh"))
        named, touched, victim = (
            Signal(len(ways), name=name) for name in ("named", "touched", "victim")
        )
        # the way that is found and the way to replace are worked out side by side
        for index in ways:
            m.d.comb += [
                named[index].eq(self.way == index),
                self.new_state.lines[index].eq(
                    Mux(
                        effect.replace,
                        Mux(victim[index], fresh, self.state.lines[index]),
                        Mux(touched[index], new, self.state.lines[index]),
                    )
                ),
            ]
            with m.If(touched[index]):
                m.d.comb += old.eq(self.state.lines[index])
        unmarked = self._victim(m, victim)
        m.d.comb += [
            new.eq(old),
            effect.way.eq(Mux(effect.replace, victim, touched)),
            self.new_state.next_way.eq(self.state.next_way),
            effect.event.eq(CacheEvent.IGNORED),
        ]

        with m.Switch(self.operation):
            with m.Case(CacheOperation.LOOK, CacheOperation.PREFETCH):
                ahead = self.operation == CacheOperation.PREFETCH
                m.d.comb += touched.eq(self.match)
                with m.If(self.match.any()):
                    self._present(m, old, new, ahead & self._leaves(unmarked, self.match), ahead)
                with m.Elif(victim.any() & (~ahead | self._leaves(unmarked, victim))):
                    self._replace(m, victim, fresh, ahead)
                with m.Else():
                    m.d.comb += effect.event.eq(CacheEvent.REFUSED)
            with m.Case(CacheOperation.FILL):
                m.d.comb += touched.eq(named)
                with m.If(self.kept & old.flying):
                    m.d.comb += [effect.event.eq(CacheEvent.DONE), effect.write.eq(1)]
                    m.d.comb += new.flying.eq(0)
            with m.Case(CacheOperation.ABORT):
                m.d.comb += touched.eq(named)
                with m.If(self.kept & old.flying):
                    m.d.comb += [effect.event.eq(CacheEvent.DONE), effect.drop.eq(1)]
                    m.d.comb += new.eq(0)
            with m.Case(CacheOperation.UPDATE):
                m.d.comb += touched.eq(self.match)
                with m.If(self.match.any() & ~old.flying):
                    m.d.comb += [effect.event.eq(CacheEvent.DONE), effect.write.eq(1)]
        return m

    def _victim(self, m: Module, victim: Signal) -> Signal:
        """Choose the lowest way from next_way on that is not held, else the lowest of all.

        Return which ways have no mark that holds them.
        """
        ways = self.config.ways
        lines = [self.state.lines[index] for index in range(ways)]
        unmarked, free, behind = (Signal(ways, name=n) for n in ("unmarked", "free", "behind"))
        twice = Cat(free & ~behind, free)
        first = Cat(twice[index] & ~twice[:index].any() for index in range(2 * ways))
        m.d.comb += [
            unmarked.eq(~Cat(line.ahead & self.now[i] for i, line in enumerate(lines))),
            free.eq(unmarked & ~Cat(line.flying for line in lines)),
            behind.eq(Cat(self.state.next_way > index for index in range(ways))),
            victim.eq(first[:ways] | first[ways:]),
        ]
        return unmarked

    def _leaves(self, unmarked: Signal, line: Signal) -> Value:
        """Return whether a mark of `line` leaves enough lines without one."""
        others = (unmarked & ~line)[: self.config.ways]
        return sum(others[way] for way in range(self.config.ways)) >= self.config.free_ways

    def _present(
        self, m: Module, old: data.View, new: data.View, marks: Value, ahead: Value
    ) -> None:
        """Drive what an access to a row that has a line comes to; marks: it is marked now."""
        effect = self.effect
        m.d.comb += [
            effect.event.eq(Mux(old.flying, CacheEvent.MERGED, CacheEvent.HIT)),
            effect.read.eq(~ahead & ~old.flying),
            effect.used.eq(~ahead & old.unread),
            effect.late.eq(~ahead & old.unread & old.flying),
            new.ahead.eq(marks),
            new.owner.eq(self.owner),
            new.epoch.eq(self.epoch),
            new.unread.eq(ahead & old.unread),
        ]

    def _replace(self, m: Module, victim: Signal, fresh: data.View, ahead: Value) -> None:
        """Drive what an access comes to that replaces a row."""
        effect, ways = self.effect, self.config.ways
        m.d.comb += [
            effect.event.eq(CacheEvent.MISS),
            effect.replace.eq(1),
            fresh.flying.eq(1),
            fresh.ahead.eq(ahead),
            fresh.owner.eq(self.owner),
            fresh.epoch.eq(self.epoch),
            fresh.unread.eq(ahead),
        ]
        for index in range(ways):
            with m.If(victim[index]):
                m.d.comb += self.new_state.next_way.eq((index + 1) % ways)
                m.d.comb += effect.unused.eq(self.state.lines[index].unread)
