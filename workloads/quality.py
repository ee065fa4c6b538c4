"""Quality of one-stage and two-stage ranking on the hold-out, with paired intervals over users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from rich.progress import track
from rich.table import Table

from rpaccel.golden import baselines, dlrm
from rpaccel.golden.bootstrap import Interval, mean_interval, relative_difference
from rpaccel.golden.metrics import hit_rate, ndcg, rank_items, set_recall
from rpaccel.spec.records import FeatureData
from rpaccel.workloads.split import RELEVANT_RATING, Split, split_rows

METRICS = ("ndcg@10", "ndcg@64", "hit@10")
SERVED = 64  # items of a served list that any metric looks at
STAGE_2_ITEMS = 256
FLOAT_SMALL = "float one-stage small"
FLOAT_LARGE = "float one-stage large"
FLOAT_TWO_STAGE = "float two-stage"
EASE_PENALTIES = (100.0, 200.0, 300.0, 500.0, 800.0)

Ids = npt.NDArray[np.integer]
Scorer = Callable[[int, npt.NDArray[np.int32]], npt.NDArray[np.number]]
Ranking = Callable[[int, npt.NDArray[np.int32]], Ids]  # (user, candidates) -> ids, best first


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Metrics of one ranking for every evaluated user.

    values : metric name -> float64[users], users as in Split.test_users
    """

    name: str
    values: dict[str, npt.NDArray[np.float64]]

    def mean(self, metric: str) -> float:
        """Return the mean of `metric` over users."""
        return float(self.values[metric].mean())

    def interval(self, metric: str) -> Interval:
        """Return the mean with its bootstrap 95 % interval."""
        return mean_interval(self.values[metric])


@dataclass(frozen=True, kw_only=True)
class QualityReport:
    """Every ranking measured on the same users, and how many users were left out."""

    rows: tuple[Quality, ...]
    users: int
    excluded_users: int
    recall_stage_1: float  # share of the large ranker's own top 10 that stage 1 keeps

    def row(self, name: str) -> Quality:
        """Return one ranking. Raises ValueError for an unknown name."""
        for quality in self.rows:
            if quality.name == name:
                return quality
        raise ValueError(f"name must be one of {[q.name for q in self.rows]}, not {name!r}")

    def difference(self, name: str, base: str, metric: str = "ndcg@10") -> Interval:
        """Return the relative difference name / base - 1 with its paired 95 % interval."""
        return relative_difference(self.row(name).values[metric], self.row(base).values[metric])

    def to_json(self) -> dict[str, Any]:
        """Return means and intervals, JSON-able, in a fixed order."""
        rows = {
            quality.name: {metric: asdict(quality.interval(metric)) for metric in METRICS}
            for quality in self.rows
        }
        return {
            "users": self.users,
            "excluded_users": self.excluded_users,
            "recall_stage_1": self.recall_stage_1,
            "rows": rows,
        }


def scorer(parameters: dlrm.RankerParameters, data: FeatureData) -> Scorer:
    """Return the float ranker as a function (user, item ids) -> logits."""
    items = dlrm.item_vectors(parameters, data)
    return lambda user, item_ids: dlrm.logits(parameters, data, user, item_ids, items)


def one_stage(score: Scorer) -> Ranking:
    """Return the ranking by `score` of all candidates, by (score descending, id ascending)."""
    return lambda user, candidates: rank_items(candidates, score(user, candidates))


def two_stage(first: Scorer, second: Scorer, k: int = STAGE_2_ITEMS) -> Ranking:
    """Return the ranking by `second` of the exact top `k` of `first`."""

    def ranking(user: int, candidates: npt.NDArray[np.int32]) -> Ids:
        kept = rank_items(candidates, first(user, candidates))[:k].astype(np.int32)
        return rank_items(kept, second(user, kept))

    return ranking


def evaluate(name: str, ranking: Ranking, split: Split, *, progress: bool = False) -> Quality:
    """Measure `ranking` on every user that has a relevant held-out item."""
    values: dict[str, list[float]] = {metric: [] for metric in METRICS}
    users = split.test_users
    for user in track(users, description=f"{name:<24}", disable=not progress):
        served = ranking(int(user), split.candidates(int(user)))[:SERVED]
        relevant = split.relevant[int(user)]
        values["ndcg@10"].append(ndcg(served, relevant, 10))
        values["ndcg@64"].append(ndcg(served, relevant, 64))
        values["hit@10"].append(hit_rate(served, relevant, 10))
    return Quality(name=name, values={metric: np.array(v) for metric, v in values.items()})


