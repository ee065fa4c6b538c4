"""An int8 ranker as the device runs it: the input of the compiler and of the golden models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rpaccel.golden.interaction import interaction_params, interaction_width
from rpaccel.spec.isa import BINS, MAX_IDS, Interaction, Pooling
from rpaccel.spec.program_plan import ModelSizes

Array = np.ndarray
MAX_SHIFT = 47
MAX_MULTIPLIER = 65535
MAX_TABLES = 64


def _check_array(name: str, array: Array, dtype: str, shape: tuple[int, ...]) -> None:
    if array.dtype != np.dtype(dtype) or array.shape != shape:
        raise ValueError(
            f"{name} must be {dtype}{list(shape)}, not {array.dtype}{list(array.shape)}"
        )


def _check_int8(name: str, array: Array) -> None:
    once = array[tuple(slice(None if stride else 1) for stride in array.strides)]  # of a broadcast
    if array.size and int(once.min()) < -127:
        raise ValueError(f"{name} must be in -127..127, not {int(once.min())}")


def _check_shift(name: str, shift: Array) -> None:
    if shift.size and int(shift.max()) > MAX_SHIFT:
        raise ValueError(f"{name} must be in 0..{MAX_SHIFT}, not {int(shift.max())}")


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantisedFeature:
    """One categorical feature and its embedding table.

    table : int8[rows, dim]  Values in [-127, 127].
    word : index of the feature's first 32-bit word in its record (the id, or the count).
    multiplier, shift : scale of a SUM pooling; unused otherwise.
    """

    name: str
    side: Literal["user", "item"]
    table: Array
    word: int
    multi_hot: bool = False
    max_ids: int = 1
    pooling: Pooling = Pooling.MEAN
    multiplier: int = 0
    shift: int = 0

    def __post_init__(self) -> None:
        if self.side not in ("user", "item"):
            raise ValueError(f"{self.name}.side must be 'user' or 'item', not {self.side!r}")
        if self.table.ndim != 2 or not self.table.shape[0]:
            raise ValueError(
                f"{self.name}.table must have rows and columns, not shape {self.table.shape}"
            )
        _check_array(f"{self.name}.table", self.table, "int8", self.table.shape)
        _check_int8(f"{self.name}.table", self.table)
        if not 1 <= self.max_ids <= MAX_IDS:
            raise ValueError(f"{self.name}.max_ids must be in 1..{MAX_IDS}, not {self.max_ids}")
        if not self.multi_hot and self.max_ids != 1:
            raise ValueError(f"{self.name}.max_ids must be 1 (single-hot), not {self.max_ids}")
        if not 0 <= self.multiplier <= MAX_MULTIPLIER or not 0 <= self.shift <= MAX_SHIFT:
            raise ValueError(
                f"{self.name}: multiplier must be in 0..{MAX_MULTIPLIER} and shift in "
                f"0..{MAX_SHIFT}, not {self.multiplier} and {self.shift}"
            )

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return self.table.shape[0]

    @property
    def words(self) -> int:
        """32-bit words that the feature takes in its record."""
        return 1 + self.max_ids if self.multi_hot else 1


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantisedLayer:
    """One dense layer: requantise(inputs @ weights + bias, multiplier, shift).

    weights : int8[inputs, outputs]; bias : int32[outputs]; multiplier : uint16[outputs];
    shift : uint8[outputs].
    """

    weights: Array
    bias: Array
    multiplier: Array
    shift: Array
    relu: bool

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or 0 in self.weights.shape:
            raise ValueError(
                f"weights must have inputs and outputs, not shape {self.weights.shape}"
            )
        outputs = self.outputs
        _check_array("weights", self.weights, "int8", self.weights.shape)
        _check_array("bias", self.bias, "int32", (outputs,))
        _check_array("multiplier", self.multiplier, "uint16", (outputs,))
        _check_array("shift", self.shift, "uint8", (outputs,))
        _check_int8("weights", self.weights)
        _check_shift("shift", self.shift)

    @property
    def inputs(self) -> int:
        """Input width."""
        return self.weights.shape[0]

    @property
    def outputs(self) -> int:
        """Output width."""
        return self.weights.shape[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantisedRanker:
    """A DLRM in int8: bottom MLP over dense features, tables, interaction, top MLP.

    user_dense, item_dense : int8 features read from the head of the user and item record.
    features : user-side features first; their order is the order of the vectors.
    bottom : inputs user_dense + item_dense, in that order; the last layer has `dim` outputs.
    interaction : what the top MLP reads behind the bottom output; see golden.interaction.
    pair_multiplier, pair_shift : uint16[pairs], uint8[pairs]. DOT: pairs (i, j) in the order
        i = 1..F-1, j = 0..i-1, vector 0 being the bottom output. PRODUCT: the products. CONCAT:
        none.
    top : the last layer has 1 output, the logit, and no ReLU.
    late_products : of a PRODUCT, so many products, the first ones, are inputs of the last top
        layer instead of the first one, in front of what the layer before gives.
    edges : int16[15], ascending; threshold : int16 logit. Used by `bucket_filter`.
    """

    name: str
    dim: int
    user_dense: int
    item_dense: int
    features: tuple[QuantisedFeature, ...]
    bottom: tuple[QuantisedLayer, ...]
    pair_multiplier: Array
    pair_shift: Array
    top: tuple[QuantisedLayer, ...]
    edges: Array
    threshold: int = -32768
    interaction: Interaction = Interaction.DOT
    late_products: int = 0

    def __post_init__(self) -> None:
        self._check_features()
        self._check_chain("bottom", self.bottom, self.user_dense + self.item_dense, self.dim)
        self._check_late()
        self._check_chain("top", self.top, self.top_inputs, 1, self.late_products * self.dim)
        if self.top[-1].relu:
            raise ValueError(f"{self.name}: the last top layer must have no ReLU")
        _check_array("pair_multiplier", self.pair_multiplier, "uint16", (self.pairs,))
        _check_array("pair_shift", self.pair_shift, "uint8", (self.pairs,))
        _check_shift("pair_shift", self.pair_shift)
        _check_array("edges", self.edges, "int16", (BINS - 1,))
        if np.any(np.diff(self.edges.astype(np.int64)) < 0):
            raise ValueError(f"{self.name}: edges must ascend, not {self.edges.tolist()}")
        if not -32768 <= self.threshold <= 32767:
            raise ValueError(
                f"{self.name}: threshold must be in -32768..32767, not {self.threshold}"
            )

    def _check_features(self) -> None:
        sides = [feature.side for feature in self.features]
        if not 1 <= len(sides) <= MAX_TABLES:
            raise ValueError(f"{self.name}: tables must be in 1..{MAX_TABLES}, not {len(sides)}")
        if sides != sorted(sides, reverse=True):
            raise ValueError(
                f"{self.name}: user-side features must come first, not {' '.join(sides)}"
            )
        for feature in self.features:
            if feature.table.shape[1] != self.dim:
                raise ValueError(
                    f"{self.name}.{feature.name}: rows must have {self.dim} values, "
                    f"not {feature.table.shape[1]}"
                )
        if self.user_dense + self.item_dense < 1:
            raise ValueError(
                f"{self.name}: a ranker must have at least one dense feature, because vector 0 "
                "is the output of its bottom MLP"
            )

    def _check_late(self) -> None:
        most = self.pairs if self.interaction is Interaction.PRODUCT else 0
        if not 0 <= self.late_products <= most:
            raise ValueError(
                f"{self.name}: late_products must be in 0..{most} (products), "
                f"not {self.late_products}"
            )
        if self.late_products and len(self.top) < 2:
            raise ValueError(f"{self.name}: late_products must be 0 with one top layer")

    def _check_chain(
        self,
        part: str,
        layers: tuple[QuantisedLayer, ...],
        inputs: int,
        outputs: int,
        late_inputs: int = 0,
    ) -> None:
        if not layers:
            raise ValueError(f"{self.name}: the {part} MLP must have at least one layer")
        for index, layer in enumerate(layers):
            if index == len(layers) - 1:
                inputs += late_inputs
            if layer.inputs != inputs:
                raise ValueError(
                    f"{self.name}: {part} layer {index} must have {inputs} inputs, "
                    f"not {layer.inputs}"
                )
            inputs = layer.outputs
        if inputs != outputs:
            raise ValueError(
                f"{self.name}: the {part} MLP must have {outputs} outputs, not {inputs}"
            )

    @property
    def sizes(self) -> ModelSizes:
        """Shape without values."""
        return ModelSizes(
            dim=self.dim,
            user_dense=self.user_dense,
            item_dense=self.item_dense,
            user_tables=len(self.user_features),
            item_tables=len(self.item_features),
            bottom=tuple(layer.outputs for layer in self.bottom),
            top=tuple(layer.outputs for layer in self.top),
            interaction=self.interaction,
            late_products=self.late_products,
        )

    @property
    def pairs(self) -> int:
        """PAIR entries: dot products of all pairs, or products of two vectors."""
        return interaction_params(
            self.interaction, len(self.user_features), len(self.item_features)
        )

    @property
    def top_inputs(self) -> int:
        """Inputs of the first top layer."""
        width = interaction_width(
            self.interaction, self.dim, len(self.user_features), len(self.item_features)
        )
        return width - self.late_products * self.dim

    @property
    def user_features(self) -> tuple[QuantisedFeature, ...]:
        """Features read from the user record."""
        return tuple(feature for feature in self.features if feature.side == "user")

    @property
    def item_features(self) -> tuple[QuantisedFeature, ...]:
        """Features read from the item record."""
        return tuple(feature for feature in self.features if feature.side == "item")


def record_bytes_needed(rankers: Sequence[QuantisedRanker], side: Literal["user", "item"]) -> int:
    """Return the bytes of a `side` record that these rankers read, a multiple of 4 [B]."""
    needed = 4
    for ranker in rankers:
        dense = ranker.user_dense if side == "user" else ranker.item_dense
        needed = max(needed, -(-dense // 4) * 4)
        for feature in ranker.features:
            if feature.side == side:
                needed = max(needed, 4 * (feature.word + feature.words))
    return needed
