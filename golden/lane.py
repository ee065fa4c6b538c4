"""A whole query, stage after stage: what the device answers, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rpaccel.golden.bucket_filter import FilterResult, bucket_filter, filter_sub_batches
from rpaccel.golden.corpus import Found
from rpaccel.golden.gather import gather_side, item_records, records_of
from rpaccel.golden.interaction import interact
from rpaccel.golden.ordered_top_n import ordered_top_n
from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.golden.sigmoid import ctr
from rpaccel.golden.vector_unit import layer, score_layer
from rpaccel.spec.accelerator import AcceleratorConfig, is_power_of_two
from rpaccel.spec.isa import MAX_STAGES, StageMode, Status, StatusFlag
from rpaccel.spec.stage_tasks import StageTasks

Array = np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """One query as the device sees it.

    user_record : bytes; candidates : uint32[n]; features : uint8[rows, item_record_bytes], the
    feature table; stages : (model slot, k) of each stage, k of the last one is not used;
    top_n : length of the served list. tasks : of each stage; fewer: the others are WHOLE.
    survivor_limit : most ids that leave a filter at a time, 0: no limit.
    """

    user_record: bytes
    candidates: Array
    features: Array
    stages: tuple[tuple[int, int], ...]
    top_n: int
    tasks: tuple[StageTasks, ...] = ()
    survivor_limit: int = 0

    def tasks_of(self, stage: int) -> StageTasks:
        """Return how a stage's items are dealt out."""
        return self.tasks[stage] if stage < len(self.tasks) else StageTasks()


@dataclass(frozen=True, kw_only=True, eq=False)
class StageScores:
    """One stage: the ids in the order of scoring, their logits, the first error found."""

    ids: Array
    logits: Array
    error: Status


@dataclass(frozen=True, kw_only=True, eq=False)
class QueryResult:
    """The answer: ids, logits, ctr int64[count]; items scored by each stage; every stage.

    overshoot : ids that the filters let pass above k.
    """

    status: Status
    flags: StatusFlag
    ids: Array
    logits: Array
    ctr: Array
    items: tuple[int, ...]
    stages: tuple[StageScores, ...]
    overshoot: int = 0

    @property
    def count(self) -> int:
        """Served results."""
        return len(self.ids)


def rank(ranker: QuantisedRanker, user_record: bytes, features: Array, ids: Array) -> StageScores:
    """Return the logits of `ids`, int64[n]. features : uint8[rows, item_record_bytes]."""
    ids = np.asarray(ids, dtype=np.int64)
    user = gather_side(ranker, "user", records_of(user_record, len(user_record)))
    records, errors = item_records(features, ids)
    item = gather_side(ranker, "item", records, errors)
    n = ids.size
    x = np.concatenate([np.repeat(user.dense, n, axis=0), item.dense], axis=1)
    for parameters in ranker.bottom:
        x = layer(x, parameters)
    vectors = np.concatenate(
        [x[:, None, :], np.repeat(user.vectors, n, axis=0), item.vectors], axis=1
    )
    x = interact(
        vectors,
        ranker.pair_multiplier,
        ranker.pair_shift,
        kind=ranker.interaction,
        user_vectors=len(ranker.user_features),
    )
    first, end = ranker.dim, ranker.dim * (1 + ranker.late_products)
    late, x = x[:, first:end], np.delete(x, np.s_[first:end], axis=1)
    for parameters in ranker.top[:-1]:
        x = layer(x, parameters)
    x = np.concatenate([late, x], axis=1)
    found = np.concatenate([user.errors, item.errors])
    found = found[found != 0]
    error = Status(int(found[0])) if found.size else Status.OK
    return StageScores(ids=ids, logits=score_layer(x, ranker.top[-1]), error=error)


def _stage_keeps_are_legal(query: Query, config: AcceleratorConfig) -> bool:
    limit = len(query.candidates)
    for _, k in query.stages[:-1]:
        if not 1 <= k <= limit:
            return False
        limit = k
    return 1 <= query.top_n <= config.max_top_n


def _tasks_are_legal(query: Query, config: AcceleratorConfig) -> bool:
    beat_ids = config.beat_bytes // 4
    return query.tasks_of(0).task_items % beat_ids == 0 and all(
        query.tasks_of(stage).legal for stage in range(len(query.stages) - 1)
    )


def survivors(
    scores: StageScores, ranker: QuantisedRanker, k: int, tasks: StageTasks, limit: int, first: bool
) -> list[FilterResult]:
    """Return what leaves the filter after a stage, release by release; spec.isa.StageMode.

    first : of the query's stages; of a later one the device does not know how many are to come.
    """
    edges, threshold = ranker.edges, ranker.threshold
    options: dict[str, Any] = {"exact": tasks.exact, "adaptive": tasks.adaptive, "limit": limit}
    if tasks.mode is StageMode.WHOLE:
        return [bucket_filter(scores.ids, scores.logits, edges, threshold, k, **options)]
    ends = np.cumsum(tasks.sizes(len(scores.ids)))
    batches = list(
        zip(np.split(scores.ids, ends[:-1]), np.split(scores.logits, ends[:-1]), strict=True)
    )
    wanted = tasks.shares(k, len(batches))
    if tasks.mode is StageMode.LOCAL:
        shares = np.diff(wanted, prepend=0)
        return [
            bucket_filter(*batch, edges, threshold, max(1, int(share)), **options)
            for batch, share in zip(batches, shares, strict=True)
        ]
    held = [k - each for each in wanted]
    if tasks.mode is StageMode.GLOBAL:
        held = [int(ends[-1] - end) if first else k for end in ends[:-1]] + [0]
    return filter_sub_batches(batches, edges, threshold, k, held, **options)


