"""A pipeline looked at again, longer: its quantiles with intervals, and whether a target is met.

A search compares thousands of pipelines on few queries; what it shows is simulated once more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rpaccel.scheduler.arrivals import Floats
from rpaccel.scheduler.intervals import quantile_intervals, quantiles_of
from rpaccel.scheduler.peak import LEAST_QUERIES, WARM_UP, Sla, Verdict, probe
from rpaccel.scheduler.recpipe_evaluate import Evaluator, PipelineTable

__all__ = ["FIRST_LOOK", "LONGEST", "SecondLook", "look_again", "make_sla"]

LONGEST = 1 << 17  # queries of the run whose quantiles are printed, and of the longest look
FIRST_LOOK = 2048


@dataclass(frozen=True, kw_only=True)
class SecondLook:
    """Latencies of a longer run, and what the sequential test says of a target.

    spread_ms : percentile -> its value and the 95 % interval's ends [ms]; of `queries` queries
    verdict : None where there is no target; OPEN: not sure after `judged` queries of all looks
    """

    spread_ms: dict[float, tuple[float, float, float]]
    queries: int
    verdict: Verdict | None = None
    judged: int = 0


def make_sla(limit_ms: float, evaluator: Evaluator) -> Sla:
    """Return a target of the sequential test whose longest look is all of the evaluator's queries.

    It is the first one, too, where a short look may miss what arrivals do.
    """
    most = evaluator.queries
    first = max(LEAST_QUERIES, min(FIRST_LOOK, most)) if evaluator.process.steady else most
    return Sla(limit_s=1e-3 * limit_ms, percentile=evaluator.percentile, first=first, most=most)


def look_again(
    evaluator: Evaluator,
    table: PipelineTable,
    row: int,
    load_qps: float,
    limit_ms: float | None = None,
) -> SecondLook:
    """Simulate a row of the table at a load that settles with all the evaluator's queries.

    limit_ms : the target of the evaluator's percentile, None: no verdict.
    """

    def latencies(load: float, count: int) -> Floats:
        return evaluator.latencies(table, np.array([row]), np.array([load]), count)[0]

    shares = sorted({50.0, 95.0, evaluator.percentile})
    values = 1e3 * latencies(load_qps, evaluator.queries)[int(evaluator.queries * WARM_UP) :]
    quantiles = [share / 100 for share in shares]
    ends = quantile_intervals(values, quantiles)
    spread = {
        share: (middle, *end)
        for share, middle, end in zip(shares, quantiles_of(values, quantiles), ends, strict=True)
    }
    if limit_ms is None:
        return SecondLook(spread_ms=spread, queries=evaluator.queries)
    sla = make_sla(limit_ms, evaluator)
    found = probe(latencies, load_qps, sla)
    sure = Verdict.PASSES if found.passes else Verdict.FAILS
    return SecondLook(
        spread_ms=spread,
        queries=evaluator.queries,
        verdict=sure if found.sure else Verdict.OPEN,
        judged=found.queries,
    )
