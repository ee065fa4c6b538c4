"""What each way of running the Criteo funnel serves: NDCG against clicks and planted utilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rpaccel.golden import dlrm
from rpaccel.golden.bootstrap import mean_interval
from rpaccel.golden.lane import StageScores, rank, survivors
from rpaccel.golden.metrics import ndcg, rank_items, set_recall
from rpaccel.host.records import build_records
from rpaccel.main_job.criteo_models import CriteoModels
from rpaccel.spec.isa import StageMode, Status
from rpaccel.workloads.criteo_queries import CriteoQuery

__all__ = ["CriteoRanking", "criteo_quality"]

QUALITY_QUERIES = 1 << 19  # number of the first of them
Ints = npt.NDArray[np.int64]
Scores = npt.NDArray[np.number]


@dataclass(frozen=True, kw_only=True)
class CriteoRanking:
    """One way of ranking, over all queries; a value for each query.

    clicks, utility : NDCG of the served list, relevant: what was clicked; as many items as are
    served, those of the greatest utility. survivors : of the first stage; recall : share of its
    exact best `keep` among them. Of one stage: all items, 1.
    """

    name: str
    clicks: tuple[float, ...]
    utility: tuple[float, ...]
    survivors: tuple[int, ...]
    recall: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the means over the queries; of the NDCGs with bootstrap 95 % intervals."""
        return {
            "name": self.name,
            "queries": len(self.clicks),
            "ndcg_clicks": asdict(mean_interval(np.array(self.clicks))),
            "ndcg_utility": asdict(mean_interval(np.array(self.utility))),
            "survivors": float(np.mean(self.survivors)),
            "recall": float(np.mean(self.recall)),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scored:
    """A query's scores: by "float" and "int8", of the small and of the large ranker."""

    asked: CriteoQuery
    small: dict[str, Scores]
    large: dict[str, Scores]

    @property
    def ids(self) -> Ints:
        return np.arange(len(self.asked.utility))


def _score(models: CriteoModels, number: int) -> _Scored:
    asked = models.workload.query(number)
    ids = np.arange(asked.data.items)
    records = build_records(asked.data, "item", asked.data.schema.record_bytes("item"))
    pairs = (
        (models.workload.small, models.small),
        (models.workload.large, models.large),
    )
    small, large = (
        {
            "float": dlrm.logits(parameters, asked.data, 0, ids),
            "int8": rank(ranker, bytes(4), records, ids).logits,
        }
        for parameters, ranker in pairs
    )
    return _Scored(asked=asked, small=small, large=large)


def _best(scored: _Scored, kind: str, keep: int) -> Ints:
    """Return the ids of the small ranker's exact best `keep`."""
    return rank_items(scored.ids, scored.small[kind])[:keep].astype(np.int64)


def _kept(models: CriteoModels, scored: _Scored, mode: StageMode) -> Ints:
    """Return the ids that leave the device's filter."""
    scores = StageScores(ids=scored.ids, logits=scored.small["int8"], error=Status.OK)
    tasks, _ = models.funnel.tasks(mode)
    releases = survivors(scores, models.small, models.funnel.keep, tasks, 0, True)
    return np.concatenate([release.ids for release in releases])


def criteo_quality(models: CriteoModels, queries: int) -> list[CriteoRanking]:
    """Return every ranking on the same `queries` queries: one stage, two stages, every mode."""
    scored = [
        _score(models, number) for number in range(QUALITY_QUERIES, QUALITY_QUERIES + queries)
    ]
    keep = models.funnel.keep
    rng = np.random.default_rng([models.workload.config.seed, 6])
    rows = [
        _ranking(models, "random", scored, [rng.random(len(each.ids)) for each in scored]),
        *(
            _ranking(
                models, f"{kind} one-stage {name}", scored, [by(each)[kind] for each in scored]
            )
            for name, by in (("small", lambda s: s.small), ("large", lambda s: s.large))
            for kind in ("float", "int8")
        ),
    ]
    exact = [_best(each, "float", keep) for each in scored]
    rows.append(
        _ranking(models, "float two-stage", scored, [s.large["float"] for s in scored], exact)
    )
    for mode in StageMode:
        rows.append(
            _ranking(
                models,
                f"int8 two-stage, {mode.name}",
                scored,
                [each.large["int8"] for each in scored],
                [_kept(models, each, mode) for each in scored],
            )
        )
    return rows


def _ranking(
    models: CriteoModels,
    name: str,
    scored: Sequence[_Scored],
    last: Sequence[Scores],
    kept: Sequence[Ints] | None = None,
) -> CriteoRanking:
    """Return how good the best of `kept` by the scores of the last stage are."""
    served, keep = models.funnel.served, models.funnel.keep
    clicks, utility, recall = [], [], []
    chosen = [each.ids for each in scored] if kept is None else kept
    for each, ids, scores in zip(scored, chosen, last, strict=True):
        ranked = rank_items(ids, scores[ids])[:served]
        clicks.append(ndcg(ranked, each.asked.clicked, served))
        utility.append(ndcg(ranked, each.asked.best(served), served))
        kind = "float" if name.startswith("float") else "int8"
        exact = _best(each, kind, keep)
        recall.append(1.0 if kept is None else set_recall(ids, exact))
    return CriteoRanking(
        name=name,
        clicks=tuple(clicks),
        utility=tuple(utility),
        survivors=tuple(len(ids) for ids in chosen),
        recall=tuple(recall),
    )
