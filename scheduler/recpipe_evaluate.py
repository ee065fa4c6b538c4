"""Candidates of a joint search as arrays: quality, capacity, tail latency under a load.

A closed form comes first: a pool whose servers are asked for more than `MOST_LOAD` of their time
does not settle, and such a candidate is not simulated. All others serve the same queries
(`recpipe_kernels`; `stage_queues` where requests hold several queries): one seed, gaps scaled by
the load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heapreplace

import numpy as np
from numpy.typing import NDArray

from rpaccel.scheduler.arrivals import POISSON, Floats, Process
from rpaccel.scheduler.funnel_quality import QualityTable
from rpaccel.scheduler.intervals import quantile_place
from rpaccel.scheduler.peak import WARM_UP
from rpaccel.scheduler.queueing import MOST_LOAD
from rpaccel.scheduler.recpipe_kernels import serve_pipelines
from rpaccel.scheduler.recpipe_node import Design, Node, Visit
from rpaccel.scheduler.stage_queues import Stage, StageNode, serve_stages

__all__ = ["MOST_LOAD", "Evaluator", "Measures", "PipelineTable"]

ANY = 1 << 29  # items of a query whose stages say how many they take
CHUNK = 256  # candidates whose latencies are held at a time
Ints = NDArray[np.int64]
Counts = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class PipelineTable:
    """Pipelines as the kernel wants them, a row each; see `serve_pipelines`.

    busy_s : float64[n, pools]  time of one server that a query takes while all of them are busy,
        over the servers [s]
    idle_s : float64[n]         latency of a query alone [s]
    transfer_s : float64[n]     of it, transfers [s]
    merged : row -> its stages, of those whose requests hold several queries
    """

    visits: Counts
    pool: Counts
    parts: Counts
    full_s: Floats
    last_s: Floats
    delay_s: Floats
    busy_s: Floats
    idle_s: Floats
    transfer_s: Floats
    merged: dict[int, list[Stage]]

    @property
    def capacity_qps(self) -> Floats:
        """Load at which the busiest pool saturates [queries/s]."""
        return 1 / self.busy_s.max(axis=1)

    @property
    def settled_qps(self) -> Floats:
        """Largest load that is simulated; beyond it no tail settles [queries/s]."""
        return MOST_LOAD * self.capacity_qps


@dataclass(frozen=True, kw_only=True, eq=False)
class Measures:
    """Candidates: a pipeline's row and a load each, and what they reach.

    tail_ms : at the percentile; infinite where a pool does not settle. p50_ms, p95_ms, mean_ms
        likewise.
    simulated : how many went through the simulation.
    """

    row: Ints
    load_qps: Floats
    quality: Floats
    tail_ms: Floats
    p50_ms: Floats
    p95_ms: Floats
    mean_ms: Floats
    simulated: int

    @property
    def stable(self) -> NDArray[np.bool_]:
        """Which candidates settle."""
        return np.isfinite(self.tail_ms)


class Evaluator:
    """Evaluates pipelines of a node under loads, on common random numbers.

    percentile : of the tail. queries : of each simulation, the first WARM_UP of them not counted.
    process : of the arrivals.
    """

    def __init__(
        self,
        node: Node,
        quality: QualityTable,
        *,
        percentile: float = 99.0,
        queries: int = 4000,
        seed: int = 0,
        process: Process = POISSON,
    ) -> None:
        self.node, self.quality, self.percentile = node, quality, percentile
        self.queries, self.seed, self.process = queries, seed, process
        self._units: dict[int, Floats] = {}
        self.rows: dict[Design, list[Visit]] = {}

    def longer(self, queries: int, process: Process | None = None) -> Evaluator:
        """Return an evaluator of the same node and seed with so many queries; None: its process."""
        return Evaluator(
            self.node,
            self.quality,
            percentile=self.percentile,
            queries=queries,
            seed=self.seed,
            process=process or self.process,
        )

    def _unit_s(self, count: int, load_qps: float) -> Floats:
        """Return arrivals of `count` queries that are those at a load once divided by it.

        A day is as long as the run, and of a trace what is played has the mean gap asked: the first
        queries of a longer run are others.
        """
        if not self.process.scales:
            return self.process.draw(count, load_qps, self.seed) * load_qps
        if count not in self._units:
            self._units[count] = self.process.draw(count, 1.0, self.seed)
        return self._units[count]

    @cached_property
    def _ratios(self) -> Floats:
        return self.node.ratios(self.queries, self.seed)

    def visits(self, design: Design) -> list[Visit]:
        """Return the visits of a design, remembered."""
        if design not in self.rows:
            self.rows[design] = self.node.visits(design)
        return self.rows[design]

    def table(self, designs: Sequence[Design]) -> PipelineTable:
        """Return designs as arrays."""
        lists = [self.visits(design) for design in designs]
        most, count = max(map(len, lists), default=1), len(lists)
        pools = self.node.pools
        place = {pool: number for number, pool in enumerate(pools)}
        servers, slow = self._servers(), self.node.slowdowns
        pool, parts = np.zeros((count, most), np.int32), np.zeros((count, most), np.int32)
        full, last = np.zeros((count, most)), np.zeros((count, most))
        delay, busy = np.zeros((count, most + 1)), np.zeros((count, len(pools)))
        idle, transfer = np.zeros(count), np.zeros(count)
        for row, visits in enumerate(lists):
            for at, visit in enumerate(visits):
                number = place[visit.pool]
                pool[row, at], parts[row, at] = number, visit.parts
                full[row, at], last[row, at] = visit.full_s, visit.last_s
                delay[row, at] += visit.before_s
                delay[row, at + 1] += visit.after_s
                busy[row, number] += visit.work_s / servers[number]
                idle[row] += visit.before_s + visit.after_s
                idle[row] += _alone_s(visit, int(servers[number]), float(slow[number]))
                transfer[row] += visit.transfer_s
        return PipelineTable(
            visits=np.array([len(visits) for visits in lists], np.int32),
            pool=pool,
            parts=parts,
            full_s=full,
            last_s=last,
            delay_s=delay,
            busy_s=busy * self._ratios.mean(axis=1) * (1 + slow * (servers - 1)),
            idle_s=idle,
            transfer_s=transfer,
            merged={
                row: [_stage(visit) for visit in visits]
                for row, visits in enumerate(lists)
                if any(visit.launches_s for visit in visits)
            },
        )

    def _servers(self) -> Counts:
        servers = {"link": 1, **self.node.servers}
        return np.array([servers[pool] for pool in self.node.pools], np.int32)

    def qualities(self, designs: Sequence[Design]) -> Floats:
        """Return float64[designs] qualities; NaN where there is none."""
        points = [self.quality.find(design.funnel, design.devices) for design in designs]
        return np.array([point.quality if point else np.nan for point in points])

    def measure(
        self, table: PipelineTable, row: Ints, load_qps: Floats, quality: Floats
    ) -> Measures:
        """Return the measures of candidates.

        row : int64[n] of the table. load_qps : float64[n]. quality : float64[rows of the table].
        """
        tails = np.full((4, row.size), np.inf)
        able = np.flatnonzero(load_qps * table.busy_s.max(axis=1)[row] <= MOST_LOAD)
        first = int(self.queries * WARM_UP)
        count = self.queries - first
        places = [quantile_place(share, count) for share in (self.percentile / 100, 0.5, 0.95)]
        for begin in range(0, able.size, CHUNK):
            part = able[begin : begin + CHUNK]
            latency = self.latencies(table, row[part], load_qps[part])[:, first:] * 1e3
            tails[3, part] = latency.mean(axis=1)
            latency.partition(sorted(set(places)), axis=1)
            tails[:3, part] = latency[:, places].T
        return Measures(
            row=row,
            load_qps=load_qps,
            quality=quality[row],
            tail_ms=tails[0],
            p50_ms=tails[1],
            p95_ms=tails[2],
            mean_ms=tails[3],
            simulated=int(able.size),
        )

    def latencies(
        self, table: PipelineTable, row: Ints, load_qps: Floats, queries: int | None = None
    ) -> Floats:
        """Return float64[n, queries] latencies of the first queries in their order [s]."""
        count = self.queries if queries is None else queries
        if not 1 <= count <= self.queries:
            raise ValueError(f"queries must be in 1..{self.queries}, not {count}")
        latency = np.empty((row.size, count))
        together = [np.arange(row.size)]
        if not self.process.scales:
            together = [np.flatnonzero(load_qps == load) for load in np.unique(load_qps)]
        for places in together:
            if places.size:
                latency[places] = self._serve(table, row[places], load_qps[places], count)
        return latency

    def _serve(self, table: PipelineTable, row: Ints, load_qps: Floats, count: int) -> Floats:
        """Return float64[n, count] latencies; loads that the process does not scale are equal."""
        latency = np.empty((row.size, count))
        single = np.array([number not in table.merged for number in row.tolist()], np.bool_)
        if single.any():
            latency[single] = self._serve_single(table, row[single], load_qps[single], count)
        unit_s = self._unit_s(count, float(load_qps[0]))
        for place in np.flatnonzero(~single).tolist():
            stages, load = table.merged[int(row[place])], float(load_qps[place])
            arrivals = unit_s / load
            run = serve_stages(self._stage_node, [stages], arrivals, np.full(count, ANY, np.int32))
            latency[place] = run.finish_s - arrivals
        return latency

    @cached_property
    def _stage_node(self) -> StageNode:
        """The node's pools. Raises ValueError if the service times of its queries are spread."""
        if np.any(self._ratios != 1):
            raise ValueError("launch_items must be 0 where the times of any device are spread")
        pools = self.node.pools
        slow = dict(zip(pools, self.node.slowdowns.tolist(), strict=True))
        return StageNode(servers={"link": 1, **self.node.servers}, slowdown=slow)

    def _serve_single(
        self, table: PipelineTable, row: Ints, load_qps: Floats, count: int
    ) -> Floats:
        servers, latency = self._servers(), np.empty((row.size, count))
        serve_pipelines(
            self._unit_s(count, float(load_qps[0])),
            np.ascontiguousarray(load_qps, np.float64),
            table.visits[row],
            table.pool[row],
            table.parts[row],
            table.full_s[row],
            table.last_s[row],
            table.delay_s[row],
            servers,
            self.node.slowdowns,
            np.ascontiguousarray(self._ratios[:, :count]),
            np.empty((servers.size, int(servers.max()))),
            np.empty(count, np.int32),
            np.empty(count + 1),
            np.empty(count + 1, np.int32),
            latency,
        )
        return latency


