"""How much requests to the paper's CPU slow each other down: fitted to one curve of figure 7."""

from __future__ import annotations

from dataclasses import replace
from math import inf, log

import numpy as np

from rpaccel.main_job.paper_points import FIGURE_7
from rpaccel.main_job.serving_curves import FITTED_QPS
from rpaccel.scheduler.criteo_node import criteo_node
from rpaccel.scheduler.funnel_quality import Funnel, criteo_quality
from rpaccel.scheduler.recpipe_evaluate import Evaluator
from rpaccel.scheduler.recpipe_node import Design
from rpaccel.spec.recpipe import load_recpipe

__all__ = ["STEP", "fit_slowdown"]

STEP = 0.0005
ONE_STAGE = Design(funnel=Funnel(models=("rmlarge",), items=(4096,)), devices=("cpu",))


def fit_slowdown(queries: int = 20_000, seed: int = 0) -> float:
    """Return the slowdown whose p99 of one stage is nearest figure 7's, in log, up to FITTED_QPS.

    One number, in steps of STEP; neither a higher load nor two and three stages are used.
    `serving_curves.fit_contention` is of the same curve, but its requests all meet the mean number
    of busy engines: here some meet more, and the tail is theirs.
    """
    node, quality = criteo_node(load_recpipe("criteo")), criteo_quality()
    paper = {load: tail for load, tail in FIGURE_7["one stage"].items() if load <= FITTED_QPS}
    loads = np.array(list(paper), np.float64)

    def distance(slowdown: float) -> float:
        hosts = {"cpu": replace(node.hosts["cpu"], slowdown=slowdown)}
        slowed = replace(node, hosts=hosts)
        evaluator = Evaluator(slowed, quality, queries=queries, seed=seed)
        table = evaluator.table([ONE_STAGE])
        tails = evaluator.measure(
            table, np.zeros(loads.size, np.int64), loads, evaluator.qualities([ONE_STAGE])
        ).tail_ms
        if not np.all(np.isfinite(tails)):
            return inf
        return sum(log(ours / tail) ** 2 for ours, tail in zip(tails, paper.values(), strict=True))

    return min((STEP * step for step in range(61)), key=distance)