def choose_penalty(split: Split) -> float:
    """Return the EASE penalty with the best NDCG@10 on a hold-out inside the training part."""
    inner = split_rows(split.train, split.user_count, split.item_count)

    def value(penalty: float) -> float:
        return evaluate("ease", one_stage(ease_scorer(inner, penalty)), inner).mean("ndcg@10")

    return max(EASE_PENALTIES, key=value)


def ease_scorer(split: Split, penalty: float) -> Scorer:
    """Return EASE fitted on the training ratings of at least 4."""
    liked = split.train.filter(pl.col("rating") >= RELEVANT_RATING)
    matrix = baselines.interaction_matrix(
        liked["user"].to_numpy(), liked["item"].to_numpy(), (split.user_count, split.item_count)
    )
    scores = matrix @ baselines.ease_weights(matrix, penalty)
    return lambda user, item_ids: scores[user, item_ids]


def popularity_scorer(split: Split, least_rating: float = 0.0) -> Scorer:
    """Return the count of training ratings of at least `least_rating`, the same for all users."""
    items = split.train.filter(pl.col("rating") >= least_rating)["item"].to_numpy()
    counts = baselines.popularity(items, split.item_count)
    return lambda user, item_ids: counts[item_ids]


def baseline_scorers(split: Split) -> dict[str, Scorer]:
    """Return the rankings that every ranker is printed beside."""
    penalty = choose_penalty(split)
    return {
        "popularity (ratings)": popularity_scorer(split),
        "popularity (ratings >= 4)": popularity_scorer(split, RELEVANT_RATING),
        f"EASE (penalty {penalty:g})": ease_scorer(split, penalty),
    }


def recall_of_first(first: Scorer, second: Scorer, split: Split, k: int = STAGE_2_ITEMS) -> float:
    """Return the mean share of the second ranker's own top 10 among the first's top `k`."""
    shares = []
    for user in split.test_users:
        candidates = split.candidates(int(user))
        best = rank_items(candidates, second(int(user), candidates))[:10]
        kept = rank_items(candidates, first(int(user), candidates))[:k]
        shares.append(set_recall(kept, best))
    return float(np.mean(shares))


def float_report(
    small: dlrm.RankerParameters,
    large: dlrm.RankerParameters,
    data: FeatureData,
    split: Split,
    *,
    extra: Mapping[str, Ranking] | None = None,
    scorers: tuple[Scorer, Scorer] | None = None,
    progress: bool = False,
) -> QualityReport:
    """Measure baselines, both float rankers alone, and the float funnel.

    extra : more rankings by name, such as the integer funnel.
    scorers : the float (small, large) as functions, where the caller has them.
    """
    first, second = scorers or (scorer(small, data), scorer(large, data))
    rankings = {name: one_stage(score) for name, score in baseline_scorers(split).items()}
    rankings[FLOAT_SMALL] = one_stage(first)
    rankings[FLOAT_LARGE] = one_stage(second)
    rankings[FLOAT_TWO_STAGE] = two_stage(first, second)
    rankings.update(extra or {})
    return QualityReport(
        rows=tuple(evaluate(n, r, split, progress=progress) for n, r in rankings.items()),
        users=len(split.test_users),
        excluded_users=split.excluded_users,
        recall_stage_1=recall_of_first(first, second, split),
    )


def quality_table(report: QualityReport) -> Table:
    """Return a rich table: metrics with 95 % intervals, and NDCG@10 relative to one-stage large."""
    table = Table(
        title=f"{report.users} users ({report.excluded_users} without a relevant item excluded), "
        "95 % intervals: paired bootstrap over users"
    )
    table.add_column("ranking")
    for metric in METRICS:
        table.add_column(metric, justify="right")
    table.add_column("NDCG@10 against large [%]", justify="right")
    for quality in report.rows:
        cells = []
        for metric in METRICS:
            value = quality.interval(metric)
            cells.append(f"{value.estimate:.4f} [{value.low:.4f}, {value.high:.4f}]")
        gap = report.difference(quality.name, FLOAT_LARGE)
        cells.append(f"{100 * gap.estimate:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]")
        table.add_row(quality.name, *cells)
    return table
