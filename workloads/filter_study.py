"""What the filter between two stages costs in quality: bins, edges, sub-batches.

A funnel keeps k of the candidates by the first stage's logits and serves the best of them by the
second stage's. Every choice is compared with the exact top k on the same queries: set recall,
NDCG of what is served, and how many more than k go on.
Ref: RecPipe (MICRO 2021), sections 6.2 (bins uniform in CTR, threshold 0.5) and 6.4 (4 sub-batches,
each keeps k/4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from rpaccel.golden.bucket_filter import bucket_filter, filter_sub_batches
from rpaccel.golden.metrics import ndcg, rank_items, set_recall
from rpaccel.spec.isa import LOGIT_FRACTION_BITS

Ints = npt.NDArray[np.int64]
Placement = Callable[[Sequence[Ints], int, int], Ints]  # (calibration logits, k, bins) -> edges

BINS = (4, 8, 16, 32, 64)
SUB_BATCHES = (2, 4, 8, 16)
LOWEST, HIGHEST = -(1 << 15), (1 << 15) - 1
LOGIT_ONE = 1 << LOGIT_FRACTION_BITS

# Criteo-like logits. The second stage's are normal and calibrated: CTR_SHARE of the rows are
# clicked and the AUC is that of RMlarge; noise brings the first stage to the AUC of RMsmall
# (0.8040 and 0.7984 in the sweep logs of RecPipe's artifact; 25.6 % clicks in Criteo Kaggle).
CTR_SHARE, AUC_FIRST, AUC_SECOND = 0.256, 0.7984, 0.8040
SECOND_MEAN, SECOND_STD, FIRST_NOISE_STD = -1.439, 1.392, 0.2665  # test: they give these figures


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredQuery:
    """ids, first, second : int64[n], int16 logits of both stages, in the order of the query.

    relevant : int64[m], m >= 1, ids.
    """

    ids: Ints
    first: Ints
    second: Ints
    relevant: Ints


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyData:
    """Queries, logits of other queries that place the edges, k, and the length served."""

    name: str
    calibration: Sequence[Ints]
    queries: Sequence[ScoredQuery]
    k: int
    served: int


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One way of filtering over all queries.

    overshoot_median, overshoot_p95 : more than k [%]. recall : mean share of the exact top k that
    goes on. ndcg_change : of the mean NDCG against the exact top k [%]. underfilled : share of
    queries with fewer than k. early : share of what goes on that leaves before the last sub-batch.
    stored : share of the scores that the filter stores.
    """

    name: str
    bins: int
    overshoot_median: float
    overshoot_p95: float
    recall: float
    ndcg_change: float
    underfilled: float = 0.0
    early: float = 0.0
    stored: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """What goes on of one query: positions; those that leave early; scores stored."""

    positions: Ints
    early: int = 0
    stored: int = 0


def uniform_ctr_edges(logits: Sequence[Ints], k: int, bins: int) -> Ints:
    """Return edges at the logits of CTR i / bins, as published; whatever the scores."""
    share = np.arange(1, bins) / bins
    return _as_edges(np.log(share / (1 - share)) * LOGIT_ONE)


def uniform_logit_edges(logits: Sequence[Ints], k: int, bins: int) -> Ints:
    """Return edges that cut the range of the calibration logits into equal parts."""
    together = np.concatenate(logits)
    return _as_edges(np.linspace(together.min(), together.max() + 1, bins + 1)[1:-1])


def quantile_edges(logits: Sequence[Ints], k: int, bins: int) -> Ints:
    """Return edges with equally many calibration logits in every bin."""
    return _as_edges(np.quantile(np.concatenate(logits), np.arange(1, bins) / bins))


