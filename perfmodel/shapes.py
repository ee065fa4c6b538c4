"""What timing needs to know of a compiled ranker: its program, its slot, its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rpaccel.perfmodel.sub_batch import best_sub_batch
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Interaction
from rpaccel.spec.program_plan import ModelSizes, plan_model


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
    """A ranker before it is compiled; layers by their output widths.

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
    interaction: Interaction = Interaction.DOT

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
            interaction=self.interaction,
        )

    @property
    def pairs(self) -> int:
        """Pairs of vectors: the outputs of a dot interaction."""
        vectors = 1 + len(self.user_features) + len(self.item_features)
        return vectors * (vectors - 1) // 2

    def record_bytes(self, side: str) -> int:
        """Return the bytes that one record needs [B]."""
        dense = self.user_dense if side == "user" else self.item_dense
        features = self.user_features if side == "user" else self.item_features
        words = sum(1 + f.max_ids if f.multi_hot else 1 for f in features)
        return -(-dense // 4) * 4 + 4 * words


def compile_shape(
    network: NetworkShape, config: AcceleratorConfig, sub_batch: int | None = None
) -> ModelShape:
    """Return the shape that the compiler would give `network`; see host.model_layout.

    sub_batch : items per sub-batch, cut to what fits; None: as the compiler chooses.
    Unlike the compiler it takes any memory size: at least one item is taken to fit.
    """
    plan = plan_model(network.sizes, config)
    most = max(1, plan.most_items)
    chosen = best_sub_batch(plan) if sub_batch is None and plan.most_items else sub_batch
    slot = plan.slot | {
        "sub_batch": min(chosen or most, most),
        "user_dense_bytes": network.user_dense,
        "item_dense_bytes": network.item_dense,
    }
    return ModelShape(
        name=network.name,
        slot=slot,
        program=tuple(plan.program),
        user_features=network.user_features,
        item_features=network.item_features,
    )
