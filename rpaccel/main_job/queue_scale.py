"""`rpaccel queue-scale`: how fast queues are simulated, and what arrivals do to one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rpaccel.main_job.bench import deadline_rate, policy_rate, queue_rate, stage_rate
from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.sweep import check_cluster, executor_of
from rpaccel.scheduler.arrival_study import QueueTail, queue_tails
from rpaccel.scheduler.arrivals import POISSON, PROCESSES, find_process
from rpaccel.scheduler.scale import ScaleReport, run_scale
from rpaccel.scheduler.stage_study import ITEMS, KEPT, PARTS, StageTail, stage_tails
from rpaccel.spec.recpipe import load_recpipe

__all__ = ["QueueAsk", "QueueStudy", "queue_text", "queue_values", "run_queues"]

Say = Callable[[str], None]
RATES = (
    ("first come, first served, 3 stages x 4 servers", queue_rate, 5e6),
    ("policies on 40 cores: split, merged, two priorities", policy_rate, 1e6),
    ("the same, deadlines that differ", deadline_rate, 1e6),
    ("policies of 3 stages on cores and a GPU: all of these", stage_rate, 1e6),
)
GAPS_MS, BUSY = (2.0, 5.0, 10.0), 0.85  # gaps of the range that DeepRecSys' scripts try
STAGE_LOADS_QPS = (100.0, 250.0, 400.0, 500.0, 550.0)  # around that of RecPipe's figure 7
CHANGING_BUSY = 0.5  # on average, where the load changes
GOAL_S = 240.0  # of 10,000 configurations of 100,000 queries each, on 2 cores


@dataclass(frozen=True, kw_only=True)
class QueueAsk:
    """What `rpaccel queue-scale` is asked; jobs and cluster as `main_job.sweep.run` has them."""

    configurations: int = 10_000
    queries: int = 100_000
    jobs: int = 2
    cluster: str | None = None
    trace: Path | None = None
    seed: int = 0

    @property
    def command(self) -> str:
        """The command that writes the page: every option that is not the default."""
        return f"rpaccel queue-scale {self.options}".rstrip()

    @property
    def target(self) -> str:
        """The same by Makefile."""
        return f"make queue-scale ARGS={shlex.quote(self.options)}".removesuffix(" ARGS=''")

    @property
    def options(self) -> str:
        """Every option that is not the default, as a shell reads them."""
        words = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                words += [f"--{field.name}", shlex.quote(str(value))]
        return " ".join(words)


@dataclass(frozen=True, kw_only=True)
class QueueStudy:
    """rates : (what, queries/s of one core, goal). busy : the machine's load before, of `cores`."""

    ask: QueueAsk
    rates: tuple[tuple[str, float, float], ...]
    scale: ScaleReport
    tails: tuple[QueueTail, ...]
    stages: tuple[StageTail, ...]
    busy: float
    cores: int


def run_queues(ask: QueueAsk, say: Say) -> QueueStudy:
    """Measure the rates, evaluate the configurations, and compare arrivals."""
    check_cluster(ask.cluster)
    traces = [find_process(trace=ask.trace)] if ask.trace is not None else []
    changing = [POISSON, PROCESSES["bursts"], PROCESSES["diurnal"], *traces]
    busy = os.getloadavg()[0]
    say("rates of one core ...")
    rates = tuple((what, measure(ask.seed), goal) for what, measure, goal in RATES)
    say(f"{ask.configurations:,} configurations of {ask.queries:,} queries ...")
    with executor_of(ask.jobs, ask.cluster) as (executor, _):
        scale = run_scale(ask.configurations, ask.queries, ask.seed, executor)
    return QueueStudy(
        ask=ask,
        rates=rates,
        scale=scale,
        tails=tuple(
            queue_tails([POISSON, PROCESSES["artifact"]], GAPS_MS, BUSY, seed=ask.seed)
            + queue_tails(changing, GAPS_MS[:1], CHANGING_BUSY, seed=ask.seed)
        ),
        stages=tuple(stage_tails(load_recpipe("criteo"), STAGE_LOADS_QPS, seed=ask.seed)),
        busy=busy,
        cores=os.cpu_count() or 1,
    )


