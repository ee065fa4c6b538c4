"""The exact k: which entries of the bin at the cut are among the best."""

from __future__ import annotations

from amaranth import Array, Cat, Module, Signal
from amaranth.hdl import Assert, Format, Shape
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["KEY_BITS", "BucketSplit", "link_layout"]

KEY_BITS = 48  # logit with its sign flipped, then the inverted id: larger is better
DIGIT_BITS = 2
DIGITS = KEY_BITS // DIGIT_BITS
GROUPS = 1 << DIGIT_BITS


def link_layout(items: int) -> data.StructLayout:
    """Where the chain of an entry goes on: the entry before it, or `oldest`: there is none."""
    return data.StructLayout({"previous": Shape.cast(range(items)), "oldest": 1})


class BucketSplit(wiring.Component):
    """Shortens a chain to its `need` best entries by (logit descending, id ascending).

    A radix selection on the keys, first digit first. A pass walks the chain at an entry a cycle
    and links it anew into 4 groups by a digit of 2 bits. Groups from the top are appended to the
    answer while they fit; the first that does not is the chain of the next pass, at the next
    digit in which entries of this pass differed. Of equal keys at the cut all are appended: the
    reader takes `need` entries.
    A pass of m entries takes 1 + m + (1..4) cycles; there are at most 24. From `start_stb` to the
    cycle of `done_stb`: the passes and 1.

    Members
    -------
    start_stb : In(1)  with `head`, the newest entry of the chain, and `need`: 1 <= it < entries.
    done_stb : Out(1)  `first` is the head of the answer from now on.
    read_en, read_addr : Out  an entry's key and link are at `key`, `link` in the next cycle.
    write_en, write_addr, write_link : Out  the link of an entry changes.
    """

    def __init__(self, items: int) -> None:
        self.items = items
        pointer = range(items)
        super().__init__(
            {
                "start_stb": In(1),
                "head": In(pointer),
                "need": In(range(items + 1)),
                "done_stb": Out(1),
                "first": Out(pointer),
                "read_en": Out(1),
                "read_addr": Out(pointer),
                "key": In(KEY_BITS),
                "link": In(link_layout(items)),
                "write_en": Out(1),
                "write_addr": Out(pointer),
                "write_link": Out(link_layout(items)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pointer = range(self.items)

        def groups(shape: range, name: str) -> Array:
            return Array(Signal(shape, name=f"{name}{i}") for i in range(GROUPS))

        self._head, self._tail = groups(pointer, "head"), groups(pointer, "tail")
        self._entries = groups(range(self.items + 1), "entries")
        self._filled = Signal(GROUPS)

        self._chain = Signal(pointer)  # of this pass
        self._digit = Signal(range(DIGITS))
        self._left = Signal(range(self.items + 1))  # entries that the answer still needs
        self._differ = Signal(DIGITS)  # digits in which entries of this pass differ
        self._at = Signal(pointer)  # the entry that is read
        self._last_key = Signal(KEY_BITS)
        self._begun = Signal()  # `_last_key` is of this pass
        self._look = Signal(range(GROUPS))

        self._answered = Signal()  # the answer has entries
        self._answer_tail = Signal(pointer)

        with m.FSM():
            with m.State("IDLE"), m.If(self.start_stb):
                m.d.sync += [
                    Assert(self.need != 0, Format("need must be at least 1")),
                    self._chain.eq(self.head),
                    self._left.eq(self.need),
                    self._digit.eq(DIGITS - 1),
                    self._answered.eq(0),
                ]
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += [self.read_en.eq(1), self.read_addr.eq(self._chain)]
                m.d.sync += [self._at.eq(self._chain), self._filled.eq(0), self._begun.eq(0)]
                m.d.sync += [self._differ.eq(0), self._look.eq(GROUPS - 1)]
                m.d.sync += [entries.eq(0) for entries in self._entries]
                m.next = "SPLIT"
            with m.State("SPLIT"):
                self._split(m)
                with m.If(self.link.oldest):
                    m.next = "PICK"
            with m.State("PICK"):
                self._pick(m)
            with m.State("DONE"):
                m.d.comb += self.done_stb.eq(1)
                m.next = "IDLE"
        return m

    def _split(self, m: Module) -> None:
        """Push the entry that was read on its group; read the next one of the chain."""
        group = Signal(range(GROUPS))
        new = Signal()
        changed = self.key ^ self._last_key
        m.d.comb += [
            group.eq(self.key.word_select(self._digit, DIGIT_BITS)),
            new.eq(~self._filled.bit_select(group, 1)),
            self.write_en.eq(1),
            self.write_addr.eq(self._at),
            self.write_link.previous.eq(self._head[group]),
            self.write_link.oldest.eq(new),
            self.read_en.eq(~self.link.oldest),
            self.read_addr.eq(self.link.previous),
        ]
        m.d.sync += [
            self._at.eq(self.link.previous),
            self._head[group].eq(self._at),
            self._entries[group].eq(self._entries[group] + 1),
            self._filled.bit_select(group, 1).eq(1),
            self._last_key.eq(self.key),
            self._begun.eq(1),
        ]
        with m.If(new):
            m.d.sync += self._tail[group].eq(self._at)
        with m.If(self._begun):
            m.d.sync += self._differ.eq(
                self._differ | Cat(changed.word_select(i, DIGIT_BITS).any() for i in range(DIGITS))
            )

    def _pick(self, m: Module) -> None:
        """Append the group or make it the next chain; one group per cycle, from the top."""
        entries, head = self._entries[self._look], self._head[self._look]
        lower = Signal(DIGITS)  # digits that can still tell entries of the group apart
        next_digit = Signal(range(DIGITS))
        for i in range(DIGITS - 1):
            m.d.comb += lower[i].eq(self._differ[i] & (i < self._digit))
            with m.If(lower[i]):
                m.d.comb += next_digit.eq(i)
        fits = Signal()
        append = Signal()
        m.d.comb += [
            fits.eq(entries <= self._left),
            append.eq((entries != 0) & (fits | ~lower.any())),
        ]
        with m.If(append):
            m.d.comb += [
                self.write_en.eq(self._answered),
                self.write_addr.eq(self._answer_tail),
                self.write_link.previous.eq(head),
            ]
            m.d.sync += [self._answered.eq(1), self._answer_tail.eq(self._tail[self._look])]
            with m.If(~self._answered):
                m.d.sync += self.first.eq(head)

        m.d.sync += [self._look.eq(self._look - 1), self._left.eq(self._left - entries)]
        with m.If(append & (entries >= self._left)):
            m.next = "DONE"
        with m.Elif(~fits):
            m.d.sync += [self._chain.eq(head), self._digit.eq(next_digit)]
            m.d.sync += self._left.eq(self._left)
            m.next = "FETCH"
