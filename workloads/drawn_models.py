"""Rankers of given shapes with drawn parameters: right in what they cost, not in what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from rpaccel.golden.interaction import interaction_width
from rpaccel.golden.quantised import QuantisedFeature, QuantisedLayer, QuantisedRanker
from rpaccel.spec.isa import Interaction, Pooling
from rpaccel.spec.model_file import ModelFile, TableGroup
from rpaccel.spec.records import WORD_BYTES
from rpaccel.workloads.random_models import (
    int8,
    random_edges,
    random_layer,
    random_pairs,
    scales,
)

__all__ = ["draw_rankers"]

_Side = Literal["user", "item"]


def _record_words(models: Sequence[ModelFile]) -> dict[tuple[_Side, str], int]:
    """Return where each table's ids begin in the records that all `models` read.

    A record begins with the dense values of the model that reads most of them; tables of one name
    are one feature. Raises ValueError if models want it to be on two sides, or of several lengths.
    """
    words: dict[tuple[_Side, str], int] = {}
    first: dict[str, tuple[ModelFile, _Side, TableGroup]] = {}
    ends = {
        "user": -(-max(model.user_dense for model in models) // WORD_BYTES),
        "item": -(-max(model.item_dense for model in models) // WORD_BYTES),
    }
    for model in models:
        for side, group in model.groups:
            for name in group.names:
                before, its_side, its_group = first.setdefault(name, (model, side, group))
                if (its_side, its_group.ids) != (side, group.ids):
                    raise ValueError(
                        f"model {model.name!r}: table {name!r} must have {its_group.ids} ids of "
                        f"the {its_side} as in {before.name!r}, not {group.ids} of the {side}"
                    )
                if (side, name) not in words:
                    words[side, name] = ends[side]
                    ends[side] += 1 if group.ids == 1 else 1 + group.ids
    return words


def draw_rankers(models: Sequence[ModelFile], seed: int) -> list[QuantisedRanker]:
    """Return an int8 ranker for each of `models`, which read the same records.

    All rows of a table are one drawn row, kept once, so that tables may be as large as they like.
    Raises ValueError for tables of one name that differ, or more than 64 of them.
    """
    rng = np.random.default_rng(seed)
    words = _record_words(models)
    return [_draw(rng, model, words) for model in models]


def _draw(
    rng: np.random.Generator, model: ModelFile, words: dict[tuple[_Side, str], int]
) -> QuantisedRanker:
    kind = Interaction[model.interaction.upper()]
    features = []
    for side, group in model.groups:
        for name in group.names:
            multiplier, shift = scales(rng, 1, 73.0 * float(np.sqrt(group.ids)))
            row = np.ones((1, model.dim), np.int8) if group.ones else int8(rng, (1, model.dim))
            features.append(
                QuantisedFeature(
                    name=name,
                    side=side,
                    table=np.broadcast_to(row, (group.rows, model.dim)),
                    word=words[side, name],
                    multi_hot=group.ids > 1,
                    max_ids=group.ids,
                    pooling=Pooling[group.pooling.upper()],
                    multiplier=int(multiplier[0]),
                    shift=int(shift[0]),
                )
            )
    ones = [
        [group.ones for its, group in model.groups if its == side for _ in group.names]
        for side in ("user", "item")
    ]
    tables = len(ones[0]), len(ones[1])
    multiplier, shift = random_pairs(rng, kind, model.dim, *tables)
    if kind is Interaction.PRODUCT:
        passes = np.array([any(pair) for pair in zip(*ones, strict=False)], dtype=bool)
        multiplier[passes], shift[passes] = 1, 0
    late = model.late_products * model.dim
    inputs = interaction_width(kind, model.dim, *tables) - late
    return QuantisedRanker(
        name=model.name,
        dim=model.dim,
        user_dense=model.user_dense,
        item_dense=model.item_dense,
        features=tuple(features),
        bottom=_chain(rng, model.user_dense + model.item_dense, model.bottom),
        interaction=kind,
        pair_multiplier=multiplier,
        pair_shift=shift,
        late_products=model.late_products,
        top=_chain(rng, inputs, model.top, logit=True, late_inputs=late),
        edges=random_edges(rng),
    )


def _chain(
    rng: np.random.Generator,
    inputs: int,
    widths: Sequence[int],
    *,
    logit: bool = False,
    late_inputs: int = 0,
) -> tuple[QuantisedLayer, ...]:
    """Return the layers of an MLP, all with ReLU but the one that gives the logit.

    late_inputs : more inputs of the last layer.
    """
    layers = []
    for index, outputs in enumerate(widths):
        end = index == len(widths) - 1
        last, inputs = logit and end, inputs + late_inputs * end
        target = 8000.0 if last else 50.0  # a logit has 16 bits
        layers.append(random_layer(rng, inputs, outputs, relu=not last, target=target))
        inputs = outputs
    return tuple(layers)
