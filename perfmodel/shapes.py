"""What timing needs to know of a compiled ranker: its program, its slot, its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Destination, Op, Source


@dataclass(frozen=True, kw_only=True)
class FeatureShape:
    """One categorical feature.

    ids : rows that a record names, on average. empty : share of records that name none.
    """

    multi_hot: bool = False
    max_ids: int = 1
    ids: float = 1.0
    empty: float = 0.0

    @property
    def tickets(self) -> float:
        """Rows that the pooler sees per record: a list without ids passes as one row of zeros."""
        return self.ids + self.empty


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """One compiled ranker as timing sees it.

    slot : fields of spec.isa.SLOT; program : fields of spec.isa.INSTRUCTION, without END;
    user_features, item_features : in vector order.
    """

    name: str
    slot: Mapping[str, int]
    program: tuple[Mapping[str, int], ...]
    user_features: tuple[FeatureShape, ...]
    item_features: tuple[FeatureShape, ...]


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """A DLRM before it is compiled; layers by their output widths.

    user_record_bytes, item_record_bytes : what a query of this network brings [B].
    """

    name: str
    dim: int
    user_dense: int
    item_dense: int
    user_features: tuple[FeatureShape, ...]
    item_features: tuple[FeatureShape, ...]
    bottom: tuple[int, ...]
    top: tuple[int, ...]

    @property
    def pairs(self) -> int:
        """Interaction pairs."""
        vectors = 1 + len(self.user_features) + len(self.item_features)
        return vectors * (vectors - 1) // 2

    def record_bytes(self, side: str) -> int:
        """Return the bytes that one record needs [B]."""
        dense = self.user_dense if side == "user" else self.item_dense
        features = self.user_features if side == "user" else self.item_features
        words = sum(1 + f.max_ids if f.multi_hot else 1 for f in features)
        return -(-dense // 4) * 4 + 4 * words


def compile_shape(network: NetworkShape, config: AcceleratorConfig) -> ModelShape:
    """Return the shape that the compiler would give `network`; see host.model_layout.

    Unlike the compiler it takes any memory size: the sub-batch is cut to what fits, at least 1.
    """
    a = config.array_size
    row_bytes = max(4, 1 << (network.dim - 1).bit_length())
    vector_words = max(1, row_bytes // a)
    user_dense_words, item_dense_words = -(-network.user_dense // a), -(-network.item_dense // a)
    item_words = item_dense_words + len(network.item_features) * vector_words
    widths = [-(-width // a) for width in network.bottom]
    widths[-1] = vector_words
    program: list[dict[str, int]] = []
    place, stride = Source.GATHERED, item_words
    for index, folds in enumerate(widths):
        source, destination = place, Destination.ACT1
        place = Source.ACT1
        if source is Source.ACT1:
            place, destination = Source.ACT0, Destination.ACT0
        program.append(
            {
                "op": Op.LAYER, "source": source, "destination": destination,
                "user_words": user_dense_words if index == 0 else 0,
                "words": item_dense_words if index == 0 else stride,
                "source_stride": stride, "destination_stride": folds, "n_folds": folds,
            }
        )  # fmt: skip
        stride = folds
    rows = vector_words + -(-network.pairs // a)
    program.append(
        {
            "op": Op.INTERACT, "source": place, "destination": Destination.ACT0,
            "source_stride": vector_words, "destination_stride": rows,
            "vector_words": vector_words,
            "user_vectors": len(network.user_features),
            "item_vectors": len(network.item_features),
            "user_offset": user_dense_words, "item_offset": item_dense_words,
        }
    )  # fmt: skip
    return _with_top(network, config, program, rows, vector_words, item_words)


def _with_top(
    network: NetworkShape,
    config: AcceleratorConfig,
    program: list[dict[str, int]],
    rows: int,
    vector_words: int,
    item_words: int,
) -> ModelShape:
    a = config.array_size
    stride, strides = rows, [step["destination_stride"] for step in program]
    for index, width in enumerate(network.top):
        folds, last = -(-width // a), index == len(network.top) - 1
        program.append(
            {
                "op": Op.LAYER, "source": Source.ACT0,
                "destination": Destination.SCORE if last else Destination.ACT1,
                "user_words": 0, "words": stride, "source_stride": stride,
                "destination_stride": folds, "n_folds": folds,
            }
        )  # fmt: skip
        if not last:
            strides.append(folds)
        stride = folds
    fits = min(config.sub_batch_max, config.act_words // max(strides))
    if item_words:
        fits = min(fits, config.feature_words // item_words)
    user_dense_words, item_dense_words = -(-network.user_dense // a), -(-network.item_dense // a)
    slot = {
        "valid": 1, "sub_batch": max(1, fits), "program_length": len(program),
        "user_features": len(network.user_features),
        "item_features": len(network.item_features),
        "user_dense_words": user_dense_words, "item_dense_words": item_dense_words,
        "user_dense_bytes": network.user_dense, "item_dense_bytes": network.item_dense,
        "user_words": user_dense_words + len(network.user_features) * vector_words,
        "item_words": item_words, "vector_words": vector_words,
        "row_bytes": max(4, 1 << (network.dim - 1).bit_length()),
    }  # fmt: skip
    return ModelShape(
        name=network.name,
        slot=slot,
        program=tuple(program),
        user_features=network.user_features,
        item_features=network.item_features,
    )
