"""Queries for funnels: made-up models, random tasks, golden's answer to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from rpaccel.golden import lane as golden
from rpaccel.spec.isa import BINS, ISA_VERSION, MAX_STAGES, StageKind, StageMode, Status
from rpaccel.spec.stage_tasks import StageTasks

LISTS = 0x1_0000  # address of the first query's list
LIST_BYTES = 0x1000


class Model:
    """Scores that depend on the id alone, of `spread` values; ids that are in error."""

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        spread: int = 40_000,
        threshold: int = -15_000,
        errors: dict[int, Status] | None = None,
    ) -> None:
        self.spread, self.threshold = spread, threshold
        self.key = int(rng.integers(1 << 16)) * 2 + 1
        half = max(1, spread // 2)
        self.edges = np.sort(rng.integers(-half, half + 1, BINS - 1)).astype(np.int16)
        self.errors = errors or {}

    def logit(self, identifier: int) -> int:
        return (identifier * self.key * 2654435761 >> 9) % self.spread - self.spread // 2

    def rank(self, ids: Any) -> golden.StageScores:
        ids = np.asarray(ids, dtype=np.int64)
        found = [self.errors[i] for i in ids.tolist() if i in self.errors]
        logits = np.array([self.logit(i) for i in ids.tolist()], dtype=np.int64)
        return golden.StageScores(ids=ids, logits=logits, error=found[0] if found else Status.OK)

    def edges_payload(self) -> dict[str, int]:
        return {"threshold": self.threshold} | {
            f"edge{i}": int(edge) for i, edge in enumerate(self.edges)
        }


def expect(monkeypatch: Any, query: golden.Query, models: list[Model], config: Any) -> Any:
    """Return golden's answer with the scores of `models`."""
    monkeypatch.setattr(golden, "rank", lambda model, user, features, ids: model.rank(ids))
    return golden.run_query(query, models, config)


def random_tasks(
    rng: np.random.Generator, mode: StageMode, k: int, items: int, step: int
) -> StageTasks:
    """Return how a stage of `items` may be dealt out; a task has a multiple of `step`."""
    task_items = int(rng.integers(0, items // step + 2)) * step
    options = {
        "exact": bool(rng.integers(2)) and mode is not StageMode.PROPORTIONAL,
        "adaptive": bool(rng.integers(2)),
    }
    if mode in (StageMode.LOCAL, StageMode.PROPORTIONAL):
        task_items = max(step, task_items)
        share = max(1, -(-k * task_items // items) + int(rng.integers(-1, 2)))
        return StageTasks(task_items=task_items, task_k=share, mode=mode, **options)
    return StageTasks(task_items=task_items, mode=mode, **options)


def random_query(
    rng: np.random.Generator,
    config: Any,
    *,
    mode: StageMode | None = None,
    stages: int = 0,
    items: int = 0,
    limit: int = 0,
) -> golden.Query:
    """Return a query; `mode` of all its filters, else any."""
    stages = stages or int(rng.integers(1, MAX_STAGES + 1))
    items = items or int(rng.integers(1, config.max_items + 1))
    keep, most = [], items
    for _ in range(stages):
        most = int(rng.integers(1, most + 1))
        keep.append(most)
    sizes = [items, *keep]
    return golden.Query(
        user_record=bytes(config.beat_bytes),
        candidates=rng.integers(1 << 32, size=items, dtype=np.uint32),
        features=np.zeros((1, config.beat_bytes), dtype=np.uint8),
        stages=tuple((int(rng.integers(config.model_slots)), k) for k in keep),
        top_n=int(rng.integers(1, config.max_top_n + 1)),
        tasks=tuple(
            random_tasks(
                rng,
                StageMode(int(rng.integers(4))) if mode is None else mode,
                keep[s],
                sizes[s],
                1 if s else config.beat_bytes // 4,
            )
            for s in range(stages)
        ),
        survivor_limit=limit,
    )


def descriptor(query: golden.Query, tag: int, **fields: int) -> dict[str, int]:
    """Return the fields of the descriptor of `query`, the bench's `tag`-th."""
    values = {
        "version": ISA_VERSION,
        "tag": tag,
        "stages": len(query.stages),
        "user_address": 0x100,
        "candidates_address": LISTS + tag * LIST_BYTES,
        "items": len(query.candidates),
        "top_n": query.top_n,
        "survivor_limit": query.survivor_limit,
        "features_address": 0x200,
        "features_rows": 77,
        "item_record_bytes": query.features.shape[1],
        "user_record_bytes": len(query.user_record),
    }
    for s, (slot, k) in enumerate(query.stages):
        tasks = query.tasks_of(s)
        values |= {
            f"stage{s}_kind": StageKind.RANK,
            f"stage{s}_model": slot,
            f"stage{s}_sub_batch": s + 3,
            f"stage{s}_k": k,
            f"stage{s}_task_k": tasks.task_k,
            f"stage{s}_task_items": tasks.task_items,
            f"stage{s}_mode": tasks.mode,
            f"stage{s}_options": tasks.options,
        }
    return values | fields
