"""Quality of every pipeline: float on the CPU, int8 on the accelerator, and both mixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rpaccel.cache import cached, source_digest
from rpaccel.golden.block_retrieval import retrieve_blocks
from rpaccel.golden.bucket_filter import bucket_filter
from rpaccel.golden.dlrm import RankerParameters
from rpaccel.golden.lane import rank
from rpaccel.golden.metrics import rank_items
from rpaccel.main_job.rankers import KEEP, CompiledJob
from rpaccel.main_job.three_stages import item_vectors
from rpaccel.scheduler.funnel_quality import Funnel, QualityPoint
from rpaccel.workloads.quality import (
    FLOAT_LARGE,
    FLOAT_SMALL,
    FLOAT_TWO_STAGE,
    METRICS,
    Ranking,
    Scorer,
    evaluate,
    float_report,
    one_stage,
    scorer,
)

INT8_TWO_STAGE = "int8 two-stage (the netlist's)"
INT8_LARGE = "int8 one-stage large"
LATER_ITEMS = (64, 128, 256, 512)
RETRIEVED = (64, 128, 256, 512)  # items that a retrieval stage finds
Ids = npt.NDArray[np.integer]


def remembered(score: Scorer, items: int, users: int) -> Scorer:
    """Return `score`, computed once per (user, item): rankings share most of their scores."""
    values: npt.NDArray[np.float64] = np.full((users, items), np.nan)

    def lookup(user: int, item_ids: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        missing = item_ids[np.isnan(values[user, item_ids])]
        if missing.size:
            values[user, missing] = score(user, missing)
        found: npt.NDArray[np.float64] = values[user, item_ids]
        return found

    return lookup


@dataclass(frozen=True, kw_only=True)
class Scorers:
    """Both rankers in float and in int8, every score computed at most once."""

    job: CompiledJob
    floats: dict[str, Scorer]
    integers: dict[str, Scorer]

    def score(self, model: str, device: str) -> Scorer:
        """Return `model` as `device` runs it: float on the cpu, int8 on the accelerator."""
        return (self.floats if device == "cpu" else self.integers)[model]

    def funnel(self, devices: tuple[str, str], k: int) -> Ranking:
        """Return small -> k -> large. The accelerator's filter keeps at least k, the CPU's k."""
        first, second = self.score("small", devices[0]), self.score("large", devices[1])
        ranker = self.job.rankers[self.job.compiled.slot("small")]

        def ranking(user: int, candidates: npt.NDArray[np.int32]) -> Ids:
            scores = first(user, candidates)
            if devices[0] == "cpu":
                kept = rank_items(candidates, scores)[:k]
            else:
                logits = scores.astype(np.int64)
                edges, threshold = ranker.edges, ranker.threshold
                kept = np.sort(bucket_filter(candidates, logits, edges, threshold, k).ids)
            return rank_items(kept, second(user, kept.astype(np.int32)))

        return ranking


def make_scorers(job: CompiledJob) -> Scorers:
    """Return the scorers of a compiled job."""
    users, items = job.inputs.log.user_count, job.inputs.log.item_count

    def integer(name: str) -> Scorer:
        ranker = job.rankers[job.compiled.slot(name)]

        def score(user: int, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
            record = job.user_records[user].tobytes()
            logits: npt.NDArray[np.int64] = rank(ranker, record, job.feature_table, ids).logits
            return logits

        return score

    def floating(parameters: RankerParameters) -> Scorer:
        return scorer(parameters, job.inputs.features)

    names = job.inputs.rankers
    return Scorers(
        job=job,
        floats={n: remembered(floating(p), items, users) for n, p in names.items()},
        integers={n: remembered(integer(n), items, users) for n in names},
    )


def measure_quality(job: CompiledJob, note: Callable[[str], None]) -> dict[str, Any]:
    """Return the quality table, the paired differences, and NDCG@10 of every pipeline."""
    scorers = make_scorers(job)
    devices = ("accelerator", "accelerator")
    report = float_report(
        job.inputs.small,
        job.inputs.large,
        job.inputs.features,
        job.inputs.split,
        extra={
            INT8_LARGE: one_stage(scorers.integers["large"]),
            INT8_TWO_STAGE: scorers.funnel(devices, KEEP),
        },
        scorers=(scorers.floats["small"], scorers.floats["large"]),
        progress=True,
    )
    note("baselines, float and int8 rankings measured; now the scheduler's pipelines")
    differences = {
        f"{name} against {base}": asdict(report.difference(name, base))
        for name, base in (
            (INT8_TWO_STAGE, FLOAT_LARGE),
            (FLOAT_TWO_STAGE, FLOAT_LARGE),
            (FLOAT_LARGE, FLOAT_SMALL),
            *((FLOAT_LARGE, row.name) for row in report.rows if "EASE" in row.name),
        )
    }
    return report.to_json() | {"differences": differences, "points": pipeline_points(scorers)}


def pipeline_points(scorers: Scorers) -> list[dict[str, Any]]:
    """Return NDCG@10 with its interval for every pipeline of the scheduler's space.

    retrieval : items found in front, 0: all of a user's candidates are ranked.
    """
    job, points = scorers.job, []
    found = _retrieved(job)

    def behind(ranking: Ranking, retrieval: int) -> Ranking:
        if not retrieval:
            return ranking
        return lambda user, _: ranking(user, found[user][:retrieval])

    def add(
        models: tuple[str, ...], later: int, devices: tuple[str, ...], by: Ranking, retrieval: int
    ) -> None:
        quality = evaluate("pipeline", behind(by, retrieval), job.inputs.split)
        interval = quality.interval("ndcg@10")
        points.append(
            {"models": models, "later": later, "devices": devices, "retrieval": retrieval,
             "quality": interval.estimate, "low": interval.low, "high": interval.high}
        )  # fmt: skip

    devices = ("cpu", "accelerator")
    for retrieval in (0, *RETRIEVED):
        for model, device in product(("small", "large"), devices):
            add((model,), 0, (device,), one_stage(scorers.score(model, device)), retrieval)
        for first, second, k in product(devices, devices, LATER_ITEMS):
            if not retrieval or k < retrieval:
                ranking = scorers.funnel((first, second), k)
                add(("small", "large"), k, (first, second), ranking, retrieval)
    return points


def _retrieved(job: CompiledJob) -> dict[int, npt.NDArray[np.int32]]:
    """Return each test user's best candidates by the retrieval stage's scores, best first."""
    vectors, split = item_vectors(job.inputs), job.inputs.split
    corpus, found = vectors.corpus(), {}
    for each in split.test_users:
        user = int(each)
        asked = vectors.query(user, split.candidates(user), max(RETRIEVED))
        found[user] = retrieve_blocks(corpus, [asked])[0].ids.astype(np.int32)
    return found


def quality_points(quality: dict[str, Any], first_items: int) -> tuple[QualityPoint, ...]:
    """Return the measured points as the scheduler wants them; none that do not narrow."""
    points = []
    for point in quality["points"]:
        first = point["retrieval"] or first_items
        if max(point["later"], point["retrieval"]) > first_items:
            continue
        later = (point["later"],) if point["later"] else ()
        points.append(
            QualityPoint(
                funnel=Funnel(
                    models=tuple(point["models"]),
                    items=(first, *later),
                    retrieval_k=point["retrieval"],
                ),
                quality=point["quality"],
                low=point["low"],
                high=point["high"],
                devices=tuple(point["devices"]),
                source="measured on the hold-out",
            )
        )
    return tuple(points)


def cached_quality(
    job: CompiledJob, folder: Path, note: Callable[[str], None]
) -> tuple[dict[str, Any], bool]:
    """Return `measure_quality` and whether it was there from before for the same content."""
    key: list[str | bytes] = [
        job.compiled.image,
        *(table.payload for table in job.compiled.tables),
        job.feature_table.tobytes(),
        job.user_records.tobytes(),
        job.inputs.log.digest,
        source_digest(["golden", "workloads", "main_job"]),
    ]
    return cached(folder, "quality", key, lambda: measure_quality(job, note))


def quality_rows(quality: dict[str, Any]) -> list[list[str]]:
    """Return the table's rows as text: name, each metric with its interval."""
    rows = []
    for name, metrics in quality["rows"].items():
        cells = [
            f"{metrics[m]['estimate']:.4f} [{metrics[m]['low']:.4f}, {metrics[m]['high']:.4f}]"
            for m in METRICS
        ]
        rows.append([name, *cells])
    return rows
