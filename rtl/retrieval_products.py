"""Products of a beat's bytes with those of several queries, and their sums over 16 bytes.

Ref: Xilinx WP486, "Deep Learning with INT8 Optimization on Xilinx Devices", v1.0.1, 2017: two
products with a common factor in one DSP48E2. Here without signs, so that nothing is carried over.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from rpaccel.spec.retrieval import MIN_ROW_BYTES

__all__ = [
    "OFFSET",
    "PAIR_CYCLES",
    "SINGLE_CYCLES",
    "Beat",
    "pair_sums",
    "single_sums",
    "tree_sums",
]

SUM_LEVELS = (MIN_ROW_BYTES - 1).bit_length()
SINGLE_CYCLES = 3  # operands, products, sums
PAIR_CYCLES = 2 + SUM_LEVELS
OFFSET = 0x80  # added to a byte, modulo 256: -128..127 become 0..255


@dataclass(frozen=True, kw_only=True, eq=False)
class Beat:
    """A beat, the words of all queries that belong to it, whether the metric is L2.

    advance : the pipeline moves.
    """

    data: Signal
    words: Sequence[Value]
    l2: Value
    advance: Signal

    @property
    def byte_count(self) -> int:
        """Bytes of a beat."""
        return len(self.data) // 8


def single_sums(m: Module, beat: Beat) -> list[list[Value]]:
    """Return the sums for each query and 16 bytes, of row . query or (row - query)^2.

    SINGLE_CYCLES later. Each product has a multiplier of its own.
    """
    found = []
    for query, words in enumerate(beat.words):
        products = []
        for index in range(beat.byte_count):
            row, other = (word.word_select(index, 8).as_signed() for word in (beat.data, words))
            left, right = (
                Signal(signed(9), name=f"{side}{query}_{index}") for side in ("left", "right")
            )
            product = Signal(signed(18), name=f"product{query}_{index}")
            with m.If(beat.advance):
                m.d.sync += [
                    left.eq(Mux(beat.l2, row - other, row)),
                    right.eq(Mux(beat.l2, row - other, other)),
                    product.eq(left * right),
                ]
            products.append(product)
        found.append(tree_sums(m, products, beat.advance, f"segment{query}", [SUM_LEVELS - 1]))
    return found


def pair_sums(m: Module, beat: Beat) -> list[list[Value]]:
    """Return what a row adds to the scores, for each query and 16 bytes.

    PAIR_CYCLES later. With v = row + 128 and u = query + 128: the sum of u v - 128 v, or of
    2 u v - v^2 for L2; `QueryTerms` has the rest. Two products of v share a multiplier:
    (u1 2^16 + u0) v = u1 v 2^16 + u0 v, and u0 v < 2^16. The last factor of v, its own or 128,
    takes a query's place. `words` are u, `data` is the row.
    """
    places = len(beat.words) + 1
    products: list[list[Value]] = [[] for _ in range(places)]
    for index in range(beat.byte_count):
        row = beat.data.word_select(index, 8) ^ OFFSET
        factors = [word.word_select(index, 8) for word in beat.words]
        factors.append(Mux(beat.l2, row, OFFSET))
        common = Signal(8, name=f"row{index}")
        with m.If(beat.advance):
            m.d.sync += common.eq(row)
        for first in range(0, places, 2):
            pair = factors[first : first + 2]
            packed = Signal(16 * len(pair) - 8, name=f"factors{first}_{index}")
            both = Signal(16 * len(pair), name=f"products{first}_{index}")
            with m.If(beat.advance):
                m.d.sync += [
                    packed.eq(Cat(pair[0], Const(0, 8), *pair[1:])),
                    both.eq(packed * common),
                ]
            for place in range(len(pair)):
                products[first + place].append(both.word_select(place, 16))
    *queries, own = (
        tree_sums(m, each, beat.advance, f"segment{place}", range(SUM_LEVELS))
        for place, each in enumerate(products)
    )
    return [
        [Mux(beat.l2, value << 1, value) - row for value, row in zip(each, own, strict=True)]
        for each in queries
    ]


def tree_sums(
    m: Module,
    values: list[Value],
    advance: Value,
    name: str,
    registered: Collection[int],
    levels: int = SUM_LEVELS,
) -> list[Value]:
    """Return the sums of 2^levels values each, by so many adders; registers behind some.

    Behind an adder with a register Yosys finds a carry chain, else two LUTs per bit.
    """
    for level in range(levels):
        values = [a + b for a, b in zip(values[::2], values[1::2], strict=True)]
        if level in registered:
            sums, values = values, []
            for number, each in enumerate(sums):
                register = Signal(each.shape(), name=f"{name}_{level}_{number}")
                with m.If(advance):
                    m.d.sync += register.eq(each)
                values.append(register)
    return values
