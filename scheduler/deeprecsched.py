"""DeepRecSched: how large the parts of a query are, and which queries the accelerator gets.

The paper's way is two climbs in a row, of the batch and then of the threshold, each ended by the
first decrease. Ours searches both together with merging and even parts: the moments of the work
order all settings, the simulation races the best of each way of working, and neighbours, against
the best so far, one load each. The exhaustive search races every setting that a bound of ours does
not exclude; a plain one would find the peak of every setting.

Ref: U. Gupta et al., "DeepRecSys", ISCA'20, section on DeepRecSched; the step of its climbs is not
in the text, doubling is assumed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any

from rpaccel.scheduler.policy import NOT_OFFLOADED, Policy
from rpaccel.scheduler.query_plant import MOST_MERGED, QueryPlant

__all__ = ["STATIC_BATCH", "Outcome", "Space", "cpu_space", "exhaustive", "joint", "joint_space",
           "paper_batch", "paper_threshold", "plain_queries", "static"]  # fmt: skip

STATIC_BATCH = 25  # the largest query, 1000 items, over 40 cores
BATCHES = (1, 2, 4, 8, 12, 16, 20, 25, 32, 40, 50, 64, 80, 100, 128, 160, 200, 256, 320, 400, 512,
           640, 800, 1024)  # fmt: skip
THRESHOLDS = (1, *range(50, 1000, 50), NOT_OFFLOADED)
RESOLUTION = 0.01  # of two peaks, each found to 0.5 %
GAIN = 0.002  # a setting is better if it holds so much more load
OUR_GAIN = 0.005  # of our search: a quarter of the 2 % that it may be below the optimum
DOUBT = 0.02  # by which a setting's estimate may be below that of the best; lower: not tried
MOST_TRIED = 8  # settings that our search simulates
STRIDES = (2, 1)  # places of a field to the neighbours
SAMPLED = 12  # settings of which the cost of a plain exhaustive search is taken


@dataclass(frozen=True, kw_only=True)
class Space:
    """Settings to choose from: every combination of the fields' values, each in order."""

    batch: tuple[int, ...] = BATCHES
    threshold: tuple[int, ...] = (NOT_OFFLOADED,)
    even: tuple[bool, ...] = (False, True)
    merge: tuple[bool, ...] = (False,)
    window_s: tuple[float, ...] = (0.0,)  # of a core's merged request
    merge_items: tuple[int, ...] = (0,)
    merge_window_s: tuple[float, ...] = (0.0,)  # of the accelerator's merged launch

    def __post_init__(self) -> None:
        for axis in fields(self):
            values = getattr(self, axis.name)
            if not values or list(values) != sorted(set(values)):
                raise ValueError(f"{axis.name} must ascend, not {values}")
        if self.window_s[0] or self.merge_window_s[0]:
            raise ValueError("window_s and merge_window_s must begin with 0, no wait")

    def __iter__(self) -> Iterator[Policy]:
        """Return every setting once; what has no effect is at its least."""
        for values in product(*(getattr(self, axis.name) for axis in fields(self))):
            keys = dict(zip((axis.name for axis in fields(self)), values, strict=True))
            if keys == self._normal(keys):
                yield Policy(**keys)

    def _normal(self, keys: dict[str, Any]) -> dict[str, Any]:
        # Nothing waits that is not merged, nothing is merged that the accelerator does not get.
        offloaded, normal = keys["threshold"] != NOT_OFFLOADED, dict(keys)
        if not keys["merge"]:
            normal["window_s"] = 0.0
        if not offloaded:
            normal["merge_items"] = self.merge_items[0]
        if not (offloaded and keys["merge_items"]):
            normal["merge_window_s"] = 0.0
        return normal

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def neighbours(self, policy: Policy, stride: int) -> Iterator[Policy]:
        """Return the settings that differ in one field, by `stride` places of it."""
        for axis in fields(self):
            values = getattr(self, axis.name)
            at = values.index(getattr(policy, axis.name))
            for place in (at - stride, at + stride):
                if not 0 <= place < len(values):
                    continue
                keys = {a.name: getattr(policy, a.name) for a in fields(self)}
                yield Policy(**self._normal(keys | {axis.name: values[place]}))


def cpu_space(window_s: float) -> Space:
    """Return settings of a node without accelerator; `window_s` : longest wait to be merged [s]."""
    return Space(merge=(False, True), window_s=(0.0, window_s))


