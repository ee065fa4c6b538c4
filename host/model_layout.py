"""How one ranker is laid out on chip: folds, strides, sub-batch, and what it needs of memories."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rpaccel.golden.quantised import QuantisedLayer, QuantisedRanker
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Destination, Source

MAX_FOLDS = 255  # 8-bit fields of an instruction
MAX_DENSE_BYTES = 255  # 8-bit fields of a slot


@dataclass(frozen=True, kw_only=True)
class LayerLayout:
    """One LAYER instruction without its bases. `rows` maps inputs to rows of the K folds."""

    name: str
    layer: QuantisedLayer
    source: Source
    destination: Destination
    user_words: int
    words: int
    source_stride: int
    n_folds: int
    rows: tuple[int, ...]

    @property
    def k_folds(self) -> int:
        """Words read per item."""
        return self.user_words + self.words


@dataclass(frozen=True, kw_only=True)
class ModelLayout:
    """Sizes of one ranker in words of `array_size` bytes, and its LAYER instructions."""

    name: str
    array_size: int
    dim: int
    row_bytes: int
    vector_words: int
    user_dense_words: int
    item_dense_words: int
    user_features: int
    item_features: int
    pairs: int
    bottom: tuple[LayerLayout, ...]
    interact_source: Source
    interact_destination: Destination
    interact_stride: int
    top: tuple[LayerLayout, ...]
    sub_batch: int

    @property
    def layers(self) -> tuple[LayerLayout, ...]:
        """All layers in program order."""
        return self.bottom + self.top

    @property
    def features(self) -> int:
        """Feature descriptors."""
        return self.user_features + self.item_features

    @property
    def user_words(self) -> int:
        """Words used in USER."""
        return self.user_dense_words + self.user_features * self.vector_words

    @property
    def item_words(self) -> int:
        """Words per item in FEATURE."""
        return self.item_dense_words + self.item_features * self.vector_words

    @property
    def weight_words(self) -> int:
        """Words of WEIGHT."""
        return sum(x.n_folds * x.k_folds for x in self.layers) * self.array_size

    @property
    def param_entries(self) -> int:
        """Entries of PARAM, padded to whole folds."""
        return sum(x.n_folds for x in self.layers) * self.array_size

    @property
    def program_entries(self) -> int:
        """Instructions with the interaction and END."""
        return len(self.layers) + 2

    @property
    def tile_passes(self) -> int:
        """Weight tiles that every sub-batch streams through."""
        return sum(x.n_folds * x.k_folds for x in self.layers)

    def summary(self, slot: int) -> dict[str, Any]:
        """Return the sizes for the manifest."""
        names = (
            "dim", "row_bytes", "vector_words", "user_words", "item_words", "sub_batch",
            "weight_words", "param_entries", "pairs", "program_entries", "features",
        )  # fmt: skip
        return {"slot": slot, "name": self.name} | {name: getattr(self, name) for name in names}


def row_bytes_of(dim: int) -> int:
    """Return the bytes of an embedding row in memory: a power of two, at least 4."""
    return max(4, 1 << (dim - 1).bit_length())


def _next(place: Source) -> Source:
    """Return the activation memory that is written while `place` is read."""
    return Source.ACT1 if place is Source.ACT0 else Source.ACT0


def _chain(
    part: str,
    layers: tuple[QuantisedLayer, ...],
    place: Source,
    first: tuple[int, int, int, tuple[int, ...]],
    last_folds: int,
    a: int,
) -> tuple[LayerLayout, ...]:
    """Return the layers of one MLP; they alternate between the activation memories.

    first : (user words, item words, stride, rows) of the first layer's inputs.
    """
    user_words, words, stride, rows = first
    laid = []
    for index, layer in enumerate(layers):
        last = index == len(layers) - 1
        folds = last_folds if last else -(-layer.outputs // a)
        laid.append(
            LayerLayout(
                name=f"{part} layer {index}",
                layer=layer,
                source=place,
                destination=Destination(
                    Destination.SCORE if last and part == "top" else _next(place)
                ),
                user_words=user_words,
                words=words,
                source_stride=stride,
                n_folds=folds,
                rows=rows,
            )
        )
        place, user_words, words, stride = _next(place), 0, folds, folds
        rows = tuple(range(layer.outputs))
    return tuple(laid)


def _fail(where: str, limit: str, need: int, available: int) -> None:
    if need > available:
        raise ValueError(
            f"{where}: {limit} must be at least {need}, not {available} "
            f"({need - available} too few)"
        )


def layout_model(ranker: QuantisedRanker, config: AcceleratorConfig) -> ModelLayout:
    """Return the layout of `ranker` on a machine.

    Raises ValueError that names the limit, the need and the excess.
    """
    a = config.array_size
    where = f"{config.name}, model {ranker.name!r}"
    _fail(where, "max_dim", ranker.dim, config.max_dim)
    row_bytes = row_bytes_of(ranker.dim)
    vector_words = max(1, row_bytes // a)
    user_dense_words, item_dense_words = -(-ranker.user_dense // a), -(-ranker.item_dense // a)
    for side, dense in (("user", ranker.user_dense), ("item", ranker.item_dense)):
        _fail(where, f"{side}_dense_bytes of a slot", dense, MAX_DENSE_BYTES)
    item_words = item_dense_words + len(ranker.item_features) * vector_words
    rows = (
        *range(ranker.user_dense),
        *(user_dense_words * a + i for i in range(ranker.item_dense)),
    )
    first = (user_dense_words, item_dense_words, item_words, rows)
    bottom = _chain("bottom", ranker.bottom, Source.GATHERED, first, vector_words, a)
    place = Source(bottom[-1].destination)
    stride = vector_words + -(-ranker.pairs // a)
    rows = (*range(ranker.dim), *(vector_words * a + i for i in range(ranker.pairs)))
    top = _chain("top", ranker.top, _next(place), (0, stride, stride, rows), 1, a)
    layout = ModelLayout(
        name=ranker.name,
        array_size=a,
        dim=ranker.dim,
        row_bytes=row_bytes,
        vector_words=vector_words,
        user_dense_words=user_dense_words,
        item_dense_words=item_dense_words,
        user_features=len(ranker.user_features),
        item_features=len(ranker.item_features),
        pairs=ranker.pairs,
        bottom=bottom,
        interact_source=place,
        interact_destination=Destination(_next(place)),
        interact_stride=stride,
        top=top,
        sub_batch=0,
    )
    return _with_sub_batch(layout, config, where)


def _with_sub_batch(layout: ModelLayout, config: AcceleratorConfig, where: str) -> ModelLayout:
    """Check the per-item sizes and choose the largest sub-batch that fits."""
    widths = {x.name: max(x.n_folds, x.k_folds) for x in layout.layers}
    widths["interaction"] = layout.interact_stride
    widths["user record"] = layout.user_words
    widths["item record"] = layout.item_words
    for name, width in widths.items():
        if width > MAX_FOLDS:
            raise ValueError(
                f"{where}: {name} must take at most {MAX_FOLDS} words of {config.array_size} B, "
                f"not {width} ({width - MAX_FOLDS} too many)"
            )
    _fail(where, "user_words", layout.user_words, config.user_words)
    _fail(where, "feature_words (one item)", layout.item_words, config.feature_words)
    strides = [x.n_folds for x in layout.layers if x.destination is not Destination.SCORE]
    stride = max([*strides, layout.interact_stride])
    _fail(where, "act_words (one item)", stride, config.act_words)
    fits = min(config.sub_batch_max, config.act_words // stride)
    if layout.item_words:
        fits = min(fits, config.feature_words // layout.item_words)
    return replace(layout, sub_batch=fits)
