"""One ranker's sections of an image: weights, parameters, pairs, features, program, slot, edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rpaccel.golden.quantised import QuantisedFeature, QuantisedRanker
from rpaccel.host.image import Section
from rpaccel.host.model_layout import LayerLayout, ModelLayout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import (
    EDGES,
    FEATURE,
    INSTRUCTION,
    PAIR,
    PARAM,
    SLOT,
    Op,
    Target,
)

Memory = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class SlotBases:
    """First entry of a slot in each shared on-chip memory.

    weight : row of every weight bank; param : output channel of every block row.
    """

    weight: int = 0
    param: int = 0
    pair: int = 0
    program: int = 0
    feature: int = 0

    def after(self, layout: ModelLayout) -> SlotBases:
        """Return the bases of the slot behind one with `layout`."""
        return SlotBases(
            weight=self.weight + layout.weight_rows,
            param=self.param + layout.param_entries,
            pair=self.pair + layout.pairs,
            program=self.program + layout.program_entries,
            feature=self.feature + layout.features,
        )


def weight_rows(layer: LayerLayout, config: AcceleratorConfig) -> Memory:
    """Return the layer's rows of the weight banks, uint8[block rows, tiles * block_size, image B].

    Tiles in machine order, n then k; a block's rows last row first, as they are shifted in.
    An entry is as wide as the whole array, of which a lane may be made for a part.
    """
    a, b, plan = config.array_size, config.block_size, layer.plan
    down, across = 1 << plan.stack, config.groups_across
    height = config.block_rows // down  # block rows of a group
    padded = np.zeros((plan.k_folds * height * b, plan.destination_stride * a), dtype=np.int8)
    padded[np.array(layer.rows), : layer.layer.outputs] = layer.layer.weights
    words = padded.reshape(plan.k_folds, height, b, plan.n_steps, plan.step_words, a)[:, :, ::-1]
    groups = np.zeros((*words.shape[:4], down * across, a), dtype=np.int8)
    groups[:, :, :, :, : plan.step_words] = words
    blocks = groups.reshape(*words.shape[:4], down, across * a)
    rows = blocks.transpose(4, 1, 3, 0, 2, 5).reshape(config.block_rows, plan.tiles * b, -1)
    entries = np.zeros((config.block_rows, plan.tiles * b, config.image_bytes), dtype=np.int8)
    entries[:, :, : across * a] = rows
    return entries.view(np.uint8)


def param_rows(layer: LayerLayout, config: AcceleratorConfig) -> dict[int, bytes]:
    """Return the PARAM entries of the layer in each block row that gives results.

    Of every step's words a group of block rows gives one per square across, at its last block
    row. An image numbers `image_bytes` channels per N fold.
    """
    p, plan = layer.layer, layer.plan
    entries = b"".join(
        PARAM.to_bytes({"bias": bias, "multiplier": multiplier, "shift": shift})
        for bias, multiplier, shift in zip(
            p.bias.tolist(), p.multiplier.tolist(), p.shift.tolist(), strict=True
        )
    )
    together = min(plan.step_words, config.groups_across)  # words of a group
    groups = plan.step_words // together
    height, size = config.block_rows >> plan.stack, PARAM.bytes * config.array_size * together
    words = [
        entries[w * size : (w + 1) * size].ljust(PARAM.bytes * config.image_bytes, b"\0")
        for w in range(plan.n_steps * groups)
    ]
    return {(g + 1) * height - 1: b"".join(words[g::groups]) for g in range(groups)}


def pair_rows(ranker: QuantisedRanker) -> bytes:
    """Return PAIR entries in pair order."""
    pairs = zip(ranker.pair_multiplier.tolist(), ranker.pair_shift.tolist(), strict=True)
    return b"".join(PAIR.to_bytes({"multiplier": m, "shift": s}) for m, s in pairs)


def feature_row(feature: QuantisedFeature, table_address: int) -> bytes:
    """Return one FEATURE entry."""
    return FEATURE.to_bytes(
        {
            "table_address": table_address,
            "rows": feature.rows,
            "word": feature.word,
            "max_ids": feature.max_ids,
            "multi_hot": int(feature.multi_hot),
            "pooling": feature.pooling,
            "multiplier": feature.multiplier,
            "shift": feature.shift,
        }
    )


def edges_row(ranker: QuantisedRanker) -> bytes:
    """Return the EDGES entry."""
    values = {f"edge{i}": edge for i, edge in enumerate(ranker.edges.tolist())}
    return EDGES.to_bytes(values | {"threshold": ranker.threshold})


def instructions(layout: ModelLayout, bases: SlotBases) -> list[dict[str, int]]:
    """Return the program, END included, as INSTRUCTION fields."""
    program: list[dict[str, int]] = []
    config = layout.plan.config
    weight, fold = bases.weight, bases.param // config.channels_across
    layers = iter(layout.layers)
    for step in layout.plan.program:
        if step["op"] == Op.INTERACT:
            program.append(step | {"param_base": bases.pair})
            continue
        layer = next(layers)
        own = {"relu": int(layer.layer.relu), "weight_base": weight, "param_base": fold}
        program.append(step | own)
        weight += layer.plan.tiles * config.block_size
        fold += layer.plan.n_steps
    return [*program, {"op": Op.END}]


def slot_fields(ranker: QuantisedRanker, layout: ModelLayout, bases: SlotBases) -> dict[str, int]:
    """Return the SLOT entry's fields."""
    return layout.plan.slot | {
        "sub_batch": layout.sub_batch,
        "program_base": bases.program,
        "feature_base": bases.feature,
        "user_dense_bytes": ranker.user_dense,
        "item_dense_bytes": ranker.item_dense,
    }


