"""What a pipeline did under load, for people: lines of one, a page of some."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rpaccel.main_job.serve import GOAL, SIMULATED, ServeReport
from rpaccel.scheduler.cpu_profile import machine_description
from rpaccel.scheduler.serving_model import Tail

__all__ = ["serve_page", "serve_text"]


def serve_text(report: ServeReport) -> str:
    """The report as lines for people."""
    ask, measured = report.ask, report.measured
    listed = sum(one.queries for one in report.lists)
    lines = [
        f"pipeline {ask.stages}, sizes {ask.sizes} ({ask.samples} samples), "
        f"{ask.workers} worker(s), requests of {f'at most {ask.batch}' if ask.batch else 'all'} "
        f"items, scale_rows {ask.scale_rows:g}",
        f"service {report.service_ms[0]:.2f} ms on average, {report.service_ms[1]:.2f} ms of the "
        f"largest, of it {report.hold_ms:.2f} ms to take and answer a request; transport "
        f"{report.transport_ms:.2f} ms; {report.qps:.1f} of "
        f"{report.capacity_qps:.1f} queries/s, {listed} queries, each with a "
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
    lines.append(f"{'latency [ms]':30s} {'mean':>8s} {'p50':>8s} {'p95':>8s} {'p99':>8s}")
    for name, values in (
        ("measured (LoadGen)", (measured.mean_ms, *(measured.latency_ms[p] for p in (50, 95, 99)))),
        ("simulated before the run", _row(report.predicted)),
        ("simulated on its arrivals", _row(report.replayed)),
        ("... and its service times", _row(report.explained)),
    ):
        lines.append(f"{name:30s} " + " ".join(f"{value:8.2f}" for value in values))
    lines.append(
        f"error of p99: {100 * report.error(report.predicted):+.1f} % before the run, "
        f"{100 * report.error(report.replayed):+.1f} % on its arrivals, "
        f"{100 * report.error(report.explained):+.1f} % with its service times, too "
        f"(goal {100 * GOAL:.0f} %)"
    )
    lines.append(
        f"other jobs took {100 * report.lost_share:.1f} % of the workers' time, "
        f"{report.most_lost_ms:.1f} ms of a request at most; target "
        f"{report.sla_ms:g} ms at p{report.percentile:g}: {measured.verdict}; "
        f"peak memory of the workers {report.peak_bytes / 1e9:.2f} GB"
    )
    return "\n".join(lines)


def serve_page(reports: Sequence[ServeReport]) -> str:
    """The page of some pipelines."""
    machine = machine_description()
    blocks = "\n\n".join(f"```text\n{serve_text(report)}\n```" for report in reports)
    version = reports[0].measured.version.split(" ")[0]
    return f"""# Pipelines that really serve

Written by `rpaccel serve` (`make serve`): MLPerf LoadGen {version}, Server scenario, asks worker
processes that run float models. A stage on the accelerator holds a query in a lane of one legal
partition for as long as the performance model says: a lane alone, or its share of the full machine
if that is longer. What it answers is the golden software device's, asked through the driver: slower
on this CPU than the lanes are, it computes the list of every sample's items before the run; in the
run the lane hands over the list of the very items that came, and computes one that is not known.
The rankers of the accelerator and its records are random. {machine["cpu"]}, {machine["cores"]}
cores shared by LoadGen, the workers and other jobs.

*Simulated before the run*: Poisson arrivals, {SIMULATED} queries, service times of a short run of
LoadGen's at the same load, what else keeps a worker from requests that wait, and the transport that
made up that run's median. *On its arrivals*: the arrivals and queries that LoadGen drew. *And its
service times*: what the workers then took; what is left is queues and transport. Other jobs on the
machine change service times between calibration and run: that is the step between the last two
rows. Every query counts, but for the first tenth of those before the run.

{blocks}
"""


def _row(report: Tail) -> tuple[float, float, float, float]:
    return report.mean_ms, report.p50_ms, report.p95_ms, report.p99_ms
