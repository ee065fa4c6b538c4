"""Cycles of an INTERACT instruction, exact, and how many engines a lane needs.

An engine multiplies D = min(16, A) bytes per cycle and appends up to D / 4 results per cycle: so
many dots if vectors are 4 bytes long, half as many at 8 bytes, one from D bytes on. E engines work
in lockstep on E items, a group.

Why one engine per 256 PEs. An item of F = 27 vectors (Criteo: 26 tables and v0) has 351 pairs:

    RMsmall, 4 bytes: rows of 1..26 dots, four a cycle: sum of ceil(i / 4) = 98, and v0 1: 99 cycles
    RMlarge, 32 bytes: two cycles per dot: 702, and v0 32 / 4 = 8: 710 cycles

The array takes `passes` cycles per item (tiles of its layers, after stacking), so that E engines
never make it wait if group cycles <= E * passes. With E = A * A / 256:

    A x A          16    32    64   128
    E               1     4    16    64
    RMsmall passes 104    29     9     6   -> E * passes 104  116  144   384, needs  99
    RMlarge passes 862   217    59    17   -> E * passes 862  868  944  1088, needs 710

The engines' work per item is fixed and passes fall at best like 1 / A**2: E must grow like A**2,
and half as many engines would wait for RMsmall on 32 (58 < 99) and 64 (72 < 99). `engine_table`
prints this table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Interaction

READ_CYCLES = 4  # address, its way to the engines, memory, choice of the chunk
OPERAND_CYCLES = 1  # choice of row and bytes
PRODUCT_CYCLES = 1
SUM_CYCLES = 1  # over the chunks of a vector
REQUANTISE_CYCLES = 6
PACK_CYCLES = 2  # the last word, and what an item's last results left over for one more


def lanes(config: AcceleratorConfig) -> int:
    """Return the results that an engine can append per cycle [B]."""
    return config.chunk_bytes // 4


def group_cycles(
    config: AcceleratorConfig,
    kind: Interaction,
    user_vectors: int,
    item_vectors: int,
    row_bytes: int,
) -> int:
    """Return the cycles per group of items; groups follow each other without a gap.

    Vector 0 and every vector copied or multiplied take row_bytes / lanes cycles; products take
    one more per chunk, to hold the user's side. Dots: see `_dot_cycles`.
    """
    vector_cycles = row_bytes // lanes(config)
    if kind is Interaction.DOT:
        return vector_cycles + _dot_cycles(config, user_vectors, item_vectors, row_bytes)
    if kind is Interaction.CONCAT:
        return (1 + user_vectors + item_vectors) * vector_cycles
    chunks = -(-min(user_vectors, item_vectors) * row_bytes // config.chunk_bytes)
    return (1 + max(user_vectors, item_vectors)) * vector_cycles + chunks


def _dot_cycles(
    config: AcceleratorConfig, user_vectors: int, item_vectors: int, row_bytes: int
) -> int:
    """Sum over the vectors i of the cycles that it takes to stream vectors 0..i-1 past it.

    Vectors come q = D / row_bytes a cycle, or one in row_bytes / D cycles. Vector 0 streams in
    front of the first side that has vectors, without a gap; the item side after a user side
    begins with a cycle of its own.
    """
    at_once = max(1, config.chunk_bytes // row_bytes)
    chunks = max(1, row_bytes // config.chunk_bytes)

    def streams(vectors: int) -> int:
        return -(-vectors // at_once)

    if not user_vectors:
        return chunks * sum(streams(1 + n) for n in range(item_vectors))
    user = sum(streams(1 + n) for n in range(user_vectors))
    item = sum(streams(1 + user_vectors) + streams(n) for n in range(item_vectors))
    return chunks * (user + item)


def drain_cycles(config: AcceleratorConfig) -> int:
    """Return the cycles from the last read of an instruction to `done`."""
    tree = (config.chunk_bytes - 1).bit_length()
    multiply = READ_CYCLES + OPERAND_CYCLES + PRODUCT_CYCLES + tree
    return multiply + SUM_CYCLES + REQUANTISE_CYCLES + PACK_CYCLES - 1


def interaction_cycles(
    config: AcceleratorConfig,
    instruction_kind: Interaction,
    items: int,
    user_vectors: int,
    item_vectors: int,
    row_bytes: int,
) -> int:
    """Return the busy cycles of the instruction: ceil(items / engines) groups, then the drain."""
    groups = -(-items // config.engines)
    group = group_cycles(config, instruction_kind, user_vectors, item_vectors, row_bytes)
    return groups * group + drain_cycles(config)


def interaction_macs(
    config: AcceleratorConfig,
    instruction_kind: Interaction,
    items: int,
    user_vectors: int,
    item_vectors: int,
    row_bytes: int,
) -> int:
    """Return the useful MACs: of all pairs or products, padding of vectors to row_bytes included.

    The same on every `config`; at most engines * chunk_bytes of them fit a cycle.
    """
    if instruction_kind is Interaction.DOT:
        vectors = 1 + user_vectors + item_vectors
        return items * vectors * (vectors - 1) // 2 * row_bytes
    if instruction_kind is Interaction.CONCAT:
        return 0
    return items * min(user_vectors, item_vectors) * row_bytes


def engine_table(
    configs: Sequence[AcceleratorConfig],
    networks: Mapping[str, tuple[int, Sequence[int]]],
    tables: int,
) -> str:
    """Return a line per network and array: what the array and what the engines need per group.

    networks : name -> (row_bytes, passes per item for each config); `tables` item-side vectors.
    """
    lines = ["network    array    E  passes  E*passes  group  idle"]
    for name, (row_bytes, passes) in networks.items():
        for config, item_passes in zip(configs, passes, strict=True):
            array = config.engines * item_passes
            group = group_cycles(config, Interaction.DOT, 0, tables, row_bytes)
            lines.append(
                f"{name:<10} {config.array_size:>5} {config.engines:>4} {item_passes:>7} "
                f"{array:>9} {group:>6} {1 - group / array:>5.0%}"
            )
    return "\n".join(lines)
