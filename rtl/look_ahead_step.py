"""What an operation does to a set of the look-ahead cache: sizes, layouts, and one step of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = [
    "CacheEvent",
    "CacheOperation",
    "LookAheadCacheConfig",
    "LookAheadStep",
    "effect_layout",
    "state_layout",
]

MAX_ROW_BYTES = 128


class CacheOperation(IntEnum):
    """What is asked of the cache. READ, PREFETCH, UPDATE, LOOK name a key, the others a line."""

    READ = 0
    PREFETCH = 1
    FILL = 2  # the row that a READ or PREFETCH missed has arrived
    RELEASE = 3  # the row of a READ is used
    CANCEL = 4  # no READ will follow this PREFETCH
    UPDATE = 5  # the row has a new version, already in memory
    LOOK = 6  # a READ that is RELEASEd at once, or when its row is filled
    ABORT = 7  # instead of a FILL: the row could not be read


class CacheEvent(IntEnum):
    """What an operation came to."""

    HIT = 0  # the row is on chip
    MERGED = 1  # the row is on its way: no read of memory
    MISS = 2  # read from memory and kept
    REFUSED = 3  # no place: read from memory, not kept; a prefetch is dropped
    DONE = 4
    IGNORED = 5  # there was no line, or nothing to fill or to drop


@dataclass(frozen=True, kw_only=True)
class LookAheadCacheConfig:
    """Size of a look-ahead cache.

    sets : int        a power of two
    ways : int        lines of a set
    row_bytes : int   a power of two, 4..128 [bytes]
    key_bits : int    of a row number, unique over all tables
    references : int  most references of one line
    """

    sets: int
    ways: int
    row_bytes: int
    key_bits: int = 32
    references: int = 63

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
        if self.references < 1:
            raise ValueError(f"references must be at least 1, not {self.references}")

    @property
    def rows(self) -> int:
        """Rows that the cache holds."""
        return self.sets * self.ways

    @property
    def set_bits(self) -> int:
        """Bits of a set's number: the low bits of a line's."""
        return self.sets.bit_length() - 1


def state_layout(config: LookAheadCacheConfig) -> data.StructLayout:
    """State of a set: where the search for a victim begins, and of each line.

    references : of READs and PREFETCHes; ahead : those of PREFETCHes that no READ has taken over;
    flying : missed and not filled; unread : missed by a PREFETCH and not read; newer : updated
    while flying, so that the fill is an older version.
    """
    lines = data.ArrayLayout(_line_layout(config), config.ways)
    return data.StructLayout({"next_way": range(config.ways), "lines": lines})


def _line_layout(config: LookAheadCacheConfig) -> data.StructLayout:
    count = range(config.references + 1)
    return data.StructLayout(
        {"references": count, "ahead": count, "flying": 1, "unread": 1, "newer": 1}
    )


def effect_layout(config: LookAheadCacheConfig) -> data.StructLayout:
    """What an operation comes to.

    event : CacheEvent. kept : it gets a reference. way : the line that it is about, one bit per
    way. replace : the line gets the operation's key. drop : the line is empty now. read, write : of
    its row. used, late : the first READ of a row that a PREFETCH missed, while it is flying.
    unused : no READ found it.
    """
    flags = dict.fromkeys(("kept", "replace", "drop", "read", "write", "used", "late", "unused"), 1)
    return data.StructLayout({"event": unsigned(3), "way": config.ways, **flags})


class LookAheadStep(wiring.Component):
    """One operation on one set; combinational. The rules are those of `LookAheadCache`.

    Members
    -------
    operation : In(3)  CacheOperation
    match : In(ways)  the ways that hold the operation's key
    kept, way : In  of FILL, RELEASE, CANCEL: the operation names a line, in this way
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
        self._victim(m, victim)
        m.d.comb += [
            new.eq(old),
            effect.way.eq(Mux(effect.replace, victim, touched)),
            self.new_state.next_way.eq(self.state.next_way),
            effect.event.eq(CacheEvent.IGNORED),
        ]

        with m.Switch(self.operation):
            with m.Case(CacheOperation.READ, CacheOperation.PREFETCH, CacheOperation.LOOK):
                ahead = self.operation == CacheOperation.PREFETCH
                brief = self.operation == CacheOperation.LOOK
                m.d.comb += touched.eq(self.match)
                with m.If(self.match.any()):
                    self._present(m, old, new, ahead, brief)
                with m.Elif(victim.any()):
                    self._replace(m, victim, fresh, ahead, brief)
                with m.Else():
                    m.d.comb += effect.event.eq(CacheEvent.REFUSED)
            with m.Case(CacheOperation.FILL):
                m.d.comb += touched.eq(named)
                with m.If(self.kept & old.flying):
                    m.d.comb += [effect.event.eq(CacheEvent.DONE), effect.write.eq(~old.newer)]
                    m.d.comb += [new.flying.eq(0), new.newer.eq(0)]
            with m.Case(CacheOperation.ABORT):
                m.d.comb += touched.eq(named)
                with m.If(self.kept & old.flying):
                    m.d.comb += [effect.event.eq(CacheEvent.DONE), effect.drop.eq(1)]
                    m.d.comb += new.eq(0)
            with m.Case(CacheOperation.RELEASE):
                m.d.comb += touched.eq(named)
                with m.If(self.kept & (old.references != old.ahead)):
                    m.d.comb += [effect.event.eq(CacheEvent.DONE), effect.read.eq(~old.flying)]
                    m.d.comb += new.references.eq(old.references - 1)
            with m.Case(CacheOperation.CANCEL):
                m.d.comb += touched.eq(named)
                with m.If(self.kept & (named & self.match).any() & old.ahead.any()):
                    m.d.comb += effect.event.eq(CacheEvent.DONE)
                    m.d.comb += new.references.eq(old.references - 1)
                    m.d.comb += new.ahead.eq(old.ahead - 1)
            with m.Case(CacheOperation.UPDATE):
                m.d.comb += touched.eq(self.match)
                with m.If(self.match.any()):
                    m.d.comb += [effect.event.eq(CacheEvent.DONE), effect.write.eq(1)]
                    m.d.comb += new.newer.eq(old.flying)
        return m

    def _victim(self, m: Module, victim: Signal) -> None:
        """Choose the lowest way from next_way on that nothing holds, else the lowest of all."""
        ways = self.config.ways
        lines = [self.state.lines[index] for index in range(ways)]
        free, behind = Signal(ways), Signal(ways)
        twice = Cat(free & ~behind, free)
        first = Cat(twice[index] & ~twice[:index].any() for index in range(2 * ways))
        m.d.comb += [
            free.eq(Cat(~(line.references.any() | line.flying) for line in lines)),
            behind.eq(Cat(self.state.next_way > index for index in range(ways))),
            victim.eq(first[:ways] | first[ways:]),
        ]

    def _present(
        self, m: Module, old: data.View, new: data.View, ahead: Value, brief: Value
    ) -> None:
        """Drive what an access to a row that has a line comes to."""
        effect = self.effect
        takes_over = ~ahead & old.ahead.any()
        full = old.references == self.config.references
        with m.If(~takes_over & ~brief & full):
            m.d.comb += effect.event.eq(CacheEvent.REFUSED)
        with m.Else():
            m.d.comb += [
                effect.event.eq(Mux(old.flying, CacheEvent.MERGED, CacheEvent.HIT)),
                effect.kept.eq(~brief),
                effect.read.eq(~ahead & ~old.flying),
                effect.used.eq(~ahead & old.unread),
                effect.late.eq(~ahead & old.unread & old.flying),
                new.unread.eq(ahead & old.unread),
            ]
            with m.If(takes_over):
                m.d.comb += new.ahead.eq(old.ahead - 1)
                m.d.comb += new.references.eq(old.references - brief)
            with m.Elif(~brief):
                m.d.comb += new.references.eq(old.references + 1)
                m.d.comb += new.ahead.eq(old.ahead + ahead)

    def _replace(
        self, m: Module, victim: Signal, fresh: data.View, ahead: Value, brief: Value
    ) -> None:
        """Drive what an access comes to that replaces a row."""
        effect, ways = self.effect, self.config.ways
        m.d.comb += [
            effect.event.eq(CacheEvent.MISS),
            effect.kept.eq(1),
            effect.replace.eq(1),
            fresh.references.eq(~brief),
            fresh.flying.eq(1),
            fresh.ahead.eq(ahead),
            fresh.unread.eq(ahead),
        ]
        for index in range(ways):
            with m.If(victim[index]):
                m.d.comb += self.new_state.next_way.eq((index + 1) % ways)
                m.d.comb += effect.unused.eq(self.state.lines[index].unread)
