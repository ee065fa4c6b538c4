"""Pipelines whose stages split and merge requests and go before each other, on shared pools.

What `scheduler.policy` does for one stage and `scheduler.recpipe_kernels` first come, first served:
several stages, several pipelines, any pools of servers (cores, devices, a link), in one event loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rpaccel.scheduler.arrivals import Floats
from rpaccel.scheduler.stage_kernels import (
    COUNTERS,
    NONE,
    STAGE,
    STATE,
    Pools,
    Queries,
    Stages,
    advance,
)

__all__ = ["ALL_ITEMS", "Stage", "StageCount", "StageNode", "StageRun", "serve_stages"]

ALL_ITEMS = 1 << 30  # more than any query has
Sizes = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """A query's visit to a pool of servers, as requests.

    table_s : float64[items + 1]  time of a request by its items, up to the most that one holds [s]
    most_items : a query has so many items here at most: what the stage before keeps
    batch : items of a request at most; of no meaning unless requests are split or merged
    split : a query of more items is several requests, on the servers that are free
    even : these are of equal size, instead of full ones and a rest
    merge : a request may hold items of several queries of the stage; whole queries unless split
    window_s : a request that is not full waits so long for more, after its first query is ready [s]
    priority : the lower goes first; a running request is never put aside
    deadline_s : see StageNode.by_deadline [s]
    before_s, after_s : pure delays of a query around the visit, e.g. of a link [s]
    """

    pool: str
    table_s: Floats
    most_items: int = ALL_ITEMS
    batch: int = ALL_ITEMS
    split: bool = False
    even: bool = False
    merge: bool = False
    window_s: float = 0.0
    priority: int = 0
    deadline_s: float = 0.0
    before_s: float = 0.0
    after_s: float = 0.0

    def __post_init__(self) -> None:
        if self.most_items < 1 or self.batch < 1:
            raise ValueError(
                f"most_items and batch must be at least 1, not {self.most_items} and {self.batch}"
            )
        if min(self.window_s, self.before_s, self.after_s) < 0:
            raise ValueError("window_s, before_s and after_s must not be negative")
        if self.window_s > 0 and not self.merge:
            raise ValueError("window_s must be 0 unless requests are merged")
        if self.even and not self.split:
            raise ValueError("even must be False unless requests are split")
        if self.table_s.ndim != 1 or not np.all(self.table_s >= 0):
            raise ValueError("table_s must be a row of times that are not negative")

    def largest(self, size: int) -> int:
        """Return the most items of a request, if no query has more than `size`."""
        items = min(size, self.most_items)
        if self.split:
            return self.batch if self.merge else min(items, self.batch)
        return max(items, self.batch) if self.merge else items


@dataclass(frozen=True, kw_only=True)
class StageNode:
    """Pools of equal servers.

    slowdown : by how much of itself a request takes longer for each other server of its pool that
        is busy when it begins.
    by_deadline : among equal priorities the least arrival plus its stage's deadline_s goes first;
        else who came first to the pool.
    """

    servers: Mapping[str, int]
    slowdown: Mapping[str, float] = field(default_factory=dict)
    by_deadline: bool = False

    def __post_init__(self) -> None:
        if not self.servers or min(self.servers.values()) < 1:
            raise ValueError(f"servers must be at least 1 of each pool, not {dict(self.servers)}")
        if not set(self.slowdown) <= set(self.servers):
            raise ValueError(f"slowdown must be of pools, not of {sorted(self.slowdown)}")


@dataclass(frozen=True, kw_only=True)
class StageCount:
    """What went through a stage. busy_s : time of servers [s]."""

    queries: int
    items: int
    requests: int
    busy_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class StageRun:
    """A run: float64[n] ends [s], and by pipeline the counts of its stages."""

    finish_s: Floats
    counts: tuple[tuple[StageCount, ...], ...]


def serve_stages(
    node: StageNode,
    pipelines: Sequence[Sequence[Stage]],
    arrivals_s: Floats,
    sizes: Sizes,
    kinds: Sizes | None = None,
) -> StageRun:
    """Serve all queries and return their ends.

    arrivals_s : float64[n], non-decreasing [s]. sizes : int32[n], items. kinds : int32[n], places
    in `pipelines`; None: all the first.
    Raises ValueError for queries, stages or tables that do not fit each other.
    """
    count = arrivals_s.size
    same = np.zeros(count, np.int32) if kinds is None else kinds
    _check(node, pipelines, arrivals_s, sizes, same)
    stages, entry, places, tables = _stages(node, pipelines)
    pools = _pools(node, stages)
    queries = Queries(
        np.ascontiguousarray(arrivals_s, np.float64), np.ascontiguousarray(sizes, np.int32),
        np.ascontiguousarray(same, np.int32), entry,
        np.full(count, NONE, np.int32), np.empty(count), np.zeros(count, np.int32),
        np.full(count, NONE, np.int32), np.empty(count), np.empty(count + 1, np.int32),
        np.empty(count + 1),
    )  # fmt: skip
    states = np.zeros(1, STATE)
    advance(stages, pools, queries, states, tables, node.by_deadline)
    _conserved(stages, queries, states)
    counted = [_count(row) for row in stages.counter]
    return StageRun(
        finish_s=queries.end_s,
        counts=tuple(tuple(counted[place] for place in row) for row in places),
    )


def _check(
    node: StageNode,
    pipelines: Sequence[Sequence[Stage]],
    arrivals_s: Floats,
    sizes: Sizes,
    kinds: Sizes,
) -> None:
    count = arrivals_s.size
    if sizes.shape != (count,) or kinds.shape != (count,):
        raise ValueError(f"sizes and kinds must be of {count} queries, not {sizes.size}")
    if count == 0 or sizes.min() < 1 or np.any(arrivals_s[1:] < arrivals_s[:-1]):
        raise ValueError("queries must be one or more, of an item or more, in order of arrival")
    if kinds.min() < 0 or kinds.max() >= len(pipelines):
        raise ValueError(f"kinds must be in 0..{len(pipelines) - 1}, one for each pipeline")
    for stage in (stage for stages in pipelines for stage in stages):
        if stage.pool not in node.servers:
            raise ValueError(f"pool must be one of {', '.join(node.servers)}, not {stage.pool!r}")
        largest = stage.largest(int(sizes.max()))
        if largest >= stage.table_s.size:
            raise ValueError(f"table_s must hold {largest} items, not {stage.table_s.size - 1}")
    if not all(pipelines):
        raise ValueError("pipelines must have at least one stage each")


def _stages(
    node: StageNode, pipelines: Sequence[Sequence[Stage]]
) -> tuple[Stages, Sizes, list[list[int]], Floats]:
    """Return the stages by pool, each pipeline's first, the places of all, and their times."""
    names = list(node.servers)
    listed = [(k, n) for k, stages in enumerate(pipelines) for n in range(len(stages))]
    listed.sort(key=lambda pair: (names.index(pipelines[pair[0]][pair[1]].pool), pair))
    place = {pair: number for number, pair in enumerate(listed)}
    setting, tables, begin = np.zeros(len(listed), STAGE), [], 0
    for number, (kind, step) in enumerate(listed):
        stage = pipelines[kind][step]
        setting[number] = (
            names.index(stage.pool), stage.batch, stage.split, stage.merge, stage.even,
            stage.most_items, stage.priority, place.get((kind, step + 1), NONE), begin,
            stage.window_s, stage.deadline_s, stage.before_s, stage.after_s,
        )  # fmt: skip
        tables.append(np.asarray(stage.table_s, np.float64))
        begin += stage.table_s.size
    count = len(listed)
    stages = Stages(
        setting, np.zeros(count, COUNTERS), np.full(count, NONE, np.int32),
        np.full(count, NONE, np.int32), np.zeros(count, np.int64),
    )  # fmt: skip
    places = [[place[k, n] for n in range(len(row))] for k, row in enumerate(pipelines)]
    entry = np.asarray([row[0] for row in places], np.int32)
    return stages, entry, places, np.concatenate(tables)


