"""Two or more models on one node: who goes first, and what all of them hold within their targets.

A query's order is its own deadline, so a model with a tight target passes one that can wait, and
none starves. Alone on their part of the cores they cannot lend each other what they do not use.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rpaccel.scheduler.arrivals import POISSON, Floats, Process
from rpaccel.scheduler.deeprecsched import BATCHES, OUR_GAIN, STRIDES
from rpaccel.scheduler.peak import Peak, Probe, Sla, probe, search_peak
from rpaccel.scheduler.policy import Node, Policy, run_policy
from rpaccel.scheduler.query_plant import QueryPlant
from rpaccel.scheduler.sizes import Sizes

__all__ = ["Colocation", "Tenant", "apart", "by_deadline", "in_order", "tuned"]


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """A model on the node: its share of the queries, its target, how its queries are treated."""

    share: float
    sla: Sla
    policy: Policy  # its table is the tenant's place


@dataclass(frozen=True, kw_only=True)
class Colocation:
    """Tenants on the cores of one node; a table of service times each, in their order."""

    node: Node
    tenants: tuple[Tenant, ...]
    sizes: Sizes
    seed: int = 0
    process: Process = POISSON

    def __post_init__(self) -> None:
        shares = [tenant.share for tenant in self.tenants]
        if not shares or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
            raise ValueError(f"shares of the tenants must be positive and sum to 1, not {shares}")
        tables = [tenant.policy.table for tenant in self.tenants]
        if tables != list(range(len(tables))):
            raise ValueError(f"table of each tenant must be its place, not {tables}")

    @property
    def most(self) -> int:
        """Queries of the longest look, of all tenants together."""
        return max(tenant.sla.most for tenant in self.tenants)

    @cached_property
    def _kinds(self) -> NDArray[np.int32]:
        random = np.random.default_rng([self.seed, 4])
        shares = [tenant.share for tenant in self.tenants]
        return random.choice(len(shares), self.most, p=shares).astype(np.int32)

    @cached_property
    def _sizes(self) -> NDArray[np.int32]:
        return self.sizes.draw(self.most, self.seed)

    def plant(
        self, tenant: Tenant, cores: int | None = None, most: int | None = None
    ) -> QueryPlant:
        """Return a tenant alone on the node, or on some of its cores; most : of its target's."""
        return QueryPlant(
            node=replace(self.node, cores=cores or self.node.cores),
            sizes=self.sizes,
            sla=replace(tenant.sla, most=most or tenant.sla.most),
            seed=self.seed,
            process=self.process,
        )

    @cached_property
    def _all(self) -> QueryPlant:
        return self.plant(self.tenants[0], most=self.most)

    def latencies_s(self, load_qps: float, queries: int) -> list[Floats]:
        """Return each tenant's latencies under a load of all together [s]."""
        arrivals, who = self._all.arrivals_s(load_qps, queries), self._kinds[:queries]
        policies = [tenant.policy for tenant in self.tenants]
        served = run_policy(self.node, policies, arrivals, self._sizes[:queries], who)
        latencies = served.finish_s - arrivals
        return [latencies[who == kind] for kind in range(len(policies))]

    def probe(self, load_qps: float) -> Probe:
        """Return whether every tenant meets its own target."""
        found: list[Probe] = []
        for kind, tenant in enumerate(self.tenants):

            def latencies(load: float, count: int, kind: int = kind) -> Floats:
                return self.latencies_s(load, count)[kind]

            found.append(probe(latencies, load_qps, tenant.sla))
            if not found[-1].passes:
                break
        return Probe(
            load_qps=load_qps,
            passes=found[-1].passes,
            sure=all(one.sure for one in found) or (found[-1].sure and not found[-1].passes),
            queries=sum(one.queries for one in found),
        )

    @cached_property
    def limit_qps(self) -> float:
        """A load of all tenants together that no queue survives; 0 if a target is out of reach."""
        limits = [self.plant(tenant).limit_qps(tenant.policy) for tenant in self.tenants]
        if min(limits) == 0:
            return 0.0
        shares = [tenant.share for tenant in self.tenants]
        return 1 / sum(share / limit for share, limit in zip(shares, limits, strict=True))

    def peak(self, start_qps: float | None = None) -> Peak:
        """Return the largest load of all tenants together that meets every target."""
        limit = self.limit_qps
        if limit == 0:
            return Peak(qps=0.0, low_qps=0.0, high_qps=0.0, probes=())
        return search_peak(self.probe, limit_qps=limit, start_qps=start_qps or 0.9 * limit)


