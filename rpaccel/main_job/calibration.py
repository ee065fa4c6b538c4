"""What each way of choosing int8 scales costs: in logits, and in NDCG@10 on the hold-out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from rpaccel.golden.bootstrap import Interval, relative_difference
from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.host.quantise import MethodLoss, calibration_report, integer_logits
from rpaccel.main_job.inputs import JobInputs, load_inputs
from rpaccel.main_job.markdown import markdown_table
from rpaccel.workloads.quality import Quality, evaluate, one_stage, scorer
from rpaccel.workloads.split import Split

__all__ = ["MethodQuality", "calibration_losses", "calibration_text", "calibration_values"]

METRIC = "ndcg@10"
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class MethodQuality:
    """A ranker, one method, and NDCG@10 of the ranker alone over all candidates of `users` users.

    change : int8 against float, relative, with its paired 95 % interval.
    """

    ranker: str
    loss: MethodLoss
    users: int
    float_ndcg: float
    int8_ndcg: float
    change: Interval


def calibration_losses(data: str, users: int | None, seed: int, say: Say) -> list[MethodQuality]:
    """Measure every method on both shipped rankers of `data`, trained before.

    users : drawn by `seed` for NDCG, of those with a relevant held-out item; None: all of them.
    seed : also draws the users whose training records calibrate, and those that judge the logits.
    Raises ValueError for more users than there are; what `load_inputs` raises.
    """
    inputs = load_inputs(data, seed)
    split = inputs.split
    if users is not None:
        if not 1 <= users <= len(split.test_users):
            raise ValueError(f"users must be in 1..{len(split.test_users)}, not {users}")
        split = _only(split, inputs.some_users(users, seed).tolist())
    count = len(split.test_users)
    results = []
    for name, parameters in inputs.rankers.items():
        say(f"{name}: calibrating by every method")
        losses = calibration_report(parameters, inputs.features, seed=seed)
        base = evaluate("float", one_stage(scorer(parameters, inputs.features)), split)
        for loss in losses:
            say(f"{name}: {loss.method}, candidates of {count} users by the int8 ranker")
            quality = _int8_quality(loss.ranker, inputs, split)
            results.append(
                MethodQuality(
                    ranker=name,
                    loss=loss,
                    users=count,
                    float_ndcg=base.mean(METRIC),
                    int8_ndcg=quality.mean(METRIC),
                    change=relative_difference(quality.values[METRIC], base.values[METRIC]),
                )
            )
    return results


def _only(split: Split, users: Sequence[int]) -> Split:
    """Return `split` with the held-out rows of `users` alone."""
    return replace(split, held_out=split.held_out.filter(pl.col("user").is_in(users)))


def _int8_quality(ranker: QuantisedRanker, inputs: JobInputs, split: Split) -> Quality:
    """Return the quality of the int8 ranker alone, from the golden model of a stage."""
    users = split.test_users.astype(np.int64)
    candidates = [split.candidates(int(user)).astype(np.int64) for user in users]
    logits = integer_logits(ranker, inputs.features, users, candidates)
    of_user = dict(zip(users.tolist(), logits, strict=True))
    return evaluate("int8", one_stage(lambda user, _ids: of_user[user]), split)


def calibration_values(results: Sequence[MethodQuality]) -> list[dict[str, Any]]:
    """Return the figures for JSON, one entry per ranker and method."""
    return [
        {
            "ranker": result.ranker,
            "method": result.loss.method,
            "tables": result.loss.tables,
            "logit_rms": result.loss.logit_rms,
            "held_out_rms": result.loss.held_out_rms,
            "float_std": result.loss.float_std,
            "users": result.users,
            "float_ndcg": result.float_ndcg,
            "int8_ndcg": result.int8_ndcg,
            "ndcg_change": asdict(result.change),
        }
        for result in results
    ]


def _row(result: MethodQuality) -> list[str]:
    loss, change = result.loss, result.change
    percent = (100 * value for value in (change.estimate, change.low, change.high))
    return [
        result.ranker,
        loss.method,
        loss.tables,
        f"{loss.logit_rms:.4f}",
        f"{loss.held_out_rms:.4f}",
        f"{100 * loss.held_out_rms / loss.float_std:.2f}",
        f"{result.float_ndcg:.4f}",
        f"{result.int8_ndcg:.4f}",
        "{:+.2f} [{:+.2f}, {:+.2f}]".format(*percent),
    ]


def calibration_text(results: Sequence[MethodQuality], data: str, seed: int) -> str:
    """Return the page; the same results give the same bytes."""
    head = ["ranker", "activations by", "tables by", "logit rms", "held out", "of std [%]",
            "NDCG@10 float", "int8", "change [%]"]  # fmt: skip
    users = results[0].users
    table = markdown_table(head, [_row(result) for result in results])
    return _TEXT.format(data=data, users=users, seed=seed, table=table)


_TEXT = """\
# Ways of choosing int8 scales

Written by `rpaccel calibrate --data {data} --users {users} --seed {seed}` (`make calibrate`).
Nothing is trained: the shipped rankers are quantised by each method of `host/calibrate.py`, every
one with the tables that suit it better. Max: the largest magnitude fills the 127 steps. Percentile:
the 99.99th does. Error: the part of the largest with the least squared error. The compiler
takes the one with the least error on its calibration records.

Logit rms: (integer - float) logits about each query's mean, on the records that calibrate and on
held-out ones of other users; std: spread of the float logits. NDCG@10: that ranker alone over all
candidates of {users} test users, and int8 against float with the paired 95 % interval.

{table}"""
