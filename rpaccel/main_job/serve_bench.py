"""A pipeline's workers and lanes under LoadGen: calibrated, run, simulated."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rpaccel.scheduler.arrivals import Floats, poisson_arrivals_s
from rpaccel.scheduler.lane_ranker import LaneRanker
from rpaccel.scheduler.loadgen import LoadgenReport, answer, run_server
from rpaccel.scheduler.serving import LaneStage, LivePipeline, merged, to_workers
from rpaccel.scheduler.serving_model import (
    Forecast,
    Numbers,
    RanQueries,
    ServiceTimes,
    Tail,
    capacity_qps,
    latencies_s,
)
from rpaccel.scheduler.workers import Items, Part, Served, Workers
from rpaccel.spec.deeprec import SlaTargets

__all__ = ["Bench", "Load", "Ranked", "Run"]

CALIBRATIONS = 30  # of every sample at least, on average
FORECASTS = 39  # simulated runs: another one lies between them with 95 %
HOLDS, LEAST_WAITING = 5, 64  # times, and requests of each that wait, to see what holds a worker
OTHER_SEED = 1000  # of the calibration, beyond the run's


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is offered: a share of the capacity, unless `qps` is given.

    seconds : of a run at least, the calibration included.
    """

    share: float
    qps: float | None
    seconds: float
    sla: SlaTargets
    seed: int


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A list, best first, that `queries` of one sample ended with."""

    sample: int
    items: tuple[int, ...]
    queries: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A run of LoadGen's: what it says, when it issued which sample, what the workers then took.

    arrivals_s : as LoadGen had scheduled them, from the first one on. latency_s : from there to
    the answer, by its clock. service_s : of every part, in order. lists : that queries ended with.
    """

    measured: LoadgenReport
    arrivals_s: Floats
    asked: Numbers
    latency_s: Floats
    service_s: Floats
    served: list[Served]
    lists: tuple[Ranked, ...]


