"""What the model of a machine is asked by queries whose golden answers are known."""

from __future__ import annotations

from collections.abc import Sequence

from rpaccel.golden.bucket_filter import FilterResult
from rpaccel.golden.lane import Query, QueryResult, survivors
from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.perfmodel.machine_load import QueryLoad, Release, StageLoad
from rpaccel.perfmodel.memory import RecordSizes

__all__ = ["query_load"]


def query_load(
    query: Query,
    golden: QueryResult,
    rankers: Sequence[QuantisedRanker],
    lanes: Sequence[tuple[int, ...]],
    *,
    models: Sequence[str] = (),
    arrival: int = 0,
    sub_batch: int = 0,
) -> QueryLoad:
    """Return a query as the model of a machine is asked it, with what its filters let pass.

    lanes : of each stage. models : names of each stage's shapes; by default those of its rankers.
    sub_batch : of the descriptor. `golden` has no stages that nothing has reached.
    """
    stages = []
    for index, (slot, k) in enumerate(query.stages):
        ranker, tasks = rankers[slot], query.tasks_of(index)
        last = index == len(query.stages) - 1
        found: list[FilterResult] = []
        if not last and index < len(golden.stages):
            scores = golden.stages[index]
            found = survivors(scores, ranker, k, tasks, query.survivor_limit, index == 0)
        stages.append(
            StageLoad(
                model=models[index] if models else ranker.name,
                k=0 if last else k,
                tasks=tasks,
                lanes=lanes[index],
                sub_batch=sub_batch,
                releases=tuple(
                    Release.of(len(each.ids), each.bins_scanned, each.passes) for each in found
                ),
            )
        )
    return QueryLoad(
        arrival=arrival,
        items=len(query.candidates),
        stages=tuple(stages),
        records=RecordSizes(user_bytes=len(query.user_record), item_bytes=query.features.shape[1]),
        top_n=query.top_n,
    )
