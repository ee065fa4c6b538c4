"""`rpaccel serve`: a pipeline under LoadGen's Server scenario, beside its simulation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rpaccel.main_job.serve_bench import CALIBRATIONS, Bench, Load, Ranked
from rpaccel.main_job.serve_stages import Stages, parse_stages
from rpaccel.scheduler.arrivals import poisson_arrivals_s
from rpaccel.scheduler.lane_machine import LaneMachine
from rpaccel.scheduler.lane_ranker import LaneRanker
from rpaccel.scheduler.loadgen import LoadgenReport, require_loadgen
from rpaccel.scheduler.queueing import WARM_UP
from rpaccel.scheduler.serving import LaneStage
from rpaccel.scheduler.serving_model import Tail, capacity_qps
from rpaccel.scheduler.sizes import parse_sizes
from rpaccel.scheduler.workers import WorkerAsk, Workers, parts_of, sample_sizes
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.deeprec import load_deeprec
from rpaccel.spec.platform import load_platform

__all__ = ["GOAL", "SIMULATED", "ServeAsk", "ServeReport", "run_serve"]

GOAL = 0.15  # of the measured p99
SIMULATED = 20_000  # queries of the simulation in front of the run


@dataclass(frozen=True, kw_only=True)
class ServeAsk:
    """What is served.

    stages : as text, "wnd:256,dlrm-rmc1:64" or "wnd:256,rmlarge@accelerator:64"; at most the first
        or the last on the accelerator. keep : items that go on, or are served.
    split : of the accelerator, equal lanes of one legal partition.
    workers : each runs the CPU stages of a query, so as many run a stage.
    batch : items of a request at most: a query is split over the workers; None: never. One CPU
        stage only: parts of a query keep other items in between than the whole would.
    load : share of the slowest station's capacity that is offered, unless `qps` is given.
    queries, seconds : to serve at least, whichever is more.
    """

    stages: str
    platform: str = "paper"
    split: str = "4*2x2"
    sizes: str = "heavy"
    samples: int = 64
    workers: int = 1
    batch: int | None = None
    load: float = 0.5
    qps: float | None = None
    queries: int = 1000
    seconds: float = 0.0
    scale_rows: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch is not None and len(parse_stages(self.stages).cpu) > 1:
            raise ValueError(f"batch must not be given with several CPU stages, {self.stages}")
        if not 0 < self.load < 1:
            raise ValueError(f"load must be in 0..1, not {self.load}")
        if self.qps is not None and self.qps <= 0:
            raise ValueError(f"qps must be positive, not {self.qps}")
        if self.queries < 20:
            raise ValueError(f"queries must be at least 20, not {self.queries}")
        if not 0 <= self.seconds < math.inf:
            raise ValueError(f"seconds must be 0 or more, not {self.seconds}")


@dataclass(frozen=True, kw_only=True)
class ServeReport:
    """Prediction and measurement.

    Members
    -------
    capacity_qps : of the simulated stations.    qps : offered.
    predicted : simulation of Poisson arrivals, made before the run from the calibration's times.
    replayed : the same simulation on the arrivals and samples that LoadGen drew.
    explained : with the service times of the run, too: what is left is queues and transport.
    measured : by LoadGen.    lost_share : of the workers' wall time that other jobs took.
    most_lost_ms : of one request.
    lists : that queries ended with. computed : lists that the golden device computed before
        LoadGen ran, and while it did. rank_ms : that one took on this CPU, on average.
    peak_bytes : of the workers together, the tables counted once [B].
    """

    ask: ServeAsk
    sla_ms: float
    percentile: float
    lane: LaneStage | None
    service_ms: tuple[float, float]  # mean, largest sample
    hold_ms: float
    transport_ms: float
    capacity_qps: float
    qps: float
    predicted: Tail
    replayed: Tail
    explained: Tail
    measured: LoadgenReport
    lost_share: float
    most_lost_ms: float
    lists: tuple[Ranked, ...]
    computed: tuple[int, int]
    rank_ms: float
    peak_bytes: int

    def error(self, report: Tail) -> float:
        """Return how far the p99 of a simulation is from the measured one, a signed share."""
        return report.p99_ms / self.measured.latency_ms[99] - 1


def _lanes(
    ask: ServeAsk, stages: Stages, sizes: Sequence[int]
) -> tuple[LaneStage, LaneRanker] | None:
    """Return the stage on the accelerator, and what it answers."""
    if stages.lane is None:
        return None
    platform = load_platform(ask.platform)
    network, keep = stages.lane
    machine = LaneMachine(
        config=load_accelerator(platform.accelerator.preset),
        platform=platform,
        network=network,
        split=ask.split,
        keep=keep,
    )
    stage = machine.stage(stages.to_lanes(sizes), first=stages.lane_first)
    return stage, LaneRanker(machine, max(sizes), ask.seed)


def run_serve(ask: ServeAsk, out: Path, tables: Path, say: Callable[[str], None]) -> ServeReport:
    """Calibrate, simulate, serve, compare. out : folder of LoadGen's logs."""
    require_loadgen()
    stages = parse_stages(ask.stages)
    sla = load_deeprec(stages.cpu[0].model).sla
    sizes = sample_sizes(parse_sizes(ask.sizes), ask.samples)
    lanes = _lanes(ask, stages, sizes)
    lane, ranker = lanes or (None, None)
    worker_ask = WorkerAsk(
        stages=stages.cpu, sizes=sizes, scale_rows=ask.scale_rows, folder=tables, seed=ask.seed
    )
    rng = np.random.default_rng([ask.seed, 5])
    parts = parts_of(stages.to_workers(sizes), ask.batch)
    load = Load(share=ask.load, qps=ask.qps, seconds=ask.seconds, sla=sla, seed=ask.seed)
    with Workers(worker_ask, ask.workers) as workers:
        say(f"{ask.workers} worker(s) ready; calibration: {CALIBRATIONS} x {ask.samples} or more")
        bench = Bench(workers, parts, stages.cpu[-1].keep, lanes, load)
        service = bench.calibrate(rng, out / "calibration")
        capacity = capacity_qps(float(service.query_s.mean()), ask.workers, lane)
        qps = ask.load * capacity if ask.qps is None else ask.qps
        drawn = rng.integers(0, ask.samples, SIMULATED)
        arrivals = poisson_arrivals_s(SIMULATED, qps, ask.seed)
        predicted = bench.simulated(service, arrivals, drawn, service.draw(drawn, rng), WARM_UP)
        say(f"{qps:.1f} of {capacity:.1f} queries/s; predicted p99 {predicted.p99_ms:.2f} ms")
        queries = max(ask.queries, math.ceil(qps * ask.seconds))
        run = bench.run(qps, queries, ask.seed, out)
    same = functools.partial(bench.simulated, service, run.issued_s, run.asked)
    wall = sum(served.service_s for served in run.served)
    return ServeReport(
        ask=replace(ask, qps=qps),
        sla_ms=sla.medium_ms,
        percentile=sla.percentile,
        lane=lane,
        service_ms=(1e3 * float(service.query_s.mean()), 1e3 * float(service.query_s.max())),
        hold_ms=1e3 * service.hold_s,
        transport_ms=1e3 * service.transport_s,
        capacity_qps=capacity,
        qps=qps,
        predicted=predicted,
        replayed=same(service.draw(run.asked, rng)),
        explained=same(run.service_s + service.hold_s),
        measured=run.measured,
        lost_share=1 - sum(served.cpu_s for served in run.served) / wall,
        most_lost_ms=1e3 * max(served.service_s - served.cpu_s for served in run.served),
        lists=run.lists,
        computed=(0, 0) if ranker is None else (ranker.asked - bench.computed, bench.computed),
        rank_ms=0.0 if ranker is None else 1e3 * ranker.seconds / ranker.asked,
        peak_bytes=workers.peak_bytes,
    )
