"""A readable listing of compiled models: memories, slots, programs, tables."""

from __future__ import annotations

from rpaccel.host.compile import CompiledModels
from rpaccel.host.decode import memory_entries
from rpaccel.host.model_layout import ModelLayout
from rpaccel.host.program import SlotBases, instructions
from rpaccel.spec.isa import Destination, Op, Source, Target, target_bits


def listing(compiled: CompiledModels) -> str:
    """Return the listing, deterministic, ending with a newline."""
    lines = [
        f"machine {compiled.config.name} (configuration {compiled.config.digest[:16]})",
        f"image   {len(compiled.image)} B at {compiled.image_address:#x}",
        f"memory  {compiled.base:#x}..{compiled.limit:#x} "
        f"({compiled.limit - compiled.base} B with tables)",
        "",
        *_memories(compiled),
    ]
    bases = SlotBases()
    for slot, layout in enumerate(compiled.layouts):
        lines += ["", *_model(slot, layout, bases, compiled)]
        bases = bases.after(layout)
    return "\n".join(lines) + "\n"


def _memories(compiled: CompiledModels) -> list[str]:
    """Return what the models use of every on-chip memory."""
    lines = ["memory      used   entries      %"]
    for target, entries in memory_entries(compiled.config).items():
        entry_bytes = target_bits(target, compiled.config.array_size) // 8
        used = sum(len(s.payload) for s in compiled.sections if s.target is target) // entry_bytes
        lines.append(f"{target.name:<8} {used:>7} {entries:>9} {100 * used / entries:>6.1f}")
    return lines


def _model(slot: int, layout: ModelLayout, bases: SlotBases, compiled: CompiledModels) -> list[str]:
    lines = [
        f"slot {slot}: {layout.name}",
        f"  sub-batch {layout.sub_batch} items, {layout.tile_passes} weight tiles",
        f"  vectors of {layout.dim} in {layout.vector_words} words "
        f"(rows of {layout.row_bytes} B), {layout.pairs} pairs",
        f"  USER {layout.user_words} words: {layout.user_dense_words} dense, "
        f"{layout.user_features} features",
        f"  FEATURE {layout.item_words} words per item: {layout.item_dense_words} dense, "
        f"{layout.item_features} features",
        "  program",
    ]
    for index, step in enumerate(instructions(layout, bases)):
        lines.append(f"    {bases.program + index:>3}  {_instruction(step)}")
    lines.append("  tables")
    for table in compiled.tables:
        if table.model == layout.name:
            lines.append(
                f"    {table.address:#010x}  {table.rows:>8} rows of {table.row_bytes:>3} B  "
                f"{table.feature}"
            )
    return lines


def _instruction(step: dict[str, int]) -> str:
    op = Op(step["op"])
    if op is Op.END:
        return "END"
    source, destination = Source(step["source"]).name, Destination(step["destination"]).name
    if op is Op.INTERACT:
        return (
            f"INTERACT {source}[{step['source_stride']}] -> "
            f"{destination}[{step['destination_stride']}]  1+{step['user_vectors']}+"
            f"{step['item_vectors']} vectors of {step['vector_words']} words, "
            f"USER+{step['user_offset']}, FEATURE+{step['item_offset']}, "
            f"{Target.PAIR.name}+{step['param_base']}"
        )
    relu = " relu" if step["relu"] else ""
    user = f"USER {step['user_words']} + " if step["user_words"] else ""
    return (
        f"LAYER    {user}{source}[{step['source_stride']}] {step['words']} words -> "
        f"{destination}[{step['destination_stride']}] {step['n_folds']} words{relu}, "
        f"WEIGHT+{step['weight_base']}, PARAM+{step['param_base']}"
    )
