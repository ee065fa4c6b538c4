"""What a scheduler of queries turns its knobs on: a node, its load, its latency target.

Every setting is judged on the same queries. Beside the simulation stand two figures that need none:
a load that no setting of these service times survives, and an estimate of the peak from the first
two moments of the work (an M/G/1 queue in heavy traffic, whose waits are exponential).
Ref: L. Kleinrock, "Queueing Systems, Volume 2", 1976, section 2.1 (heavy traffic).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rpaccel.scheduler.arrivals import POISSON, Floats, Process
from rpaccel.scheduler.estimate_kernels import load_of_late
from rpaccel.scheduler.peak import Peak, Probe, Sla, probe, search_peak
from rpaccel.scheduler.policy import Node, Policy, Served, run_policy
from rpaccel.scheduler.service_profile import ServiceProfile
from rpaccel.scheduler.sizes import Sizes

__all__ = ["CORES", "MOST_MERGED", "QueryPlant", "node_of"]

CORES = 40  # of the paper's Skylake server
POINTS = 200  # of the sizes, in estimates
MOST_MERGED = 4000  # items of a merged launch


def node_of(
    cpu: ServiceProfile,
    accelerator: ServiceProfile | None = None,
    *,
    cores: int = CORES,
    most: int = MOST_MERGED,
) -> Node:
    """Return a node whose cores, each alone on a request, serve one model, and one accelerator."""
    if cores % cpu.cores:
        raise ValueError(f"cores must be a multiple of a request's {cpu.cores}, not {cores}")
    return Node(
        cores=cores // cpu.cores,
        cpu_s=cpu.table_s(most)[None],
        accelerators=0 if accelerator is None else 1,
        accelerator_s=None if accelerator is None else accelerator.table_s(most)[None],
    )


@dataclass(frozen=True)
class _Work:
    """Seconds of one pool per query of each size, its servers taken together, and alone."""

    per_query_s: Floats  # over the pool's servers
    alone_s: Floats  # latency on an idle node


@dataclass(frozen=True, kw_only=True)
class QueryPlant:
    """A node under a load of one kind of queries."""

    node: Node
    sizes: Sizes
    sla: Sla
    seed: int = 0
    process: Process = POISSON

    @cached_property
    def _unit_s(self) -> Floats:
        return self.process.draw(self.sla.most, 1.0, self.seed)

    @cached_property
    def _items(self) -> NDArray[np.int32]:
        return self.sizes.draw(self.sla.most, self.seed)

    def arrivals_s(self, load_qps: float, queries: int) -> Floats:
        """Return float64[queries], the first arrivals at a load [s]."""
        if self.process.scales:
            return self._unit_s[:queries] / load_qps
        return self.process.draw(self.sla.most, load_qps, self.seed)[:queries]

    def serve(self, policy: Policy, load_qps: float, queries: int) -> tuple[Served, Floats]:
        """Return what was served and the latencies [s] of the first `queries` at a load."""
        arrivals = self.arrivals_s(load_qps, queries)
        served = run_policy(self.node, [policy], arrivals, self._items[:queries])
        return served, served.finish_s - arrivals

    def probe(self, policy: Policy, load_qps: float) -> Probe:
        """Return whether the policy meets the target at a load below its `limit_qps`."""
        return probe(lambda load, count: self.serve(policy, load, count)[1], load_qps, self.sla)

    def peak(
        self, policy: Policy, start_qps: float | None = None, resolution: float = 0.005
    ) -> Peak:
        """Return the largest load that meets the target; 0 where `limit_qps` is 0."""
        if self.limit_qps(policy) == 0:
            return Peak(qps=0.0, low_qps=0.0, high_qps=0.0, probes=())
        return search_peak(
            lambda load: self.probe(policy, load),
            limit_qps=self.limit_qps(policy),
            start_qps=start_qps or self.estimate_qps(policy) or None,
            resolution=resolution,
        )

    def other_peaks(self, policy: Policy, near_qps: float, repeats: int) -> list[float]:
        """Return the policy's peak on the queries of each of the next seeds, first tried near one.

        They are independent of each other and of the queries on which the policy was chosen.
        """
        others = [replace(self, seed=self.seed + place) for place in range(1, repeats + 1)]
        return [other.peak(policy, near_qps or None).qps for other in others]

    def limit_qps(self, policy: Policy) -> float:
        """Return a load that the policy does not survive: a pool is busy all the time.

        0 if too few queries would be in time on an idle node. Exact without merging; with it, as if
        every request were merged at its best.
        """
        if policy not in self._limits:
            self._limits[policy] = self._limit(policy)
        return self._limits[policy]

    @cached_property
    def _limits(self) -> dict[Policy, float]:
        return {}

    def _limit(self, policy: Policy) -> float:
        pools = self._work(policy)
        if self._idle_in_time(pools) < self.sla.in_time:
            return 0.0
        share = self.sizes.share
        return 1 / max(float(share @ pool.per_query_s) for pool in pools)

    def estimate_qps(self, policy: Policy) -> float:
        """Return a guess of the peak; 0 where `limit_qps` is 0."""
        if policy not in self._guesses:
            self._guesses[policy] = self._estimate(policy)
        return self._guesses[policy]

    @cached_property
    def _guesses(self) -> dict[Policy, float]:
        return {}

    def _estimate(self, policy: Policy) -> float:
        limit = self.limit_qps(policy)
        if limit == 0:
            return 0.0
        pools = self._work(policy, full=True)
        share = self.sizes.share
        moments = [[share @ pool.per_query_s, share @ pool.per_query_s**2] for pool in pools]
        slack = [
            np.where(pool.alone_s > 0, self.sla.limit_s - pool.alone_s, np.inf)[self._points]
            for pool in pools
        ]
        late = 1 - self.sla.in_time
        return float(load_of_late(limit, late, np.asarray(moments), np.asarray(slack)))

    @cached_property
    def _points(self) -> NDArray[np.int64]:
        places = (np.arange(POINTS) + 0.5) / POINTS
        return np.searchsorted(np.cumsum(self.sizes.share), places)

    def _idle_in_time(self, pools: tuple[_Work, _Work]) -> float:
        latency = np.maximum(pools[0].alone_s, pools[1].alone_s)
        return float(self.sizes.share @ (latency <= self.sla.limit_s))

    def _work(self, policy: Policy, full: bool = False) -> tuple[_Work, _Work]:
        # full : a merged request of a core takes as long as a full one, as it does near the peak,
        # and a merged launch of the accelerator, which is seldom full, waits for its window.
        node, size = self.node, np.arange(self.sizes.share.size)
        here = size < policy.threshold
        cpu = node.cpu_s[policy.table]
        batch, servers = min(policy.batch, cpu.size - 1), node.cores
        parts = -(-size // batch)
        largest = np.minimum(-(-size // np.maximum(parts, 1)) if policy.even else batch, size)
        total = _parts_s(cpu, size, batch, policy.even)
        alone = np.maximum(cpu[largest], total / servers)
        if policy.merge:
            least = np.min(cpu[1 : batch + 1] / np.arange(1, batch + 1))
            total = size * least
            own = np.maximum(cpu[np.minimum(size, batch)], total / servers)
            alone = np.where(size, np.maximum(own, cpu[batch] if full else 0.0), 0.0)
        pools = [_Work(np.where(here, total / servers, 0), np.where(here, alone, 0))]
        if node.accelerator_s is None or node.accelerators == 0:
            nothing = np.zeros(size.size)
            return pools[0], _Work(nothing, np.where(here, 0, np.inf))
        times = node.accelerator_s[policy.table]
        total, alone = times[size], times[size]
        if policy.merge_items:
            most = max(policy.merge_items, self.sizes.most)
            total = size * np.min(times[1 : most + 1] / np.arange(1, most + 1))
            alone = alone + (policy.merge_window_s if full else 0.0)
        if node.link_s is not None:
            alone = alone + node.link_s[policy.table][size]
        busy = np.where(here, 0, total / node.accelerators)
        return pools[0], _Work(busy, np.where(here, 0, alone))

    def with_sizes(self, sizes: Sizes) -> QueryPlant:
        """Return the plant under other queries."""
        return replace(self, sizes=sizes)


def _parts_s(cpu: Floats, size: NDArray[np.int64], batch: int, even: bool) -> Floats:
    # Core seconds of a query by its size: full parts and a rest, or equal parts.
    if not even:
        return cpu[batch] * (size // batch) + cpu[size % batch]
    parts = np.maximum(-(-size // batch), 1)
    part = -(-size // parts)
    whole = size // np.maximum(part, 1)
    return cpu[part] * whole + cpu[size - whole * part]