def calibrated_edges(logits: Sequence[Ints], k: int, bins: int) -> Ints:
    """Return edges at k-th best logits of calibration queries, with the least sum of overshoots.

    A query uses the highest edge at or under its own k-th best logit; dynamic programming over
    the queries sorted by it. The rule of host.calibrate for any number of bins.
    """
    queries = sorted((np.sort(query)[::-1] for query in logits), key=lambda query: query[k - 1])
    cuts = np.array([query[k - 1] for query in queries])
    passed = np.stack([np.searchsorted(-query, -cuts, side="right") for query in queries], axis=1)
    count = len(queries)
    # cost[i, j]: overshoot of queries i..j-1 with an edge at cuts[i].
    sums = np.concatenate([np.zeros((count, 1), int), np.cumsum(passed - k, axis=1)], axis=1)
    cost = sums - sums[np.arange(count), np.arange(count)][:, None]
    never = 1 << 60
    cost[np.tril_indices(count, 0, count + 1)] = never
    best, choices = np.where(np.arange(count + 1) == 0, 0, never), []
    for _ in range(min(bins - 1, count)):
        sum_from = best[:count, None] + cost
        choices.append(sum_from.argmin(axis=0))
        best = np.minimum(sum_from.min(axis=0), never)
    end, places = count, []
    for choice in reversed(choices):
        end = int(choice[end])
        places.append(end)
        if end == 0:
            break
    chosen = cuts[places[::-1]]
    return np.concatenate([chosen, np.repeat(chosen[-1:], bins - 1 - len(chosen))])


PLACEMENTS: dict[str, Placement] = {
    "uniform in CTR": uniform_ctr_edges,
    "uniform in logit": uniform_logit_edges,
    "quantile": quantile_edges,
    "calibrated": calibrated_edges,
}


def _as_edges(values: npt.NDArray[np.float64]) -> Ints:
    return np.clip(np.rint(values), LOWEST, HIGHEST).astype(np.int64)


def criteo_like(
    *,
    queries: int = 100,
    calibration: int = 100,
    items: int = 4096,
    k: int = 512,
    served: int = 64,
    query_std: float = 0.0,
    seed: int = 0,
) -> StudyData:
    """Return queries of unrelated rows with the score and click statistics of Criteo Kaggle.

    query_std : spread of a shift that all logits of a query share; 0: rows are unrelated, as in
    the data set. Clicks are drawn from the second stage's logits.
    """
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(calibration + queries):
        shift = rng.normal(0, query_std)
        second = rng.normal(SECOND_MEAN, SECOND_STD, items) + shift
        first = second + rng.normal(0, FIRST_NOISE_STD, items)
        clicked = np.flatnonzero(rng.random(items) < 1 / (1 + np.exp(-second)))
        made.append(
            ScoredQuery(
                ids=np.arange(items),
                first=_as_edges(first * LOGIT_ONE),
                second=_as_edges(second * LOGIT_ONE),
                relevant=clicked if len(clicked) else np.array([int(second.argmax())]),
            )
        )
    name = "Criteo-like" + (f", query shift {query_std:g}" if query_std else "")
    return StudyData(
        name=name,
        calibration=[query.first for query in made[:calibration]],
        queries=made[calibration:],
        k=k,
        served=served,
    )


def study_bins(
    data: StudyData, bins: Sequence[int] = BINS, *, limited: bool = False
) -> list[Choice]:
    """Return one row per placement and number of bins: at least k, no threshold, adaptive.

    limited : the next stage takes k at most, so what is too many is cut off in order of emission.
    """
    rows = []
    for (name, place), count in product(PLACEMENTS.items(), bins):
        edges = place(data.calibration, data.k, count)

        def keep(query: ScoredQuery, edges: Ints = edges) -> Kept:
            result = bucket_filter(
                query.ids, query.first, edges, LOWEST, data.k,
                adaptive=True, limit=data.k if limited else 0,
            )  # fmt: skip
            return Kept(positions=result.positions, stored=int(result.bins.sum()))

        rows.append(measure(name, count, data, keep))
    return rows


def study_threshold(data: StudyData, thresholds: Mapping[str, int], bins: int = 16) -> list[Choice]:
    """Return one row per fixed threshold [logit], with calibrated edges."""
    edges = calibrated_edges(data.calibration, data.k, bins)
    rows = []
    for name, threshold in thresholds.items():

        def keep(query: ScoredQuery, threshold: int = threshold) -> Kept:
            result = bucket_filter(query.ids, query.first, edges, threshold, data.k)
            return Kept(positions=result.positions, stored=int(result.bins.sum()))

        rows.append(measure(name, bins, data, keep))
    return rows