def _pools(node: StageNode, stages: Stages) -> Pools:
    servers = np.asarray(list(node.servers.values()), np.int32)
    pools = np.arange(servers.size + 1)
    return Pools(
        servers,
        np.asarray([node.slowdown.get(name, 0.0) for name in node.servers]),
        np.searchsorted(stages.setting["pool"], pools).astype(np.int32),
        np.full(servers.size, np.inf),
        np.full((servers.size, int(servers.max())), -np.inf),
    )


def _conserved(stages: Stages, queries: Queries, states: NDArray[np.void]) -> None:
    """Assert that all queries have gone through all stages, with every item, and none waits."""
    counter, state = stages.counter, states[0]
    assert state["coming"] == state["done"] == queries.size.size, "every query ends once"
    assert state["events"] == 0, "no query is on its way"
    assert np.all(stages.head == NONE) and not stages.items.any(), "no query waits"
    assert not queries.left.any(), "no item waits"
    assert np.array_equal(counter["entered"], counter["left"]), "a stage keeps no query"
    assert np.array_equal(counter["items_in"], counter["items_out"]), "a stage keeps no item"


def _count(row: np.void) -> StageCount:
    return StageCount(
        queries=int(row["left"]),
        items=int(row["items_out"]),
        requests=int(row["requests"]),
        busy_s=float(row["busy_s"]),
    )
