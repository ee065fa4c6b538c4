"""Cycles of a stage program over one sub-batch. Exact while scores are taken without delay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rpaccel.perfmodel.interaction import interaction_cycles
from rpaccel.perfmodel.layer_engine import layer_cycles
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Op

INSTRUCTION_CYCLES = 3  # fetch, latch, start
BATCH_CYCLES = 2  # transfer, release


def busy_cycles(config: AcceleratorConfig, instruction: Mapping[str, int], items: int) -> int:
    """Return the cycles that an instruction keeps its unit busy.

    instruction : fields of spec.isa.INSTRUCTION, as `INSTRUCTION.unpack` gives them.
    """
    if instruction["op"] == Op.LAYER:
        k_folds = instruction["user_words"] + instruction["words"]
        return layer_cycles(config, items, k_folds, instruction["n_folds"])
    if instruction["op"] == Op.INTERACT:
        vectors = 1 + instruction["user_vectors"] + instruction["item_vectors"]
        return interaction_cycles(config, items, vectors, instruction["vector_words"])
    return 0


def unit_cycles(
    config: AcceleratorConfig, program: Iterable[Mapping[str, int]], items: int
) -> dict[str, int]:
    """Return the busy cycles of {"array", "interaction"} for one sub-batch."""
    cycles = {"array": 0, "interaction": 0}
    for instruction in program:
        unit = "interaction" if instruction["op"] == Op.INTERACT else "array"
        cycles[unit] += busy_cycles(config, instruction, items)
    return cycles


def program_cycles(
    config: AcceleratorConfig, program: Iterable[Mapping[str, int]], items: int
) -> int:
    """Return the cycles from a sub-batch's transfer to the next possible transfer.

    `release_stb` comes in the last of these cycles. Sum of (busy + 3) over the program, + 2.
    """
    return BATCH_CYCLES + sum(
        INSTRUCTION_CYCLES + busy_cycles(config, instruction, items) for instruction in program
    )
