"""The page of the filter study: `rpaccel filter-study`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from rpaccel.host.quantise import integer_logits, quantise
from rpaccel.main_job.inputs import JobInputs, load_inputs
from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.rankers import CALIBRATION_USERS, KEEP
from rpaccel.workloads import filter_study
from rpaccel.workloads.filter_study import Choice, ScoredQuery, StudyData

__all__ = ["filter_text", "filter_values", "movielens_data", "run_filter_study"]

DATA = "ml-100k"
SERVED = 10  # NDCG@10, as the quality table of the main job
PUBLISHED_THRESHOLDS = {"CTR >= 0.5 (published)": 0, "CTR >= 0.12": -4096, "none": -32768}


def movielens_data(inputs: JobInputs, seed: int = 0, users: int | None = None) -> StudyData:
    """Return test users' candidates with the int8 logits of both rankers.

    The edges are placed by the candidates of the users that the main job calibrates with; these
    are no queries. users : only the first so many of the others.
    """
    ranked = {name: quantise(p, inputs.features).ranker for name, p in inputs.rankers.items()}
    count = min(CALIBRATION_USERS, inputs.log.user_count // 2)
    drawn = np.sort(np.random.default_rng(seed).choice(inputs.log.user_count, count, replace=False))

    def logits(name: str, of: np.ndarray) -> list[np.ndarray]:
        candidates = [inputs.split.candidates(int(user)).astype(np.int64) for user in of]
        return integer_logits(ranked[name], inputs.features, of, candidates)

    others = np.setdiff1d(inputs.split.test_users, drawn)
    tested = others[:users].astype(np.int64)
    scores = {name: logits(name, tested) for name in ("small", "large")}
    return StudyData(
        name=f"{len(tested)} test users",
        calibration=logits("small", drawn),
        queries=[
            ScoredQuery(
                ids=inputs.split.candidates(int(user)).astype(np.int64),
                first=first,
                second=second,
                relevant=np.asarray(inputs.split.relevant[int(user)], dtype=np.int64),
            )
            for user, first, second in zip(tested, scores["small"], scores["large"], strict=True)
        ],
        k=min(KEEP, inputs.split.item_count // 4),
        served=SERVED,
    )


def shuffled(data: StudyData, seed: int = 0) -> StudyData:
    """Return `data` with the candidates of every query in random order."""
    rng = np.random.default_rng(seed)

    def mixed(query: ScoredQuery) -> ScoredQuery:
        order = rng.permutation(len(query.ids))
        return replace(
            query, ids=query.ids[order], first=query.first[order], second=query.second[order]
        )

    return replace(
        data,
        name=f"{data.name}, candidates shuffled",
        queries=[mixed(query) for query in data.queries],
    )


def run_filter_study(
    data: str = DATA,
    seed: int = 0,
    users: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, list[Choice]]:
    """Return the rows of every table by its title."""
    measured = movielens_data(load_inputs(data, seed), seed, users)
    measured = replace(measured, name=f"{data}, {measured.name}")
    few = None if users is None else min(users, 100)
    size = {} if few is None else {"queries": few}
    sets = [
        measured,
        shuffled(measured, seed),
        filter_study.criteo_like(seed=seed, **size),
        filter_study.criteo_like(seed=seed, query_std=1.0, **size),  # assumed: users differ
    ]
    tables = {}
    for one in sets:
        say(one.name)
        title = f"{one.name}: k = {one.k}, NDCG@{one.served}"
        if one is not sets[1]:
            tables[f"{title}, at least k"] = filter_study.study_bins(one)
            tables[f"{title}, the next stage takes k"] = filter_study.study_bins(one, limited=True)
            tables[f"{title}, fixed threshold"] = filter_study.study_threshold(
                one, PUBLISHED_THRESHOLDS
            )
        tables[f"{title}, sub-batches"] = filter_study.study_sub_batches(one)
    return tables


def filter_values(tables: dict[str, list[Choice]]) -> list[dict[str, Any]]:
    """Return the figures for JSON, one entry per row."""
    return [{"table": title, **asdict(row)} for title, rows in tables.items() for row in rows]


COLUMNS: dict[str, Callable[[Choice], str]] = {
    "choice": lambda choice: choice.name,
    "bins": lambda choice: str(choice.bins),
    "over k, median [%]": lambda choice: f"{choice.overshoot_median:+.1f}",
    "p95 [%]": lambda choice: f"{choice.overshoot_p95:+.1f}",
    "recall": lambda choice: f"{choice.recall:.4f}",
    "NDCG change [%]": lambda choice: f"{choice.ndcg_change:+.2f}",
    "underfilled [%]": lambda choice: f"{100 * choice.underfilled:.1f}",
    "early [%]": lambda choice: f"{100 * choice.early:.0f}",
    "stored [%]": lambda choice: f"{100 * choice.stored:.0f}",
}


def filter_text(
    tables: dict[str, list[Choice]],
    *,
    data: str = DATA,
    seed: int = 0,
    users: int | None = None,
) -> str:
    """Return the page; the same rows give the same bytes. It names what is not the default."""
    options = "" if data == DATA else f" --data {data}"
    options += "" if users is None else f" --users {users}"
    options += f" --seed {seed}" if seed else ""
    parts = [_TEXT.format(options=options)]
    for title, rows in tables.items():
        empty = {"stored [%]", "underfilled [%]"} if rows[0].early else {"early [%]"}
        head = [name for name in COLUMNS if name not in empty]
        table = markdown_table(head, [[COLUMNS[name](row) for name in head] for row in rows])
        parts.append(f"## {title}\n\n{table}")
    return "\n".join(parts)


_TEXT = """\
# What the bucket filter costs

Written by `rpaccel filter-study{options} --out docs/generated/filter.md`. Scores of the \
log are those of
the golden int8 rankers, of users that did not place the edges; Criteo-like scores are
drawn (`workloads/filter_study.py`). Everything is against the exact top k of the first stage,
served by the second stage's scores.

Over k: items that go on above k. Recall: share of the exact top k that goes on. NDCG change: of the
mean over the queries. Underfilled: queries with fewer than k. Early: share of what goes on that
leaves before the last sub-batch. Stored: share of the scores that the filter stores (adaptive
unless the threshold is fixed). "The next stage takes k": what is too many is cut off in the order
of emission. Sub-batches in the order of the candidates, 16 bins, calibrated edges; what the carry
mode holds back is described in [the filter](../bucket_filter.md).
"""