class Bench:
    """The workers of a pipeline and its lanes, asked by LoadGen.

    Members
    -------
    computed : lists that the golden device computed while LoadGen ran: those that came unknown.
    """

    def __init__(
        self,
        workers: Workers,
        parts: tuple[tuple[Part, ...], ...],
        keep: int,
        lanes: tuple[LaneStage, LaneRanker] | None,
        load: Load,
    ) -> None:
        self.workers, self.parts = workers, parts
        self._lanes = lanes
        self._keep, self._load = keep, load
        self.computed = 0
        self._alone: list[Served] = []  # every part, by itself
        self._hold_s = 0.0

    def run(self, qps: float, queries: int, seed: int, folder: Path) -> Run:
        """Serve `queries`. folder : of LoadGen's logs."""
        log: list[tuple[int, int]] = []
        before = self._asked
        pipeline = LivePipeline(
            self.workers,
            self.parts,
            self._keep,
            None if self._lanes is None else (self._lanes[0], self._lanes[1].rank),
            answer,
        )
        pipeline.start(queries)

        def issue(query: int, sample: int) -> None:
            log.append((query, sample))
            pipeline.submit(query, sample)

        measured, trace = run_server(
            issue,
            samples=len(self.parts),
            qps=qps,
            queries=queries,
            sla_ms=self._load.sla.medium_ms,
            percentile=self._load.sla.percentile,
            seed=seed,
            folder=folder,
        )
        pipeline.join()
        self.computed += self._asked - before
        took = {(served.query, served.part): served.service_s for served in pipeline.served}
        same = [took[query, part] for query, sample in log for part in self.parts[sample]]
        ends = Counter((sample, tuple(pipeline.ranked[query])) for query, sample in log)
        assert trace.asked.tolist() == [sample for _, sample in log], "queries come by schedule"
        return Run(
            measured=measured,
            arrivals_s=trace.scheduled_s,
            latency_s=trace.latency_s,
            asked=trace.asked,
            service_s=np.asarray(same),
            served=pipeline.served,
            lists=tuple(
                Ranked(sample=sample, items=items, queries=ended)
                for (sample, items), ended in sorted(ends.items())
            ),
        )

    @property
    def _asked(self) -> int:
        return 0 if self._lanes is None else self._lanes[1].asked

    def calibrate(self, rng: np.random.Generator, folder: Path) -> ServiceTimes:
        """Measure parts at the load that will be offered, as far as a short run tells it.

        LoadGen and what answers it take memory and cores of the workers, so it is one of LoadGen's.
        The lists of the lanes are computed before: in a run they are known, and a lane takes the
        time of the model.
        """
        load, every = self._load, [part for all_of in self.parts for part in all_of]
        brought = self._brought()
        self._alone = self.workers.run_alone(every, brought)
        self._rank_all(self._alone)
        mean_s = sum(served.service_s for served in self._alone) / len(self.parts)
        lane = None if self._lanes is None else self._lanes[0]
        capacity = capacity_qps(mean_s, self.workers.count, lane)
        qps = load.share * capacity if load.qps is None else load.qps
        queries = max(CALIBRATIONS * len(self.parts), math.ceil(qps * load.seconds))
        run = self.run(qps, queries, load.seed + OTHER_SEED, folder)
        self._hold_s = self._measure_hold_s(every, brought, rng)
        return self.times(run)

    def _measure_hold_s(
        self, every: list[Part], brought: list[Items] | None, rng: np.random.Generator
    ) -> float:
        """Return what keeps a worker from requests that wait, beside their service [s].

        The median of HOLDS times: a stall of the machine in one of them is none of a request.
        """
        copies = -(-LEAST_WAITING // len(every))
        held = []
        for _ in range(HOLDS):
            order = rng.permutation(len(every) * copies) % len(every)
            waiting, taken_s = self.workers.run_at_once([every[i] for i in order], brought)
            held.append(taken_s - sum(one.service_s for one in waiting) / len(waiting))
        return max(0.0, float(np.median(held)))

    def times(self, run: Run) -> ServiceTimes:
        """Return what a run says of the next one. Call `calibrate` first.

        Parts that it did not ask for are those measured alone.
        """
        asked = {served.part for served in run.served}
        served = [*run.served, *(one for one in self._alone if one.part not in asked)]
        queues_s = self._latencies_s(run.arrivals_s, run.asked, run.service_s + self._hold_s)
        ran = RanQueries(
            asked=run.asked,
            service_s=run.service_s,
            transport_s=run.latency_s - queues_s,
        )
        return ServiceTimes.of(self.parts, served, ran, self._hold_s)

    def _brought(self) -> list[Items] | None:
        """Return what lanes in front hand to the workers, of each sample; None: there are none."""
        if self._lanes is None or not self._lanes[0].first:
            return None
        stage, ranker = self._lanes
        items = enumerate(stage.items)
        return [to_workers(ranker.rank(sample, range(count))) for sample, count in items]

    def _rank_all(self, alone: list[Served]) -> None:
        """Compute what lanes behind the workers answer. alone : every part of every sample."""
        if self._lanes is None or self._lanes[0].first:
            return
        for sample in range(len(self.parts)):
            parts = [one for one in alone if one.part.sample == sample]
            self._lanes[1].rank(sample, merged(parts, self._keep))

    def forecast(
        self, service: ServiceTimes, qps: float, queries: int, seed: int, rng: np.random.Generator
    ) -> Forecast:
        """Return what runs of so many queries should take: Poisson arrivals, none is known."""
        tails = []
        for number in range(FORECASTS):
            asked = rng.integers(0, len(self.parts), queries)
            arrivals = poisson_arrivals_s(queries, qps, FORECASTS * seed + number)
            tails.append(self.simulated(arrivals, asked, *service.draw(asked, rng)))
        return Forecast.of(tails)

    def simulated(
        self, arrivals_s: Floats, asked: Numbers, service_s: Floats, transport_s: Floats
    ) -> Tail:
        """Return the latencies of queries of samples `asked`.

        service_s : of every part. transport_s : of every query.
        """
        return Tail.of(self._latencies_s(arrivals_s, asked, service_s) + transport_s)

    def _latencies_s(self, arrivals_s: Floats, asked: Numbers, service_s: Floats) -> Floats:
        """Return what queues, workers and lanes take of each query [s]."""
        counts = np.asarray([len(all_of) for all_of in self.parts])[asked]
        lanes = None if self._lanes is None else (self._lanes[0], asked)
        return latencies_s(arrivals_s, counts, service_s, self.workers.count, lanes)