def study_sub_batches(
    data: StudyData, counts: Sequence[int] = SUB_BATCHES, bins: int = 16
) -> list[Choice]:
    """Return for each number of sub-batches: k/n of each, and the carry mode by what it holds."""
    edges = calibrated_edges(data.calibration, data.k, bins)
    rows = []
    for count in counts:
        keeps = {
            "k/n each": _apart(data.k, edges, count, exact=False),
            "k/n each, exact": _apart(data.k, edges, count, exact=True),
            "carry, certain": _carried(data.k, edges, count, certain_held),
            "carry, certain, exact": _carried(data.k, edges, count, certain_held, exact=True),
            "carry, even": _carried(data.k, edges, count, even_held),
            "carry, possible": _carried(data.k, edges, count, possible_held),
        }
        rows += [measure(f"{count}: {name}", bins, data, keep) for name, keep in keeps.items()]
    return rows


def certain_held(k: int, to_come: Ints) -> Ints:
    """Return what is held back so that only what is surely chosen leaves: the items to come."""
    return to_come


def even_held(k: int, to_come: Ints) -> Ints:
    """Return what is held back so that k leave in equal parts; to_come[-1] is 0."""
    count = len(to_come)
    return k - k * np.arange(1, count + 1) // count


def possible_held(k: int, to_come: Ints) -> Ints:
    """Return what is held back so that all that can still be chosen leave: nothing."""
    return np.zeros_like(to_come)


def _batches(query: ScoredQuery, count: int) -> list[tuple[Ints, Ints]]:
    parts = (np.array_split(values, count) for values in (query.ids, query.first))
    return list(zip(*parts, strict=True))


def _kept(query: ScoredQuery, parts: Sequence[Ints]) -> Kept:
    together = np.concatenate(parts)
    return Kept(positions=together, early=len(together) - len(parts[-1]), stored=len(query.ids))


def _apart(k: int, edges: Ints, count: int, *, exact: bool) -> Callable[[ScoredQuery], Kept]:
    """Return the filter that gives each of `count` sub-batches its own share of k."""
    shares = np.diff(k * np.arange(count + 1) // count)

    def keep(query: ScoredQuery) -> Kept:
        parts, start = [], 0
        for (ids, logits), share in zip(_batches(query, count), shares.tolist(), strict=True):
            result = bucket_filter(ids, logits, edges, LOWEST, share, exact=exact)
            parts.append(result.positions + start)
            start += len(ids)
        return _kept(query, parts)

    return keep


def _carried(
    k: int, edges: Ints, count: int, hold: Callable[[int, Ints], Ints], *, exact: bool = False
) -> Callable[[ScoredQuery], Kept]:
    """Return the filter that carries its bins across `count` sub-batches."""

    def keep(query: ScoredQuery) -> Kept:
        batches = _batches(query, count)
        to_come = len(query.ids) - np.cumsum([len(ids) for ids, _ in batches])
        held = hold(k, to_come).tolist()
        results = filter_sub_batches(batches, edges, LOWEST, k, held, exact=exact)
        return _kept(query, [result.positions for result in results])

    return keep


def measure(name: str, bins: int, data: StudyData, keep: Callable[[ScoredQuery], Kept]) -> Choice:
    """Return what `keep` costs over all queries of `data`."""
    sizes, recalls, quality, reference, early, stored = [], [], [], [], [], []
    for query in data.queries:
        exact = rank_items(query.ids, query.first)[: data.k]
        kept = keep(query)
        sizes.append(len(kept.positions))
        recalls.append(set_recall(query.ids[kept.positions], exact))
        quality.append(_served_ndcg(data, query, kept.positions))
        reference.append(_served_ndcg(data, query, np.flatnonzero(np.isin(query.ids, exact))))
        early.append(kept.early / max(1, len(kept.positions)))
        stored.append(kept.stored / len(query.ids))
    over = 100 * (np.array(sizes) / data.k - 1)
    return Choice(
        name=name,
        bins=bins,
        overshoot_median=float(np.median(over)),
        overshoot_p95=float(np.percentile(over, 95)),
        recall=float(np.mean(recalls)),
        ndcg_change=float(100 * (np.mean(quality) / np.mean(reference) - 1)),
        underfilled=float((over < 0).mean()),
        early=float(np.mean(early)),
        stored=float(np.mean(stored)),
    )


def _served_ndcg(data: StudyData, query: ScoredQuery, positions: Ints) -> float:
    served = rank_items(query.ids[positions], query.second[positions])
    return ndcg(served, query.relevant, data.served)
