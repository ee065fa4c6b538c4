"""Seeded random rankers, records and queries that fit a machine.

`random_ranker` gives a ranker that compiles for a machine; `random_query` gives records that fit
a set of rankers. Ranges are chosen so that activations spread over int8 and some saturate.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from rpaccel.golden.interaction import interaction_params, interaction_width
from rpaccel.golden.lane import Query
from rpaccel.golden.quantised import (
    QuantisedFeature,
    QuantisedLayer,
    QuantisedRanker,
    record_bytes_needed,
)
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import BINS, Interaction, Pooling
from rpaccel.spec.program_plan import ModelSizes

Array = np.ndarray
Rng = np.random.Generator


def int8(rng: Rng, shape: tuple[int, ...], low: int = -127) -> Array:
    """Return random int8 in [low, 127]."""
    return rng.integers(low, 128, size=shape).astype(np.int8)


def scales(rng: Rng, count: int, spread: float, target: float = 50.0) -> tuple[Array, Array]:
    """Return (multiplier uint16, shift uint8) that bring values of `spread` to about `target`."""
    multiplier = rng.integers(1 << 14, 1 << 16, size=count)
    ratio = target / max(spread, 1.0)
    shift = np.clip(np.rint(np.log2(multiplier / ratio)), 0, 47)
    return multiplier.astype(np.uint16), shift.astype(np.uint8)


def random_layer(
    rng: Rng, inputs: int, outputs: int, *, relu: bool, target: float = 50.0
) -> QuantisedLayer:
    """Return a dense layer whose outputs spread about `target`."""
    spread = 50.0 * 73.0 * float(np.sqrt(inputs))
    multiplier, shift = scales(rng, outputs, spread, target)
    bias = rng.integers(-int(spread), int(spread) + 1, size=outputs).astype(np.int32)
    return QuantisedLayer(
        weights=int8(rng, (inputs, outputs)),
        bias=bias,
        multiplier=multiplier,
        shift=shift,
        relu=relu,
    )


def random_features(
    rng: Rng,
    *,
    dim: int,
    user_dense: int,
    item_dense: int,
    user_tables: int,
    item_tables: int,
    max_rows: int,
    max_ids: int,
) -> tuple[QuantisedFeature, ...]:
    """Return features packed into records behind the dense bytes; about half are multi-hot."""
    features = []
    sides = (("user", user_tables, user_dense), ("item", item_tables, item_dense))
    for side, tables, dense in sides:
        word = -(-dense // 4)
        for index in range(tables):
            multi_hot = bool(rng.integers(2)) and max_ids > 1
            ids = int(rng.integers(1, max_ids + 1)) if multi_hot else 1
            multiplier, shift = scales(rng, 1, 73.0 * float(np.sqrt(ids)))
            feature = QuantisedFeature(
                name=f"{side}{index}",
                side=side,  # type: ignore[arg-type]
                table=int8(rng, (int(rng.integers(1, max_rows + 1)), dim)),
                word=word,
                multi_hot=multi_hot,
                max_ids=ids,
                pooling=Pooling(int(rng.integers(2))),
                multiplier=int(multiplier[0]),
                shift=int(shift[0]),
            )
            features.append(feature)
            word += feature.words
    return tuple(features)


def random_chain(
    rng: Rng, sizes: list[int], *, logit: bool = False, late_inputs: int = 0
) -> tuple[QuantisedLayer, ...]:
    """Return layers of these widths; with `logit` the last one has no ReLU and 16 bits.

    late_inputs : more inputs of the last layer.
    """
    layers = []
    for index, (before, outputs) in enumerate(pairwise(sizes)):
        end = index == len(sizes) - 2
        last, inputs = logit and end, before + late_inputs * end
        relu = not last and bool(rng.integers(4))
        layers.append(
            random_layer(rng, inputs, outputs, relu=relu, target=8000.0 if last else 50.0)
        )
    return tuple(layers)


def random_kind(rng: Rng) -> Interaction:
    """Return one of the interactions."""
    return Interaction(int(rng.integers(len(Interaction))))


def random_pairs(
    rng: Rng, kind: Interaction, dim: int, user_tables: int, item_tables: int
) -> tuple[Array, Array]:
    """Return (multiplier uint16, shift uint8) of the interaction's dots or products."""
    terms = dim if kind is Interaction.DOT else 1
    count = interaction_params(kind, user_tables, item_tables)
    return scales(rng, count, 50.0 * 73.0 * float(np.sqrt(terms)))


