"""Static cache: rows pinned at load time, found by a hashed table instead of a tag per line.

Ref: RecPipe (MICRO 2021), O.4: a static cache for the rows of both stages. Hash: Carter and Wegman,
Universal classes of hash functions (JCSS 1979), class H3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, reduce
from operator import xor

from amaranth.hdl import (
    Assert,
    Cat,
    Const,
    Elaboratable,
    Format,
    Module,
    Mux,
    Signal,
    Value,
    unsigned,
)
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = [
    "STAGES",
    "StaticCache",
    "StaticCacheConfig",
    "answer_layout",
    "entry_layout",
    "load_layout",
    "request_layout",
]

STAGES = 2  # front end, back end
WORD_BYTES = 4  # rows start at words
LOAD_BYTES = 8  # of a line, at a time
MAX_LINE_BYTES = 128


@dataclass(frozen=True, kw_only=True)
class StaticCacheConfig:
    """Size of a static cache.

    sets, ways : int   table entries: a power of two, times the places that a key may have
    lines : int        of row memory
    line_bytes : int   a power of two, 4..128: the largest row, or several small ones [bytes]
    key_bits : int     of a row number, unique over all tables of a stage
    """

    sets: int
    ways: int
    lines: int
    line_bytes: int
    key_bits: int = 32

    def __post_init__(self) -> None:
        if self.sets < 1 or self.sets & (self.sets - 1):
            raise ValueError(f"sets must be a power of two, not {self.sets}")
        for name in ("ways", "lines"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        size = self.line_bytes
        if not WORD_BYTES <= size <= MAX_LINE_BYTES or size & (size - 1):
            raise ValueError(
                f"line_bytes must be a power of two in {WORD_BYTES}..{MAX_LINE_BYTES}, not {size}"
            )
        if not max(1, self.set_bits) <= self.key_bits <= 64:
            raise ValueError(
                f"key_bits must be in {max(1, self.set_bits)}..64 with {self.sets} sets, "
                f"not {self.key_bits}"
            )

    @property
    def set_bits(self) -> int:
        """Bits of a set's number."""
        return self.sets.bit_length() - 1

    @property
    def entries(self) -> int:
        """Entries of the table: the most rows that can be pinned."""
        return self.sets * self.ways

    @property
    def line_words(self) -> int:
        """Words of 4 bytes of a line."""
        return self.line_bytes // WORD_BYTES

    @property
    def load_parts(self) -> int:
        """Loads of a line: 8 bytes each, or its 4."""
        return max(1, self.line_bytes // LOAD_BYTES)

    def index(self, key: int, way: int) -> int:
        """Return the table entry, way * sets + set, where `way` may hold `key`."""
        high = key >> self.set_bits
        masks = _masks(self, way)
        parts = (mask for bit, mask in enumerate(masks) if high >> bit & 1)
        return way * self.sets + reduce(xor, parts, key & (self.sets - 1))

    def tag(self, key: int) -> int:
        """Return the part of `key` that an entry stores; the entry's place says the rest."""
        return key >> self.set_bits


@cache
def _masks(config: StaticCacheConfig, way: int) -> tuple[int, ...]:
    """Return what each bit of the tag flips in the set of `way`: class H3, fixed random masks."""
    count = config.key_bits - config.set_bits
    return tuple(_mixed(64 * way + bit + 1) & (config.sets - 1) for bit in range(count))


def _mixed(number: int) -> int:
    """Return 64 bits that look random. Ref: Steele, Lea, Flood, OOPSLA 2014 (SplitMix64)."""
    value = number * 0x9E3779B97F4A7C15 % 2**64
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def entry_layout(config: StaticCacheConfig) -> data.StructLayout:
    """A table entry: a pinned row of a stage and where it lies.

    word : of the line, where the row begins: a multiple of the row's words.
    """
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "stage": range(STAGES),
            "tag": unsigned(config.key_bits - config.set_bits),
            "line": range(config.lines),
            "word": range(config.line_words),
        }
    )


def _size_layout(config: StaticCacheConfig) -> range:
    return range(config.line_words.bit_length())


