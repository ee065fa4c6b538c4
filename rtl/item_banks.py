"""Banks of the item memories (DENSE and the items' vectors): two halves, or four quarters.

A bank's number is that of its first quarter, so that halves are banks 0 and 2. Banks take turns. A
stage chooses between halves and quarters by the size of its sub-batches (SLOT.quarter_items); it
begins with quarters behind halves, or the other way round, when no bank is in use.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Mux, Value

__all__ = [
    "BANK_BITS", "MOST_BANKS", "bank_base", "bank_count", "bank_word", "next_bank", "this_bank",
]  # fmt: skip

BANK_BITS = 2
MOST_BANKS = 4


def bank_count(four: Value) -> Value:
    """Return the banks that there are."""
    return Mux(four, MOST_BANKS, MOST_BANKS // 2)


def this_bank(bank: Value, four: Value) -> Value:
    """Return the bank that is used where `bank` is due: what was due may have been a quarter."""
    return Cat(bank[0] & four, bank[1])


def next_bank(bank: Value, four: Value) -> Value:
    """Return the bank that is due after `bank`, which is used."""
    return Mux(four, bank + 1, Cat(Const(0, 1), ~bank[1]))[:BANK_BITS]


def bank_base(words: int, bank: Value) -> Value:
    """Return the first word of `bank` in a memory of two times `words`, a power of two."""
    return bank_word(words, bank, Const(0, words.bit_length()))


def bank_word(words: int, bank: Value, word: Value) -> Value:
    """Return the address of a word of `bank`. word : below `words`, for quarters below a half."""
    bits = words.bit_length() - 1
    if not bits:
        return bank[1]
    return Cat(word[: bits - 1], word[bits - 1] | bank[0], bank[1])