def queue_text(study: QueueStudy) -> str:
    """Return docs/generated/queueing.md."""
    scale, ask = study.scale, study.ask
    rates = [
        [what, f"{found / 1e6:.2f}", f"{goal / 1e6:g}", f"{found / goal:.2f}"]
        for what, found, goal in study.rates
    ]
    where = f"the cluster {ask.cluster}" if ask.cluster else f"{ask.jobs or study.cores} processes"
    least, middle, most = scale.p99_ms
    return f"""# Queues: how fast they are simulated, and what arrivals do to them

Written by `{ask.command}` (`{ask.target}`). Rates are of the machine that wrote the page:
{study.cores} cores, their load {study.busy:.2f} in the minute before. A load of more than a few
tenths makes them too low.

## Queries per second of one core
By the clock of the process, the best of three; percentiles and their intervals included.

{markdown_table(["what", "million queries/s", "goal", "of the goal"], rates)}
## Many configurations
{scale.cases:,} configurations (pipelines of one to three stages, nodes that split, offload and
merge) x {scale.queries:,} queries on {where}: {scale.wall_s:.1f} s, {scale.cpu_s:.1f} s of
cores, {scale.queries_per_core_s / 1e6:.2f} million queries/s of a core. Goal for 10,000 x 100,000
on 2 cores: {GOAL_S:g} s. Their p99 is {least:.3g} to {most:.3g} ms, the median {middle:.3g} ms.

## What arrivals change
One server, equal service times: the p95 latency over the service time, with its 95 % interval, by
the mean gap; in brackets the spread of the gaps over their mean. {100 * BUSY:g} % busy:

{_tails(study, BUSY)}
`artifact` is how DeepRecSys' repository draws gaps: whole milliseconds, Poisson distributed, which
is no Poisson process. Gaps of some milliseconds vary too little: tails are short, and the load
under a target is large. {100 * CHANGING_BUSY:g} % busy on average, of a load that changes:

{_tails(study, CHANGING_BUSY)}
## Merged requests, and later stages first
RecPipe's two stages, rmsmall on {ITEMS} items and rmlarge on {KEPT}, with its published service
times: p99 [ms] with its 95 % interval, Poisson arrivals (`scheduler/stage_queues.py`). The first
stage is requests of {PARTS} items to 64 threads that slow each other down as in
[recpipe.md](recpipe.md); the second one is a request to these threads, or to a T4. *Merged*: it may
hold items of several queries that wait, up to {PARTS} on a thread and {ITEMS} on the GPU. *Later
stage first*: of what waits for the threads. In brackets: requests of the second stage per query.

{_stages(study)}
A page that does not say otherwise has Poisson arrivals; `rpaccel schedule` and `deeprecsched` take
others, `--arrivals NAME` or `--trace FILE`.
"""


def _stages(study: QueueStudy) -> str:
    loads = sorted({tail.load_qps for tail in study.stages})
    rows = {(tail.device, tail.way): [tail.device, tail.way] for tail in study.stages}
    for tail in study.stages:  # by device and way, then by load
        low, high = tail.interval_ms
        rows[tail.device, tail.way].append(
            f"{tail.p99_ms:.1f} [{low:.1f}, {high:.1f}] ({tail.requests:.2f})"
            if tail.p99_ms < float("inf")
            else "not met"
        )
    head = ["second stage", "requests", *(f"{load:g} queries/s" for load in loads)]
    return markdown_table(head, list(rows.values()))


def _tails(study: QueueStudy, busy: float) -> str:
    chosen = [tail for tail in study.tails if tail.busy == busy]
    gaps = sorted({tail.gap_ms for tail in chosen})
    rows = {tail.process: [tail.process] for tail in chosen}
    for tail in chosen:  # by process, then by gap
        rows[tail.process].append(
            f"{tail.p95:.2f} [{tail.low:.2f}, {tail.high:.2f}] ({tail.gap_spread:.2f})"
        )
    return markdown_table(["arrivals", *(f"{gap:g} ms" for gap in gaps)], list(rows.values()))


def queue_values(study: QueueStudy) -> dict[str, Any]:
    """Return the page's figures for machines."""
    return {
        "rates": [
            {"what": what, "queries_per_core_s": found, "goal": goal}
            for what, found, goal in study.rates
        ],
        "scale": asdict(study.scale) | {"queries_per_core_s": study.scale.queries_per_core_s},
        "arrivals": [asdict(tail) for tail in study.tails],
        "stages": [asdict(tail) for tail in study.stages],
        "busy": study.busy,
        "cores": study.cores,
    }
