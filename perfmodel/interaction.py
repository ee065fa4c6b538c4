"""Cycles of an INTERACT instruction. Exact."""

from __future__ import annotations

from rpaccel.perfmodel.layer_engine import READ_CYCLES, REQUANTISE_CYCLES
from rpaccel.spec.accelerator import AcceleratorConfig

SUM_CYCLES = 1  # over the words of a vector
PACK_CYCLES = 1


def item_cycles(vectors: int, vector_words: int) -> int:
    """Return the cycles per item: each vector is read once to hold it, and once per pair."""
    return vector_words * (vectors + vectors * (vectors - 1) // 2)


def drain_cycles(config: AcceleratorConfig) -> int:
    """Return the cycles from reading an item's last word to writing its last pairs."""
    tree = config.array_size.bit_length()  # product, then log2(A) additions
    return READ_CYCLES + tree + SUM_CYCLES + REQUANTISE_CYCLES + PACK_CYCLES


def interaction_cycles(
    config: AcceleratorConfig, items: int, vectors: int, vector_words: int
) -> int:
    """Return the busy cycles of the dot interaction of `vectors` vectors (bottom output included).

    items * vector_words * (F + F (F - 1) / 2) + drain.
    """
    return items * item_cycles(vectors, vector_words) + drain_cycles(config)


def interaction_macs(config: AcceleratorConfig, items: int, vectors: int, vector_words: int) -> int:
    """Return the MACs of all pairs (padding of vectors included)."""
    return items * vector_words * vectors * (vectors - 1) // 2 * config.array_size