def _stage(visit: Visit) -> Stage:
    """Return a visit as a stage, in items of its own: two of each full request, one of the last."""
    if visit.launches_s:
        times, items = visit.launches_s, 1
    else:
        times, items = (visit.last_s, visit.full_s), 2 * visit.parts - 1
    return Stage(
        pool=visit.pool,
        table_s=np.array([0.0, *times]),
        most_items=items,
        batch=len(times),
        split=not visit.launches_s,
        merge=bool(visit.launches_s),
        before_s=visit.before_s,
        after_s=visit.after_s,
    )


def _alone_s(visit: Visit, servers: int, slowdown: float) -> float:
    """Return how long a query that finds idle servers is at a pool [s]."""
    if slowdown == 0 or visit.parts == 1:
        rounds, rest = divmod(visit.parts - 1, servers)
        # Full requests in rounds of all servers; the last one starts on the first that is free.
        return max(rounds * visit.full_s + visit.last_s, (rounds + (rest > 0)) * visit.full_s)
    ends = [0.0] * servers  # a heap, as the kernel's
    for part in range(visit.parts):
        begin = ends[0]
        busy = sum(end > begin for end in ends)
        service = visit.last_s if part == visit.parts - 1 else visit.full_s
        heapreplace(ends, begin + service * (1 + slowdown * busy))
    return max(ends)
