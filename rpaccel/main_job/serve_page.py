"""What a pipeline did under load, for people: lines of one, a page of some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rpaccel.main_job.serve import GOAL, ServeReport, Trial
from rpaccel.main_job.serve_bench import FORECASTS
from rpaccel.scheduler.cpu_profile import machine_description
from rpaccel.scheduler.deeprec_tables import PEAK_LIMIT_BYTES
from rpaccel.scheduler.serving_model import Tail

__all__ = ["serve_page", "serve_text"]

SIMULATIONS = ("simulated before the run", "simulated on its arrivals", "... and its service times")
SHORT = ("before the run", "on its arrivals", "with its service times, too")


def serve_text(report: ServeReport) -> str:
    """The report as lines for people."""
    ask = report.ask
    listed = sum(one.queries for one in report.lists)
    lines = [
        f"pipeline {ask.stages}, sizes {ask.sizes} ({ask.samples} samples), "
        f"{ask.workers} worker(s), requests of {f'at most {ask.batch}' if ask.batch else 'all'} "
        f"items, scale_rows {ask.scale_rows:g}",
        f"service {report.service_ms[0]:.2f} ms on average, {report.service_ms[1]:.2f} ms of the "
        f"largest, of it {report.hold_ms:.2f} ms to take and answer a request; transport "
        f"{report.transport_ms[0]:.2f} ms, at p99 {report.transport_ms[1]:.2f} ms; "
        f"{report.qps:.1f} of {report.capacity_qps:.1f} queries/s, {listed} queries, each with a "
        f"ranked list, {len(report.lists)} different ones",
    ]
    if report.lane is not None:
        lane = report.lane
        hold, link = 1e3 * np.asarray(lane.service_s), 1e3 * np.asarray(lane.link_s)
        lines.append(
            f"accelerator {lane.name}: {lane.lanes} lane(s), {hold.mean():.3f} ms on average, "
            f"{hold.max():.3f} ms of the largest, link {link.mean():.3f} ms; golden lists: "
            f"{report.computed[0]} before the runs, {report.rank_ms:.1f} ms each on this CPU, "
            f"{report.computed[1]} in them"
        )
    lines += _rows(report.trials)
    lost = max(trial.most_lost_ms for trial in report.trials)
    share = float(np.mean([trial.lost_share for trial in report.trials]))
    verdicts = Counter(trial.measured.verdict for trial in report.trials)
    said = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    lines.append(
        f"other jobs took {100 * share:.1f} % of the workers' time, "
        f"{lost:.1f} ms of a request at most; target "
        f"{report.sla_ms:g} ms at p{report.percentile:g}: {said}; "
        f"peak memory of the workers {report.peak_bytes / 1e9:.2f} GB of "
        f"{PEAK_LIMIT_BYTES / 1e9:.0f}"
    )
    return "\n".join(lines)


def _rows(trials: Sequence[Trial]) -> list[str]:
    """Latencies, their medians over the runs; errors; every run's p99."""
    lines = [f"{'latency [ms]':30s} {'mean':>8s} {'p50':>8s} {'p95':>8s} {'p99':>8s}"]
    measured = np.median([_measured(trial) for trial in trials], axis=0).tolist()
    simulated = [Tail.middle(tails) for tails in zip(*(t.tails for t in trials), strict=True)]
    for name, values in (
        ("measured (LoadGen)", measured),
        *zip(SIMULATIONS, map(_row, simulated), strict=True),
    ):
        lines.append(f"{name:30s} " + " ".join(f"{value:8.2f}" for value in values))
    errors = 100 * np.asarray([trial.errors for trial in trials])
    parts = [
        f"{np.median(column):+.1f} % ({column.min():+.1f} to {column.max():+.1f}) {when}"
        for column, when in zip(errors.T, SHORT, strict=True)
    ]
    lines.append(f"error of p99, {_of_runs(trials)}: {', '.join(parts)} (goal {100 * GOAL:.0f} %)")
    runs = [
        f"{trial.measured.latency_ms[99]:.2f} ({trial.predicted.p99_ms[0]:.2f} to "
        f"{trial.predicted.p99_ms[1]:.2f})"
        for trial in trials
    ]
    lines.append(f"p99 of each run (of {FORECASTS} simulated before it) [ms]: {', '.join(runs)}")
    return lines


def _of_runs(trials: Sequence[Trial]) -> str:
    many = len(trials)
    return "of a run" if many == 1 else f"median of {many} runs (least to most)"


def serve_page(reports: Sequence[ServeReport], tables: Path) -> str:
    """The page of some pipelines. tables : folder of the models' tables."""
    machine = machine_description()
    blocks = "\n\n".join(f"```text\n{serve_text(report)}\n```" for report in reports)
    version = reports[0].trials[0].measured.version.split(" ")[0]
    return f"""# Pipelines that really serve

Written by `rpaccel serve` (`make serve`): MLPerf LoadGen {version}, Server scenario, asks worker
processes that run float models. A stage on the accelerator holds a query in a lane of one legal
partition for as long as the performance model says: a lane alone, or its share of the full machine
if that is longer. What it answers is the golden software device's, asked through the driver: slower
on this CPU than the lanes are, it computes the list of every sample's items before the run; in the
run the lane hands over the list of the very items that came, and computes one that is not known.
The rankers of the accelerator and its records are random. {machine["cpu"]}, {machine["cores"]}
cores shared by LoadGen, the workers and other jobs. The models' tables are mapped from `{tables}`:
pages of a file on a disk may be given up while a model is at work, and a request that needs them
stands still until they are read again; those of shared memory (`/dev/shm`) stay, as long as nothing
is swapped.

Runs of LoadGen's follow each other; every one is simulated before it begins.
*Simulated before the run*: Poisson arrivals, as many queries, service times of the run before it
(of the first: of a calibration, which is such a run), what else keeps a worker from requests that
wait, and transport: what each of that run's queries took beyond its queues, by the same simulation
on its arrivals, so that what the simulation lacks in both runs is in it; {FORECASTS} such runs,
medians. *On its arrivals*: the schedule and queries that LoadGen drew. *And its service times*:
what the workers then took; what is left is queues and transport. Between the first two of these
rows lies the luck of a run, between the last two that other jobs on the machine change service
times. Each figure is the median over the runs, an error the median of each run's own: a run that
the machine disturbed counts as one.

{blocks}
"""


def _measured(trial: Trial) -> tuple[float, ...]:
    measured = trial.measured
    return measured.mean_ms, *(measured.latency_ms[p] for p in (50, 95, 99))


def _row(report: Tail) -> tuple[float, float, float, float]:
    return report.mean_ms, report.p50_ms, report.p95_ms, report.p99_ms