def joint_space(window_s: float) -> Space:
    """Return settings of a node with an accelerator, whose launches may wait `window_s` [s]."""
    return Space(
        threshold=THRESHOLDS, even=(True,), merge=(False, True), merge_items=(0, 1000, MOST_MERGED),
        merge_window_s=(0.0, window_s),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A setting and what it took to find it.

    qps : load under the target; 0 if no setting meets it. settings : to choose from.
    evaluations : settings simulated, by one run or more. queries : simulated in all.
    """

    policy: Policy
    qps: float
    settings: int
    evaluations: int
    queries: int


@dataclass
class _Search:
    """The best so far and the bill."""

    plant: QueryPlant
    best: Policy
    gain: float = GAIN
    qps: float = 0.0
    queries: int = 0
    seen: set[Policy] = field(default_factory=set)  # simulated

    def climb(self, policy: Policy, start_qps: float | None = None) -> float:
        """Return a setting's peak; it is the best so far if it is above."""
        if self.plant.limit_qps(policy) == 0:
            return 0.0
        self.seen.add(policy)
        peak = self.plant.peak(policy, start_qps)
        self.queries += peak.queries
        if peak.qps > self.qps:
            self.best, self.qps = policy, peak.qps
        return peak.qps

    def race(self, policy: Policy) -> bool:
        """Return whether a setting holds `gain` more load than the best so far; then it is best."""
        wanted = self.qps * (1 + self.gain)
        if policy in self.seen or self.plant.limit_qps(policy) <= wanted:
            return False  # known, or no such gain by its bound: nothing is simulated
        self.seen.add(policy)
        if wanted == 0:
            return self.climb(policy) > 0
        tried = self.plant.probe(policy, wanted)
        self.queries += tried.queries
        if not tried.passes:
            return False
        self.best, self.qps = policy, wanted
        self.climb(policy, wanted)
        return True

    def outcome(self, settings: int) -> Outcome:
        return Outcome(
            policy=self.best,
            qps=self.qps,
            settings=settings,
            evaluations=len(self.seen),
            queries=self.queries,
        )


def static(plant: QueryPlant, batch: int = STATIC_BATCH) -> Outcome:
    """Return the paper's baseline: one batch for every model, nothing offloaded."""
    search = _Search(plant, Policy(batch=batch))
    search.climb(search.best)
    return search.outcome(1)


def paper_batch(plant: QueryPlant) -> Outcome:
    """Return the paper's first climb: the batch doubles from 1 while the load rises."""
    return _climb(plant, [Policy(batch=1 << power) for power in range(11)])


def paper_threshold(plant: QueryPlant, batch: Outcome) -> Outcome:
    """Return the paper's second climb: with that batch, the threshold doubles from 1.

    plant : with an accelerator. batch : of `paper_batch`; its bill is part of this one's.
    """
    size = batch.policy.batch
    found = _climb(plant, [Policy(batch=size, threshold=1 << power) for power in range(11)])
    return replace(
        found,
        settings=found.settings + batch.settings,
        evaluations=found.evaluations + batch.evaluations,
        queries=found.queries + batch.queries,
    )


def _climb(plant: QueryPlant, policies: list[Policy]) -> Outcome:
    # Ends at the first decrease and keeps the best; a change within the resolution is none.
    search, before = _Search(plant, policies[0]), 0.0
    for policy in policies:
        found = search.climb(policy)
        if found < before * (1 - RESOLUTION):
            break
        before = found
    return search.outcome(len(policies))


def joint(plant: QueryPlant, space: Space, share: float = 0.1) -> Outcome:
    """Return the best setting of our search, which simulates at most `share` of the space.

    And never more than MOST_TRIED settings. All are ordered by the plant's estimate. The peak of
    the first is found; the first of each other way of working races the best so far, then
    neighbours of the best do, until none wins. One whose estimate is more than DOUBT below that of
    the best is passed over.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be in 0..1, not {share}")
    guesses = {policy: plant.estimate_qps(policy) for policy in space}
    ordered = sorted(guesses, key=lambda policy: -guesses[policy])
    budget = min(MOST_TRIED, max(1, int(share * len(guesses))))
    search = _Search(plant, ordered[0], OUR_GAIN)
    search.climb(ordered[0])

    def wins(policy: Policy) -> bool:
        hopeful = guesses[policy] * (1 + DOUBT) >= guesses[search.best]
        return hopeful and len(search.seen) < budget and search.race(policy)

    for head in _ways(ordered):
        wins(head)
    while True:
        near = [policy for stride in STRIDES for policy in space.neighbours(search.best, stride)]
        if not any(wins(one) for one in sorted(near, key=lambda policy: -guesses[policy])):
            return search.outcome(len(guesses))


def _ways(ordered: list[Policy]) -> list[Policy]:
    # The best guess of each way of working, the best first: estimates of one way err alike.
    heads: dict[tuple[object, ...], Policy] = {}
    for policy in ordered:
        way = (policy.even, policy.merge, policy.window_s, policy.merge_items,
               policy.merge_window_s, policy.threshold == NOT_OFFLOADED)  # fmt: skip
        heads.setdefault(way, policy)
    return list(heads.values())


def exhaustive(plant: QueryPlant, space: Space) -> Outcome:
    """Return the best setting of a space.

    A setting is passed over if its bound or its run does not reach 1 + GAIN times the best so far:
    the answer may be below the optimum by at most 0.2 %.
    """
    ordered = sorted(space, key=lambda policy: -plant.estimate_qps(policy))
    search = _Search(plant, ordered[0])
    search.climb(ordered[0])
    for policy in ordered[1:]:
        search.race(policy)
    return search.outcome(len(ordered))


def plain_queries(plant: QueryPlant, space: Space, sampled: int = SAMPLED) -> int:
    """Return about how many queries an exhaustive search without bounds would simulate.

    It finds the peak of every setting; here, of `sampled` ones that are spread over the space. One
    that no idle node answers in time costs nothing.
    """
    settings = list(space)
    count = min(sampled, len(settings))
    queries = sum(plant.peak(settings[place]).queries for place in _places(count, len(settings)))
    return round(queries / count * len(settings))


def _places(count: int, settings: int) -> list[int]:
    # The golden section apart, all different: a divisor would hold the later fields at one value.
    first = round((math.sqrt(5) - 1) / 2 * settings)
    stride = next(n for n in range(first, settings + 1) if math.gcd(n, settings) == 1)
    return [(stride // 2 + number * stride) % settings for number in range(count)]
