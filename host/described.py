"""A ranking query as its descriptor says it, without its data."""

from __future__ import annotations

import numpy as np

from rpaccel.golden.lane import Query
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import MAX_STAGES, StageMode, StageOption
from rpaccel.spec.stage_tasks import StageTasks

__all__ = ["described"]


def described(descriptor: dict[str, int], config: AcceleratorConfig) -> Query:
    """Return a query of the sizes that a descriptor says, without its data."""
    return Query(
        user_record=bytes(descriptor["user_record_bytes"]),
        candidates=np.zeros(min(descriptor["items"], config.max_items + 1), dtype=np.uint32),
        features=np.zeros((0, descriptor["item_record_bytes"]), dtype=np.uint8),
        stages=tuple(
            (descriptor[f"stage{i}_model"], descriptor[f"stage{i}_k"])
            for i in range(min(descriptor["stages"], MAX_STAGES))
        ),
        top_n=descriptor["top_n"],
        tasks=tuple(_tasks(descriptor, i) for i in range(min(descriptor["stages"], MAX_STAGES))),
        survivor_limit=descriptor["survivor_limit"],
    )


def _tasks(descriptor: dict[str, int], stage: int) -> StageTasks:
    """Return how a stage's items are dealt out; what no device takes as tasks that are illegal."""
    mode, options = descriptor[f"stage{stage}_mode"], descriptor[f"stage{stage}_options"]
    known = mode in list(StageMode) and options <= sum(StageOption)
    if not known:
        mode, options = StageMode.PROPORTIONAL, StageOption.EXACT
    return StageTasks(
        task_items=descriptor[f"stage{stage}_task_items"],
        task_k=descriptor[f"stage{stage}_task_k"],
        mode=StageMode(mode),
        exact=bool(options & StageOption.EXACT),
        adaptive=bool(options & StageOption.ADAPTIVE),
    )