def random_edges(rng: Rng) -> Array:
    """Return 15 ascending edges, int16."""
    return np.sort(rng.integers(-20000, 20000, size=BINS - 1)).astype(np.int16)


def random_ranker(
    rng: Rng,
    config: AcceleratorConfig,
    *,
    name: str = "model",
    dim: int | None = None,
    user_dense: int = 3,
    item_dense: int = 5,
    user_tables: int = 2,
    item_tables: int = 2,
    bottom: tuple[int, ...] = (12,),
    top: tuple[int, ...] = (16,),
    max_rows: int = 40,
    max_ids: int = 4,
    threshold: int | None = None,
    interaction: Interaction | None = Interaction.DOT,
    late_products: int = 0,
) -> QuantisedRanker:
    """Return a ranker for `config`.

    dim : embedding width, by default min(max_dim, array_size). bottom, top : hidden widths
    (the bottom MLP ends at `dim`, the top MLP at the logit). max_ids : most ids of a multi-hot
    feature; 1 gives single-hot features only. threshold : by default one that drops little.
    interaction : None draws one. late_products : of a PRODUCT, with at least one width in `top`.
    """
    width = min(config.max_dim, config.array_size) if dim is None else dim
    features = random_features(
        rng,
        dim=width,
        user_dense=user_dense,
        item_dense=item_dense,
        user_tables=user_tables,
        item_tables=item_tables,
        max_rows=max_rows,
        max_ids=max_ids,
    )
    kind = random_kind(rng) if interaction is None else interaction
    multiplier, shift = random_pairs(rng, kind, width, user_tables, item_tables)
    late = late_products * width
    inputs = interaction_width(kind, width, user_tables, item_tables) - late
    return QuantisedRanker(
        name=name,
        dim=width,
        user_dense=user_dense,
        item_dense=item_dense,
        features=features,
        bottom=random_chain(rng, [user_dense + item_dense, *bottom, width]),
        interaction=kind,
        pair_multiplier=multiplier,
        pair_shift=shift,
        late_products=late_products,
        top=random_chain(rng, [inputs, *top, 1], logit=True, late_inputs=late),
        edges=random_edges(rng),
        threshold=int(rng.integers(-32768, -15000)) if threshold is None else threshold,
    )


def ranker_of_sizes(
    rng: Rng, config: AcceleratorConfig, sizes: ModelSizes, **keys: Any
) -> QuantisedRanker:
    """Return a ranker of given sizes with single-hot features; keys : others of random_ranker."""
    return random_ranker(
        rng,
        config,
        dim=sizes.dim,
        user_dense=sizes.user_dense,
        item_dense=sizes.item_dense,
        user_tables=sizes.user_tables,
        item_tables=sizes.item_tables,
        bottom=sizes.bottom[:-1],
        top=sizes.top[:-1],
        max_ids=1,
        interaction=sizes.interaction,
        late_products=sizes.late_products,
        **keys,
    )