def _weight_sections(layout: ModelLayout, bases: SlotBases) -> list[Section]:
    """Return one section per block row."""
    config = layout.plan.config
    rows = np.concatenate([weight_rows(layer, config) for layer in layout.layers], axis=1)
    return [
        Section(
            target=Target.WEIGHT,
            start=block_row * config.tile_weight_rows + bases.weight,
            payload=block.tobytes(),
        )
        for block_row, block in enumerate(rows)
    ]


def _param_sections(layout: ModelLayout, bases: SlotBases) -> list[Section]:
    """Return a section per block row and run of layers that have parameters there."""
    config = layout.plan.config
    sections: dict[int, list[Section]] = {}
    fold = bases.param // config.channels_across
    for layer in layout.layers:
        for block_row, payload in param_rows(layer, config).items():
            start = block_row * config.image_params + fold * config.image_bytes
            runs = sections.setdefault(block_row, [])
            head = b""
            if runs and runs[-1].start + len(runs[-1].payload) // PARAM.bytes == start:
                start, head = runs[-1].start, runs.pop().payload
            runs.append(Section(target=Target.PARAM, start=start, payload=head + payload))
        fold += layer.plan.n_steps
    return [section for block_row in sorted(sections) for section in sections[block_row]]


def slot_sections(
    slot: int,
    ranker: QuantisedRanker,
    layout: ModelLayout,
    bases: SlotBases,
    addresses: Mapping[tuple[str, str], int],
) -> list[Section]:
    """Return the sections of one slot, none of them empty.

    addresses : table address of each (model, feature).
    """
    features = b"".join(
        feature_row(feature, addresses[ranker.name, feature.name]) for feature in ranker.features
    )
    program = b"".join(INSTRUCTION.to_bytes(x) for x in instructions(layout, bases))
    sections = [
        Section(target=Target.PROGRAM, start=bases.program, payload=program),
        Section(target=Target.FEATURE, start=bases.feature, payload=features),
        *_weight_sections(layout, bases),
        *_param_sections(layout, bases),
        Section(target=Target.PAIR, start=bases.pair, payload=pair_rows(ranker)),
        Section(target=Target.EDGES, start=slot, payload=edges_row(ranker)),
        Section(
            target=Target.SLOT,
            start=slot,
            payload=SLOT.to_bytes(slot_fields(ranker, layout, bases)),
        ),
    ]
    return [section for section in sections if section.payload]
