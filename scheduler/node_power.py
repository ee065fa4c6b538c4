"""Watts of a node by how busy it is, and the load that a power cap leaves.

Ref: thermal design power of DeepRecSys's servers (ISCA'20): Skylake 125 W, GTX 1080 Ti 250 W. That
an idle part draws IDLE_SHARE of it, and the rest in proportion to its busy time, is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

from rpaccel.scheduler.peak import Probe
from rpaccel.scheduler.policy import Policy
from rpaccel.scheduler.query_plant import QueryPlant

__all__ = ["CappedPlant", "NodePower", "capped_qps", "power_w"]

IDLE_SHARE = 0.4  # assumed
QUERIES = 8192  # of a run that measures how busy a node is


@dataclass(frozen=True, kw_only=True)
class NodePower:
    """Power of all cores together and of an accelerator when busy all the time [W]."""

    cpu_w: float = 125.0  # Skylake of the paper
    accelerator_w: float = 250.0  # GTX 1080 Ti
    idle_share: float = IDLE_SHARE

    def __post_init__(self) -> None:
        if min(self.cpu_w, self.accelerator_w) < 0 or not 0 <= self.idle_share <= 1:
            raise ValueError(
                f"power must not be negative and idle_share in 0..1, not {self.cpu_w}, "
                f"{self.accelerator_w} and {self.idle_share}"
            )

    def watts(self, cpu_busy: float, accelerator_busy: float, accelerators: int) -> float:
        """Return the power of a node whose parts are busy for these shares of the time [W]."""
        cpu = self.cpu_w * (self.idle_share + (1 - self.idle_share) * min(cpu_busy, 1.0))
        busy = self.idle_share + (1 - self.idle_share) * min(accelerator_busy, 1.0)
        return cpu + accelerators * self.accelerator_w * busy


def power_w(plant: QueryPlant, policy: Policy, load_qps: float, power: NodePower) -> float:
    """Return the power of a plant under a load, by simulation [W]."""
    node = plant.node
    if load_qps == 0:
        return power.watts(0.0, 0.0, node.accelerators)
    queries = min(plant.process.look(QUERIES, plant.sla.most), plant.sla.most)
    served, _ = plant.serve(policy, load_qps, queries)
    span_s = queries / load_qps
    accelerator = served.accelerator_busy_s / span_s / max(node.accelerators, 1)
    return power.watts(served.cpu_busy_s / span_s / node.cores, accelerator, node.accelerators)


def capped_qps(
    plant: QueryPlant, policy: Policy, peak_qps: float, power: NodePower, cap_w: float
) -> float:
    """Return the largest load up to `peak_qps` whose power is within `cap_w`; 0 if none is."""
    if power_w(plant, policy, peak_qps, power) <= cap_w:
        return peak_qps
    low, high = 0.0, peak_qps
    while high - low > 1e-3 * peak_qps:
        middle = (low + high) / 2
        within = power_w(plant, policy, middle, power) <= cap_w
        low, high = (middle, high) if within else (low, middle)
    return low


@dataclass(frozen=True, kw_only=True)
class CappedPlant(QueryPlant):
    """A plant whose target is a cap, too: what `deeprecsched.joint` finds is best within both.

    At a cap that binds, the most queries per second are the most per joule.
    """

    power: NodePower
    cap_w: float

    def probe(self, policy: Policy, load_qps: float) -> Probe:
        """Return whether the policy meets the target within the cap."""
        if power_w(self, policy, load_qps, self.power) > self.cap_w:
            queries = min(QUERIES, self.sla.most)
            return Probe(load_qps=load_qps, passes=False, sure=True, queries=queries)
        return super().probe(policy, load_qps)

    def _limit(self, policy: Policy) -> float:
        # The moments' load of both pools, with their watts: no run that draws less holds more.
        limit, node, power = super()._limit(policy), self.node, self.power
        cpu, accelerator = (
            float(self.sizes.share @ pool.per_query_s) for pool in self._work(policy)
        )
        spare_w = self.cap_w - power.watts(0.0, 0.0, node.accelerators)
        busy_w = power.watts(1.0, 0.0, 0) - power.watts(0.0, 0.0, 0)
        both_w = power.watts(1.0, 1.0, node.accelerators) - power.watts(0, 0, node.accelerators)
        joules = cpu * busy_w + accelerator * (both_w - busy_w)
        return min(limit, max(0.0, spare_w) / joules)
