"""Settings that follow the load: re-tuned where queries drift, with guard rails.

After every window of queries the controller looks at their sizes. If these are no longer those that
the setting was tuned for, or too many queries were late, it searches again on the sizes it saw.
Guard rails: a new setting must promise a gain on the queries seen; it is on probation for a window
and goes back if that window has more late queries than before; after that nothing moves for a
while.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rpaccel.scheduler.arrivals import Floats
from rpaccel.scheduler.policy import Policy, PolicyRun
from rpaccel.scheduler.query_plant import QueryPlant
from rpaccel.scheduler.sizes import Sizes, sizes_of

__all__ = ["Guards", "Window", "retune", "size_distance"]

Tuner = Callable[[QueryPlant], Policy]


@dataclass(frozen=True, kw_only=True)
class Guards:
    """When the controller moves.

    window : queries between two looks. drift : distance of two size distributions that counts.
    gain : what a new setting must promise, of the load. hold : windows of rest after a way back.
    """

    window: int = 4096
    drift: float = 0.1
    gain: float = 0.02
    hold: int = 3

    def __post_init__(self) -> None:
        if self.window < 200 or not 0 < self.drift <= 1 or self.gain < 0 or self.hold < 0:
            raise ValueError(
                "window must be at least 200, drift in 0..1, gain and hold not negative, not "
                f"{self.window}, {self.drift}, {self.gain} and {self.hold}"
            )


@dataclass(frozen=True, kw_only=True)
class Window:
    """One window: the setting it ran under, its share of late queries, what was decided after."""

    policy: Policy
    late: float
    action: str  # "keep", "try", "back" or "rest"


def size_distance(one: Sizes, other: Sizes) -> float:
    """Return the largest difference of the two distribution functions (Kolmogorov-Smirnov)."""
    length = max(one.share.size, other.share.size)
    shares = [np.pad(sizes.share, (0, length - sizes.share.size)) for sizes in (one, other)]
    return float(np.max(np.abs(np.cumsum(shares[0] - shares[1]))))


class _Controller:
    def __init__(self, plant: QueryPlant, policy: Policy, tuner: Tuner, guards: Guards) -> None:
        self._plant, self._tuner, self._guards = plant, tuner, guards
        self.policy = policy
        self._known = plant.sizes  # what the setting was tuned for
        self._before: tuple[Policy, Sizes, float] | None = None  # on probation: the way back
        self._rest = 0

    def look(self, seen: Sizes, late: float) -> str:
        """Decide after a window."""
        if self._before is not None:
            policy, known, worst = self._before
            self._before = None
            if late > max(worst, 1 - self._plant.sla.in_time):
                self.policy, self._known, self._rest = policy, known, self._guards.hold
                return "back"
        if self._rest:
            self._rest -= 1
            return "rest"
        missed = late > 1 - self._plant.sla.in_time
        if not missed and size_distance(seen, self._known) < self._guards.drift:
            return "keep"
        plant = self._plant.with_sizes(seen)
        found = self._tuner(plant)
        if found == self.policy or not self._promises(plant, found):
            self._known = seen
            return "keep"
        self._before = (self.policy, self._known, late)
        self.policy, self._known = found, seen
        return "try"

    def _promises(self, plant: QueryPlant, found: Policy) -> bool:
        now = plant.peak(self.policy).qps
        return plant.peak(found, now or None).qps >= now * (1 + self._guards.gain)


def retune(
    plant: QueryPlant,
    policy: Policy,
    arrivals_s: Floats,
    sizes: NDArray[np.int32],
    tuner: Tuner | None,
    guards: Guards | None = None,
) -> list[Window]:
    """Serve a stream window by window and return what happened.

    plant : the node, the target, and the sizes that `policy` was tuned for. arrivals_s, sizes : the
    stream. tuner : finds a setting for a plant; None: the setting stays. A query is judged by its
    latency, however long after its window it ends.
    """
    guards = guards or Guards()
    controller = _Controller(plant, policy, tuner or (lambda _plant: policy), guards)
    run = PolicyRun(plant.node, [policy], arrivals_s, sizes)
    decided: list[tuple[Policy, str]] = []
    ends = [*range(guards.window, arrivals_s.size, guards.window), arrivals_s.size]
    for first, end in zip([0, *ends], ends, strict=False):
        run.advance(end)
        used = controller.policy
        # What a server knows by then: a query that still waits is late if its time is over.
        known = run.latencies_s(first, end)
        waited = arrivals_s[end - 1] - arrivals_s[first:end]
        late = np.where(np.isinf(known), waited, known) > plant.sla.limit_s
        seen = sizes_of("seen", sizes[first:end])
        action = controller.look(seen, float(late.mean())) if tuner else "keep"
        decided.append((used, action))
        if controller.policy != used:
            run.set_policies([controller.policy])
    run.advance()
    late_all = run.latencies_s(0, arrivals_s.size) > plant.sla.limit_s
    return [
        Window(policy=used, late=float(late_all[first:end].mean()), action=action)
        for (used, action), first, end in zip(decided, [0, *ends], ends, strict=False)
    ]