def record_sizes(config: AcceleratorConfig, rankers: list[QuantisedRanker]) -> tuple[int, int]:
    """Return (user_record_bytes, item_record_bytes) that hold what `rankers` read."""
    beat = config.beat_bytes
    user = -(-record_bytes_needed(rankers, "user") // beat) * beat
    item = max(beat, 1 << (record_bytes_needed(rankers, "item") - 1).bit_length())
    return user, item


def random_records(
    rng: Rng, rankers: list[QuantisedRanker], side: str, rows: int, record_bytes: int
) -> Array:
    """Return uint8[rows, record_bytes] with valid ids and counts for every ranker.

    Rankers that read one word must agree on the feature there; ids stay inside all tables.
    """
    records = np.zeros((rows, record_bytes), dtype=np.uint8)
    words = records.view("<u4")
    for ranker in rankers:
        dense = ranker.user_dense if side == "user" else ranker.item_dense
        records[:, :dense] = int8(rng, (rows, dense)).view(np.uint8)
    by_word: dict[int, list[QuantisedFeature]] = {}
    for ranker in rankers:
        for feature in ranker.features:
            if feature.side == side:
                by_word.setdefault(feature.word, []).append(feature)
    for word, readers in by_word.items():
        table_rows = min(feature.rows for feature in readers)
        first = readers[0]
        if not first.multi_hot:
            words[:, word] = rng.integers(0, table_rows, size=rows)
            continue
        count = rng.integers(0, first.max_ids + 1, size=rows)
        ids = rng.integers(0, table_rows, size=(rows, first.max_ids))
        words[:, word] = count
        used = np.arange(first.max_ids)[None, :] < count[:, None]
        words[:, word + 1 : word + 1 + first.max_ids] = np.where(used, ids, 0)
    return records


def random_query(
    rng: Rng,
    config: AcceleratorConfig,
    rankers: list[QuantisedRanker],
    *,
    items: int = 20,
    keep: tuple[int, ...] = (),
    top_n: int = 5,
    feature_rows: int = 50,
    slots: tuple[int, ...] | None = None,
) -> Query:
    """Return a query over one stage per slot (default: one stage per ranker, in order).

    keep : k of every stage but the last (default: half of the stage before).
    Candidates are drawn without repetition where feature_rows allows.
    """
    order = tuple(range(len(rankers))) if slots is None else slots
    kept, limit = list(keep), items
    while len(kept) < len(order) - 1:
        limit = max(1, (kept[-1] if kept else limit) // 2)
        kept.append(limit)
    last = min(top_n, kept[-1] if kept else items)
    user_bytes, item_bytes = record_sizes(config, rankers)
    candidates = rng.choice(feature_rows, size=items, replace=items > feature_rows)
    return Query(
        user_record=random_records(rng, rankers, "user", 1, user_bytes).tobytes(),
        candidates=candidates.astype(np.uint32),
        features=random_records(rng, rankers, "item", feature_rows, item_bytes),
        stages=tuple(zip(order, [*kept, last], strict=True)),
        top_n=top_n,
    )


def shared_schema(
    rng: Rng,
    config: AcceleratorConfig,
    ranker: QuantisedRanker,
    *,
    name: str,
    dim: int | None = None,
    bottom: tuple[int, ...] = (12,),
    top: tuple[int, ...] = (16, 8),
    interaction: Interaction | None = Interaction.DOT,
) -> QuantisedRanker:
    """Return another ranker that reads the same records as `ranker`, with its own sizes.

    interaction : None draws one.
    """
    width = ranker.dim if dim is None else dim
    features = tuple(
        QuantisedFeature(
            name=feature.name,
            side=feature.side,
            table=int8(rng, (feature.rows, width)),
            word=feature.word,
            multi_hot=feature.multi_hot,
            max_ids=feature.max_ids,
            pooling=feature.pooling,
            multiplier=feature.multiplier,
            shift=feature.shift,
        )
        for feature in ranker.features
    )
    kind = random_kind(rng) if interaction is None else interaction
    tables = (len(ranker.user_features), len(ranker.item_features))
    multiplier, shift = random_pairs(rng, kind, width, *tables)
    inputs = interaction_width(kind, width, *tables)
    return QuantisedRanker(
        name=name,
        dim=width,
        user_dense=ranker.user_dense,
        item_dense=ranker.item_dense,
        features=features,
        bottom=random_chain(rng, [ranker.user_dense + ranker.item_dense, *bottom, width]),
        interaction=kind,
        pair_multiplier=multiplier,
        pair_shift=shift,
        top=random_chain(rng, [inputs, *top, 1], logit=True),
        edges=random_edges(rng),
        threshold=-32768,
    )
