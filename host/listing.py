"""A readable listing of compiled models: memories, slots, programs, tables."""

from __future__ import annotations

from rpaccel.host.compile import CompiledModels
from rpaccel.host.decode import memory_entries
from rpaccel.host.model_layout import ModelLayout
from rpaccel.host.program import SlotBases, instructions
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Destination, Interaction, Op, Target, target_bits
from rpaccel.spec.program_plan import LayerPlan, ModelPlan

_HEAD = "op        reads               writes    inputs outputs  K  steps x words  tiles   bound %"


def listing(compiled: CompiledModels) -> str:
    """Return the listing, deterministic, ending with a newline.

    The bound of a layer is the MAC efficiency that its folds allow: useful MACs over the MACs of
    the tiles that it streams through.
    """
    lines = [
        f"machine {compiled.config.name} (configuration {compiled.config.digest[:16]})",
        f"array   {_array(compiled)}",
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


def _array(compiled: CompiledModels) -> str:
    config = compiled.config
    return (
        f"{config.block_rows * config.block_size} x {config.channels_across} MACs in "
        f"{config.block_rows} x {config.block_cols} blocks, words of {config.array_size} B, "
        f"{config.engines} interaction engines"
    )


def _memories(compiled: CompiledModels) -> list[str]:
    """Return what the models use of every on-chip memory; PARAM is counted per block row."""
    config = compiled.config
    lines = ["memory      used   entries      %"]
    capacity = memory_entries(config) | {Target.PARAM: config.param_entries}
    for target, entries in capacity.items():
        entry_bytes = target_bits(target, config.image_bytes) // 8
        used = sum(len(s.payload) for s in compiled.sections if s.target is target) // entry_bytes
        if target is Target.PARAM:
            used = sum(layout.param_entries for layout in compiled.layouts)
        lines.append(f"{target.name:<8} {used:>7} {entries:>9} {100 * used / entries:>6.1f}")
    return lines


def _model(slot: int, layout: ModelLayout, bases: SlotBases, compiled: CompiledModels) -> list[str]:
    plan = layout.plan
    sizes = plan.sizes
    lines = [
        f"slot {slot}: {layout.name}",
        f"  sub-batch {layout.sub_batch} items ({plan.most_items} fit, {plan.quarter_items} with "
        "four item banks)",
        f"  {sizes.interaction.name} of vectors of {sizes.dim} B in rows of {plan.row_bytes} B: "
        f"1 + {sizes.user_tables} user + {sizes.item_tables} item, {layout.pairs} pair scales",
        f"  user {plan.user_dense_words} dense words, {plan.user_vector_words} vector words",
        f"  item {plan.item_dense_words} dense words, {plan.item_vector_words} vector words, "
        f"at most {plan.act_stride} activation words, {plan.cross_stride} interaction words",
        "  program",
        f"         {_HEAD}",
        *_program(layout, bases),
        f"    total {plan.tiles} tiles, {plan.macs} useful of {_streamed(plan)} MACs per item: "
        f"bound {100 * plan.macs / _streamed(plan):.1f} %",
        "  tables",
    ]
    ranker = compiled.rankers[slot]
    tables = (table for table in compiled.tables if table.model == layout.name)
    for table, feature in zip(tables, ranker.features, strict=True):
        ids = "1 id" if not feature.multi_hot else f"{feature.max_ids} ids, {feature.pooling.name}"
        lines.append(
            f"    {table.address:#010x}  {table.rows:>8} rows of {table.row_bytes:>3} B  "
            f"{table.feature}: {ids}, {feature.side} word {feature.word}"
        )
    return lines


def _streamed(plan: ModelPlan) -> int:
    """Return the MACs of the array per item in all tiles."""
    return plan.tiles * plan.config.array_macs


def _program(layout: ModelLayout, bases: SlotBases) -> list[str]:
    """Return a line per instruction."""
    lines, layers = [], iter(layout.plan.layers)
    for index, step in enumerate(instructions(layout, bases)):
        if step["op"] == Op.LAYER:
            text = _layer(step, next(layers), layout.plan.config)
        else:
            text = "END" if step["op"] == Op.END else _interact(step)
        lines.append(f"    {bases.program + index:>3}  {text}")
    return lines


def _layer(step: dict[str, int], layer: LayerPlan, config: AcceleratorConfig) -> str:
    parts = (
        (layer.source_a, layer.words_a),
        (layer.source, layer.words_b),
    )
    reads = " + ".join(f"{source.name} {words}" for source, words in parts if words)
    writes = f"{Destination(layer.destination).name}[{layer.destination_stride}]"
    bound = 100 * layer.macs / (layer.tiles * config.array_macs)
    relu = "relu, " if step["relu"] else ""
    return (
        f"LAYER     {reads:<18}  {writes:<10} {layer.inputs:>5} {layer.outputs:>7} "
        f"{layer.k_folds:>2} {layer.n_steps:>6} x {layer.step_words:<5} {layer.tiles:>6} "
        f"{bound:>9.1f}  {relu}{Target.WEIGHT.name}+{step['weight_base']}, "
        f"{Target.PARAM.name}+{step['param_base'] * config.channels_across}"
    )


def _interact(step: dict[str, int]) -> str:
    vectors = f"1+{step['user_vectors']}+{step['item_vectors']} vectors"
    kind = Interaction(step["kind"]).name
    late = f" ({step['words_a']} for the last layer)" if step["words_a"] else ""
    return (
        f"INTERACT  {vectors:<18}  CROSS[{step['destination_stride']}] {kind}{late}, "
        f"{Target.PAIR.name}+{step['param_base']}"
    )
