"""How one ranker is laid out on chip: the rows of its weights, and what it needs of memories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rpaccel.golden.quantised import QuantisedLayer, QuantisedRanker
from rpaccel.perfmodel.sub_batch import best_sub_batch
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import INSTRUCTION, SLOT
from rpaccel.spec.program_plan import (
    LayerPlan,
    ModelPlan,
    cross_rows,
    pair_params,
    plan_model,
    row_bytes_of,
)

__all__ = ["LayerLayout", "ModelLayout", "layout_model", "row_bytes_of"]

MAX_WORDS = (1 << INSTRUCTION.fields["words_b"].bits) - 1
MAX_DENSE_BYTES = (1 << SLOT.fields["item_dense_bytes"].bits) - 1


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
        return self.plan.tiles * self.plan.config.block_size

    @property
    def weight_words(self) -> int:
        """Entries of WEIGHT, over all block rows."""
        config = self.plan.config
        return self.plan.tiles * config.block_rows * config.block_size

    @property
    def param_entries(self) -> int:
        """Entries of PARAM that the model takes in every block row."""
        return sum(x.n_steps for x in self.plan.layers) * self.plan.config.channels_across

    @property
    def program_entries(self) -> int:
        """Instructions with the interaction and END."""
        return len(self.layers) + 2

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


def _fail(where: str, limit: str, need: int, available: int) -> None:
    if need > available:
        raise ValueError(
            f"{where}: {limit} must be at least {need}, not {available} "
            f"({need - available} too few)"
        )


def _check_widths(plan: ModelPlan, where: str) -> None:
    """Check what the instructions must be able to say."""
    widths = {x.name: max(x.destination_stride, x.k_folds) for x in plan.layers}
    widths["interaction"] = plan.cross_stride
    for name, width in widths.items():
        if width > MAX_WORDS:
            raise ValueError(
                f"{where}: {name} must take at most {MAX_WORDS} words of "
                f"{plan.config.array_size} B, not {width} ({width - MAX_WORDS} too many)"
            )


def _check_memories(plan: ModelPlan, where: str) -> None:
    """Check that the user's data and one item fit."""
    config = plan.config
    _fail(where, "user_words (dense)", plan.user_dense_words, config.user_words)
    _fail(
        where,
        "user_vector_words (from user_words)",
        plan.user_vector_words,
        config.user_vector_words,
    )
    _fail(where, "dense_words (one item)", plan.item_dense_words, config.dense_words)
    _fail(
        where,
        "engine_vector_words (from feature_words, one item)",
        plan.item_vector_words,
        config.engine_vector_words,
    )
    _fail(where, "act_words (one item)", plan.act_stride, config.act_words)
    _fail(
        where,
        "engine_cross_words (from cross_words, one item)",
        plan.cross_stride,
        config.engine_cross_words,
    )


def layout_model(
    ranker: QuantisedRanker, config: AcceleratorConfig, sub_batch: int | None = None
) -> ModelLayout:
    """Return the layout of `ranker` on a machine.

    sub_batch : items per sub-batch; None: perfmodel.sub_batch chooses.
    Raises ValueError that names the limit, the need and the excess.
    """
    where = f"{config.name}, model {ranker.name!r}"
    _fail(where, "max_dim", ranker.dim, config.max_dim)
    for side, dense in (("user", ranker.user_dense), ("item", ranker.item_dense)):
        if dense > MAX_DENSE_BYTES:
            raise ValueError(
                f"{where}: {side}_dense must be at most {MAX_DENSE_BYTES}, not {dense} "
                f"({dense - MAX_DENSE_BYTES} too many)"
            )
    plan = plan_model(ranker.sizes, config)
    _check_widths(plan, where)
    _check_memories(plan, where)
    if sub_batch is not None and not 1 <= sub_batch <= plan.most_items:
        raise ValueError(
            f"{where}: sub_batch must be in 1..{plan.most_items} (items that fit on chip), "
            f"not {sub_batch}"
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
        top=_layers(plan.top, ranker.top, cross_rows(ranker.sizes)),
    )


def _layers(
    plans: tuple[LayerPlan, ...], layers: tuple[QuantisedLayer, ...], rows: tuple[int, ...]
) -> tuple[LayerLayout, ...]:
    """Return the layers of one MLP; `rows` : of the first one, the others' are contiguous."""
    laid = []
    for plan, layer in zip(plans, layers, strict=True):
        laid.append(LayerLayout(plan=plan, layer=layer, rows=rows))
        rows = tuple(range(layer.outputs))
    return tuple(laid)
