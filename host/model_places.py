"""Which lanes compiled models may be loaded into, and what must not overlap in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rpaccel.host.compile import CompiledModels
from rpaccel.spec.accelerator import AcceleratorConfig


def choose_lanes(
    compiled: CompiledModels, config: AcceleratorConfig, lanes: Sequence[int] | None
) -> list[int]:
    """Return the lanes to load: `lanes`, or all that the models were compiled for.

    Models of the whole machine fit a lane that is made for the whole array.
    Raises ValueError for a lane that they were not compiled for, or none.
    """
    whole = (config.blocks, config.blocks)
    fit = [
        lane
        for lane in range(config.lanes)
        if compiled.config.digest == config.lane(lane).digest
        or (compiled.config.digest == config.digest and config.lane_shape(lane) == whole)
    ]
    chosen = fit if lanes is None else list(lanes)
    if not chosen or not set(chosen) <= set(fit):
        raise ValueError(
            f"compiled models must be for {config.name!r} and lanes {chosen or 'of it'}, "
            f"not {compiled.config.name!r}"
        )
    return chosen


def models_kept(
    compiled: CompiledModels, loaded: Mapping[int, CompiledModels], lanes: Sequence[int]
) -> list[CompiledModels]:
    """Return the models that stay in memory beside those that `lanes` are loaded with.

    loaded : lane -> the models it holds. Raises ValueError if the new ones overlap them.
    """
    kept = [other for lane, other in loaded.items() if lane not in lanes and other is not compiled]
    for other in kept:
        if other.base < compiled.limit and compiled.base < other.limit:
            raise ValueError(
                f"models must lie outside {other.base:#x}..{other.limit:#x} of other lanes, "
                f"not at {compiled.base:#x}..{compiled.limit:#x}"
            )
    return kept
