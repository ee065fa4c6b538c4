"""A small machine of four lanes and four funnels, and random queries in tasks for it."""

from __future__ import annotations

from dataclasses import replace

from rpaccel.golden.lane import Query
from rpaccel.host.driver import Request
from rpaccel.host.partition import Rectangle
from rpaccel.main_job.session import Session
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import StageMode
from rpaccel.spec.stage_tasks import StageTasks

FOUR = load_accelerator("tiny").model_copy(
    update={
        "name": "four lanes",
        "lanes": 4,
        "lane_blocks": (1, 1, 1, 1),
        "funnels": 4,
        "weight_words": 8192,
        "param_entries": 1024,
        "act_words": 1024,
        "cross_words": 1024,
        "dense_words": 128,
        "feature_words": 512,
    }
)
QUARTERS = {2 * row + col: Rectangle.square(row, col, 1) for row in range(2) for col in range(2)}
LANES = ((), (0,), (3,), (0, 1), (1, 2, 3))


def random_tasks(rng, k, items, *, first, last):
    """Return how a stage of at least `items` may be dealt out."""
    sizes = [0, 2, 4, 8, 16] if first else [0, 1, 3, 8]
    task_items = int(rng.choice(sizes))
    mode = StageMode(int(rng.integers(4)))
    if last:
        return StageTasks(task_items=task_items)
    if mode in (StageMode.LOCAL, StageMode.PROPORTIONAL):
        task_items = task_items or 4
        tasks = StageTasks.shared(task_items, k, items, mode)
    else:
        tasks = StageTasks(task_items=task_items, mode=mode)
    exact = mode is not StageMode.PROPORTIONAL and rng.random() < 0.4
    return replace(tasks, exact=bool(exact), adaptive=bool(rng.random() < 0.4))


def random_ask(session: Session, **sizes: object) -> tuple[Query, Request]:
    """Return a random query in tasks, and its request."""
    rng = session.rng
    stages = int(rng.integers(1, 4))
    items = int(rng.integers(1, session.config.max_items + 1))
    slots = tuple(int(rng.integers(len(session.rankers))) for _ in range(stages))
    keep, limit = [], items
    for _ in range(stages - 1):
        limit = int(rng.integers(1, limit + 1))
        keep.append(limit)
    fields = {"items": items, "slots": slots, "keep": tuple(keep), "top_n": 5}
    query, request = session.query(**(fields | sizes))
    counts = [items, *keep]
    tasks = tuple(
        random_tasks(rng, k, counts[i], first=i == 0, last=i == stages - 1)
        for i, (_, k) in enumerate(query.stages)
    )
    limit = int(rng.choice([0, 0, 5]))
    query = replace(query, tasks=tasks, survivor_limit=limit)
    lanes = LANES[int(rng.integers(len(LANES)))]
    return query, replace(request, tasks=tasks, survivor_limit=limit, lanes=lanes)
