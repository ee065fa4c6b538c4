"""How one ranker is laid out on chip: the rows of its weights, and what it needs of memories."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rpaccel.golden.quantised import QuantisedLayer, QuantisedRanker
from rpaccel.perfmodel.sub_batch import best_sub_batch
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.program_plan import (
    LayerPlan,
    ModelPlan,
    cross_rows,
    late_rows,
    pair_params,
    plan_model,
    row_bytes_of,
)

__all__ = ["LayerLayout", "ModelLayout", "layout_model", "row_bytes_of"]


@dataclass(frozen=True, kw_only=True)
class LayerLayout:
    """One LAYER instruction without its bases. `rows` maps inputs to rows of the K folds."""

    plan: LayerPlan
    layer: QuantisedLayer
    rows: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ModelLayout:
    """Sizes of one ranker on a machine, and its LAYER instructions.

    sub_batch : items that the machine takes at a time.
    """

    name: str
    plan: ModelPlan
    sub_batch: int
    bottom: tuple[LayerLayout, ...]
    top: tuple[LayerLayout, ...]

    @property
    def layers(self) -> tuple[LayerLayout, ...]:
        """All layers in program order."""
        return self.bottom + self.top

    @property
    def features(self) -> int:
        """Feature descriptors."""
        return self.plan.sizes.tables

    @property
    def pairs(self) -> int:
        """Entries of PAIR."""
        return pair_params(self.plan.sizes)

    @property
    def weight_rows(self) -> int:
        """Rows of every weight bank."""
        return self.plan.weight_rows

    @property
    def weight_words(self) -> int:
        """Entries of WEIGHT, over all block rows."""
        return self.plan.weight_words

    @property
    def param_entries(self) -> int:
        """Entries of PARAM that the model takes in every block row."""
        return self.plan.param_entries

    @property
    def program_entries(self) -> int:
        """Instructions with the interaction and END."""
        return self.plan.program_entries

    def summary(self, slot: int) -> dict[str, Any]:
        """Return the sizes for the manifest."""
        own = ("sub_batch", "weight_words", "param_entries", "pairs", "program_entries", "features")
        planned = (
            "row_bytes", "user_dense_words", "item_dense_words", "user_vector_words",
            "item_vector_words", "cross_stride", "act_stride", "most_items",
        )  # fmt: skip
        sizes = self.plan.sizes
        return (
            {"slot": slot, "name": self.name, "dim": sizes.dim}
            | {"interaction": sizes.interaction.name.lower()}
            | {name: getattr(self.plan, name) for name in planned}
            | {name: getattr(self, name) for name in own}
        )


def layout_model(
    ranker: QuantisedRanker, config: AcceleratorConfig, sub_batch: int | None = None
) -> ModelLayout:
    """Return the layout of `ranker` on a machine.

    sub_batch : items per sub-batch; None: perfmodel.sub_batch chooses.
    The model must fit: host.capacity. Raises ValueError for another `sub_batch` than fits.
    """
    plan = plan_model(ranker.sizes, config)
    if sub_batch is not None and not 1 <= sub_batch <= plan.most_items:
        raise ValueError(
            f"{config.name}, model {ranker.name!r}: sub_batch must be in 1..{plan.most_items} "
            f"(items that fit on chip), not {sub_batch}"
        )
    item_start = plan.bottom[0].words_a * config.array_size
    dense_rows = (
        *range(ranker.user_dense),
        *range(item_start, item_start + ranker.item_dense),
    )
    return ModelLayout(
        name=ranker.name,
        plan=plan,
        sub_batch=sub_batch or best_sub_batch(plan),
        bottom=_layers(plan.bottom, ranker.bottom, dense_rows),
        top=_top(plan, ranker),
    )


def _top(plan: ModelPlan, ranker: QuantisedRanker) -> tuple[LayerLayout, ...]:
    """Return the layers of the top MLP; late products come into the last one in front."""
    layers = _layers(plan.top, ranker.top, cross_rows(plan.sizes))
    late = late_rows(plan.sizes)
    if not late:
        return layers
    *others, last = layers
    size = plan.config.array_size
    rows = tuple(row - last.plan.offset_a * size for row in late)
    behind = range(last.plan.words_a * size, last.plan.words_a * size + ranker.top[-2].outputs)
    return (*others, replace(last, rows=(*rows, *behind)))


def _layers(
    plans: tuple[LayerPlan, ...], layers: tuple[QuantisedLayer, ...], rows: tuple[int, ...]
) -> tuple[LayerLayout, ...]:
    """Return the layers of one MLP; `rows` : of the first one, the others' are contiguous."""
    laid = []
    for plan, layer in zip(plans, layers, strict=True):
        laid.append(LayerLayout(plan=plan, layer=layer, rows=rows))
        rows = tuple(range(layer.outputs))
    return tuple(laid)
