"""One ranker's sections of an image: weights, parameters, pairs, features, program, slot, edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

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
    Interaction,
    Op,
    Target,
)

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class SlotBases:
    """First entry of a slot in each shared on-chip memory."""

    weight: int = 0
    param: int = 0
    pair: int = 0
    program: int = 0
    feature: int = 0

    def after(self, layout: ModelLayout) -> SlotBases:
        """Return the bases of the slot behind one with `layout`."""
        return SlotBases(
            weight=self.weight + layout.weight_words,
            param=self.param + layout.param_entries,
            pair=self.pair + layout.pairs,
            program=self.program + layout.program_entries,
            feature=self.feature + layout.features,
        )


def weight_rows(layer: LayerLayout, array_size: int) -> bytes:
    """Return the layer's tiles in machine order: n folds, then k folds, then A rows of A int8."""
    a = array_size
    padded = np.zeros((layer.k_folds * a, layer.n_folds * a), dtype=np.int8)
    padded[np.array(layer.rows), : layer.layer.outputs] = layer.layer.weights
    tiles = padded.reshape(layer.k_folds, a, layer.n_folds, a).transpose(2, 0, 1, 3)
    return tiles.tobytes()


def param_rows(layer: LayerLayout, array_size: int) -> bytes:
    """Return PARAM entries of every output channel; channels past the layer's size are 0."""
    p = layer.layer
    entries = [
        PARAM.to_bytes({"bias": bias, "multiplier": multiplier, "shift": shift})
        for bias, multiplier, shift in zip(
            p.bias.tolist(), p.multiplier.tolist(), p.shift.tolist(), strict=True
        )
    ]
    padding = layer.n_folds * array_size - p.outputs
    return b"".join(entries) + bytes(PARAM.bytes * padding)


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
    weight, param = bases.weight, bases.param
    for layer in layout.layers:
        if layer is layout.top[0]:
            program.append(_interact(layout, bases))
        program.append(
            {
                "op": Op.LAYER,
                "source": layer.source,
                "destination": layer.destination,
                "relu": int(layer.layer.relu),
                "user_words": layer.user_words,
                "words": layer.words,
                "source_stride": layer.source_stride,
                "destination_stride": layer.n_folds,
                "n_folds": layer.n_folds,
                "weight_base": weight,
                "param_base": param,
            }
        )
        weight += layer.n_folds * layer.k_folds * layout.array_size
        param += layer.n_folds * layout.array_size
    return [*program, {"op": Op.END}]


def _interact(layout: ModelLayout, bases: SlotBases) -> dict[str, int]:
    return {
        "op": Op.INTERACT,
        "kind": Interaction.DOT,
        "source": layout.interact_source,
        "destination": layout.interact_destination,
        "source_stride": layout.vector_words,
        "destination_stride": layout.interact_stride,
        "param_base": bases.pair,
        "vector_words": layout.vector_words,
        "user_vectors": layout.user_features,
        "item_vectors": layout.item_features,
        "user_offset": layout.user_dense_words,
        "item_offset": layout.item_dense_words,
    }


def slot_fields(ranker: QuantisedRanker, layout: ModelLayout, bases: SlotBases) -> dict[str, int]:
    """Return the SLOT entry's fields."""
    return {
        "valid": 1,
        "sub_batch": layout.sub_batch,
        "program_base": bases.program,
        "program_length": layout.program_entries - 1,
        "feature_base": bases.feature,
        "user_features": layout.user_features,
        "item_features": layout.item_features,
        "user_dense_words": layout.user_dense_words,
        "item_dense_words": layout.item_dense_words,
        "user_dense_bytes": ranker.user_dense,
        "item_dense_bytes": ranker.item_dense,
        "user_words": layout.user_words,
        "item_words": layout.item_words,
        "vector_words": layout.vector_words,
        "row_bytes": layout.row_bytes,
    }


def slot_sections(
    slot: int,
    ranker: QuantisedRanker,
    layout: ModelLayout,
    bases: SlotBases,
    addresses: Mapping[tuple[str, str], int],
    config: AcceleratorConfig,
) -> list[Section]:
    """Return the sections of one slot.

    addresses : table address of each (model, feature).
    """
    a = config.array_size
    weights = b"".join(weight_rows(layer, a) for layer in layout.layers)
    params = b"".join(param_rows(layer, a) for layer in layout.layers)
    features = b"".join(
        feature_row(feature, addresses[ranker.name, feature.name]) for feature in ranker.features
    )
    program = b"".join(INSTRUCTION.to_bytes(x) for x in instructions(layout, bases))
    return [
        Section(target=Target.PROGRAM, start=bases.program, payload=program),
        Section(target=Target.FEATURE, start=bases.feature, payload=features),
        Section(target=Target.WEIGHT, start=bases.weight, payload=weights),
        Section(target=Target.PARAM, start=bases.param, payload=params),
        Section(target=Target.PAIR, start=bases.pair, payload=pair_rows(ranker)),
        Section(target=Target.EDGES, start=slot, payload=edges_row(ranker)),
        Section(
            target=Target.SLOT,
            start=slot,
            payload=SLOT.to_bytes(slot_fields(ranker, layout, bases)),
        ),
    ]