def request_layout(config: StaticCacheConfig) -> data.StructLayout:
    """A look-up, or an update.

    size : of the row, 4 << size bytes, at most line_bytes. row : of an update: the new version.
    """
    return data.StructLayout(
        {
            "update": unsigned(1),
            "stage": range(STAGES),
            "key": unsigned(config.key_bits),
            "size": _size_layout(config),
            "row": unsigned(8 * config.line_bytes),
        }
    )


def answer_layout(config: StaticCacheConfig) -> data.StructLayout:
    """A look-up's answer; row : its 4 << size bytes, zeros above; zeros without a hit."""
    return data.StructLayout({"hit": unsigned(1), "row": unsigned(8 * config.line_bytes)})


def load_layout(config: StaticCacheConfig) -> data.StructLayout:
    """What fills the cache: an entry of the table, or part of a line; see StaticCache."""
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "table": unsigned(1),
            "index": range(max(config.entries, config.lines * config.load_parts)),
            "data": unsigned(max(entry_layout(config).size, 8 * LOAD_BYTES)),
        }
    )


class StaticCache(wiring.Component):
    """Takes one look-up or update per cycle, answers in order `latency_cycles` later.

    A key has `ways` places in the table, one per way, each by a hash of its own. Entry e of the
    table and line l of the row memory are written by loads. Lines below `split` belong to stage 0,
    the others to stage 1; an entry whose line belongs to the other stage is not found, so the
    split may change in any cycle: a look-up meets it `split_cycles` after it is taken.

    An update of a pinned row overwrites it: later look-ups give the new version; no look-up
    gives a part of it. Its answer says whether the row is pinned.

    Loads are for a cache in which nothing is on the way; with `enable` 0 nothing is found, so that
    a table that was never loaded may hold anything.

    Members
    -------
    enable : In(1)  the table is loaded
    split : In(range(lines + 1))  lines of stage 0
    load : In(struct {valid, table, index, data})  writes an entry of the table (entry_layout), or 8
        bytes of a line, or a whole line of 4: index = line * load_parts + part; no back-pressure,
        one per cycle; only while idle
    request : In(stream of request_layout())
    answer : Out(stream of answer_layout())
    idle : Out(1)  nothing is on the way, no answer waits
    lookups, hits : Out(array of 32 bits per stage)  without updates; from reset on, modulo 2**32
    """

    latency_cycles = 4  # table read, keys compared, row read, row cut out of its line
    split_cycles = 1

    def __init__(self, config: StaticCacheConfig) -> None:
        self.config = config
        counts = data.ArrayLayout(unsigned(32), STAGES)
        super().__init__(
            {
                "enable": In(1),
                "split": In(range(config.lines + 1)),
                "load": In(load_layout(config)),
                "request": In(stream.Signature(request_layout(config))),
                "answer": Out(stream.Signature(answer_layout(config))),
                "idle": Out(1),
                "lookups": Out(counts),
                "hits": Out(counts),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        advance = Signal()
        m.d.comb += advance.eq(~self.answer.valid | self.answer.ready)
        m.d.comb += self.request.ready.eq(advance)
        request = request_layout(self.config)
        valid = Signal(3)  # stages 1..3
        with m.If(advance):
            m.d.sync += valid.eq(valid << 1 | self.request.valid)
            m.d.sync += self.answer.valid.eq(valid[-1])
        m.d.comb += self.idle.eq(~valid.any() & ~self.answer.valid)
        with m.If(self.load.valid):
            m.d.sync += Assert(self.idle & ~self.request.valid, Format("a load while not idle"))

        # stage 1: the entries of the key's places are there
        asked = Signal(request)
        with m.If(advance):
            m.d.sync += asked.eq(self.request.payload)
        found = self._compare(m, asked, advance)

        # stage 2: the row's place is known
        placed, place = Signal(request), Signal(entry_layout(self.config))
        with m.If(advance):
            m.d.sync += [placed.eq(asked), place.eq(found)]
        with m.If(advance & valid[1] & ~placed.update):
            for stage in range(STAGES):
                with m.If(placed.stage == stage):
                    m.d.sync += self.lookups[stage].eq(self.lookups[stage] + 1)
                    m.d.sync += self.hits[stage].eq(self.hits[stage] + place.valid)

        # stages 3 and 4: its line is there; the row
        self._access(m, placed, place, valid[1], advance)
        return m

    def _compare(self, m: Module, asked: data.View, advance: Signal) -> data.View:
        """Read a table per way; return the entry of the key, `valid` only if it is its stage's."""
        config, load = self.config, self.load
        layout = entry_layout(config)
        found = Signal(layout)
        key = self.request.payload.key
        for way in range(config.ways):
            table = Memory(shape=layout, depth=config.sets, init=[])
            m.submodules[f"table{way}"] = table
            read, write = table.read_port(), table.write_port()
            chosen = load.index[config.set_bits :] == way
            m.d.comb += [
                read.addr.eq(self._set(key, way)),
                read.en.eq(advance),
                write.addr.eq(load.index[: config.set_bits]),
                write.data.eq(load.data[: layout.size]),
                write.en.eq(load.valid & load.table & chosen),
            ]
            entry = read.data
            same = (entry.tag == asked.key[config.set_bits :]) & (entry.stage == asked.stage)
            its_own = (entry.line >= self.split) == entry.stage
            with m.If(entry.valid & same & its_own & self.enable):
                m.d.comb += found.eq(entry)
        return found

    def _set(self, key: Value, way: int) -> Value:
        """Return the set of `key` in `way`, as `StaticCacheConfig.index`."""
        bits = self.config.set_bits
        parts = (
            Mux(key[bits + bit], Const(mask, bits), 0)
            for bit, mask in enumerate(_masks(self.config, way))
        )
        return reduce(xor, parts, key[:bits])

    def _access(
        self, m: Module, request: data.View, place: data.View, valid: Value, advance: Signal
    ) -> None:
        """Read the line or write the row in it; cut the row out of its line."""
        config = self.config
        words = data.ArrayLayout(unsigned(32), config.line_words)
        m.submodules.lines = lines = Memory(shape=words, depth=config.lines, init=[])
        write, read = lines.write_port(granularity=1), lines.read_port()
        row_words = [request.row.word_select(index, 32) for index in range(config.line_words)]
        size_mask = Signal(config.line_words)
        with m.Switch(request.size):
            for size in _size_layout(config):
                with m.Case(size):
                    m.d.comb += size_mask.eq((1 << (1 << size)) - 1)
                    for index in range(config.line_words):  # copies: the mask chooses one
                        m.d.comb += write.data[index].eq(row_words[index % (1 << size)])
        updates = advance & valid & request.update & place.valid
        m.d.comb += [
            read.addr.eq(place.line),
            read.en.eq(advance),
            write.addr.eq(place.line),
            write.en.eq(Mux(updates, size_mask << place.word, 0)),
        ]
        part_bits = (config.load_parts - 1).bit_length()
        part_words = min(config.line_words, LOAD_BYTES // WORD_BYTES)
        with m.If(self.load.valid & ~self.load.table):
            m.d.comb += write.addr.eq(self.load.index >> part_bits)
            for index in range(config.line_words):
                chosen, word = divmod(index, part_words)
                m.d.comb += [
                    write.data[index].eq(self.load.data.word_select(word, 32)),
                    write.en[index].eq(self.load.index[:part_bits] == chosen),
                ]

        # stage 3: what to cut; stage 4: the row
        hit, word, mask = Signal(), Signal.like(place.word), Signal(config.line_words)
        shifted = read.data.as_value() >> Cat(Const(0, 5), word)
        with m.If(advance):
            m.d.sync += [
                hit.eq(place.valid),
                word.eq(place.word),
                mask.eq(Mux(place.valid & ~request.update, size_mask, 0)),
                self.answer.payload.hit.eq(hit),
            ]
            for index in range(config.line_words):
                part = slice(32 * index, 32 * (index + 1))
                m.d.sync += self.answer.payload.row[part].eq(Mux(mask[index], shifted[part], 0))
