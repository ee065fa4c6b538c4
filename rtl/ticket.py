"""Tickets: what the pooler does with each row, in the order in which rows were asked for."""

from __future__ import annotations

from amaranth.hdl import unsigned
from amaranth.lib import data

from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import RECIPROCAL_SHIFT

__all__ = [
    "MULTIPLIER_BITS",
    "SHIFT_BITS",
    "parts",
    "place_layout",
    "ticket_layout",
]

MULTIPLIER_BITS = RECIPROCAL_SHIFT + 1  # a mean over one row multiplies by 2**16
SHIFT_BITS = 6


def parts(config: AcceleratorConfig) -> int:
    """Return the 32-bit words of VectorWrite's data, at least 2."""
    return max(2, config.array_size // 4, config.vector_word_bytes // 4)


def place_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Where gathered data go.

    word : of USER or DENSE, or of one engine's vectors; banks and items are counted in.
    part : 32-bit word of it at which the data begin. engine : that takes an item's vectors.
    """
    words = max(
        2 * config.dense_words,
        config.user_words,
        config.user_vector_words,
        2 * config.engine_vector_words,
    )
    return data.StructLayout(
        {
            "word": range(words),
            "part": range(parts(config)),
            "engine": range(max(2, config.engines)),
        }
    )


def ticket_layout(config: AcceleratorConfig) -> data.StructLayout:
    """One row of one feature, or the end of a sub-batch.

    batch : end of a sub-batch; `multiplier` is its items, `last` its stage's end.
    zero : no row was read, take zeros. first, last : of the rows pooled into one vector.
    single : pass the row as it is. offset : 32-bit word of the beat at which a short row begins.
    user, place : side and beginning of the vector.
    """
    return data.StructLayout(
        {
            "batch": unsigned(1),
            "zero": unsigned(1),
            "first": unsigned(1),
            "last": unsigned(1),
            "single": unsigned(1),
            "user": unsigned(1),
            "offset": range(max(2, config.beat_bytes // 4)),
            "multiplier": unsigned(MULTIPLIER_BITS),
            "shift": unsigned(SHIFT_BITS),
            "place": place_layout(config),
        }
    )
