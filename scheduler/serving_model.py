"""What serving.LivePipeline should take: the same queues, simulated, from calibrated times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rpaccel.scheduler.arrivals import Floats
from rpaccel.scheduler.intervals import quantiles_of
from rpaccel.scheduler.queueing import serve
from rpaccel.scheduler.serving import LaneStage
from rpaccel.scheduler.workers import Part, Served

__all__ = ["BLOCK", "Forecast", "Numbers", "RanQueries", "ServiceTimes", "Tail", "capacity_qps",
           "latencies_s"]  # fmt: skip

BLOCK = 50  # queries that a spell of slower service is taken to last, assumed
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Tail:
    """Latencies of a run [ms]."""

    queries: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, latency_s: Floats) -> Tail:
        """Return those of a run's queries."""
        latency_ms = latency_s * 1e3
        p50, p95, p99 = quantiles_of(latency_ms, [0.5, 0.95, 0.99])
        mean = float(latency_ms.mean())
        return cls(queries=len(latency_ms), mean_ms=mean, p50_ms=p50, p95_ms=p95, p99_ms=p99)

    @classmethod
    def middle(cls, tails: Sequence[Tail]) -> Tail:
        """Return the median of every figure over some runs."""
        rows = np.asarray([(t.queries, t.mean_ms, t.p50_ms, t.p95_ms, t.p99_ms) for t in tails])
        queries, *times = np.median(rows, axis=0).tolist()
        mean, p50, p95, p99 = times
        return cls(queries=int(queries), mean_ms=mean, p50_ms=p50, p95_ms=p95, p99_ms=p99)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Simulated runs of one length: the medians of their figures.

    p99_ms : least and most of them [ms].
    """

    tail: Tail
    p99_ms: tuple[float, float]

    @classmethod
    def of(cls, tails: Sequence[Tail]) -> Forecast:
        """Return what the tails of the runs say."""
        p99 = [one.p99_ms for one in tails]
        return cls(tail=Tail.middle(tails), p99_ms=(min(p99), max(p99)))


@dataclass(frozen=True, kw_only=True, eq=False)
class ServiceTimes:
    """Service of a run: median of each part [s], and what its queries took of it.

    ratios : float64[queries], in order: service over the medians; slow spells of the machine stay
        together.
    transport_s : float64[queries], in the same order: what a query took beside queues, workers and
        lanes; below 0 if it was held less than others [s].
    hold_s : that a worker is kept from the next request beside its service: it takes one, it
        answers [s].
    """

    parts: tuple[tuple[Part, ...], ...]  # of each sample
    median_s: dict[Part, float]
    ratios: Floats
    transport_s: Floats
    hold_s: float

    @classmethod
    def of(
        cls, parts: Sequence[Sequence[Part]], served: Sequence[Served], ran: RanQueries,
        hold_s: float,
    ) -> ServiceTimes:  # fmt: skip
        """Return what answers of every part, and a run's queries, say."""
        times: dict[Part, list[float]] = {part: [] for all_of in parts for part in all_of}
        for one in served:
            times[one.part].append(one.service_s)
        medians = {part: float(np.median(found)) for part, found in times.items()}
        usual = np.asarray([sum(medians[part] for part in all_of) for all_of in parts])
        counts = np.asarray([len(all_of) for all_of in parts])[ran.asked]
        took = np.add.reduceat(ran.service_s, np.cumsum(counts) - counts)
        return cls(
            parts=tuple(tuple(all_of) for all_of in parts),
            median_s=medians,
            ratios=took / usual[ran.asked],
            transport_s=ran.transport_s,
            hold_s=hold_s,
        )

    @property
    def query_s(self) -> Floats:
        """What each sample takes of a worker, all parts of it [s]."""
        return np.asarray(
            [sum(self.median_s[p] + self.hold_s for p in all_of) for all_of in self.parts]
        )

    def counts(self, asked: Numbers) -> Numbers:
        """Return the parts of each query of sample `asked`."""
        return np.asarray([len(all_of) for all_of in self.parts])[asked]

    def draw(self, asked: Numbers, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return what the queries take, spread as measured [s].

        Of a worker: float64[parts], in order. Of the transport: float64[queries].
        Queries of the run are drawn in blocks of BLOCK, the first one behind the last.
        """
        starts = rng.integers(0, len(self.ratios), -(-len(asked) // BLOCK))
        which = (starts[:, None] + np.arange(BLOCK)).ravel()[: len(asked)] % len(self.ratios)
        times = np.asarray([self.median_s[part] for sample in asked for part in self.parts[sample]])
        ratios = np.repeat(self.ratios[which], self.counts(asked))
        return times * ratios + self.hold_s, self.transport_s[which]


@dataclass(frozen=True, kw_only=True, eq=False)
class RanQueries:
    """Queries of a run in the order in which they were issued.

    asked : int64[queries]  Their samples. service_s : float64[parts], in order. transport_s :
    float64[queries]; see ServiceTimes.
    """

    asked: Numbers
    service_s: Floats
    transport_s: Floats


def capacity_qps(query_s: float, workers: int, lane: LaneStage | None) -> float:
    """Return the load at which workers or lanes saturate; query_s : mean service [s]."""
    at_workers = workers / query_s
    at_lane_s = 0.0 if lane is None else float(np.mean(lane.service_s))
    if lane is None or at_lane_s == 0:
        return at_workers
    return min(at_workers, lane.lanes / at_lane_s)


def latencies_s(
    arrivals_s: Floats,
    counts: Numbers,
    service_s: Floats,
    workers: int,
    lanes: tuple[LaneStage, Numbers] | None = None,
    transport_s: float | Floats = 0.0,
) -> Floats:
    """Return float64[queries]: from arrival to answer [s].

    counts : parts of each query, which queue together. service_s : of every part, in order.
    lanes : their stage, and the sample of each query. A query waits for its last part.
    transport_s : of all, or of each query; on its way back.
    """
    if lanes is None:
        done = _after_workers(arrivals_s, counts, service_s, workers)
    elif lanes[0].first:
        done = _after_lanes(arrivals_s, *lanes)
        done = _after_workers(done, counts, service_s, workers)
    else:
        done = _after_workers(arrivals_s, counts, service_s, workers)
        done = _after_lanes(done, *lanes)
    return np.asarray(done + transport_s - arrivals_s)


def _after_workers(ready_s: Floats, counts: Numbers, service_s: Floats, workers: int) -> Floats:
    """Return when each query leaves the workers; they come by `ready_s`."""
    order = np.argsort(ready_s, kind="stable")
    firsts = np.cumsum(counts) - counts
    many = counts[order]
    starts = np.cumsum(many) - many
    parts = np.repeat(firsts[order] - starts, many) + np.arange(many.sum())
    _, ends = serve(np.repeat(ready_s[order], many), service_s[parts], workers)
    done = np.empty_like(ready_s)
    done[order] = np.maximum.reduceat(ends, starts)
    return done


def _after_lanes(ready_s: Floats, lane: LaneStage, asked: Numbers) -> Floats:
    """Return when each query leaves the lanes; which take them as they cross the link."""
    there = ready_s + np.asarray(lane.link_s)[asked]
    order = np.argsort(there, kind="stable")
    service = np.asarray(lane.service_s)[asked[order]]
    done = np.empty_like(ready_s)
    _, done[order] = serve(there[order], service, lane.lanes)
    return done
