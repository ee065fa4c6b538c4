"""`rpaccel serve`: a pipeline under LoadGen's Server scenario, beside its simulation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rpaccel.main_job.serve_bench import CALIBRATIONS, Bench, Load, Ranked, Run
from rpaccel.main_job.serve_stages import Stages, parse_stages
from rpaccel.scheduler.intervals import quantiles_of
from rpaccel.scheduler.lane_machine import LaneMachine
from rpaccel.scheduler.lane_ranker import LaneRanker
from rpaccel.scheduler.loadgen import LoadgenReport, require_loadgen
from rpaccel.scheduler.serving import LaneStage
from rpaccel.scheduler.serving_model import Forecast, ServiceTimes, Tail, capacity_qps
from rpaccel.scheduler.sizes import parse_sizes
from rpaccel.scheduler.workers import WorkerAsk, Workers, parts_of, sample_sizes
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.deeprec import load_deeprec
from rpaccel.spec.platform import load_platform

__all__ = ["GOAL", "ServeAsk", "ServeReport", "Trial", "run_serve"]

GOAL = 0.15  # of the measured p99
NEXT_SEED = 10  # of a run after another one; LoadGen takes three


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
    queries, seconds : of a run at least, whichever is more. runs : one after another.
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
    runs: int = 1
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
        if self.runs < 1:
            raise ValueError(f"runs must be at least 1, not {self.runs}")
        if not 0 <= self.seconds < math.inf:
            raise ValueError(f"seconds must be 0 or more, not {self.seconds}")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of LoadGen's beside its simulations.

    Members
    -------
    predicted : Poisson arrivals, simulated before the run from the service times of the one before
        it: of the calibration, or the run before.
    replayed : the same on the arrivals and samples that LoadGen drew.
    explained : with the service times of the run, too: what is left is queues and transport.
    measured : by LoadGen.    lost_share : of the workers' wall time that other jobs took.
    most_lost_ms : of one request.
    """

    predicted: Forecast
    replayed: Tail
    explained: Tail
    measured: LoadgenReport
    lost_share: float
    most_lost_ms: float

    @property
    def tails(self) -> tuple[Tail, Tail, Tail]:
        """The simulations: before the run, on its arrivals, with its service times."""
        return self.predicted.tail, self.replayed, self.explained

    @property
    def errors(self) -> tuple[float, ...]:
        """How far the p99 of each of `tails` is from the measured one, signed shares."""
        return tuple(tail.p99_ms / self.measured.latency_ms[99] - 1 for tail in self.tails)


@dataclass(frozen=True, kw_only=True)
class ServeReport:
    """Prediction and measurement.

    Members
    -------
    service_ms : of the calibration: mean, largest sample. transport_ms : its median, its p99.
    capacity_qps : of the simulated stations.    qps : offered.
    lists : that queries ended with. computed : lists that the golden device computed before
        LoadGen ran, and while it did. rank_ms : that one took on this CPU, on average.
    peak_bytes : of the workers together, the tables counted once [B].
    """

    ask: ServeAsk
    sla_ms: float
    percentile: float
    lane: LaneStage | None
    service_ms: tuple[float, float]
    hold_ms: float
    transport_ms: tuple[float, float]
    capacity_qps: float
    qps: float
    trials: tuple[Trial, ...]
    lists: tuple[Ranked, ...]
    computed: tuple[int, int]
    rank_ms: float
    peak_bytes: int


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
        say(f"{qps:.1f} of {capacity:.1f} queries/s")
        trials, lists = _trials(replace(ask, qps=qps), bench, service, rng, out, say)
    transport_s = quantiles_of(service.transport_s, [0.5, 0.99])
    return ServeReport(
        ask=replace(ask, qps=qps),
        sla_ms=sla.medium_ms,
        percentile=sla.percentile,
        lane=lane,
        service_ms=(1e3 * float(service.query_s.mean()), 1e3 * float(service.query_s.max())),
        hold_ms=1e3 * service.hold_s,
        transport_ms=(1e3 * transport_s[0], 1e3 * transport_s[1]),
        capacity_qps=capacity,
        qps=qps,
        trials=trials,
        lists=lists,
        computed=(0, 0) if ranker is None else (ranker.asked - bench.computed, bench.computed),
        rank_ms=0.0 if ranker is None else 1e3 * ranker.seconds / ranker.asked,
        peak_bytes=workers.peak_bytes,
    )


def _trials(
    ask: ServeAsk,
    bench: Bench,
    service: ServiceTimes,
    rng: np.random.Generator,
    out: Path,
    say: Callable[[str], None],
) -> tuple[tuple[Trial, ...], tuple[Ranked, ...]]:
    """Run LoadGen, each time after a simulation; return also what all queries ended with."""
    assert ask.qps is not None, "the load is known by now"
    queries = max(ask.queries, math.ceil(ask.qps * ask.seconds))
    trials, ends = [], Counter[tuple[int, tuple[int, ...]]]()
    for number in range(ask.runs):
        seed = ask.seed + NEXT_SEED * number
        predicted = bench.forecast(service, ask.qps, queries, seed, rng)
        run = bench.run(ask.qps, queries, seed, out / f"run{number}")
        trials.append(_trial(bench, service, predicted, run, rng))
        say(
            f"run {number + 1}: p99 {run.measured.latency_ms[99]:.2f} ms, "
            f"predicted {predicted.tail.p99_ms:.2f} ms"
        )
        ends.update({(one.sample, one.items): one.queries for one in run.lists})
        service = bench.times(run)
    lists = tuple(
        Ranked(sample=sample, items=items, queries=count)
        for (sample, items), count in sorted(ends.items())
    )
    return tuple(trials), lists


def _trial(
    bench: Bench, service: ServiceTimes, predicted: Forecast, run: Run, rng: np.random.Generator
) -> Trial:
    service_s, transport_s = service.draw(run.asked, rng)
    held_s = run.service_s + service.hold_s
    wall = sum(served.service_s for served in run.served)
    return Trial(
        predicted=predicted,
        replayed=bench.simulated(run.arrivals_s, run.asked, service_s, transport_s),
        explained=bench.simulated(run.arrivals_s, run.asked, held_s, transport_s),
        measured=run.measured,
        lost_share=1 - sum(served.cpu_s for served in run.served) / wall,
        most_lost_ms=1e3 * max(served.service_s - served.cpu_s for served in run.served),
    )
