"""Description of a DLRM-style ranker.

Ref: M. Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation
Systems", arXiv:1906.00091, section 2.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rpaccel.spec.isa import Interaction
from rpaccel.spec.program_plan import ModelSizes, cross_rows
from rpaccel.spec.records import FeatureSchema, SparseFeature

DIMENSIONS = (4, 8, 16, 32, 64, 128)
InteractionName = Literal["dot", "concat", "product"]  # of spec.isa.Interaction


class RankerConfig(BaseModel):
    """Shape of one ranker; its features are a subset of a schema's, in the schema's order.

    Layers are listed by their output widths. The bottom MLP reads user dense values, then item
    dense values; its last width is `dim`. The top MLP reads the bottom output, then what the
    interaction makes of it and the features' vectors: the dots of all pairs; the vectors; or the
    products of user vector n and item vector n, then the vectors left over (NeuMF).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1)
    dim: int
    user_dense: int = Field(ge=0)
    item_dense: int = Field(ge=0)
    user_features: tuple[str, ...]
    item_features: tuple[str, ...]
    bottom: tuple[int, ...] = Field(min_length=1)
    top: tuple[int, ...] = Field(min_length=1)
    interaction: InteractionName = "dot"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.dim not in DIMENSIONS:
            raise ValueError(f"dim must be one of {DIMENSIONS}, not {self.dim}")
        if self.bottom[-1] != self.dim:
            raise ValueError(f"bottom must end with dim {self.dim}, not {self.bottom[-1]}")
        if self.top[-1] != 1:
            raise ValueError(f"top must end with 1, not {self.top[-1]}")
        if self.dense_width < 1:
            raise ValueError("user_dense + item_dense must be at least 1, not 0")
        if min(self.bottom + self.top) < 1:
            raise ValueError("layer widths must be at least 1")
        if len(set(self.features)) != len(self.features):
            raise ValueError(f"features must differ, not {self.features}")
        return self

    @property
    def features(self) -> tuple[str, ...]:
        """Feature names in vector order: user side, then item side."""
        return self.user_features + self.item_features

    @property
    def dense_width(self) -> int:
        """Inputs of the bottom MLP."""
        return self.user_dense + self.item_dense

    @property
    def vectors(self) -> int:
        """Vectors of the interaction, the bottom output included."""
        return 1 + len(self.features)

    @property
    def kind(self) -> Interaction:
        """The interaction as the device names it."""
        return Interaction[self.interaction.upper()]

    @property
    def sizes(self) -> ModelSizes:
        """Shape as the compiler sees it."""
        return ModelSizes(
            dim=self.dim,
            user_dense=self.user_dense,
            item_dense=self.item_dense,
            user_tables=len(self.user_features),
            item_tables=len(self.item_features),
            bottom=self.bottom,
            top=self.top,
            interaction=self.kind,
        )

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Vector pairs (i, j) with j < i, in the order of the top MLP's inputs of a "dot"."""
        return tuple((i, j) for i in range(1, self.vectors) for j in range(i))

    @property
    def bottom_shapes(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of each bottom layer."""
        return tuple(zip((self.dense_width, *self.bottom[:-1]), self.bottom, strict=True))

    @property
    def top_shapes(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of each top layer."""
        first = len(cross_rows(self.sizes))
        return tuple(zip((first, *self.top[:-1]), self.top, strict=True))

    def sparse(self, schema: FeatureSchema) -> tuple[SparseFeature, ...]:
        """Return this ranker's features out of `schema`, in vector order.

        Raises ValueError if the schema lacks one, orders them otherwise, or has other dense widths.
        """
        for side, names, width in (
            ("user", self.user_features, self.user_dense),
            ("item", self.item_features, self.item_dense),
        ):
            dense = schema.user_dense if side == "user" else schema.item_dense
            if len(dense) != width:
                raise ValueError(f"{side}_dense must be {len(dense)} as the schema, not {width}")
            expected = [f.name for f in schema.features if f.side == side and f.name in names]
            for name in names:
                if schema.feature(name).side != side:
                    raise ValueError(f"{side}_features must not hold {name!r} of the other side")
            if list(names) != expected:
                raise ValueError(f"{side}_features must be in schema order, not {names}")
        return tuple(schema.feature(name) for name in self.features)
