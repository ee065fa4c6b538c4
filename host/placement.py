"""A request as the device reads it: lanes and model slots, descriptor fields, inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rpaccel.host.compile import CompiledModels
from rpaccel.host.query import Request
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import MAX_STAGES, StageKind

__all__ = [
    "Placement",
    "lane_mask",
    "place_stages",
    "query_inputs",
    "request_fields",
    "stage_fields",
]


def lane_mask(lanes: Iterable[int]) -> int:
    """Return lanes as the bits of a descriptor."""
    return sum(1 << lane for lane in lanes)


class Placement(NamedTuple):
    """Where a stage may run: a mask of lanes, the model's slot there, slots that hold a model."""

    lanes: int
    slot: int
    loaded: int


def place_stages(request: Request, loaded: Mapping[int, CompiledModels]) -> list[Placement]:
    """Return where each stage may run: on the lanes that share an image with its model.

    It is the image of the first lane that has the model. loaded : lane -> the models it holds.
    Raises ValueError for a model that no lane holds.
    """
    asked = request.lanes or tuple(sorted(loaded))
    held = {lane: loaded[lane] for lane in asked if lane in loaded}
    placed = []
    for model, _ in request.stages:
        able = [c for c in held.values() if isinstance(model, int) or model in c.names]
        if able:
            lanes = [lane for lane, compiled in held.items() if compiled is able[0]]
            slot = model if isinstance(model, int) else able[0].slot(model)
            placed.append(Placement(lane_mask(lanes), slot, len(able[0].names)))
        elif isinstance(model, int):
            placed.append(Placement(lane_mask(request.lanes), model, 0))
        elif held:
            next(iter(held.values())).slot(model)  # says which models there are
        else:
            raise ValueError(f"models must be loaded before {model!r} is used")
    return placed


def query_inputs(request: Request, config: AcceleratorConfig) -> tuple[bytes, bytes]:
    """Return user record and candidates as they lie in memory: in whole beats, at most one block.

    What does not fit is left out: the device refuses it by the lengths in the descriptor.
    """
    beat = config.beat_bytes
    user = request.user_record
    candidates = np.asarray(request.candidates, dtype="<u4").tobytes()
    user += bytes(-len(user) % beat)
    candidates += bytes(-len(candidates) % beat)
    return user[: config.user_record_bytes], candidates[: 4 * config.max_items]


def request_fields(request: Request, config: AcceleratorConfig) -> dict[str, int]:
    """Return the descriptor's fields that say how much is asked, and of which table."""
    user_bytes = len(request.user_record)
    return {
        "user_record_bytes": user_bytes + -user_bytes % config.beat_bytes,
        "items": len(request.candidates),
        "top_n": request.top_n,
        "features_address": request.features.address,
        "features_rows": request.features.rows,
        "item_record_bytes": request.features.record_bytes,
        "survivor_limit": request.survivor_limit,
        "deadline_cycles": request.deadline_cycles,
    }


def stage_fields(request: Request, placed: Sequence[Placement], first: int) -> dict[str, int]:
    """Return the descriptor's fields of the ranking stages, the first of which has this number."""
    fields: dict[str, int] = {}
    stages = zip(placed[: MAX_STAGES - first], request.stages, strict=False)
    for index, (each, (_, k)) in enumerate(stages):
        tasks, stage = request.tasks_of(index), f"stage{first + index}"
        fields |= {
            f"{stage}_kind": StageKind.RANK,
            f"{stage}_model": each.slot,
            f"{stage}_lanes": each.lanes,
            f"{stage}_task_items": tasks.task_items,
            f"{stage}_task_k": tasks.task_k,
            f"{stage}_mode": tasks.mode,
            f"{stage}_options": tasks.options,
            f"{stage}_sub_batch": request.sub_batch,
            f"{stage}_k": k,
        }
    return fields
