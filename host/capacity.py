"""What models need of a machine beside what it has: limits exceeded, and by how much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import INSTRUCTION, SLOT
from rpaccel.spec.program_plan import ModelPlan, ModelSizes, pair_params, plan_model

__all__ = ["check_capacities"]

_MAX_WORDS = (1 << INSTRUCTION.fields["words_b"].bits) - 1
_MAX_DENSE_BYTES = (1 << SLOT.fields["item_dense_bytes"].bits) - 1


def check_capacities(models: Mapping[str, ModelSizes], config: AcceleratorConfig) -> None:
    """Check that `models`, by name, fit the on-chip memories of a machine together.

    Raises ValueError that names every limit that is exceeded, the need and the excess.
    """
    plans = {name: plan_model(sizes, config) for name, sizes in models.items()}
    found = [problem for name, plan in plans.items() for problem in _of_one(name, plan)]
    found += _of_all(plans, config)
    if found:
        raise ValueError("; ".join(found))


def _shortage(where: str, limit: str, need: int, available: int) -> Iterator[str]:
    if need > available:
        yield (
            f"{where}: {limit} must be at least {need}, not {available} "
            f"({need - available} too few)"
        )


def _of_one(name: str, plan: ModelPlan) -> Iterator[str]:
    """Yield what is too large for the instructions, and the user or one item for the memories."""
    sizes, config = plan.sizes, plan.config
    where = f"{config.name}, model {name!r}"
    yield from _shortage(where, "max_dim", sizes.dim, config.max_dim)
    for side, dense in (("user", sizes.user_dense), ("item", sizes.item_dense)):
        if dense > _MAX_DENSE_BYTES:
            yield (
                f"{where}: {side}_dense must be at most {_MAX_DENSE_BYTES}, not {dense} "
                f"({dense - _MAX_DENSE_BYTES} too many)"
            )
    widths = {x.name: max(x.destination_stride, x.k_folds) for x in plan.layers}
    for part, width in (widths | {"interaction": plan.cross_stride}).items():
        if width > _MAX_WORDS:
            yield (
                f"{where}: {part} must take at most {_MAX_WORDS} words of {config.array_size} B, "
                f"not {width} ({width - _MAX_WORDS} too many)"
            )
    needs = [
        ("user_words (dense)", plan.user_dense_words, config.user_words),
        ("user_vector_words (from user_words)", plan.user_vector_words, config.user_vector_words),
        ("dense_words (one item)", plan.item_dense_words, config.dense_words),
        (
            "engine_vector_words (from feature_words, one item)",
            plan.item_vector_words,
            config.engine_vector_words,
        ),
        ("act_words (one item)", plan.act_stride, config.act_words),
        (
            "engine_cross_words (from cross_words, one item)",
            plan.cross_stride,
            config.engine_cross_words,
        ),
    ]
    for limit, need, available in needs:
        yield from _shortage(where, limit, need, available)


def _of_all(plans: Mapping[str, ModelPlan], config: AcceleratorConfig) -> Iterator[str]:
    """Yield the memories that all models together are too large for."""
    if len(plans) > config.model_slots:
        yield (
            f"{config.name}: model_slots must be at least {len(plans)} for {', '.join(plans)}, "
            f"not {config.model_slots} ({len(plans) - config.model_slots} too few)"
        )
    needs = {
        "weight_words": [plan.weight_words for plan in plans.values()],
        "param_entries": [plan.param_entries for plan in plans.values()],
        "pair_entries": [pair_params(plan.sizes) for plan in plans.values()],
        "program_entries": [plan.program_entries for plan in plans.values()],
        "feature_entries": [plan.sizes.tables for plan in plans.values()],
    }
    for limit, parts in needs.items():
        listed = ", ".join(f"{name} {part}" for name, part in zip(plans, parts, strict=True))
        need, available = sum(parts), getattr(config, limit)
        if need > available:
            yield (
                f"{config.name}: {limit} must be at least {need} ({listed}), not {available} "
                f"({need - available} too few)"
            )