def in_order(colocation: Colocation) -> Colocation:
    """Return the tenants first come, first served."""
    return _with(colocation, [0.0] * len(colocation.tenants))


def by_deadline(colocation: Colocation) -> Colocation:
    """Return the tenants served by the earliest deadline, which is arrival plus target."""
    return _with(colocation, [tenant.sla.limit_s for tenant in colocation.tenants])


def _with(colocation: Colocation, deadlines_s: Sequence[float]) -> Colocation:
    tenants = [
        replace(tenant, policy=replace(tenant.policy, deadline_s=deadline))
        for tenant, deadline in zip(colocation.tenants, deadlines_s, strict=True)
    ]
    return replace(colocation, tenants=tuple(tenants))


def tuned(colocation: Colocation) -> Colocation:
    """Return the tenants with batches for each other.

    From the batches given, whose load must not be 0, one tenant's at a time moves to a neighbour
    that holds at least OUR_GAIN more load, until none does.
    """
    best, qps = colocation, colocation.peak().qps
    if qps == 0:
        raise ValueError("a load must meet every target with the batches given")
    seen = {_batches(best)}

    def wins(other: Colocation) -> bool:
        nonlocal best, qps
        wanted = qps * (1 + OUR_GAIN)
        if _batches(other) in seen:
            return False
        seen.add(_batches(other))
        if other.limit_qps <= wanted or not other.probe(wanted).passes:
            return False
        best, qps = other, max(wanted, other.peak(wanted).qps)
        return True

    while any(wins(other) for other in _neighbours(best)):
        pass
    return best


def _batches(colocation: Colocation) -> tuple[int, ...]:
    return tuple(tenant.policy.batch for tenant in colocation.tenants)


def _neighbours(colocation: Colocation) -> Iterator[Colocation]:
    for kind, tenant in enumerate(colocation.tenants):
        place = bisect_left(BATCHES, tenant.policy.batch)
        for to in (place + step * sign for step in STRIDES for sign in (-1, 1)):
            if 0 <= to < len(BATCHES):
                moved = replace(tenant, policy=replace(tenant.policy, batch=BATCHES[to]))
                before, after = colocation.tenants[:kind], colocation.tenants[kind + 1 :]
                yield replace(colocation, tenants=(*before, moved, *after))


def apart(colocation: Colocation) -> float:
    """Return the load of all tenants if each has whole cores of its own, best divided [queries/s].

    Of two tenants. 0 if a node of one core is too small to be divided.
    """
    if len(colocation.tenants) != 2:
        raise ValueError(f"tenants must be two to be divided, not {len(colocation.tenants)}")

    def held(tenant: Tenant, cores: int) -> float:
        plant = colocation.plant(tenant, cores)
        if plant.limit_qps(tenant.policy) == 0:
            return 0.0
        return plant.peak(tenant.policy).qps / tenant.share

    first, second = colocation.tenants
    low, high = 1, colocation.node.cores - 1
    best = 0.0
    while low <= high:  # more cores to the first: its load rises, the second's falls
        middle = (low + high) // 2
        one, other = held(first, middle), held(second, colocation.node.cores - middle)
        best = max(best, min(one, other))
        low, high = (middle + 1, high) if one < other else (low, middle - 1)
    return best