def _records_are_legal(query: Query, config: AcceleratorConfig) -> bool:
    user, item = len(query.user_record), query.features.shape[1]
    return (
        user % config.beat_bytes == 0
        and 0 < user <= config.user_record_bytes
        and config.beat_bytes <= item <= config.item_record_bytes
        and is_power_of_two(item)
    )


def validate(
    query: Query, rankers: Sequence[QuantisedRanker | None], config: AcceleratorConfig
) -> Status:
    """Return the status of a query that is refused at once, else OK."""
    slots = [slot for slot, _ in query.stages]
    checks = (
        (Status.BAD_STAGES, 1 <= len(slots) <= MAX_STAGES),
        (Status.BAD_ITEMS, 1 <= len(query.candidates) <= config.max_items),
        (Status.BAD_MODEL, all(0 <= s < len(rankers) and rankers[s] is not None for s in slots)),
        (Status.BAD_K, _stage_keeps_are_legal(query, config)),
        (Status.BAD_TASK, _tasks_are_legal(query, config)),
        (Status.BAD_RECORD, _records_are_legal(query, config)),
    )
    return next((status for status, legal in checks if not legal), Status.OK)


def _refused(
    status: Status, flags: StatusFlag, items: list[int], overshoot: int = 0
) -> QueryResult:
    nothing = np.zeros(0, dtype=np.int64)
    return QueryResult(
        status=status,
        flags=flags,
        ids=nothing,
        logits=nothing,
        ctr=nothing,
        items=tuple(items + [0] * (MAX_STAGES - len(items))),
        stages=(),
        overshoot=overshoot,
    )


def run_query(
    query: Query, rankers: Sequence[QuantisedRanker | None], config: AcceleratorConfig
) -> QueryResult:
    """Return what the device answers to `query` with `rankers` in its model slots.

    Regions and failing memory are not modelled. Rows of a stage: see `QueryResult.stages`.
    """
    refused = validate(query, rankers, config)
    if refused is not Status.OK:
        return _refused(refused, StatusFlag(0), [])
    return run_stages(query, rankers)


def run_stages(query: Query, rankers: Sequence[QuantisedRanker | None]) -> QueryResult:
    """Return what the stages of a `query` that was not refused come to; see `run_query`.

    There may be fewer candidates than a stage's k: what a retrieval stage has found.
    """
    ids = np.asarray(query.candidates, dtype=np.int64)
    status, flags, overshoot = Status.OK, StatusFlag(0), 0
    trace: list[StageScores] = []
    for index, (slot, k) in enumerate(query.stages):
        if not ids.size:
            break  # nothing passed the threshold of the filter before
        ranker = rankers[slot]
        assert ranker is not None  # validated
        scores = rank(ranker, query.user_record, query.features, ids)
        trace.append(scores)
        status = status or scores.error
        if index < len(query.stages) - 1:
            tasks = query.tasks_of(index)
            releases = survivors(scores, ranker, k, tasks, query.survivor_limit, index == 0)
            ids = np.concatenate([release.ids for release in releases])
            # what was carried on is told by the last release
            told = releases if tasks.mode is StageMode.LOCAL else releases[-1:]
            overshoot += sum(release.overshoot for release in told)
            if any(release.underfill for release in told):
                flags |= StatusFlag.UNDERFILL
            if any(release.overfill for release in releases):
                flags |= StatusFlag.OVERFILL
    items = [len(stage.ids) for stage in trace]
    if status is not Status.OK:
        return _refused(status, flags, items, overshoot)
    logits = trace[-1].logits if ids.size else ids
    best = ordered_top_n(ids, logits, query.top_n)
    logits = logits[best]
    return QueryResult(
        status=status,
        flags=flags,
        ids=ids[best],
        logits=logits,
        ctr=ctr(logits),
        items=tuple(items + [0] * (MAX_STAGES - len(items))),
        stages=tuple(trace),
        overshoot=overshoot,
    )


def run_behind(
    found: Found, rows: int, query: Query, rankers: Sequence[QuantisedRanker | None]
) -> QueryResult:
    """Return what a query comes to whose stage 0 has `found` the candidates of `query`'s stages.

    rows : of the corpus, the items of stage 0. `query` is one that was not refused; its own
    candidates are not used. `stages` are those behind the retrieval.
    """
    if not found.ids.size:
        return _refused(Status.OK, found.flags, [rows], found.overshoot)
    result = run_stages(replace(query, candidates=found.ids.astype(np.uint32)), rankers)
    return replace(
        result,
        flags=result.flags | found.flags,
        items=(rows, *result.items[: MAX_STAGES - 1]),
        overshoot=result.overshoot + found.overshoot,
    )
